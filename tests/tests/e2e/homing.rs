//! D14, C02: sandboxes on several networks.

use std::net::IpAddr;

use anyhow::ensure;
use netd_tests::{
    Server, World,
    probe::probe,
    world::{HOST_V4, HOST_V6, LAN_V4, LAN_V6},
};

use crate::{Outcome, PROTOCOLS};

/// Answers leave by the network whose address was asked, whatever the default route says.
#[test]
fn d14_answers_leave_by_the_network_they_came_in_on() -> Outcome {
    let world = World::new()?;
    let mode = "-o com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected -o com.docker.network.bridge.gateway_mode_ipv6=nat-unprotected";
    for (name, n) in [("a", 90), ("b", 91)] {
        world.ctl(&format!(
            "network create --ipv6 --subnet 10.{n}.0.0/24 --subnet fd00:{n}::/64 {mode} {name}"
        ))?;
        world
            .lan
            .ip(&format!("route add 10.{n}.0.0/24 via {HOST_V4}"))?;
        world
            .lan
            .ip(&format!("-6 route add fd00:{n}::/64 via {HOST_V6}"))?;
    }
    let web = world.sandbox("web", &["a", "b"])?;
    let _server = web.serve(7000)?;
    for interface in ["eth0", "eth1"] {
        let own: [IpAddr; 2] = [web.v4(interface)?.into(), web.v6(interface)?.into()];
        for to in own {
            // A UDP server chooses its own source address; see its IP_PKTINFO.
            probe(&world.lan_scope(), "tcp", (to, 7000).into(), 1500)?;
            let ping = ["ping", "-c", "1", "-W", "2", &to.to_string()];
            ensure!(world.lan_scope().run(&ping)?.ok, "{to} by {interface}");
        }
    }
    // After one goes, the other works and its rules are gone.
    world.ctl("network disconnect a web")?;
    probe(
        &world.lan_scope(),
        "tcp",
        (web.v4("eth1")?, 7000).into(),
        1500,
    )?;
    let rules = web.scope.run(&["ip", "rule"])?.stdout;
    ensure!(rules.lines().count() == 3, "left over: {rules}");
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    web.reach("tcp", LAN_V4.into(), 7000)?;
    Ok(())
}

/// Each family has its own default route and its own way for published ports.
#[test]
fn d14_c02_each_family_by_its_own_network() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 10.92.0.0/24 four")?;
    world.ctl("network create --ipv4=false --ipv6 --subnet fd00:92::/64 six")?;
    let web = world.sandbox("web", &["four", "six"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    for host in [IpAddr::from(HOST_V4), HOST_V6.into()] {
        for protocol in PROTOCOLS {
            let reply = probe(&world.lan_scope(), protocol, (host, 8080).into(), 1500)?;
            ensure!(reply.peer.is_ipv4() == host.is_ipv4(), "{reply:?}");
        }
    }
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    web.reach("tcp", LAN_V4.into(), 7000)?;
    web.reach("udp", LAN_V6.into(), 7000)?;
    Ok(())
}

/// A published port works for clients of each of the sandbox's networks, by the host's address.
#[test]
fn c02_a_published_port_works_on_each_network() -> Outcome {
    let world = World::new()?;
    for name in ["a", "b"] {
        world.ctl(&format!("network create --ipv6 {name}"))?;
    }
    let web = world.sandbox("web", &["a", "b"])?;
    let clients = [world.sandbox("ca", &["a"])?, world.sandbox("cb", &["b"])?];
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    for client in clients {
        for host in [IpAddr::from(HOST_V4), HOST_V6.into()] {
            for protocol in PROTOCOLS {
                client.reach(protocol, host, 8080)?;
            }
        }
    }
    // The gateway moves with the priority, and the port with it.
    world.ctl("network disconnect a web")?;
    probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 1500)?;
    world.ctl("network connect --gw-priority 10 a web")?;
    probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 1500)?;
    Ok(())
}

/// Additional link-local addresses work inside the network and leave it never.
#[test]
fn n05_link_local_addresses() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 n")?;
    for (name, last) in [("a", 5), ("b", 6)] {
        world.ctl(&format!("sandbox create {name}"))?;
        world.ctl(&format!(
            "network connect --link-local-ip 169.254.34.{last} --link-local-ip fe80::34:{last} n {name}"
        ))?;
    }
    for to in ["169.254.34.6", "fe80::34:6%eth0"] {
        let pong = world.ctl(&format!("sandbox exec a -- ping -c 1 -W 2 {to}"))?;
        ensure!(pong.contains("1 received"), "{pong}");
    }
    let words = [
        "sandbox",
        "exec",
        "a",
        "--",
        "ping",
        "-c",
        "1",
        "-W",
        "1",
        "-I",
        "169.254.34.5",
    ];
    let lan = LAN_V4.to_string();
    let words = [words.as_slice(), &[&lan]].concat();
    ensure!(
        !world.netctl(&words)?.ok,
        "a link-local address left the host"
    );
    ensure!(
        world
            .ctl(&format!("sandbox exec a -- ping -c 1 -W 2 {lan}"))?
            .contains("1 received")
    );
    Ok(())
}
