//! C09 and the packets on the wire: what the neighbour sees of masqueraded traffic.

use anyhow::{Context, ensure};
use netd_tests::{
    Process, World, wait_for,
    world::{HOST_V4, LAN_V4, LAN_V6},
};

use crate::Outcome;

/// tcpdump in the neighbour's namespace, ready.
pub fn capture(world: &World, filter: &str) -> anyhow::Result<Process> {
    let file = world.directory().join("capture.err");
    let line = format!(
        "exec tcpdump -n -vv -l --immediate-mode -Q in -i uplink '{filter}' 2>{}",
        file.display()
    );
    let process = world.lan_scope().spawn(&["sh", "-c", &line])?;
    wait_for("tcpdump", 10, || {
        std::fs::read_to_string(&file)
            .ok()?
            .contains("listening on")
            .then_some(())
    });
    Ok(process)
}

/// Sends every combination of six TCP flags, some in a flow that exists, some not, and odd protocols.
const FLAGS: &str = "
import sys
from scapy.all import IP, IPv6, TCP, UDP, ICMP, Raw, send, conf
conf.verb = 0
for flags in range(64):
    for dst, layer in ((sys.argv[1], IP), (sys.argv[2], IPv6)):
        send(layer(dst=dst)/TCP(sport=40000 + flags, dport=7000, flags=flags, seq=1, ack=1), count=1)
send(IP(dst=sys.argv[1], proto=47)/Raw(b'gre'))
send(IP(dst=sys.argv[1], proto=132)/Raw(b'sctp' * 5))
send(IP(dst=sys.argv[1])/ICMP(type=3, code=1)/IP(src='1.2.3.4', dst='5.6.7.8')/UDP())
send(IP(dst=sys.argv[1], flags='MF')/UDP(sport=1, dport=2)/Raw(b'x' * 64))
send(IP(dst=sys.argv[1], frag=8)/Raw(b'x' * 64))
print('sent')
";

#[test]
fn c09_no_private_source_leaves_the_host() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let (v4, v6) = (web.v4("eth0")?, web.v6("eth0")?);
    let mut dump = capture(&world, "ip or ip6")?;
    ensure!(web.ping(LAN_V4.into())? && web.ping(LAN_V6.into())?);
    let output = web.scope.run(&[
        "/usr/bin/python3",
        "-c",
        FLAGS,
        &LAN_V4.to_string(),
        &LAN_V6.to_string(),
    ])?;
    ensure!(output.stdout.contains("sent"), "scapy: {}", output.text());
    // A last packet, so that the capture is known to be complete.
    web.scope
        .run(&["ping", "-c1", "-W1", "-s", "333", &LAN_V4.to_string()])?;
    let seen = dump.until("length 341")?;
    ensure!(
        seen.contains(&HOST_V4.to_string()) && seen.contains("length 341"),
        "the capture saw nothing: {seen}"
    );
    for address in [v4.to_string(), v6.to_string()] {
        let leaked: Vec<&str> = seen
            .lines()
            .filter(|line| line.contains(&address))
            .collect();
        ensure!(leaked.is_empty(), "{address} left the host: {leaked:#?}");
    }
    Ok(())
}

#[test]
fn d05_checksums_are_right_on_the_wire() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    // Checksums are finished before the wire, as a real card would do, so that the capture can judge them.
    let _servers = [
        world.lan_scope().spawn(&["iperf3", "-s", "-p", "5201"])?,
        world.lan_scope().spawn(&["iperf3", "-s", "-p", "5202"])?,
    ];
    for port in [5201, 5202] {
        let line = format!("ss -Hltn sport = {port} | grep -q .");
        wait_for("iperf3", 5, || {
            world
                .lan_scope()
                .run(&["sh", "-c", &line])
                .ok()?
                .ok
                .then_some(())
        });
    }
    for (to, port) in [(LAN_V4.to_string(), "5201"), (LAN_V6.to_string(), "5202")] {
        // At full segment size, with offloads as they are.
        let output = web
            .scope
            .run(&["iperf3", "-c", &to, "-p", port, "-t", "1", "-J"])?;
        let report: serde_json::Value = serde_json::from_str(&output.stdout)?;
        let rate = report["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .context("no rate")?;
        ensure!(rate > 1e8, "{to}: {rate} bit/s");
    }
    // A raw socket's packets carry complete checksums, which the translation must keep right.
    let mut dump = capture(&world, "tcp or udp or icmp or icmp6")?;
    let output = web.scope.run(&[
        "/usr/bin/python3",
        "-c",
        FLAGS,
        &LAN_V4.to_string(),
        &LAN_V6.to_string(),
    ])?;
    ensure!(output.stdout.contains("sent"), "scapy: {}", output.text());
    web.scope
        .run(&["ping", "-c1", "-W1", "-s", "333", &LAN_V4.to_string()])?;
    let seen = dump.until("length 341")?;
    ensure!(seen.contains("(correct)"), "no checksum was judged: {seen}");
    let wrong: Vec<&str> = seen
        .lines()
        .filter(|line| line.contains("incorrect") || line.contains("bad cksum"))
        .collect();
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn d05_icmp_errors_find_their_way() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    // Nobody listens there: the neighbour's port unreachable must reach the socket as ECONNREFUSED.
    for to in [LAN_V4.to_string(), LAN_V6.to_string()] {
        let script = format!(
            "import socket\ns = socket.socket(socket.{}, socket.SOCK_DGRAM)\ns.settimeout(2)\ns.connect(('{to}', 7999))\n\
             s.send(b'?')\ntry:\n    s.recv(10)\nexcept ConnectionRefusedError:\n    print('refused')\n",
            if to.contains(':') {
                "AF_INET6"
            } else {
                "AF_INET"
            }
        );
        let output = web.scope.run(&["/usr/bin/python3", "-c", &script])?;
        ensure!(output.stdout.contains("refused"), "{to}: {}", output.text());
    }
    Ok(())
}
