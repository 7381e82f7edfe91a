//! Endpoints reached at their own addresses: gateway modes and trusted uplinks.

use netd_common::{
    abi::network_flags::*, addr::Addr, drop_reason::DropReason, packet::protocol, verdict::Verdict,
};

use crate::{memory::Bytes, world::*};

const UNPROTECTED: u32 = UNPROTECTED_V4 | UNPROTECTED_V6;
const ROUTED: u32 = ROUTED_V4 | ROUTED_V6;

fn with(flags: u32) -> World {
    let mut world = World::new();
    world.maps.networks.get_mut(&1).unwrap().flags |= flags;
    world
}

/// Opens the endpoint's port 80 at its own address.
fn open(world: &mut World, protocol: u8, v4: bool) {
    world.publish(inside(v4, 1, 2), protocol, 80, (1, 2, 80));
}

/// The bytes of a packet after one hop without translation, with the Ethernet header of its new link.
fn hopped(mut p: Bytes) -> Bytes {
    p.0[..6].copy_from_slice(&mac(1, 2));
    p.0[6..12].copy_from_slice(&mac(1, 1));
    if p.0[12..14] == [8, 0] {
        p.0[22] -= 1;
        let sum = u16::from_be_bytes([p.0[24], p.0[25]]) + 0x100;
        p.0[24..26].copy_from_slice(&sum.to_be_bytes());
    } else {
        p.0[21] -= 1;
    }
    p
}

/// A conversation from the LAN with the endpoint's own address, both ways, with nothing but the hop changed.
fn speaks(world: &mut World, protocol: u8, v4: bool, port: u16) {
    let (client, server) = ((lan(v4), 1000), (inside(v4, 1, 2), port));
    let sent = first(protocol, client, server);
    let mut p = sent.clone();
    assert_eq!(world.arrives(&mut p), peer(1, 2), "{protocol} {v4}");
    assert_eq!(p, hopped(sent));
    let mut p = packet(protocol, server, client, SYN | ACK, b"");
    assert_eq!(world.sends(1, 2, &mut p), outside(lan(v4)));
    assert_eq!(
        ends(&p),
        (server, client),
        "its own source, masquerading or not"
    );
    let mut p = packet(protocol, client, server, ACK, b"more");
    assert_eq!(world.arrives(&mut p), peer(1, 2));
}

fn refused(world: &mut World, protocol: u8, v4: bool, port: u16, why: DropReason) {
    let mut p = first(protocol, (lan(v4), 1000), (inside(v4, 1, 2), port));
    assert_eq!(world.arrives(&mut p), Err(why), "{protocol} {v4}");
}

#[test]
fn unprotected_networks_let_everything_in() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            speaks(&mut with(UNPROTECTED), protocol, v4, 4711);
        }
        let mut world = with(UNPROTECTED);
        let mut p = echo(lan(v4), inside(v4, 1, 2), 7, true);
        assert_eq!(world.arrives(&mut p), peer(1, 2));
        let mut p = echo(inside(v4, 1, 2), lan(v4), 7, false);
        assert_eq!(world.sends(1, 2, &mut p), outside(lan(v4)));
        assert_eq!(ends(&p).0.0, inside(v4, 1, 2));
        // A protocol without ports (GRE).
        let mut p = first(protocol::UDP, (lan(v4), 0), (inside(v4, 1, 2), 0));
        p.0[if v4 { 23 } else { 20 }] = 47;
        assert_eq!(world.arrives(&mut p), peer(1, 2));
    }
}

#[test]
fn each_family_has_its_own_mode() {
    for v4 in FAMILIES {
        let flags = if v4 { UNPROTECTED_V6 } else { UNPROTECTED_V4 };
        for protocol in PROTOCOLS {
            refused(&mut with(flags), protocol, v4, 80, DropReason::NotPublished);
            let mut world = with(if v4 { ROUTED_V6 } else { ROUTED_V4 });
            open(&mut world, protocol, v4);
            refused(&mut world, protocol, v4, 80, DropReason::NotPublished);
        }
    }
}

#[test]
fn routed_networks_let_open_ports_and_echo_in() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = with(ROUTED);
            open(&mut world, protocol, v4);
            speaks(&mut world, protocol, v4, 80);
            refused(&mut world, protocol, v4, 81, DropReason::NotPublished);
            // A port published at all the host's addresses is not open at the endpoint's own.
            let all = if v4 {
                Addr::UNSPECIFIED_V4
            } else {
                Addr::UNSPECIFIED
            };
            world.publish(all, protocol, 82, (1, 2, 82));
            refused(&mut world, protocol, v4, 82, DropReason::NotPublished);
        }
        let mut p = echo(lan(v4), inside(v4, 1, 2), 7, true);
        assert_eq!(with(ROUTED).arrives(&mut p), peer(1, 2));
        let mut p = echo(lan(v4), inside(v4, 1, 2), 7, false);
        assert_eq!(with(ROUTED).arrives(&mut p), Err(DropReason::NoFlow));
    }
}

#[test]
fn trusted_uplinks_reach_open_ports_only() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = with(0);
            open(&mut world, protocol, v4);
            refused(&mut world, protocol, v4, 80, DropReason::NotPublished);
            world.maps.trusted.insert((1, UPLINK + 1));
            world.maps.trusted.insert((2, UPLINK));
            refused(&mut world, protocol, v4, 80, DropReason::NotPublished);
            world.maps.trusted.insert((1, UPLINK));
            speaks(&mut world, protocol, v4, 80);
            refused(&mut world, protocol, v4, 81, DropReason::NotPublished);
            let mut p = echo(lan(v4), inside(v4, 1, 2), 7, true);
            assert_eq!(world.arrives(&mut p), Err(DropReason::NotPublished));
        }
    }
}

#[test]
fn internal_networks_stay_closed_in_every_mode() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = with(INTERNAL | UNPROTECTED | ROUTED);
            open(&mut world, protocol, v4);
            world.maps.trusted.insert((1, UPLINK));
            refused(&mut world, protocol, v4, 80, DropReason::Internal);
        }
    }
}

#[test]
fn forged_sources_stay_outside() {
    for v4 in FAMILIES {
        let mut forged = vec![host(v4), inside(v4, 2, 2), inside(v4, 1, 3)];
        forged.push(if v4 {
            Addr::LOCALHOST_V4
        } else {
            Addr::LOCALHOST_V6
        });
        if !v4 {
            forged.push("fe80::1".parse::<std::net::Ipv6Addr>().unwrap().into());
        }
        for source in forged {
            for protocol in PROTOCOLS {
                let mut world = with(UNPROTECTED);
                let mut p = first(protocol, (source, 1000), (inside(v4, 1, 2), 80));
                let verdict = world.arrives(&mut p);
                assert_eq!(verdict, Err(DropReason::SpoofedAddress));
            }
        }
    }
}

#[test]
fn nothing_comes_from_nowhere() {
    for v4 in FAMILIES {
        let mut world = with(UNPROTECTED);
        let mut p = packet(6, (lan(v4), 1000), (inside(v4, 1, 2), 80), ACK, b"");
        assert_eq!(world.arrives(&mut p), Err(DropReason::NoFlow));
        let mut p = first(17, (lan(v4), 1000), (inside(v4, 1, 9), 80));
        assert_eq!(world.arrives(&mut p), Err(DropReason::NoEndpoint));
    }
}

/// Other networks' endpoints are outside too, but not that outside.
#[test]
fn networks_stay_apart_in_every_mode() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = with(UNPROTECTED | ROUTED);
            open(&mut world, protocol, v4);
            let mut p = first(protocol, (inside(v4, 2, 2), 1000), (inside(v4, 1, 2), 80));
            assert_eq!(world.sends(2, 2, &mut p), Err(DropReason::Isolated));
        }
    }
}

/// The engine leaves the masquerade flags out where endpoints keep their addresses.
#[test]
fn what_a_routed_endpoint_sends_keeps_its_source() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = with(ROUTED);
            world.flags = ROUTED;
            let (me, there) = ((inside(v4, 1, 2), 1000), (lan(v4), 80));
            let mut p = first(protocol, me, there);
            assert_eq!(world.sends(1, 2, &mut p), outside(lan(v4)));
            assert_eq!(ends(&p), (me, there));
            let mut p = packet(protocol, there, me, SYN | ACK, b"");
            assert_eq!(world.arrives(&mut p), peer(1, 2));
            let mut p = packet(protocol, there, (me.0, 1001), ACK, b"");
            assert!(world.arrives(&mut p).is_err());
        }
    }
}

#[test]
fn a_packet_too_large_or_too_old_does_not_get_in() {
    for v4 in FAMILIES {
        let mut world = with(UNPROTECTED);
        let mut p = packet(17, (lan(v4), 1), (inside(v4, 1, 2), 2), 0, &[0; 1480]);
        assert_eq!(
            world.arrives(&mut p),
            Ok(Verdict::Back(UPLINK, DropReason::TooBig))
        );
        let mut p = first(17, (lan(v4), 1), (inside(v4, 1, 2), 2));
        p.0[if v4 { 22 } else { 21 }] = 1;
        let back = Ok(Verdict::Back(UPLINK, DropReason::TtlExceeded));
        assert_eq!(world.arrives(&mut p), back);
        let mut p = first(17, (lan(v4), 1), (host(v4), 2));
        assert_eq!(world.arrives(&mut p), Ok(Verdict::Pass));
    }
}
