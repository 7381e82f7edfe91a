//! Connections to the resolver as they come: in pieces, in one go, broken off, silent and many.

use std::io::Write as _;

use anyhow::ensure;
use hickory_proto::op::Message;
use netd_tests::dns::{
    Client,
    client::{question, receive_framed, send_framed},
    dig,
};

use crate::{Outcome, names::named_world};

/// A question with its length in front.
fn framed(name: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = question(name, "A")?;
    let mut message = u16::try_from(bytes.len())?.to_be_bytes().to_vec();
    message.extend(bytes);
    Ok(message)
}

#[test]
fn s01_connections_in_pieces_and_in_one_go() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let client = Client::inside(&web.netns);
    let mut stream = client.stream()?;
    for byte in framed("web")? {
        stream.write_all(&[byte])?;
    }
    let answer = receive_framed(&mut stream)?.unwrap_or_default();
    ensure!(Message::from_vec(&answer)?.answers.len() == 1);
    // Ten questions in one segment, some of them for others.
    let mut all = Vec::new();
    for number in 0..10 {
        let name = if number % 3 == 0 { "a.example" } else { "web" };
        all.extend(framed(name)?);
    }
    stream.write_all(&all)?;
    for _ in 0..10 {
        let answer = receive_framed(&mut stream)?.unwrap_or_default();
        ensure!(Message::from_vec(&answer)?.answers.len() == 1);
    }
    Ok(())
}

#[test]
fn s01_broken_connections() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let client = Client::inside(&web.netns);
    let half = framed("web")?[..9].to_vec();
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("half a length", vec![0]),
        ("no length", vec![0, 0]),
        ("a length alone", vec![0xff, 0xff]),
        ("half a question", half),
        ("much of nothing", vec![0; 100_000]),
        ("much of something", vec![0xff; 100_000]),
        (
            "another protocol",
            b"GET / HTTP/1.1\r\nHost: web\r\n\r\n".to_vec(),
        ),
    ] {
        let mut stream = client.stream()?;
        // The other side may hang up in the middle.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // Answers may come, an end must.
        while let Ok(Some(_)) = receive_framed(&mut stream) {}
        let answer = client.ask_by_tcp("web", "A")?;
        ensure!(answer.answers.len() == 1, "after {what}: {answer}");
    }
    // Reset instead of closed, with an answer on its way.
    for _ in 0..20 {
        let mut stream = client.stream()?;
        send_framed(&mut stream, &question("a.example", "A")?)?;
        drop(stream);
    }
    ensure!(client.ask_by_tcp("web", "A")?.answers.len() == 1);
    ensure!(!world.log().contains("panicked"), "{}", world.log());
    Ok(())
}

#[test]
fn s01_silent_connections_hold_up_nobody() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let other = world.sandbox("other", &["front"])?;
    let client = Client::inside(&web.netns);
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(client.stream()?);
    }
    dig(&web.scope, "web A +tcp")?.is("A", &[web.v4("eth0")?])?;
    // More than the resolver takes: datagrams and other sandboxes don't notice.
    for _ in 0..60 {
        silent.push(client.stream()?);
    }
    dig(&web.scope, "web A")?.is("A", &[web.v4("eth0")?])?;
    dig(&web.scope, "a.example A")?;
    dig(&other.scope, "web A +tcp")?.is("A", &[web.v4("eth0")?])?;
    drop(silent);
    dig(&web.scope, "web A +tcp")?.is("A", &[web.v4("eth0")?])
}

#[test]
fn s01_a_sandbox_may_have_port_53_for_itself() -> Outcome {
    let (mut world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let other = world.sandbox("other", &["front"])?;
    let everywhere = std::net::SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 53));
    // It must be able to listen, and then both must answer, each at its own addresses.
    let _own = netd_tests::dns::Nameserver::start(&web.netns, &web.scope, &[everywhere], &[])?;
    for by_tcp in [false, true] {
        let ask = |client: &Client, name| match by_tcp {
            true => client.ask_by_tcp(name, "A"),
            false => client.ask(name, "A"),
        };
        ensure!(ask(&Client::inside(&web.netns), "other")?.answers.len() == 1);
        let own = Client::new(&other.netns, (web.v4("eth0")?, 53).into());
        ensure!(ask(&own, "a.example")?.answers.len() == 1);
        ensure!(ask(&own, "other")?.answers.is_empty(), "not the resolver");
    }
    // A namespace that others made is left as it was.
    let theirs = world.namespace("theirs")?;
    let path = theirs.path().display().to_string();
    world.ctl(&format!(
        "sandbox create --netns {path} --network front guest"
    ))?;
    ensure!(Client::inside(&theirs).ask("web", "A")?.answers.len() == 1);
    let filters = || {
        theirs
            .scope()
            .run(&["tc", "filter", "show", "dev", "lo", "egress"])
    };
    ensure!(filters()?.stdout.contains("to_resolver"));
    world.ctl("sandbox rm guest")?;
    ensure!(!filters()?.stdout.contains("to_resolver"));
    Ok(())
}
