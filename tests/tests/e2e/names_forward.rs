//! S04: everything else is asked of others, as the host's file or `--dns` says, and the answer is theirs.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context, ensure};
use netd_tests::{
    World,
    dns::{Nameserver, STUB, answers, dig, load::flood},
    world::{HOST_V4, LAN_V4, LAN_V6},
};

use crate::{
    Outcome,
    names::{forwards, named_world},
};

/// Nobody answers there.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 99));

/// A short wait for servers that do not answer.
const IMPATIENT: &str = "timeout_ms = 200";

/// Wants that this name reached the server by these transports in this order.
fn saw(server: &Nameserver, name: &str, transports: &[&str]) -> Outcome {
    let saw = server.saw(name)?;
    let got: Vec<&str> = saw.iter().map(|one| one.transport.as_str()).collect();
    ensure!(got == transports, "{name}: {saw:?}");
    Ok(())
}

#[test]
fn s04_others_names_are_forwarded() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create --ipv6 front")?;
    world.ctl("network create --ipv6 --ipv4=false six")?;
    for network in ["front", "bridge", "six"] {
        let web = world.sandbox(&format!("web{network}"), &[network])?;
        for option in ["+notcp", "+tcp"] {
            let ask = |words: &str| dig(&web.scope, &format!("{words} {option}"));
            let answer = ask("a.example A")?;
            answer.is("A", &[answers::V4])?;
            ensure!(answer.flags == "qr rd ra", "{}", answer.text);
            let ttl = answer.records.first().map(|record| record.ttl);
            ensure!(ttl == Some(answers::TTL), "{}", answer.text);
            ask("a.example AAAA")?.is("AAAA", &[answers::V6])?;
            ask("a.example TXT")?.is("TXT", &["\"a text\""])?;
            ask("a.example MX")?.is("MX", &["10 host.example."])?;
            ask("v4.example AAAA")?.is_empty("NOERROR")?;
            ask("-x 192.0.2.77")?.is("PTR", &[answers::HOST])?;
            ask("-x 2001:db8::77")?.is("PTR", &[answers::HOST])?;
            // A name that is not there is not there, and the proof comes along.
            let missing = ask("nx.example A")?;
            missing.is_empty("NXDOMAIN")?;
            let proof = missing.authority.first().context("no authority")?;
            ensure!(proof.kind == "SOA", "{}", missing.text);
        }
        // The spelling stays.
        let answer = dig(&web.scope, "A.ExAmPlE A")?;
        ensure!(answer.question == "A.ExAmPlE.", "{}", answer.text);
    }
    // From the host's own address: the containers' addresses do not matter to the host's resolver.
    let seen = upstream.seen()?;
    let stray = seen.iter().find(|one| one.peer.ip() != HOST_V4);
    ensure!(stray.is_none(), "{stray:?}");
    Ok(())
}

#[test]
fn s04_truncated_answers_are_asked_for_by_tcp() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let all: Vec<Ipv4Addr> = (0..100).map(answers::numbered).collect();
    // An asker with little room gets the mark and comes by TCP itself.
    let cut = dig(&web.scope, "big.one.example A +noedns +ignore")?;
    ensure!(
        cut.flags == "qr tc rd ra" && cut.status == "NOERROR",
        "{}",
        cut.text
    );
    saw(&upstream, "big.one.example.", &["udp", "tcp"])?;
    let answer = dig(&web.scope, "big.two.example A +noedns")?;
    answer.is("A", &all)?;
    ensure!(answer.text.contains("retrying in TCP"), "{}", answer.text);
    // With room for all of it there is no second question.
    let whole = dig(&web.scope, "big.three.example A +bufsize=4096 +ignore")?;
    whole.is("A", &all)?;
    ensure!(whole.flags == "qr rd ra", "{}", whole.text);
    dig(&web.scope, "big.four.example A +tcp")?.is("A", &all)?;
    // A server that answers with more than the asker takes.
    let cut = dig(&web.scope, "medium.example A +noedns +ignore")?;
    ensure!(cut.flags == "qr tc rd ra", "{}", cut.text);
    dig(&web.scope, "medium.example A +noedns")?.is("A", &all[..40])
}

#[test]
fn s04_a_server_that_fails_is_followed_by_the_next() -> Outcome {
    let world = World::with_resolvers(&[LAN_V4.into(), LAN_V6.into()], IMPATIENT)?;
    let _good = world.lan_names_v6(&[])?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    for (first, word) in [
        ("servfail", "fails"),
        ("refused", "refuses"),
        ("silent", "is silent"),
        ("garbage", "talks nonsense"),
        ("loop", "sends a loop"),
        ("short", "sends too little"),
        ("empty", "sends nothing"),
        ("forged", "is forged"),
        ("noquestion", "leaves out the question"),
        ("query", "asks back"),
    ] {
        // Of the servers of a new file nothing is known: a silent one is asked first again.
        world.set_resolvers(&[LAN_V4.into(), LAN_V6.into()])?;
        let failing = world.lan_names_v4(&["--always", first])?;
        let answer = dig(&web.scope, "a.example A").context(word)?;
        answer.is("A", &[answers::V4]).context(word)?;
        dig(&web.scope, "nx.example A")?
            .is_empty("NXDOMAIN")
            .context(word)?;
        let saw = failing.saw("a.example.")?;
        ensure!(
            !saw.is_empty(),
            "the server that {word} was not asked first"
        );
    }
    Ok(())
}

#[test]
fn s04_servers_that_are_not_there_are_passed_over() -> Outcome {
    // An address without a machine, one without a server (its ICMP error), then one by IPv6.
    let world = World::with_resolvers(&[NOBODY, HOST_V4.into(), LAN_V6.into()], IMPATIENT)?;
    let good = world.lan_names_v6(&[])?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    forwards(&web, &good, "a.example")
}

#[test]
fn s04_what_is_said_to_be_missing_is_missing() -> Outcome {
    let world = World::with_resolvers(&[LAN_V4.into(), LAN_V6.into()], "")?;
    let first = world.lan_names_v4(&[])?;
    let second = world.lan_names_v6(&["--always", "a"])?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    dig(&web.scope, "nx.example A")?.is_empty("NXDOMAIN")?;
    dig(&web.scope, "v4.example AAAA")?.is_empty("NOERROR")?;
    saw(&first, "nx.example.", &["udp"])?;
    let seen = second.seen()?;
    ensure!(seen.is_empty(), "the second server was asked: {seen:?}");
    // It would have answered.
    world.set_resolvers(&[LAN_V6.into()])?;
    dig(&web.scope, "nx.example A")?.is("A", &[answers::V4])
}

#[test]
fn s04_nobody_answers() -> Outcome {
    let world = World::with_resolvers(&[LAN_V4.into()], IMPATIENT)?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    for how in ["servfail", "silent", "garbage", "forged", "loop", "empty"] {
        let upstream = world.lan_names(&["--always", how])?;
        for option in ["+notcp", "+tcp"] {
            let answer = dig(&web.scope, &format!("a.example A {option}")).context(how)?;
            answer.is_empty("SERVFAIL").context(how)?;
        }
        ensure!(!upstream.saw("a.example.")?.is_empty(), "{how}: not asked");
        // Its own names it still knows.
        dig(&web.scope, "web A")?.is("A", &[web.v4("eth0")?])?;
    }
    // Nobody is there, and nobody is named.
    dig(&web.scope, "a.example A")?.is_empty("SERVFAIL")?;
    world.set_resolvers(&[])?;
    dig(&web.scope, "a.example A")?.is_empty("SERVFAIL")
}

#[test]
fn s04_forged_answers_are_passed_over() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    for how in ["wrongid", "wrongname", "wrongtype", "wrongport"] {
        let answer = dig(&web.scope, &format!("{how}.example A")).context(how)?;
        answer.is("A", &[answers::V4]).context(how)?;
    }
    Ok(())
}

#[test]
fn s04_the_hosts_own_stub_is_asked() -> Outcome {
    // Loopback in the host's namespace, as with systemd-resolved; a host without any other way out.
    let world = World::with_resolvers(&[STUB.ip()], "")?;
    let stub = world.host_names(&[])?;
    world.host.ip("link set uplink down")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    forwards(&web, &stub, "a.example")?;
    dig(&web.scope, "big.example A +noedns")?
        .is("A", &(0..100).map(answers::numbered).collect::<Vec<_>>())
}

#[test]
fn s04_the_hosts_file_is_followed() -> Outcome {
    let world = World::with_resolvers(&[LAN_V4.into()], IMPATIENT)?;
    let first = world.lan_names_v4(&[])?;
    let second = world.lan_names_v6(&[])?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    forwards(&web, &first, "a-one.example")?;
    // Put in its place.
    world.set_resolvers(&[LAN_V6.into()])?;
    forwards(&web, &second, "a-two.example")?;
    // Written over.
    fs::write(
        world.resolv_conf(),
        format!("; a remark\nsearch example\n\nnameserver\t{LAN_V4}   \noptions ndots:2\n"),
    )?;
    forwards(&web, &first, "a-three.example")?;
    // A link to another file, and that one changed.
    let real = world.directory().join("stub-resolv.conf");
    fs::write(&real, format!("nameserver {LAN_V6}\n"))?;
    let link = world.directory().join("link");
    std::os::unix::fs::symlink(&real, &link)?;
    fs::rename(&link, world.resolv_conf())?;
    forwards(&web, &second, "a-four.example")?;
    fs::write(&real, format!("nameserver {LAN_V4}\n"))?;
    forwards(&web, &first, "a-five.example")?;
    // Gone, and back.
    fs::remove_file(world.resolv_conf())?;
    dig(&web.scope, "a-six.example A")?.is_empty("SERVFAIL")?;
    world.set_resolvers(&[LAN_V4.into()])?;
    forwards(&web, &first, "a-seven.example")?;
    for (server, names) in [
        (&first, ["a-two.example.", "a-four.example."]),
        (&second, ["a-three.example.", "a-five.example."]),
    ] {
        crate::names::unheard(server, &names)?;
    }
    Ok(())
}

#[test]
fn s04_only_so_many_are_asked_at_once() -> Outcome {
    let (world, upstream) = named_world("in_flight = 4")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let other = world.sandbox("other", &["front"])?;
    let server = netd_tests::dns::RESOLVER;
    // 32 at once, each of which takes the server 50 ms: all are answered, four at a time.
    let tally = flood(&web.scope, "udp", server, "wait-50.q{}.example", 32)?;
    ensure!(tally.right == 32, "{tally:?}");
    let seen = upstream.seen()?;
    let most = seen.iter().map(|one| one.waiting).max().unwrap_or(0);
    ensure!((2..=4).contains(&most), "{most} were asked at once");
    // While one waits for its own, others are served, and local names too.
    let slow = web.scope.spawn(&[
        &netd_tests::world::binary("netd-probe"),
        "flood",
        "udp",
        &server.to_string(),
        "silent.q{}.example",
        "64",
    ])?;
    netd_tests::wait_for("silence", 5, || {
        let seen = upstream.seen().ok()?;
        seen.iter()
            .any(|one| one.name.starts_with("silent."))
            .then_some(())
    });
    let begun = std::time::Instant::now();
    forwards(&other, &upstream, "a.example")?;
    dig(&web.scope, "other A")?.is("A", &[other.v4("eth0")?])?;
    let time = begun.elapsed().as_secs_f64();
    ensure!(time < 1.5, "others waited {time} s");
    drop(slow);
    Ok(())
}
