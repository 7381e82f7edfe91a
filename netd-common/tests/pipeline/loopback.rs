//! Processes of the host and published ports, by the loopback device.

use netd_common::{
    abi::{HostAddress, LOCAL},
    addr::Addr,
    drop_reason::DropReason,
    packet::protocol::{TCP, UDP},
    verdict::Verdict,
};

use crate::{memory::Bytes, world::*};

fn localhost(v4: bool) -> Addr {
    if v4 {
        Addr::LOCALHOST_V4
    } else {
        Addr::LOCALHOST_V6
    }
}

/// Port 8080 of all addresses leads to 80 of endpoint 2 of network 1.
fn published(protocol: u8, v4: bool) -> World {
    let mut world = World::new();
    let all = if v4 {
        Addr::UNSPECIFIED_V4
    } else {
        Addr::UNSPECIFIED
    };
    world.publish(all, protocol, 8080, (1, 2, 80));
    world
}

/// Asks, and takes the answer back; gives whom the endpoint saw.
fn exchange(world: &mut World, protocol: u8, client: End, asked: End) -> End {
    let server = (inside(client.0.is_v4(), 1, 2), 80);
    let mut p = first(protocol, client, asked);
    assert_eq!(world.loops(&mut p), peer(1, 2));
    let (seen, to) = ends(&p);
    assert_eq!(to, server);
    let mut p = packet(protocol, server, seen, SYN | ACK, b"answer");
    assert_eq!(world.sends(1, 2, &mut p), process(1, client.0));
    assert_eq!(ends(&p), (asked, client));
    // It comes by again, and is let through.
    assert_eq!(world.loops(&mut p), Ok(Verdict::Pass));
    let mut p = packet(protocol, client, asked, ACK, b"more");
    assert_eq!(world.loops(&mut p), peer(1, 2));
    assert_eq!(ends(&p), (seen, server));
    seen
}

#[test]
fn c04_loopback_sources_become_the_gateway() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = published(protocol, v4);
            let mut others = vec![localhost(v4)];
            if v4 {
                others.push(Addr::from_v4_bytes([127, 9, 9, 9]));
            }
            for (at, client) in others.into_iter().enumerate() {
                let client = (client, 1000 + at as u16);
                for asked in [localhost(v4), host(v4), inside(v4, 2, 1)] {
                    let seen = exchange(&mut world, protocol, client, (asked, 8080));
                    assert_eq!(seen.0, inside(v4, 1, 1));
                    assert!(seen.1 >= 61000, "a port that the host gives to nobody");
                }
            }
        }
    }
}

#[test]
fn c04_the_host_s_own_addresses_stay() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = published(protocol, v4);
            let client = (host(v4), 1000);
            let seen = exchange(&mut world, protocol, client, (host(v4), 8080));
            assert_eq!(seen, client);
            // The same socket by another way: told apart.
            let seen = exchange(&mut world, protocol, client, (localhost(v4), 8080));
            assert!(seen.0 == client.0 && seen.1 >= 61000);
            // From there the host's processes speak with endpoints directly.
            let gateway = (inside(v4, 1, 1), 1000);
            let seen = exchange(&mut world, protocol, gateway, (host(v4), 8080));
            assert!(seen.0 == gateway.0 && seen.1 >= 61000);
        }
    }
}

#[test]
fn c12_what_is_not_published_passes() {
    for v4 in FAMILIES {
        for (protocol, other) in [(TCP, UDP), (UDP, TCP)] {
            let mut world = published(protocol, v4);
            let me = (localhost(v4), 1000);
            let mut passes = |p: Bytes| {
                let mut now = p.clone();
                assert_eq!(world.loops(&mut now), Ok(Verdict::Pass));
                assert_eq!(now.0, p.0);
            };
            passes(first(protocol, me, (localhost(v4), 8081)));
            passes(first(other, me, (localhost(v4), 8080)));
            passes(first(protocol, me, (lan(v4), 8080)));
            passes(echo(me.0, me.0, 7, true));
            passes(first(protocol, (me.0, 8080), (me.0, 8080)));
            if v4 {
                let resolver = Addr::from_v4_bytes([127, 0, 0, 53]);
                passes(first(protocol, me, (resolver, 8080)));
            } else {
                let link_local = Addr::from_words([0xfe80_0000_u32.to_be(), 0, 0, 7]);
                let held = HostAddress::default();
                world.maps.hosts.insert(link_local, held);
                let mut p = first(protocol, (link_local, 1000), (link_local, 8080));
                assert_eq!(world.loops(&mut p), Ok(Verdict::Pass));
            }
            if protocol == TCP {
                let mut p = packet(TCP, me, (localhost(v4), 8080), ACK, b"");
                assert_eq!(world.loops(&mut p), Ok(Verdict::Pass));
            }
        }
    }
}

/// Nothing from outside gets into a flow of the host's own.
#[test]
fn c12_forged_sources_meet_no_flow() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = published(protocol, v4);
            for client in [(localhost(v4), 1000), (host(v4), 1001)] {
                let asked = (client.0, 8080);
                exchange(&mut world, protocol, client, asked);
                let keys: Vec<u32> = world
                    .maps
                    .flows
                    .borrow()
                    .keys()
                    .map(|k| k.endpoint)
                    .collect();
                assert!(keys.contains(&LOCAL) && !keys.contains(&0));
                let mut p = packet(protocol, client, asked, ACK, b"forged");
                let got = world.arrives(&mut p);
                assert!(
                    matches!(got, Ok(Verdict::Pass) | Err(DropReason::SpoofedAddress)),
                    "{got:?}"
                );
            }
        }
    }
}

/// As at a port where nobody listens.
#[test]
fn c12_without_its_endpoint_or_a_gateway() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            let me = (localhost(v4), 1000);
            let mut world = published(protocol, v4);
            world.remove(1, 2);
            let mut p = first(protocol, me, (me.0, 8080));
            assert_eq!(world.loops(&mut p), Ok(Verdict::Pass));
            let mut world = published(protocol, v4);
            let network = world.maps.networks.entry(1).or_default();
            network.gateway_v4 = Addr::UNSPECIFIED;
            network.gateway_v6 = Addr::UNSPECIFIED;
            let mut p = first(protocol, me, (me.0, 8080));
            assert_eq!(world.loops(&mut p), Ok(Verdict::Pass));
        }
    }
}
