//! D05, C04, C11: which source packets leave with, and when that changes.

use anyhow::ensure;
use netd_tests::{
    Sandbox, Scope, Server, World,
    probe::{hold, probe},
    wait_for,
    world::{HOST, HOST_V4, HOST_V6, LAN, LAN_V4, LAN_V6},
};

use crate::{Outcome, PROTOCOLS};

/// One socket that asks a UDP server over and over, and says whenever it is seen as another peer: `OWN-PORT ADDRESS PORT`.
const CHAT: &str = "
import socket, sys
own, to, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', own))
s.settimeout(0.1)
seen = None
while True:
    try:
        s.sendto(b'?', (to, port))
        peer = s.recv(100).split()[0].decode()
        if peer != seen:
            print(peer, flush=True)
        seen = peer
    except OSError:
        pass
";

/// A UDP server at one address, as one bound to none chooses its own when it answers: `ADDRESS`.
const ECHO: &str = "
import socket, sys
to = sys.argv[1]
s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((to, 7001))
print('ready', flush=True)
while True:
    _, peer = s.recvfrom(100)
    text = ('[%s]:%d' if ':' in to else '%s:%d') % peer[:2]
    s.sendto(f'{text} {text}'.encode(), peer)
";

fn echo(world: &World, address: &str) -> anyhow::Result<netd_tests::run::Process> {
    let lan = world.lan_scope();
    let mut echo = lan.spawn(&["/usr/bin/python3", "-c", ECHO, address])?;
    ensure!(echo.line()? == "ready", "no server at {address}");
    Ok(echo)
}

fn chat(scope: &Scope, own: u16, to: std::net::IpAddr) -> anyhow::Result<netd_tests::run::Process> {
    let (own, to) = (own.to_string(), to.to_string());
    scope.spawn(&["/usr/bin/python3", "-c", CHAT, &own, &to, "7000"])
}

fn sandbox(world: &World, options: &str) -> anyhow::Result<(Sandbox, Server)> {
    world.ctl(&format!(
        "network create --ipv6 --subnet 10.117.0.0/24 --subnet fd00:117::/64 {options} front"
    ))?;
    let web = world.sandbox("web", &["front"])?;
    Ok((web, Server::start(&world.lan_scope(), 7000)?))
}

/// Destinations that are exempt see the endpoint's own address (RFC 6888, REQ-6); others see the host's.
#[test]
fn d05_exempt_destinations_see_the_true_source() -> Outcome {
    let exempt = "[nat]\nexempt = ['198.51.100.128/25', '2001:db8:100::8000/113']\n";
    let world = World::with_config(exempt)?;
    let (web, _lan) = sandbox(&world, "")?;
    world.lan.ip("addr add 198.51.100.200/32 dev uplink")?;
    world
        .lan
        .ip("addr add 2001:db8:100::8001/128 dev uplink nodad preferred_lft 0")?;
    world
        .lan
        .ip(&format!("route add 10.117.0.0/24 via {HOST_V4}"))?;
    world
        .lan
        .ip(&format!("-6 route add fd00:117::/64 via {HOST_V6}"))?;
    let exempt = ["198.51.100.200".parse()?, "2001:db8:100::8001".parse()?];
    let _echoes = [
        echo(&world, "198.51.100.200")?,
        echo(&world, "2001:db8:100::8001")?,
    ];
    for (protocol, port) in [("tcp", 7000), ("udp", 7001)] {
        for (index, own) in web.addresses("eth0")?.into_iter().enumerate() {
            let seen = web.reach(protocol, exempt[index], port)?.peer.ip();
            ensure!(seen == own, "{protocol}: {seen} instead of {own}");
            let seen = web.reach(protocol, LAN[index], 7000)?.peer.ip();
            ensure!(seen == HOST[index], "{protocol}: {seen}");
        }
    }
    for address in exempt {
        ensure!(web.ping(address)?, "no echo from {address}");
    }
    Ok(())
}

/// The metadata service of a cloud is out of reach where the network says so.
#[test]
fn d05_the_metadata_service_can_be_denied() -> Outcome {
    let world = World::new()?;
    let (free, _lan) = sandbox(&world, "")?;
    world.ctl("network create --ipv6 -o netd.metadata=deny closed")?;
    let closed = world.sandbox("closed", &["closed"])?;
    let service = ["169.254.169.254", "fd00:ec2::254"];
    let mut echoes = Vec::new();
    for (address, via) in service
        .into_iter()
        .zip([LAN_V4.to_string(), LAN_V6.to_string()])
    {
        world.lan.ip(&format!("addr add {address} dev uplink"))?;
        world.host.ip(&format!("route add {address} via {via}"))?;
        echoes.push(echo(&world, address)?);
    }
    let before = world.drops("metadata")?;
    for protocol in PROTOCOLS {
        for address in service {
            let port = if protocol == "udp" { 7001 } else { 7000 };
            free.reach(protocol, address.parse()?, port)?;
            let reply = closed.reach(protocol, address.parse()?, port);
            ensure!(reply.is_err(), "{protocol} to {address}: {reply:?}");
        }
        for address in LAN {
            closed.reach(protocol, address, 7000)?;
        }
    }
    ensure!(world.drops("metadata")? > before, "not counted");
    world.refused(
        "network create -o netd.metadata=never other",
        &["netd.metadata", "never", "deny"],
    )?;
    Ok(())
}

/// A server that speaks first is known by the port that it is published as.
#[test]
fn c04_a_published_port_that_speaks_first_keeps_its_number() -> Outcome {
    let world = World::new()?;
    let (web, _lan) = sandbox(&world, "")?;
    world.ctl("port publish web 5000-5004:7000-7004/udp 9001:7001/udp 127.0.0.1:5300:5300/udp")?;
    for (own, known) in [(7000, 5000), (7001, 5001), (7003, 5003)] {
        for (lan, host) in LAN.into_iter().zip(HOST) {
            let mut chat = chat(&web.scope, own, lan)?;
            let seen: std::net::SocketAddr = chat.line()?.parse()?;
            ensure!(seen == (host, known).into(), "{own}: {seen}, not {known}");
        }
    }
    let mut other = chat(&web.scope, 5300, LAN_V4.into())?;
    let seen: std::net::SocketAddr = other.line()?.parse()?;
    ensure!(
        seen.port() >= 49152,
        "bound to loopback, and known by {seen}"
    );
    // Withdrawn, the number is nobody's; flows that have it keep it.
    let mut old = chat(&web.scope, 7002, LAN_V4.into())?;
    ensure!(old.line()?.ends_with(":5002"));
    world.ctl("port unpublish web 5000-5004:7000-7004/udp")?;
    let mut new = chat(&web.scope, 7004, LAN_V4.into())?;
    let seen: std::net::SocketAddr = new.line()?.parse()?;
    ensure!(seen.port() >= 49152, "still known by {seen}");
    old.signal(nix::sys::signal::Signal::SIGTERM)?;
    let rest = old.finish()?.stdout;
    ensure!(rest.is_empty(), "became {rest}");
    Ok(())
}

/// What is masqueraded by an address that goes takes the next one; flows by other addresses stay as they are.
#[test]
fn c11_flows_move_when_the_hosts_address_goes() -> Outcome {
    let world = World::new()?;
    let (web, _lan) = sandbox(&world, "")?;
    let _inside = web.serve(7001)?;
    world.host.ip("addr add 198.51.100.9/24 dev uplink")?;
    world.ctl("port publish web 198.51.100.9:8080:7001")?;
    let mut moving = chat(&web.scope, 0, LAN_V4.into())?;
    ensure!(moving.line()?.starts_with("198.51.100.1:"));
    let mut staying = chat(&web.scope, 0, LAN_V6.into())?;
    let first = staying.line()?;
    let others = [
        hold(&web.scope, (LAN_V6, 7000).into())?,
        hold(
            &world.lan_scope(),
            ("198.51.100.9".parse::<std::net::IpAddr>()?, 8080).into(),
        )?,
    ];
    // Without this the second address of a subnet goes with the first (Documentation/networking/ip-sysctl.rst).
    world
        .host
        .sysctl("net/ipv4/conf/uplink/promote_secondaries", "1")?;
    world
        .host
        .ip(&format!("addr del {HOST_V4}/24 dev uplink"))?;
    world
        .host
        .ip(&format!("route replace default via {LAN_V4}"))?;
    let seen = moving.line()?;
    ensure!(seen.starts_with("198.51.100.9:"), "moved to {seen}");
    for flow in others {
        ensure!(flow.finish()?.ok, "a flow by another address broke");
    }
    staying.signal(nix::sys::signal::Signal::SIGTERM)?;
    let rest = staying.finish()?.stdout;
    ensure!(rest.is_empty(), "{first} became {rest}");
    probe(
        &world.lan_scope(),
        "tcp",
        ("198.51.100.9".parse::<std::net::IpAddr>()?, 8080).into(),
        1500,
    )?;
    Ok(())
}

/// Who meets a limit is named, with the way out, in the log and in `netctl status`.
#[test]
fn x04_a_limit_that_is_met_is_told() -> Outcome {
    let world = World::with_config("[limits]\nflows_per_endpoint = 8\n")?;
    let (web, _lan) = sandbox(&world, "")?;
    let other = world.sandbox("other", &["front"])?;
    let mut chats = Vec::new();
    for own in 7000..7010 {
        chats.push(chat(&web.scope, own, LAN_V4.into())?);
    }
    let told = wait_for("a warning", 20, || {
        let status = world.ctl("status").ok()?;
        let line = status.lines().find(|line| line.contains("sandbox web"))?;
        Some(line.to_owned())
    });
    for part in ["Warning", "quota", "limits.flows_per_endpoint"] {
        ensure!(told.contains(part), "{part} is not in: {told}");
    }
    other.reach("udp", LAN_V4.into(), 7000)?;
    ensure!(
        !world.ctl("status")?.contains("sandbox other"),
        "told of another"
    );
    let log = world.log();
    ensure!(log.matches("sandbox web").count() == 1, "{log}");
    Ok(())
}

/// What comes to a mapped port is let in from strangers only where the network says so (RFC 4787, REQ-8).
#[test]
fn d05_filtering_by_option() -> Outcome {
    let world = World::new()?;
    let (strict, _lan) = sandbox(&world, "")?;
    world.ctl("network create --ipv6 -o netd.nat.filtering=endpoint-independent open")?;
    let open = world.sandbox("open", &["open"])?;
    for (lan, _) in LAN.into_iter().zip(HOST) {
        for (sandbox, lets_in) in [(&strict, false), (&open, true)] {
            // A server that called the outside from its own port.
            let mut called = chat(&sandbox.scope, 7005, lan)?;
            let mapped: std::net::SocketAddr = called.line()?.parse()?;
            drop(called);
            let _server = sandbox.serve(7005)?;
            let answered = probe(&world.lan_scope(), "udp", mapped, 1000);
            ensure!(
                answered.is_ok() == lets_in,
                "{}: {answered:?}",
                sandbox.name
            );
        }
    }
    world.refused(
        "network create -o netd.nat.filtering=full-cone other",
        &["netd.nat.filtering", "full-cone", "endpoint-independent"],
    )?;
    Ok(())
}
