//! C11: the host's addresses, routes and links change; the flows that they concern follow, the others go on.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use anyhow::{Context, ensure};
use netd_tests::{
    Sandbox, Server, Station, World,
    nat::{
        Ends, Kind, Setup, Site, Transport,
        exchange::{TRANSPORTS, mark},
    },
    probe::{hold, probe},
    wait_for,
    world::{HOST_V4, HOST_V6, LAN, LAN_V6},
};

use crate::{Outcome, PROTOCOLS};

fn prefix(ends: &Ends) -> (&'static str, u8) {
    if ends.a.is_ipv4() {
        ("198.51.100.9", 24)
    } else {
        ("2001:db8:100::9", 64)
    }
}

/// A new lease: a flow that talks on leaves with the new address, and its answers arrive.
#[test]
fn c11_a_flow_follows_the_hosts_new_address() -> Outcome {
    for family in [0, 1] {
        let site = Site::new(Kind::Netd, &Setup::default())?;
        let ends = site.ends()[family];
        let host = &site.world.host;
        host.sysctl("net/ipv4/conf/uplink/promote_secondaries", "1")?;
        let (new, bits) = prefix(&ends);
        let (inside, peer) = ((ends.a, 20_001), (ends.far, 20_100));
        let before = site.map(Transport::Udp, &site.a, inside, peer)?;
        ensure!(before.0 == ends.host, "leaves with {before:?}");
        host.ip(&format!("addr add {new}/{bits} dev uplink nodad"))?;
        host.ip(&format!("addr del {}/{bits} dev uplink", ends.host))?;
        // The fence goes by the address that is gone: every datagram is waited for by itself.
        let after = wait_for("the new source", 10, || {
            let packet = site.packet(Transport::Udp, inside, peer);
            site.a.send(&packet).ok()?;
            let second = Duration::from_secs(1);
            let seen = site
                .lan
                .wait_for(second, |seen| mark(seen) == mark(&packet));
            seen.ok()?.filter(|seen| seen.src != ends.host)
        });
        ensure!(
            after.src == new.parse::<IpAddr>()?,
            "leaves with {}",
            after.src
        );
        let outside = (after.src, after.ports().context("ports")?.0);
        let answer = site.packet(Transport::Udp, peer, outside);
        site.lan.send(&answer)?;
        let seen = site
            .a
            .wait("the answer", |seen| mark(seen) == mark(&answer))?;
        let to = (seen.dst, seen.ports().map(|ports| ports.1));
        ensure!(to == (ends.a, Some(20_001)), "{seen:?}");
    }
    Ok(())
}

/// Addresses and routes that come and go beside a flow are no concern of its.
#[test]
fn c11_other_addresses_and_routes_touch_no_flow() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _servers = [web.serve(7000)?, Server::start(&world.lan_scope(), 7000)?];
    world.ctl("port publish web 8080:7000")?;
    let mut flows = Vec::new();
    for (lan, host) in LAN.into_iter().zip(netd_tests::world::HOST) {
        flows.push(hold(&web.scope, (lan, 7000).into())?);
        flows.push(hold(&world.lan_scope(), (host, 8080).into())?);
    }
    let host = &world.host;
    for _ in 0..3 {
        host.ip("addr add 198.51.100.77/24 dev uplink")?;
        host.ip("addr add 2001:db8:100::77/64 dev uplink nodad")?;
        host.ip("route add 203.0.113.0/24 via 198.51.100.2")?;
        host.ip("link add tun9 type veth peer name tun9-peer")?;
        host.ip("link set tun9-peer up")?;
        host.ip("addr add 10.99.0.1/24 dev tun9")?;
        host.ip("link set tun9 up")?;
        wait_for("the new interface to be an uplink", 5, || {
            world
                .ctl("--output json status")
                .ok()?
                .contains("tun9")
                .then_some(())
        });
        host.ip("link del tun9")?;
        host.ip("route del 203.0.113.0/24")?;
        host.ip("addr del 198.51.100.77/24 dev uplink")?;
        host.ip("addr del 2001:db8:100::77/64 dev uplink")?;
        probe(&web.scope, "tcp", (LAN[0], 7000).into(), 2000)?;
    }
    for flow in flows {
        ensure!(flow.finish()?.ok, "a flow broke");
    }
    Ok(())
}

/// A second link between the host and the LAN machine, 198.51.101.0/24 and 2001:db8:101::/64.
fn second_uplink(site: &Site) -> anyhow::Result<Station> {
    let (host, lan) = (&site.world.host, &site.world.lan);
    host.ip(&format!(
        "link add uplink2 type veth peer name uplink2 netns {}",
        lan.name()
    ))?;
    for (ns, last) in [(host, 1), (lan, 2)] {
        ns.ip(&format!("addr add 198.51.101.{last}/24 dev uplink2"))?;
        ns.ip(&format!(
            "addr add 2001:db8:101::{last}/64 dev uplink2 nodad"
        ))?;
        ns.ip("link set uplink2 up")?;
    }
    for ns in [host, lan] {
        ns.ipv6_ready("uplink2");
    }
    let hops = ["198.51.101.1".parse()?, "2001:db8:101::1".parse()?];
    Station::new(lan, lan.scope(), "uplink2", hops)
}

/// The links by which a flow's packets leave, and the addresses that they carry.
fn ways(
    site: &Site,
    second: &Station,
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
) -> anyhow::Result<BTreeSet<(u8, IpAddr)>> {
    let mut found = BTreeSet::new();
    for _ in 0..4 {
        let packet = site.packet(Transport::Udp, src, dst);
        site.a.send(&packet)?;
        found.insert(wait_for("a datagram of the flow", 5, || {
            [&site.lan, second]
                .into_iter()
                .zip(1..)
                .find_map(|(station, number)| {
                    let seen = station.find(|seen| mark(seen) == mark(&packet)).ok()??;
                    Some((number, seen.src))
                })
        }));
    }
    Ok(found)
}

/// The address that belongs to a link.
fn fits(way: &(u8, IpAddr)) -> bool {
    let text = way.1.to_string();
    text == format!("198.51.10{}.1", way.0 - 1) || text == format!("2001:db8:10{}::1", way.0 - 1)
}

/// Two default routes of one cost: each flow keeps to one of them, with the address of its link.
#[test]
fn c11_flows_keep_to_one_of_several_routes() -> Outcome {
    let site = Site::new(Kind::Netd, &Setup::default())?;
    let second = second_uplink(&site)?;
    let host = &site.world.host;
    host.ip("route replace default nexthop via 198.51.100.2 dev uplink nexthop via 198.51.101.2 dev uplink2")?;
    host.ip("-6 route del default")?;
    host.ip("-6 route add default nexthop via 2001:db8:100::2 dev uplink nexthop via 2001:db8:101::2 dev uplink2")?;
    for net in ["203.0.113", "2001:db8:113:"] {
        let mut used = BTreeSet::new();
        for number in 1..=40_u16 {
            let separator = if net.contains(':') { ":" } else { "." };
            let dst: IpAddr = format!("{net}{separator}{number}").parse()?;
            let ends = site.ends()[usize::from(dst.is_ipv6())];
            let ways = ways(&site, &second, (ends.a, 20_000 + number), (dst, 20_100))?;
            ensure!(ways.len() == 1, "the packets to {dst} leave as {ways:?}");
            ensure!(
                ways.iter().all(fits),
                "the packets to {dst} leave as {ways:?}"
            );
            used.extend(ways.into_iter().map(|(link, _)| link));
        }
        ensure!(used.len() == 2, "of two routes, these are used: {used:?}");
    }
    Ok(())
}

/// A rule for the containers' subnet holds for every packet of a flow.
#[test]
fn c11_rules_for_a_subnet_hold_for_all_packets() -> Outcome {
    let site = Site::new(Kind::Netd, &Setup::default())?;
    let second = second_uplink(&site)?;
    let host = &site.world.host;
    host.ip("route add default via 198.51.101.2 dev uplink2 table 100")?;
    host.ip("-6 route add default via 2001:db8:101::2 dev uplink2 table 100")?;
    for ends in site.ends() {
        let family = if ends.a.is_ipv4() { "-4" } else { "-6" };
        let before = ways(&site, &second, (ends.a, 20_001), (ends.far, 20_100))?;
        ensure!(
            before == BTreeSet::from([(1, ends.host)]),
            "without a rule: {before:?}"
        );
        host.ip(&format!("{family} rule add from {} table 100", ends.a))?;
        let ways = ways(&site, &second, (ends.a, 20_002), (ends.far, 20_100))?;
        ensure!(
            ways.len() == 1 && ways.iter().all(|way| way.0 == 2 && fits(way)),
            "{ways:?}"
        );
    }
    Ok(())
}

/// IPv4 by way of an IPv6 next hop (RFC 5549), as BGP without IPv4 links has it.
#[test]
fn c11_ipv4_by_an_ipv6_next_hop() -> Outcome {
    let site = Site::new(Kind::Netd, &Setup::default())?;
    let ends = site.ends()[0];
    let (inside, peer) = ((ends.a, 20_001), (ends.far, 20_100));
    let host = &site.world.host;
    host.ip(&format!(
        "route replace default via inet6 {LAN_V6} dev uplink"
    ))?;
    // And the link knows no neighbour by its IPv4 address that could serve instead.
    host.ip("neigh flush dev uplink")?;
    for transport in TRANSPORTS {
        let out = site.map(transport, &site.a, inside, peer)?;
        ensure!(out.0 == ends.host, "{transport:?} appears as {out:?}");
        for _ in 0..3 {
            let again = site.map(transport, &site.a, inside, peer)?;
            ensure!(again == out, "{transport:?} appears as {again:?}, too");
            let back = site.back(transport, peer, out, &site.a)?;
            ensure!(
                back == Some(inside),
                "{transport:?}: the answer goes to {back:?}"
            );
        }
    }
    Ok(())
}

/// An interface of its own on the uplink's link, with its own Ethernet address, as a VLAN's or a virtual machine's is.
#[test]
fn c12_c02_an_interface_on_top_of_the_uplink_is_one_too() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _servers = [web.serve(7000)?, Server::start(&world.lan_scope(), 7000)?];
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    world.lan.ip("addr add 10.42.0.2/24 dev uplink")?;
    world.lan.ip("addr add fd42::2/64 dev uplink nodad")?;
    let host = &world.host;
    host.ip("link add link uplink name top type macvlan mode private")?;
    host.ip("addr add 10.42.0.1/24 dev top")?;
    host.ip("addr add fd42::1/64 dev top nodad")?;
    host.ip("link set top up")?;
    host.ipv6_ready("top");
    wait_for("the new interface to be an uplink", 5, || {
        by_top(&world, &web).ok()
    });
    by_top(&world, &web)?;
    // And beside it the link itself.
    for (host, lan) in [(IpAddr::V4(HOST_V4), LAN[0]), (HOST_V6.into(), LAN[1])] {
        let reply = web.reach("tcp", lan, 7000)?;
        ensure!(reply.peer.ip() == host, "appears as {}", reply.peer);
    }
    Ok(())
}

fn by_top(world: &World, web: &Sandbox) -> Outcome {
    for (host, lan) in [("10.42.0.1", "10.42.0.2"), ("fd42::1", "fd42::2")] {
        let (host, lan): (IpAddr, IpAddr) = (host.parse()?, lan.parse()?);
        for protocol in PROTOCOLS {
            let reply = web.reach(protocol, lan, 7000)?;
            ensure!(
                reply.peer.ip() == host,
                "{protocol}: appears as {}",
                reply.peer
            );
            let reply = probe(&world.lan_scope(), protocol, (host, 8080).into(), 2000)?;
            ensure!(
                reply.peer.ip() == lan,
                "{protocol}: appears as {}",
                reply.peer
            );
        }
        ensure!(web.ping(lan)?, "no echo from {lan}");
    }
    Ok(())
}

/// A tagged frame is its VLAN's: one for a VLAN that the host is not on is nobody's.
#[test]
fn c12_tagged_frames_are_no_concern_of_the_untagged_link() -> Outcome {
    let site = Site::new(Kind::Netd, &Setup::default())?;
    for ends in site.ends() {
        let outside = site.map(
            Transport::Udp,
            &site.a,
            (ends.a, 20_001),
            (ends.lan, 20_100),
        )?;
        let answer = |tag: &[u8]| -> anyhow::Result<bool> {
            let packet = site.packet(Transport::Udp, (ends.lan, 20_100), outside);
            let mut frame = site.lan.frame(&packet);
            frame.splice(12..12, tag.iter().copied());
            site.lan.send_frame(&frame)?;
            site.fence(&site.a)?;
            Ok(site.a.find(|seen| mark(seen) == mark(&packet))?.is_some())
        };
        ensure!(answer(&[])?, "the untagged answer does not enter");
        ensure!(!answer(&[0x81, 0, 0, 42])?, "a tagged answer enters");
        ensure!(
            !answer(&[0x88, 0xa8, 0, 42])?,
            "a service-tagged answer enters"
        );
        // A priority without a VLAN: the kernel goes on with it as with an untagged one.
        for tag in [[0x81, 0, 0, 0], [0x81, 0, 0xe0, 0]] {
            ensure!(answer(&tag)?, "an answer with {tag:x?} does not enter");
        }
    }
    Ok(())
}
