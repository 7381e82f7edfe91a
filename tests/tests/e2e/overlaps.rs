//! I01, C12: subnets of networks and the host's own surroundings.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use netd_tests::{
    Sandbox, Server, World,
    probe::probe,
    wait_for,
    world::{HOST_V4, LAN_V4},
};

use crate::{Outcome, PROTOCOLS};

/// A container that publishes port 8080, and servers of the neighbour's (7000) and of the host's own (7001).
fn published(world: &World) -> Result<(Sandbox, [Server; 3])> {
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let servers = [
        web.serve(7000)?,
        Server::start(&world.lan_scope(), 7000)?,
        Server::start(&world.host_scope(), 7001)?,
    ];
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    Ok((web, servers))
}

/// Everybody reaches everybody: the neighbour and the host each other, the published port and the way out.
fn all_reach(world: &World, web: &Sandbox, host: IpAddr, lan: IpAddr) -> Outcome {
    PROTOCOLS
        .iter()
        .try_for_each(|protocol| all_reach_by(protocol, world, web, host, lan))
}

fn all_reach_by(
    protocol: &str,
    world: &World,
    web: &Sandbox,
    host: IpAddr,
    lan: IpAddr,
) -> Outcome {
    for (scope, to, port) in [
        (world.lan_scope(), host, 8080),
        (world.lan_scope(), host, 7001),
        (world.host_scope(), lan, 7000),
        (world.host_scope(), host, 8080),
        (web.scope.clone(), lan, 7000),
    ] {
        probe(&scope, protocol, (to, port).into(), 2000)
            .with_context(|| format!("{protocol} to {to} {port}"))?;
    }
    Ok(())
}

/// A subnet that holds an address of the host's own or of its router would cut it from its neighbours: refused, and nothing
/// changes. Without a device that leads there it would not.
#[test]
fn c12_a_subnet_of_the_host_s_neighbours_is_refused() -> Outcome {
    let world = World::new()?;
    let (web, _servers) = published(&world)?;
    world.host.ip("link add other type veth peer name rehto")?;
    world.host.ip("addr add 10.65.3.7/20 dev other")?;
    world.host.ip("addr add fd00:65::7/64 dev other nodad")?;
    for (subnet, address, interface) in [
        ("198.51.100.0/24", "198.51.100.1", "uplink"),
        (
            "198.51.100.0/25 --gateway 198.51.100.100",
            "198.51.100.1",
            "uplink",
        ),
        ("198.51.0.0/16", "198.51.100.1", "uplink"),
        // The router alone.
        ("198.51.100.2/31", "198.51.100.2", "uplink"),
        ("10.65.3.0/24", "10.65.3.7", "other"),
        ("10.0.0.0/8", "10.65.3.7", "other"),
        ("fd00:65::/48 --ipv6 --ipv4=false", "fd00:65::7", "other"),
        ("2001:db8:100::/64 --ipv6", "2001:db8:100::", "uplink"),
    ] {
        let line = format!("network create --subnet {subnet} lan");
        let cidr = subnet.split(' ').next().unwrap_or_default();
        world.refused(
            &line,
            &[
                "holds the host's",
                cidr,
                address,
                interface,
                "another subnet",
            ],
        )?;
    }
    ensure!(!world.ctl("network ls")?.contains("lan"));
    all_reach(&world, &web, HOST_V4.into(), LAN_V4.into())?;
    // Nobody holds what was refused, and what the host has no address in is the user's own to know.
    world.host.ip("link del other")?;
    wait_for("the addresses to be gone", 10, || {
        world.ctl("network create --subnet 10.65.3.0/24 lan").ok()
    });
    world.ctl("network create -o com.docker.network.bridge.inhibit_ipv4=true --subnet 198.51.100.0/24 bare")?;
    let shown = world.ctl("status")?;
    ensure!(shown.contains("overlaps subnet 198.51.100.0/24"), "{shown}");
    ensure!(!shown.contains("10.65.3.0/24"), "{shown}");
    for protocol in PROTOCOLS {
        probe(&world.lan_scope(), protocol, (HOST_V4, 7001).into(), 2000)?;
        probe(&world.host_scope(), protocol, (LAN_V4, 7000).into(), 2000)?;
    }
    Ok(())
}

/// A subnet that lies over others of the host's destinations is told of; with the network all of it goes at once.
#[test]
fn i01_a_subnet_over_a_route_is_told_of_and_goes() -> Outcome {
    let world = World::new()?;
    let (web, _servers) = published(&world)?;
    world.host.ip("route add 10.66.0.0/16 via 198.51.100.2")?;
    let far = "10.66.7.7".parse()?;
    world.lan.ip("addr add 10.66.7.7/32 dev lo")?;
    let near = "198.51.100.200".parse()?;
    world.lan.ip("addr add 198.51.100.200/24 dev uplink")?;
    for (subnet, there) in [("10.66.7.0/24", far), ("198.51.100.128/25", near)] {
        // The neighbour's datagrams would come from its first address.
        let reach = || all_reach_by("tcp", &world, &web, HOST_V4.into(), there);
        reach()?;
        world.ctl(&format!("network create --subnet {subnet} over"))?;
        let shown = world.ctl("status")?;
        ensure!(
            shown.contains(&format!("overlaps subnet {subnet} of network over")),
            "{shown}"
        );
        ensure!(
            probe(&world.host_scope(), "tcp", (there, 7000).into(), 500).is_err(),
            "{subnet} is not there"
        );
        // The rest of the host's neighbours is.
        all_reach(&world, &web, HOST_V4.into(), LAN_V4.into())?;
        world.ctl("network rm over")?;
        reach()?;
    }
    Ok(())
}

/// The host comes to have the gateway's address, on a network that was there before, which cannot be refused any more: it stays
/// the host's own, and when the network goes, everything is as if it had not been.
#[test]
fn c12_a_gateway_s_address_that_becomes_the_host_s() -> Outcome {
    let mut world = World::new()?;
    let (web, _servers) = published(&world)?;
    let (host, lan): (IpAddr, IpAddr) = ("203.0.113.1".parse()?, "203.0.113.2".parse()?);
    world.ctl("network create --subnet 203.0.113.0/24 before")?;
    world.lan.ip("addr add 203.0.113.2/24 dev uplink")?;
    world.host.ip("addr add 203.0.113.1/24 dev uplink")?;
    wait_for("the warning", 10, || {
        world
            .ctl("status")
            .ok()
            .filter(|s| s.contains("overlaps subnet 203.0.113.0/24"))
    });
    // A start refuses nothing that is stored.
    world.kill()?;
    world.start()?;
    ensure!(world.ctl("network ls")?.contains("before"));
    probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 2000)?;
    world.ctl("network rm before")?;
    all_reach(&world, &web, host, lan)?;
    // The other way about: the host's address goes, the network's stays.
    world.host.ip("addr del 203.0.113.1/24 dev uplink")?;
    world.lan.ip("addr del 203.0.113.2/24 dev uplink")?;
    wait_for("the address to be gone", 10, || {
        world
            .ctl("network create --subnet 203.0.113.0/24 after")
            .ok()
    });
    let inside = world.sandbox("inside", &["after"])?;
    ensure!(inside.ping(host)?, "the gateway does not answer");
    Ok(())
}
