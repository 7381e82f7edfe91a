//! X07: a sandbox cannot speak as somebody else.

use anyhow::ensure;
use netd_tests::{Sandbox, World};

use crate::{Outcome, egress::capture};

/// Sends one frame made by a scapy expression on eth0, three times.
fn send(sandbox: &Sandbox, expression: &str) -> Outcome {
    let script = format!(
        "from scapy.all import *\nconf.verb = 0\nsendp({expression}, iface='eth0', count=3)\nprint('sent')"
    );
    let output = sandbox.scope.run(&["/usr/bin/python3", "-c", &script])?;
    ensure!(output.stdout.contains("sent"), "scapy: {}", output.text());
    Ok(())
}

#[test]
fn x07_forged_addresses_are_dropped() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let [evil, victim, peer] =
        ["evil", "victim", "peer"].map(|name| world.sandbox(name, &["front"]));
    let (evil, victim, peer) = (evil?, victim?, peer?);
    let (e4, v4, p4) = (evil.v4("eth0")?, victim.v4("eth0")?, peer.v4("eth0")?);
    let (v6, p6) = (victim.v6("eth0")?, peer.v6("eth0")?);
    let (em, vm, pm) = (evil.mac("eth0")?, victim.mac("eth0")?, peer.mac("eth0")?);
    // The peer watches what arrives from whom.
    let file = world.directory().join("peer.err");
    let line = format!(
        "exec tcpdump -n -e -l --immediate-mode -Q in -i eth0 2>{}",
        file.display()
    );
    let mut watch = peer.scope.spawn(&["sh", "-c", &line])?;
    netd_tests::wait_for("tcpdump", 10, || {
        std::fs::read_to_string(&file)
            .ok()?
            .contains("listening on")
            .then_some(())
    });
    // The same frame with the true addresses passes.
    send(
        &evil,
        &format!(
            "Ether(src='{em}',dst='{pm}')/IP(src='{e4}',dst='{p4}')/UDP(sport=1111,dport=4444)"
        ),
    )?;
    let forged = [
        format!(
            "Ether(src='{vm}',dst='{pm}')/IP(src='{e4}',dst='{p4}')/UDP(sport=1111,dport=5555)"
        ),
        format!(
            "Ether(src='{em}',dst='{pm}')/IP(src='{v4}',dst='{p4}')/UDP(sport=1111,dport=5555)"
        ),
        format!(
            "Ether(src='{em}',dst='{pm}')/IPv6(src='{v6}',dst='{p6}')/UDP(sport=1111,dport=5555)"
        ),
        format!(
            "Ether(src='{em}',dst='{pm}')/IP(src='8.8.8.8',dst='{p4}')/UDP(sport=1111,dport=5555)"
        ),
        format!(
            "Ether(src='{em}',dst='{pm}')/ARP(op=2,hwsrc='{em}',psrc='{v4}',hwdst='{pm}',pdst='{p4}')"
        ),
        format!(
            "Ether(src='{em}',dst='ff:ff:ff:ff:ff:ff')/ARP(op=1,hwsrc='{em}',psrc='{v4}',pdst='{p4}')"
        ),
        format!(
            "Ether(src='{em}',dst='{pm}')/IPv6(src='{v6}',dst='{p6}')/ICMPv6ND_NA(tgt='{v6}',S=1,O=1)\
             /ICMPv6NDOptDstLLAddr(lladdr='{em}')"
        ),
        format!(
            "Ether(src='{em}',dst='33:33:00:00:00:01')/IPv6(src='fe80::1',dst='ff02::1')/ICMPv6ND_RA(routerlifetime=1800)"
        ),
        format!(
            "Ether(src='{em}',dst='ff:ff:ff:ff:ff:ff')/IP(src='{e4}',dst='255.255.255.255')/UDP(sport=67,dport=68)/BOOTP(op=2)"
        ),
    ];
    for frame in &forged {
        send(&evil, frame)?;
    }
    send(
        &evil,
        &format!(
            "Ether(src='{em}',dst='{pm}')/IP(src='{e4}',dst='{p4}')/UDP(sport=1111,dport=4445)"
        ),
    )?;
    let seen = watch.until(".4445")?;
    ensure!(
        seen.contains(".4444"),
        "the true frames did not arrive: {seen}"
    );
    // Answers about others than the victim are the responder's own and right.
    let as_victim = [
        format!("{v4} is-at"),
        format!("tell {v4}"),
        format!("tgt is {v6}"),
    ];
    for bad in [
        ".5555",
        &as_victim[0],
        &as_victim[1],
        &as_victim[2],
        "router advertisement",
        "BOOTP",
    ] {
        let lines: Vec<&str> = seen.lines().filter(|line| line.contains(bad)).collect();
        ensure!(lines.is_empty(), "arrived: {lines:#?}");
    }
    let neighbours = peer.netns.ip("neigh")?;
    ensure!(
        !neighbours
            .lines()
            .any(|line| line.starts_with(&format!("{v4} ")) && line.contains(&em)),
        "{neighbours}"
    );
    // The peer still talks to the true victim.
    ensure!(peer.ping(v4.into())? && peer.ping(v6.into())?);
    Ok(())
}

#[test]
fn x07_forged_sources_do_not_leave() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    let evil = world.sandbox("evil", &["front"])?;
    let mut dump = capture(&world, "udp port 5555")?;
    let mac = evil.mac("eth0")?;
    let gateway = "getmacbyip(conf.route.route('198.51.100.2')[2])";
    for source in ["198.51.100.1", "8.8.8.8", "127.0.0.1"] {
        send(
            &evil,
            &format!(
                "Ether(src='{mac}',dst={gateway})/IP(src='{source}',dst='198.51.100.2')/UDP(sport=5555,dport=5555)"
            ),
        )?;
    }
    // The true source passes and ends the capture.
    let own = evil.v4("eth0")?;
    send(
        &evil,
        &format!(
            "Ether(src='{mac}',dst={gateway})/IP(src='{own}',dst='198.51.100.2')/UDP(sport=1234,dport=5555)"
        ),
    )?;
    // A last packet, so that the capture is known to be complete.
    send(
        &evil,
        &format!(
            "Ether(src='{mac}',dst={gateway})/IP(src='{own}',dst='198.51.100.2')/UDP(sport=1234,dport=5555)/Raw(b'x'*99)"
        ),
    )?;
    let seen = dump.until("length 99")?;
    let packets = seen
        .lines()
        .filter(|line| line.contains(" > 198.51.100.2.5555") && !line.contains("length 99"))
        .count();
    ensure!(
        packets == 3,
        "{packets} packets instead of the 3 true ones: {seen}"
    );
    Ok(())
}
