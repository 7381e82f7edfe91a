//! C: published ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};
use netd_tests::{
    Reply, Scope, Server, World,
    probe::{hold, probe},
    world::{HOST, HOST_V4, LAN, LAN_V4},
};

use crate::{Outcome, PROTOCOLS};

const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

fn ask(scope: &Scope, protocol: &str, to: IpAddr, port: u16) -> Result<Reply> {
    probe(scope, protocol, SocketAddr::new(to, port), 1500)
}

fn front(world: &World) -> Outcome {
    world.ctl("network create --ipv6 front").map(|_| ())
}

#[test]
fn c01_forms_of_a_publication() -> Outcome {
    let world = World::new()?;
    front(&world)?;
    let web = world.sandbox("web", &["front"])?;
    let _servers = [web.serve(7000)?, web.serve(7001)?, web.serve(7002)?];
    world.ctl(
        "port publish web 8080:7000 8080:7000/udp 9000-9002:7000-7002 198.51.100.1:8081:7000",
    )?;
    for port in [8080, 8081, 9000, 9001, 9002] {
        ask(&world.lan_scope(), "tcp", HOST_V4.into(), port)?;
    }
    ask(&world.lan_scope(), "udp", HOST_V4.into(), 8080)?;
    ensure!(
        ask(&world.lan_scope(), "udp", HOST_V4.into(), 8081).is_err(),
        "udp was not published"
    );
    let reply = ask(&world.lan_scope(), "tcp", HOST_V4.into(), 9002)?;
    ensure!(
        reply.local.port() == 7002,
        "the range is shifted: {reply:?}"
    );
    // A chosen host port is shown and works.
    world.ctl("port publish web 7001")?;
    let shown = world.ctl("port ls web")?;
    let chosen: Vec<u16> = shown
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .filter(|port| *port >= 32768)
        .collect();
    ensure!(!chosen.is_empty(), "no chosen port in: {shown}");
    ask(&world.lan_scope(), "tcp", HOST_V4.into(), chosen[0])?;
    Ok(())
}

#[test]
fn c01_conflicts_name_the_holder() -> Outcome {
    let world = World::new()?;
    front(&world)?;
    let (web, _other) = (
        world.sandbox("web", &["front"])?,
        world.sandbox("other", &["front"])?,
    );
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000")?;
    world.refused("port publish other 8080:7000", &["8080", "web"])?;
    let listener = Server::start(&world.host_scope(), 9090)?;
    world.refused(
        "port publish other 9090:7000",
        &["9090", "netd-probe", &listener.pid().to_string()],
    )?;
    // All or nothing: the first of these two is free.
    world.refused("port publish other 8085:7000 8080:7000", &["8080"])?;
    ensure!(!world.ctl("port ls")?.contains("8085"), "half-made");
    ask(&world.lan_scope(), "tcp", HOST_V4.into(), 8080)?;
    Ok(())
}

#[test]
fn c01_the_host_cannot_bind_a_published_port() -> Outcome {
    let world = World::new()?;
    front(&world)?;
    let web = world.sandbox("web", &["front"])?;
    let before = Server::start(&world.host_scope(), 8079)?;
    world.ctl("port publish web 8080:7000 127.0.0.1:8081:7000/udp")?;
    let bind = |family: &str, kind: &str, addr: &str, port: u16| {
        let code =
            format!("import socket as s; s.socket(s.{family}, s.{kind}).bind(('{addr}', {port}))");
        world.host_scope().run(&["python3", "-c", &code])
    };
    for (family, addr) in [
        ("AF_INET", "0.0.0.0"),
        ("AF_INET", "127.0.0.1"),
        ("AF_INET", "198.51.100.1"),
        ("AF_INET6", "::"),
        ("AF_INET6", "::ffff:198.51.100.1"),
    ] {
        let said = bind(family, "SOCK_STREAM", addr, 8080)?.text();
        ensure!(said.contains("Errno 98"), "{addr}: {said}");
        let other = bind(family, "SOCK_DGRAM", addr, 8080)?;
        ensure!(other.ok, "{addr}, UDP: {}", other.text());
        let free = bind(family, "SOCK_STREAM", addr, 0)?;
        ensure!(free.ok, "{addr}, any port: {}", free.text());
    }
    let said = bind("AF_INET", "SOCK_DGRAM", "127.0.0.1", 8081)?.text();
    ensure!(said.contains("Errno 98"), "127.0.0.1, UDP: {said}");
    let elsewhere = bind("AF_INET", "SOCK_DGRAM", "198.51.100.1", 8081)?;
    ensure!(elsewhere.ok, "{}", elsewhere.text());
    // Containers have ports of their own, and whoever listened before goes on.
    let _inside = web.serve(8080)?;
    ask(&world.lan_scope(), "tcp", HOST_V4.into(), 8079)?;
    drop(before);
    world.ctl("port unpublish web 8080:7000")?;
    let _after = Server::start(&world.host_scope(), 8080)?;
    Ok(())
}

#[test]
fn c02_reachable_from_everywhere() -> Outcome {
    let world = World::new()?;
    front(&world)?;
    world.ctl("network create --ipv6 back")?;
    let (web, peer) = (
        world.sandbox("web", &["front"])?,
        world.sandbox("peer", &["front"])?,
    );
    let other = world.sandbox("other", &["back"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    for protocol in PROTOCOLS {
        for host in HOST {
            for scope in [
                &world.lan_scope(),
                &world.host_scope(),
                &peer.scope,
                &other.scope,
                &web.scope,
            ] {
                ask(scope, protocol, host, 8080)?;
            }
        }
        for loopback in LOOPBACK {
            ask(&world.host_scope(), protocol, loopback, 8080)?;
        }
    }
    Ok(())
}

#[test]
fn c03_bound_to_one_address() -> Outcome {
    let world = World::new()?;
    front(&world)?;
    let web = world.sandbox("web", &["front"])?;
    let _server = web.serve(7000)?;
    world.host.ip("addr add 198.51.100.11/24 dev uplink")?;
    world.ctl("port publish web 127.0.0.1:8080:7000 198.51.100.11:8081:7000")?;
    ask(&world.host_scope(), "tcp", LOOPBACK[0], 8080)?;
    ensure!(
        ask(&world.lan_scope(), "tcp", HOST_V4.into(), 8080).is_err(),
        "by the LAN address"
    );
    // A neighbour that sends packets for 127.0.0.1 to the host's Ethernet address.
    world.lan.sysctl("net/ipv4/conf/all/route_localnet", "1")?;
    world
        .lan
        .sysctl("net/ipv4/conf/uplink/route_localnet", "1")?;
    world.lan.ip("addr del 127.0.0.1/8 dev lo")?;
    world
        .lan
        .ip("route add 127.0.0.1/32 via 198.51.100.1 src 198.51.100.2")?;
    ensure!(
        ask(&world.lan_scope(), "tcp", LOOPBACK[0], 8080).is_err(),
        "by a forged loopback address"
    );
    ask(&world.lan_scope(), "tcp", "198.51.100.11".parse()?, 8081)?;
    ensure!(
        ask(&world.lan_scope(), "tcp", HOST_V4.into(), 8081).is_err(),
        "by another address"
    );
    ensure!(
        ask(&world.host_scope(), "tcp", LOOPBACK[0], 8081).is_err(),
        "by loopback"
    );
    Ok(())
}

#[test]
fn c04_the_server_sees_the_true_client() -> Outcome {
    let world = World::new()?;
    front(&world)?;
    world.ctl("network create --ipv6 back")?;
    let (web, peer) = (
        world.sandbox("web", &["front"])?,
        world.sandbox("peer", &["front"])?,
    );
    let other = world.sandbox("other", &["back"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    for protocol in PROTOCOLS {
        for (index, host) in HOST.into_iter().enumerate() {
            let cases = [
                ("lan", world.lan_scope(), LAN[index]),
                ("peer", peer.scope.clone(), peer.addresses("eth0")?[index]),
                (
                    "other",
                    other.scope.clone(),
                    other.addresses("eth0")?[index],
                ),
            ];
            for (name, scope, truth) in cases {
                let seen = ask(&scope, protocol, host, 8080)?.peer.ip();
                ensure!(
                    seen == truth,
                    "{protocol} from {name}: {seen} instead of {truth}"
                );
            }
            for to in [host, LOOPBACK[index]] {
                let seen = ask(&world.host_scope(), protocol, to, 8080)?.peer.ip();
                ensure!(
                    !seen.is_loopback(),
                    "{protocol} from the host to {to}: {seen}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn c05_publish_and_unpublish_disturb_no_other_flow() -> Outcome {
    let world = World::new()?;
    front(&world)?;
    let web = world.sandbox("web", &["front"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000")?;
    let flow = hold(&world.lan_scope(), (HOST_V4, 8080).into())?;
    for _ in 0..3 {
        world.ctl("port publish web 8081:7000")?;
        ask(&world.lan_scope(), "tcp", HOST_V4.into(), 8081)?;
        world.ctl("port unpublish web 8081:7000")?;
        ensure!(
            ask(&world.lan_scope(), "tcp", HOST_V4.into(), 8081).is_err(),
            "still published"
        );
    }
    ensure!(flow.finish()?.ok, "the other flow broke");
    Ok(())
}

#[test]
fn c07_unpublished_ports_stay_closed() -> Outcome {
    let world = World::new()?;
    front(&world)?;
    let web = world.sandbox("web", &["front"])?;
    let _servers = [web.serve(7000)?, web.serve(7001)?];
    world.ctl("port publish web 7000:7000")?;
    ask(&world.lan_scope(), "tcp", HOST_V4.into(), 7000)?;
    ensure!(
        ask(&world.lan_scope(), "tcp", HOST_V4.into(), 7001).is_err(),
        "by the host's address"
    );
    // By routing to the sandbox's own address; the host would forward.
    world.host.sysctl("net/ipv4/ip_forward", "1")?;
    world.host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    world
        .lan
        .ip(&format!("route add {} via 198.51.100.1", web.v4("eth0")?))?;
    world.lan.ip(&format!(
        "-6 route add {} via 2001:db8:100::1",
        web.v6("eth0")?
    ))?;
    for address in web.addresses("eth0")? {
        for protocol in PROTOCOLS {
            ensure!(
                ask(&world.lan_scope(), protocol, address, 7001).is_err(),
                "{protocol} to {address}"
            );
        }
        ensure!(
            !netd_tests::probe::ping(&world.lan_scope(), address)?,
            "ping to {address}"
        );
    }
    ensure!(LAN_V4 != HOST_V4);
    Ok(())
}
