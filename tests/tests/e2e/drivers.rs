//! D: what the bridge, host and none networks do.

use std::net::IpAddr;

use anyhow::ensure;
use netd_tests::{
    Server, World,
    world::{HOST, LAN, LAN_V4},
};

use crate::{Outcome, PROTOCOLS, does_not_reach, reaches};

#[test]
fn d01_members_reach_each_other_and_the_gateway() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let (a, b) = (
        world.sandbox("a", &["front"])?,
        world.sandbox("b", &["front"])?,
    );
    let _server = b.serve(7000)?;
    for (own, peer) in a.addresses("eth0")?.into_iter().zip(b.addresses("eth0")?) {
        for protocol in PROTOCOLS {
            ensure!(
                a.reach(protocol, peer, 7000)?.peer.ip() == own,
                "the server sees somebody else"
            );
        }
        ensure!(a.ping(peer)?, "ping {peer}");
    }
    let gateways = a.netns.ip("route show default")? + &a.netns.ip("-6 route show default")?;
    let gateways: Vec<IpAddr> = gateways
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    ensure!(gateways.len() == 2, "{gateways:?}");
    for gateway in gateways {
        ensure!(a.ping(gateway)?, "no gateway {gateway}");
    }
    // Large packets whole, and a broadcast.
    let big = [
        "ping",
        "-c1",
        "-W1",
        "-s",
        "1400",
        &b.v4("eth0")?.to_string(),
    ]
    .map(str::to_owned);
    ensure!(
        a.scope.run(&big.each_ref().map(String::as_str))?.ok,
        "1400 bytes"
    );
    b.netns
        .sysctl("net/ipv4/icmp_echo_ignore_broadcasts", "0")?;
    ensure!(
        a.scope
            .run(&["ping", "-b", "-c1", "-W1", "255.255.255.255", "-I", "eth0"])?
            .ok,
        "broadcast"
    );
    ensure!(
        a.scope.run(&["ping", "-c1", "-W1", "ff02::1%eth0"])?.ok,
        "multicast"
    );
    Ok(())
}

#[test]
fn d01_default_network() -> Outcome {
    let world = World::new()?;
    let (a, b) = (
        world.sandbox("a", &["bridge"])?,
        world.sandbox("b", &["bridge"])?,
    );
    let _server = b.serve(7000)?;
    reaches(&a, b.v4("eth0")?.into(), 7000)
}

#[test]
fn d02_isolation_between_networks() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    world.ctl("network create --ipv6 back")?;
    let (web, db) = (
        world.sandbox("web", &["front"])?,
        world.sandbox("db", &["back"])?,
    );
    let both = world.sandbox("both", &["front", "back"])?;
    let (_in_web, _in_db) = (web.serve(7000)?, db.serve(7000)?);
    for ns in [&both.netns, &world.host] {
        ns.sysctl("net/ipv4/ip_forward", "1")?;
        ns.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    }
    for address in web.addresses("eth0")? {
        // The same probe passes for a member, so the silence below is isolation and not a broken probe.
        reaches(&both, address, 7000)?;
        does_not_reach(&db, address, 7000)?;
    }
    for address in db.addresses("eth0")? {
        reaches(&both, address, 7000)?;
        does_not_reach(&web, address, 7000)?;
    }
    // Not through the one on both either, though it would forward.
    let route = format!("route add {} via {}", db.v4("eth0")?, both.v4("eth0")?);
    web.netns.ip(&route)?;
    does_not_reach(&web, db.v4("eth0")?.into(), 7000)?;
    ensure!(
        world.drops("isolated")? > 0,
        "no drop is counted as isolated: {}",
        world.ctl("drops")?
    );
    Ok(())
}

#[test]
fn d03_internal_networks() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 --internal vault")?;
    world.ctl("network create --ipv6 front")?;
    let (a, b) = (
        world.sandbox("a", &["vault"])?,
        world.sandbox("b", &["vault"])?,
    );
    let web = world.sandbox("web", &["front"])?;
    let _servers = [
        b.serve(7000)?,
        web.serve(7000)?,
        Server::start(&world.lan_scope(), 7000)?,
        Server::start(&world.host_scope(), 7000)?,
    ];
    for address in b.addresses("eth0")? {
        reaches(&a, address, 7000)?;
        does_not_reach(&web, address, 7000)?;
    }
    ensure!(!a.netns.ip("route")?.contains("default"), "a default route");
    // Even with a route of its own.
    a.netns.ip("route add default dev eth0")?;
    a.netns.ip("-6 route add default dev eth0")?;
    for address in LAN.into_iter().chain(HOST).chain(web.addresses("eth0")?) {
        does_not_reach(&a, address, 7000)?;
    }
    // The same probes pass from a network that is not internal.
    for address in LAN {
        reaches(&web, address, 7000)?;
    }
    // By TCP: a UDP server on all addresses answers from the gateway's, as on any host with several.
    for address in HOST {
        web.reach("tcp", address, 7000)?;
        ensure!(web.ping(address)?, "ping {address}");
    }
    // No way in either.
    world
        .lan
        .ip(&format!("route add {} via 198.51.100.1", b.v4("eth0")?))?;
    ensure!(
        netd_tests::probe::probe(
            &world.lan_scope(),
            "tcp",
            (b.v4("eth0")?, 7000).into(),
            1000
        )
        .is_err()
    );
    Ok(())
}

#[test]
fn d05_masquerade_on_and_off() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 hidden")?;
    world.ctl("network create --ipv6 --subnet 10.97.0.0/24 --subnet fd00:97::/64 -o com.docker.network.bridge.enable_ip_masquerade=false open")?;
    let (hidden, open) = (
        world.sandbox("hidden", &["hidden"])?,
        world.sandbox("open", &["open"])?,
    );
    let _server = Server::start(&world.lan_scope(), 7000)?;
    world.lan.ip("route add 10.97.0.0/24 via 198.51.100.1")?;
    world
        .lan
        .ip("-6 route add fd00:97::/64 via 2001:db8:100::1")?;
    for ((lan, host), own) in LAN.into_iter().zip(HOST).zip(open.addresses("eth0")?) {
        for protocol in PROTOCOLS {
            let seen = hidden.reach(protocol, lan, 7000)?.peer.ip();
            ensure!(seen == host, "masqueraded {protocol} comes from {seen}");
            let seen = open.reach(protocol, lan, 7000)?.peer.ip();
            ensure!(seen == own, "unmasqueraded {protocol} comes from {seen}");
        }
        ensure!(hidden.ping(lan)? && open.ping(lan)?, "ping {lan}");
    }
    Ok(())
}

#[test]
fn d08_the_host_device_carries_the_gateway() -> Outcome {
    let world = World::new()?;
    let id = world.ctl("network create --subnet 10.98.0.0/24 plain")?;
    world.ctl(
        "network create --subnet 10.99.0.0/24 -o com.docker.network.bridge.name=mine0 named",
    )?;
    let device = format!("br-{}", id.get(..12).unwrap_or_default());
    for (device, address) in [
        (device.as_str(), "10.98.0.1/24"),
        ("mine0", "10.99.0.1/24"),
        ("netd0", "/"),
    ] {
        let shown = world.host.ip(&format!("-br addr show dev {device}"))?;
        ensure!(shown.contains(address), "{shown}");
    }
    // The host's programs reach the sandbox and are reached at the gateway.
    let web = world.sandbox("web", &["plain"])?;
    let (_inside, _outside) = (web.serve(7000)?, Server::start(&world.host_scope(), 7001)?);
    for protocol in PROTOCOLS {
        let reply = netd_tests::probe::probe(
            &world.host_scope(),
            protocol,
            (web.v4("eth0")?, 7000).into(),
            2000,
        )?;
        ensure!(
            reply.peer.ip() == "10.98.0.1".parse::<IpAddr>()?,
            "{reply:?}"
        );
        web.reach(protocol, "10.98.0.1".parse()?, 7001)?;
    }
    world.ctl("network rm named")?;
    ensure!(
        world.host.ip("link show mine0").is_err(),
        "the device outlives the network"
    );
    Ok(())
}

#[test]
fn d10_none_has_loopback_only() -> Outcome {
    let world = World::new()?;
    let alone = world.sandbox("alone", &["none"])?;
    ensure!(
        alone.netns.ip("-br link")?.lines().count() == 1,
        "more than lo"
    );
    ensure!(alone.ping("127.0.0.1".parse()?)?, "lo is down");
    ensure!(!alone.ping(LAN_V4.into())?, "it has a way out");
    Ok(())
}

#[test]
fn d10_host_shares_the_stack() -> Outcome {
    let world = World::new()?;
    world.ctl("sandbox create --network host shared")?;
    world.ctl("network create front")?;
    // Sharing the host's stack, it has no interface of its own.
    world.refused("network connect front shared", &["host"])?;
    ensure!(
        world
            .netctl(&[
                "sandbox", "exec", "shared", "--", "ip", "link", "show", "uplink"
            ])?
            .ok
    );
    Ok(())
}

#[test]
fn d14_interface_names_and_default_route() -> Outcome {
    let world = World::new()?;
    for name in ["c", "a", "b"] {
        world.ctl(&format!("network create --ipv6 {name}"))?;
    }
    let web = world.sandbox("web", &["c", "a"])?;
    let names = web.netns.ip("-br link")?;
    ensure!(names.contains("eth0") && names.contains("eth1"), "{names}");
    let default = |words: &str| web.netns.ip(words);
    for words in ["route show default", "-6 route show default"] {
        ensure!(
            default(words)?.contains("dev eth1"),
            "not by the lowest name: {}",
            default(words)?
        );
    }
    world.ctl("network connect --gw-priority 5 b web")?;
    for words in ["route show default", "-6 route show default"] {
        ensure!(
            default(words)?.contains("dev eth2"),
            "not by priority: {}",
            default(words)?
        );
        ensure!(
            default(words)?.lines().count() == 1,
            "several: {}",
            default(words)?
        );
    }
    world.ctl("network disconnect b web")?;
    ensure!(
        default("route show default")?.contains("dev eth1"),
        "no fall back"
    );
    ensure!(web.ping(LAN_V4.into())?, "no way out");
    Ok(())
}
