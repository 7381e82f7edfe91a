//! What no client should send: each such message has its answer or none, and the resolver goes on answering.

use std::net::UdpSocket;

use anyhow::{Context, ensure};
use hickory_proto::op::{Message, MessageType};
use netd_tests::{
    World,
    dns::{
        Client, RESOLVER,
        client::{question, question_with_size, receive, receive_framed, send_framed},
        load::flood,
    },
    world::LAN_V4,
};

use crate::{
    Outcome,
    hostile::{
        Wanted::{self, Anything, Code, Nothing},
        all_cases, message, web,
    },
    names::named_world,
};

/// The answer to the question that follows each message, and whatever came before it.
fn until_alive(socket: &UdpSocket, wanted: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let mut asked = question("web", "A")?;
    // An id that no case has.
    asked[..2].copy_from_slice(&[0x12, 0x34]);
    socket.send(&asked)?;
    let mut before = None;
    loop {
        let answer = receive(socket)?.context("the resolver does not answer any more")?;
        if answer.get(..2) != Some(&[0x12, 0x34]) {
            before.get_or_insert(answer);
            continue;
        }
        let answer = Message::from_vec(&answer)?;
        let told = answer.answers.first().map(|record| record.data.to_string());
        ensure!(told.as_deref() == Some(wanted), "{answer}");
        return Ok(before);
    }
}

/// Judges what came back.
fn judge(answer: Option<&[u8]>, asked: &[u8], wanted: Wanted) -> Outcome {
    match (wanted, answer) {
        (Nothing, Some(answer)) => anyhow::bail!("an answer to what is none: {answer:?}"),
        (Nothing, None) | (Anything, _) => Ok(()),
        (Code(code), None) => anyhow::bail!("no answer, {code} wanted"),
        (Code(code), Some(answer)) => {
            let said = Message::from_vec(answer)?;
            let flags = said.metadata;
            // By number: 16 has two names.
            let got = u16::from(flags.response_code);
            ensure!(got == u16::from(code), "{code} wanted: {said}");
            ensure!(answer[..2] == asked[..2], "another id");
            ensure!(flags.message_type == MessageType::Response, "{said}");
            ensure!(
                u8::from(flags.op_code) == asked[2] >> 3 & 15,
                "another operation: {said}"
            );
            ensure!(flags.recursion_desired == (asked[2] & 1 == 1), "RD: {said}");
            Ok(())
        }
    }
}

/// A world with a sandbox `web`, whose address comes along.
fn world_of_web() -> anyhow::Result<(World, netd_tests::dns::Nameserver, Client, String)> {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let address = web.v4("eth0")?.to_string();
    Ok((world, upstream, Client::inside(&web.netns), address))
}

fn unharmed(world: &World, pid: Option<u32>) -> Outcome {
    ensure!(world.daemon_pid() == pid, "another daemon");
    let log = world.log();
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

#[test]
fn s01_hostile_datagrams() -> Outcome {
    let (world, _upstream, client, address) = world_of_web()?;
    let pid = world.daemon_pid();
    let mut failed = Vec::new();
    for (what, bytes, wanted) in all_cases() {
        let socket = client.socket()?;
        socket.send(&bytes)?;
        let before = until_alive(&socket, &address).with_context(|| format!("after {what}"))?;
        if let Err(error) = judge(before.as_deref(), &bytes, wanted) {
            failed.push(format!("{what}: {error:#}"));
        }
    }
    ensure!(failed.is_empty(), "{failed:#?}");
    unharmed(&world, pid)
}

#[test]
fn s01_hostile_messages_on_connections() -> Outcome {
    let (world, _upstream, client, address) = world_of_web()?;
    let pid = world.daemon_pid();
    let mut failed = Vec::new();
    for (what, bytes, wanted) in all_cases() {
        let mut stream = client.stream()?;
        send_framed(&mut stream, &bytes)?;
        // It may be hung up on.
        let _ = send_framed(&mut stream, &question("web", "A")?);
        let first = receive_framed(&mut stream)
            .with_context(|| format!("{what}: neither an answer nor an end"))?;
        let first = first.filter(|answer| answer.get(..2) == bytes.get(..2));
        if let Err(error) = judge(first.as_deref(), &bytes, wanted) {
            failed.push(format!("{what}: {error:#}"));
        }
        let again = client.ask_by_tcp("web", "A")?;
        let told = again.answers.first().map(|record| record.data.to_string());
        ensure!(told.as_ref() == Some(&address), "after {what}: {again}");
    }
    ensure!(failed.is_empty(), "{failed:#?}");
    unharmed(&world, pid)
}

#[test]
fn s01_flags_are_copied() -> Outcome {
    let (_world, _upstream, client, _address) = world_of_web()?;
    for (flags, wanted) in [(0x0000_u16, 0x8080_u16), (0x0100, 0x8180)] {
        let answer = client.exchange(&message(flags, [1, 0, 0, 0], &web(1, 1)))?;
        let got = u16::from_be_bytes([answer[2], answer[3]]);
        ensure!(got == wanted, "{flags:04x}: {got:04x}");
    }
    // EDNS is answered by EDNS, and not without.
    for (asked, edns) in [
        (question_with_size("web", "A", 1400)?, true),
        (question("web", "A")?, false),
    ] {
        let answer = Message::from_vec(&client.exchange(&asked)?)?;
        ensure!(answer.edns.is_some() == edns, "{answer}");
    }
    Ok(())
}

#[test]
fn s01_random_datagrams() -> Outcome {
    let (world, _upstream, client, address) = world_of_web()?;
    let pid = world.daemon_pid();
    let cases = all_cases();
    // xorshift: the same in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap_or(0)
    };
    for _ in 0..60 {
        let socket = client.socket()?;
        for _ in 0..50 {
            let mut bytes = cases[random(cases.len())].1.clone();
            for _ in 0..=random(4) {
                match (random(4), bytes.len()) {
                    (0, _) => bytes.push(u8::try_from(random(256))?),
                    (1, length @ 1..) => bytes.truncate(random(length)),
                    (_, length @ 1..) => bytes[random(length)] = u8::try_from(random(256))?,
                    _ => {}
                }
            }
            socket.send(&bytes)?;
        }
        until_alive(&socket, &address)?;
    }
    unharmed(&world, pid)
}

#[test]
fn s04_cve_2025_23028_crafted_answers() -> Outcome {
    let world = World::with_resolvers(&[LAN_V4.into()], "timeout_ms = 100")?;
    let upstream = world.lan_names(&[])?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let pid = world.daemon_pid();
    // Each answer differs from a right one by some bytes, the same ones in every run.
    for kind in ["udp", "tcp"] {
        let tally = flood(&web.scope, kind, RESOLVER, "mutant-{}.example", 300)?;
        ensure!(tally.lost == 0 && tally.asked == 300, "{kind}: {tally:?}");
    }
    ensure!(upstream.seen()?.len() >= 300, "the server was not asked");
    let answer = Client::inside(&web.netns).ask("a.example", "A")?;
    ensure!(answer.answers.len() == 1, "{answer}");
    unharmed(&world, pid)
}
