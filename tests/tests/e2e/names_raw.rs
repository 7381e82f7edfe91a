//! What no client should send: each such message has its answer or none, and the resolver goes on answering.

use std::net::UdpSocket;

use anyhow::{Context, ensure};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use netd_tests::{
    World,
    dns::{
        Client, RESOLVER,
        client::{question, question_with_size, receive, receive_framed, send_framed},
        load::flood,
    },
    world::LAN_V4,
};

use crate::{Outcome, names::named_world};

/// What must come back.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Nothing,
    Code(ResponseCode),
    Anything,
}

use Wanted::{Anything, Code, Nothing};

/// One message.
type Case = (&'static str, Vec<u8>, Wanted);

/// Id 0xabcd, then flags, counts and the rest.
fn message(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    bytes.extend(rest);
    bytes
}

/// A question that wants recursion, with this rest.
fn query(rest: &[u8]) -> Vec<u8> {
    message(0x0100, [1, 0, 0, 0], rest)
}

/// The question for `web` of a type and class.
fn web(kind: u16, class: u16) -> Vec<u8> {
    let mut bytes = b"\x03web\x00".to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(class.to_be_bytes());
    bytes
}

/// `web A` with this in the additional section.
fn with_more(count: u16, more: &[u8]) -> Vec<u8> {
    message(0x0100, [1, 0, 0, count], &[&web(1, 1), more].concat())
}

/// An OPT record of a version, with a length of data and the data.
fn opt(version: u8, length: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 41, 4, 208, 0, version, 0, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    bytes
}

fn headers() -> Vec<Case> {
    let plain = web(1, 1);
    let mut cases: Vec<Case> = (0..12)
        .map(|length| ("too short for a header", vec![0xab; length], Nothing))
        .collect();
    cases.extend([
        ("an answer", message(0x8180, [1, 0, 0, 0], &plain), Nothing),
        (
            "an answer of nothing",
            message(0x8000, [0; 4], &[]),
            Nothing,
        ),
        (
            "a header alone",
            message(0x0100, [0; 4], &[]),
            Code(ResponseCode::FormErr),
        ),
        (
            "no question",
            message(0x0100, [0; 4], &plain),
            Code(ResponseCode::FormErr),
        ),
        (
            "two questions",
            message(
                0x0100,
                [2, 0, 0, 0],
                &[plain.clone(), plain.clone()].concat(),
            ),
            Code(ResponseCode::FormErr),
        ),
        (
            "many questions",
            message(0x0100, [0xffff, 0, 0, 0], &plain),
            Code(ResponseCode::FormErr),
        ),
        (
            "a question that is missing",
            message(0x0100, [1, 0, 0, 0], &[]),
            Code(ResponseCode::FormErr),
        ),
        (
            "records that are missing",
            message(0x0100, [1, 0xffff, 0xffff, 0xffff], &plain),
            Code(ResponseCode::FormErr),
        ),
        (
            "the mark of truncation",
            message(0x0300, [1, 0, 0, 0], &plain),
            Anything,
        ),
        (
            "reserved bits",
            message(0x0140, [1, 0, 0, 0], &plain),
            Anything,
        ),
        ("a code", message(0x010f, [1, 0, 0, 0], &plain), Anything),
        (
            "bytes behind the end",
            query(&[plain.clone(), vec![0xff; 40]].concat()),
            Anything,
        ),
    ]);
    for opcode in [1_u16, 2, 3, 4, 5, 6, 7, 15] {
        let flags = opcode << 11 | 0x0100;
        let code = Code(ResponseCode::NotImp);
        cases.push(("an operation", message(flags, [1, 0, 0, 0], &plain), code));
        cases.push((
            "an operation without a question",
            message(flags, [0; 4], &[]),
            code,
        ));
    }
    cases
}

fn questions() -> Vec<Case> {
    let bad = Code(ResponseCode::FormErr);
    let long: Vec<u8> = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(4);
    let mut longest = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(3);
    longest.extend([b"\x3d".as_slice(), &[b'a'; 61]].concat());
    let end = [0, 0, 1, 0, 1];
    let mut cases = vec![
        (
            "a pointer to itself",
            query(b"\xc0\x0c\x00\x01\x00\x01"),
            bad,
        ),
        (
            "two pointers in a ring",
            query(b"\xc0\x0e\xc0\x0c\x00\x01\x00\x01"),
            bad,
        ),
        (
            "a ring with labels",
            query(b"\x01a\xc0\x0c\x00\x01\x00\x01"),
            bad,
        ),
        (
            "a pointer forwards",
            query(b"\xc0\x20\x00\x01\x00\x01"),
            bad,
        ),
        (
            "a pointer beyond the end",
            query(b"\xff\xff\x00\x01\x00\x01"),
            bad,
        ),
        ("half a pointer", query(b"\xc0"), bad),
        (
            "a label of an unknown kind",
            query(b"\x43www\x00\x00\x01\x00\x01"),
            bad,
        ),
        ("another", query(b"\x83www\x00\x00\x01\x00\x01"), bad),
        ("a label that goes beyond the end", query(b"\x3fweb"), bad),
        ("a name without an end", query(b"\x03web"), bad),
        ("no type", query(b"\x03web\x00"), bad),
        ("half a type", query(b"\x03web\x00\x00"), bad),
        ("no class", query(b"\x03web\x00\x00\x01"), bad),
        ("half a class", query(b"\x03web\x00\x00\x01\x00"), bad),
        (
            "a name of 257 bytes",
            query(&[long.as_slice(), &end].concat()),
            bad,
        ),
        (
            "a name of 255 bytes",
            query(&[longest.as_slice(), &end].concat()),
            Anything,
        ),
        ("the root", query(&end), Anything),
        (
            "bytes that are no text",
            query(b"\x04\x00\xff.\x80\x00\x00\x01\x00\x01"),
            Anything,
        ),
        (
            "a dot in a label",
            query(b"\x09web.front\x00\x00\x01\x00\x01"),
            Anything,
        ),
        ("type 0", query(&web(0, 1)), Anything),
        ("OPT as a type", query(&web(41, 1)), Anything),
        ("type 65535", query(&web(65535, 1)), Anything),
    ];
    for class in [0, 2, 3, 4, 254, 255, 65535] {
        cases.push((
            "a class",
            query(&web(1, class)),
            Code(ResponseCode::Refused),
        ));
    }
    for kind in [251, 252] {
        cases.push((
            "a transfer",
            query(&web(kind, 1)),
            Code(ResponseCode::Refused),
        ));
    }
    cases
}

fn extensions() -> Vec<Case> {
    let (bad, ok) = (Code(ResponseCode::FormErr), Code(ResponseCode::NoError));
    vec![
        ("EDNS", with_more(1, &opt(0, 0, &[])), ok),
        (
            "EDNS of version 1",
            with_more(1, &opt(1, 0, &[])),
            Code(ResponseCode::BADVERS),
        ),
        (
            "EDNS of version 255",
            with_more(1, &opt(255, 0, &[])),
            Code(ResponseCode::BADVERS),
        ),
        (
            "a cookie",
            with_more(1, &opt(0, 12, b"\x00\x0a\x00\x0812345678")),
            ok,
        ),
        (
            "an unknown option",
            with_more(1, &opt(0, 6, b"\xff\xf0\x00\x02ab")),
            ok,
        ),
        ("EDNS twice", with_more(2, &opt(0, 0, &[]).repeat(2)), bad),
        (
            "EDNS beyond the end",
            with_more(1, &opt(0, 100, &[0; 4])),
            bad,
        ),
        ("half of EDNS", with_more(1, &opt(0, 0, &[])[..7]), bad),
        (
            "an option beyond the end",
            with_more(1, &opt(0, 4, &[0, 10, 0, 200])),
            Anything,
        ),
        (
            "half an option",
            with_more(1, &opt(0, 3, &[0, 10, 0])),
            Anything,
        ),
        (
            "EDNS that says 1",
            with_more(1, b"\x00\x00\x29\x00\x01\x00\x00\x00\x00\x00\x00"),
            ok,
        ),
        (
            "EDNS that says 65535",
            with_more(1, b"\x00\x00\x29\xff\xff\x00\x00\x00\x00\x00\x00"),
            ok,
        ),
        (
            "EDNS with a name",
            with_more(1, b"\x01x\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"),
            Anything,
        ),
        (
            "a record that is a ring",
            with_more(1, b"\xc0\x15\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04abcd"),
            bad,
        ),
        (
            "an address that is too short",
            with_more(1, b"\x01x\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x02ab"),
            bad,
        ),
    ]
}

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

fn all_cases() -> Vec<Case> {
    [headers(), questions(), extensions()].concat()
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
