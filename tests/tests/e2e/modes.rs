//! D07, D09, D14: what a network's driver options change.

use std::net::IpAddr;

use anyhow::ensure;
use netd_tests::{
    Sandbox, Scope, Server, World,
    probe::probe,
    wait_for,
    world::{HOST_V4, HOST_V6, LAN_V4, LAN_V6},
};

use crate::{Outcome, PROTOCOLS, does_not_reach, reaches};

const SUBNETS: &str = "--subnet 10.80.0.0/24 --subnet fd00:80::/64";

/// A network with these options, and the LAN's routes to it.
fn network(world: &World, options: &str) -> Outcome {
    world.ctl(&format!("network create --ipv6 {SUBNETS} {options} n"))?;
    world
        .lan
        .ip(&format!("route add 10.80.0.0/24 via {HOST_V4}"))?;
    world
        .lan
        .ip(&format!("-6 route add fd00:80::/64 via {HOST_V6}"))?;
    Ok(())
}

fn both(sandbox: &Sandbox) -> anyhow::Result<[IpAddr; 2]> {
    Ok([sandbox.v4("eth0")?.into(), sandbox.v6("eth0")?.into()])
}

fn mode(name: &str) -> String {
    ["ipv4", "ipv6"]
        .map(|family| format!("-o com.docker.network.bridge.gateway_mode_{family}={name}"))
        .join(" ")
}

/// Whether the neighbour reaches an address and port.
fn lan_reaches(world: &World, protocol: &str, to: IpAddr, port: u16) -> bool {
    probe(&world.lan_scope(), protocol, (to, port).into(), 700).is_ok()
}

fn lan_pings(world: &World, to: IpAddr) -> anyhow::Result<bool> {
    let words = ["ping", "-c", "1", "-W", "1", &to.to_string()];
    Ok(world.lan_scope().run(&words)?.ok)
}

#[test]
fn d09_c07_nat_keeps_endpoints_own_addresses_unreachable() -> Outcome {
    let world = World::new()?;
    network(&world, "")?;
    let web = world.sandbox("web", &["n"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    for to in both(&web)? {
        for protocol in PROTOCOLS {
            ensure!(
                !lan_reaches(&world, protocol, to, 7000),
                "{to} by {protocol}"
            );
        }
        ensure!(!lan_pings(&world, to)?, "{to} answers");
    }
    ensure!(lan_reaches(&world, "tcp", HOST_V4.into(), 8080));
    ensure!(lan_reaches(&world, "udp", HOST_V6.into(), 8080));
    Ok(())
}

#[test]
fn d09_c07_routed_opens_published_ports_and_translates_nothing() -> Outcome {
    let world = World::new()?;
    network(&world, &mode("routed"))?;
    let web = world.sandbox("web", &["n"])?;
    let _servers = [web.serve(7000)?, web.serve(7001)?];
    for to in both(&web)? {
        ensure!(lan_pings(&world, to)?, "{to} does not answer");
        ensure!(!lan_reaches(&world, "tcp", to, 7000), "not published yet");
    }
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    for to in both(&web)? {
        for protocol in PROTOCOLS {
            let reply = probe(&world.lan_scope(), protocol, (to, 7000).into(), 1500)?;
            let translated = protocol == "tcp" && reply.local.ip() != to;
            ensure!(!translated, "{reply:?}");
            ensure!(
                !lan_reaches(&world, protocol, to, 7001),
                "7001 is not published"
            );
        }
    }
    // No host port is opened, and what leaves keeps its own source.
    ensure!(
        !lan_reaches(&world, "tcp", HOST_V4.into(), 8080),
        "a host port"
    );
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    for (to, own) in [LAN_V4.into(), LAN_V6.into()].into_iter().zip(both(&web)?) {
        for protocol in PROTOCOLS {
            let reply = web.reach(protocol, to, 7000)?;
            ensure!(reply.peer.ip() == own, "masqueraded: {reply:?}");
        }
        ensure!(web.ping(to)?);
    }
    // Other networks stay apart.
    world.ctl("network create --ipv6 other")?;
    let other = world.sandbox("other", &["other"])?;
    for to in both(&web)? {
        does_not_reach(&other, to, 7000)?;
    }
    Ok(())
}

#[test]
fn d09_c07_nat_unprotected_opens_every_port() -> Outcome {
    let world = World::new()?;
    network(&world, &mode("nat-unprotected"))?;
    let web = world.sandbox("web", &["n"])?;
    let _server = web.serve(7000)?;
    for to in both(&web)? {
        for protocol in PROTOCOLS {
            ensure!(
                lan_reaches(&world, protocol, to, 7000),
                "{to} by {protocol}"
            );
        }
        ensure!(lan_pings(&world, to)?, "{to} does not answer");
    }
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    let reply = web.reach("tcp", LAN_V4.into(), 7000)?;
    ensure!(
        reply.peer.ip() == IpAddr::from(HOST_V4),
        "not masqueraded: {reply:?}"
    );
    // Internal wins over every mode.
    world.ctl(&format!(
        "network create --internal --subnet 10.81.0.0/24 {} inside",
        mode("nat-unprotected")
    ))?;
    world
        .lan
        .ip(&format!("route add 10.81.0.0/24 via {HOST_V4}"))?;
    let hidden = world.sandbox("hidden", &["inside"])?;
    let _hidden = hidden.serve(7000)?;
    ensure!(
        !lan_reaches(&world, "tcp", hidden.v4("eth0")?.into(), 7000),
        "internal"
    );
    Ok(())
}

#[test]
fn d09_modes_of_each_family_stand_alone() -> Outcome {
    let world = World::new()?;
    network(
        &world,
        "-o com.docker.network.bridge.gateway_mode_ipv6=routed",
    )?;
    let web = world.sandbox("web", &["n"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000")?;
    let [v4, v6] = both(&web)?;
    ensure!(lan_reaches(&world, "tcp", v6, 7000) && !lan_reaches(&world, "tcp", v4, 7000));
    ensure!(lan_reaches(&world, "tcp", HOST_V4.into(), 8080));
    Ok(())
}

#[test]
fn d09_isolated_has_no_gateway() -> Outcome {
    let world = World::new()?;
    world.refused(
        &format!("network create {} n", mode("isolated")),
        &["isolated", "internal"],
    )?;
    world.ctl(&format!(
        "network create --internal --ipv6 {SUBNETS} {} n",
        mode("isolated")
    ))?;
    let (a, b) = (world.sandbox("a", &["n"])?, world.sandbox("b", &["n"])?);
    let _server = b.serve(7000)?;
    for to in both(&b)? {
        reaches(&a, to, 7000)?;
        let host = probe(&world.host_scope(), "tcp", (to, 7000).into(), 700);
        ensure!(host.is_err(), "the host reaches {to}");
    }
    ensure!(
        !world.host.ip("addr")?.contains("10.80.0.1"),
        "a gateway address"
    );
    Ok(())
}

#[test]
fn d09_inhibit_ipv4_leaves_the_device_without_an_address() -> Outcome {
    let world = World::new()?;
    world.ctl(
        "network create --subnet 10.80.0.0/24 -o com.docker.network.bridge.inhibit_ipv4=true n",
    )?;
    ensure!(
        !world.host.ip("addr")?.contains("10.80.0.1"),
        "a gateway address"
    );
    let (a, b) = (world.sandbox("a", &["n"])?, world.sandbox("b", &["n"])?);
    let _server = b.serve(7000)?;
    reaches(&a, b.v4("eth0")?.into(), 7000)
}

#[test]
fn d09_trusted_interfaces_reach_published_ports_at_their_own_address() -> Outcome {
    let world = World::new()?;
    network(
        &world,
        "-o com.docker.network.bridge.trusted_host_interfaces=uplink:missing0",
    )?;
    let web = world.sandbox("web", &["n"])?;
    let _servers = [web.serve(7000)?, web.serve(7001)?];
    for to in both(&web)? {
        ensure!(!lan_reaches(&world, "tcp", to, 7000), "not published yet");
    }
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    for to in both(&web)? {
        for protocol in PROTOCOLS {
            ensure!(
                lan_reaches(&world, protocol, to, 7000),
                "{to} by {protocol}"
            );
            ensure!(
                !lan_reaches(&world, protocol, to, 7001),
                "7001 is not published"
            );
        }
    }
    ensure!(
        lan_reaches(&world, "tcp", HOST_V4.into(), 8080),
        "the host port, too"
    );
    Ok(())
}

fn mtu(sandbox: &Sandbox) -> anyhow::Result<String> {
    let shown = sandbox
        .scope
        .run(&["ip", "-o", "link", "show", "eth0"])?
        .stdout;
    let mut words = shown.split_whitespace().skip_while(|w| *w != "mtu");
    Ok(words.nth(1).unwrap_or_default().to_owned())
}

#[test]
fn d07_mtu_follows_the_way_out_unless_it_is_chosen() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 follows")?;
    world.ctl("network create -o com.docker.network.driver.mtu=1300 a")?;
    world.ctl("network create -o com.docker.network.mtu=1320 b")?;
    let sandboxes = [
        world.sandbox("sf", &["follows"])?,
        world.sandbox("sa", &["a"])?,
        world.sandbox("sb", &["b"])?,
    ];
    ensure!(mtu(&sandboxes[1])? == "1300" && mtu(&sandboxes[2])? == "1320");
    ensure!(mtu(&sandboxes[0])? == "1500");
    world.host.ip("link set uplink mtu 1400")?;
    wait_for("the MTU to follow", 10, || {
        (mtu(&sandboxes[0]).ok()? == "1400").then_some(())
    });
    ensure!(mtu(&sandboxes[1])? == "1300", "a chosen MTU changed");
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    reaches(&sandboxes[0], LAN_V6.into(), 7000)?;
    world.host.ip("link set uplink mtu 1500")?;
    wait_for("the MTU to follow back", 10, || {
        (mtu(&sandboxes[0]).ok()? == "1500").then_some(())
    });
    Ok(())
}

/// The largest echo that gets through without fragmentation; what the kernel learned is in its route cache.
fn learned(scope: &Scope, to: IpAddr, size: &str) -> anyhow::Result<String> {
    let words = [
        "ping",
        "-c",
        "2",
        "-W",
        "1",
        "-M",
        "do",
        "-s",
        size,
        &to.to_string(),
    ];
    let ping = scope.run(&words)?;
    let route = scope.run(&["ip", "route", "get", &to.to_string()])?;
    Ok(format!("{}\n{}", ping.text(), route.stdout))
}

#[test]
fn d07_too_big_is_told_to_the_container_and_mss_is_clamped() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 -o com.docker.network.driver.mtu=1500 n")?;
    let web = world.sandbox("web", &["n"])?;
    world.host.ip("link set uplink mtu 1400")?;
    world.lan.ip("link set uplink mtu 1400")?;
    for to in [LAN_V4.into(), LAN_V6.into()] {
        let told = wait_for("the path MTU to be learned", 10, || {
            let text = learned(&web.scope, to, "1440").ok()?;
            text.contains("mtu 1400").then_some(text)
        });
        ensure!(told.contains("mtu 1400"), "{told}");
    }
    // A TCP stream is not stuck either: the MSS was lowered in the handshake.
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    let mut dump = crate::egress::capture(&world, "tcp[tcpflags] & tcp-syn != 0")?;
    web.reach("tcp", LAN_V4.into(), 7000)?;
    let line = dump.until("mss ")?;
    ensure!(line.contains("mss 1360"), "{line}");
    Ok(())
}

#[test]
fn d14_interface_names_follow_the_prefix_and_wishes() -> Outcome {
    let world = World::new()?;
    world.ctl("network create -o com.docker.network.container_iface_prefix=net n")?;
    world.ctl("network create m")?;
    world.ctl("sandbox create s --network n --network name=m,interface=data0")?;
    let path = world.run_directory().join("netns/s");
    let links = world.scope(&path).run(&["ip", "-o", "link"])?.stdout;
    ensure!(
        links.contains("net0@") && links.contains("data0@"),
        "{links}"
    );
    Ok(())
}
