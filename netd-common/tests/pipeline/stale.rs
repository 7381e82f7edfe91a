//! Flows whose endpoint is gone count as none: nobody inherits them, and nobody is kept out by them.

use netd_common::{
    abi::HostAddress,
    addr::Addr,
    drop_reason::DropReason,
    packet::{protocol, tcp},
    verdict::Verdict,
};

use crate::world::*;

const PORT: u16 = 8080;

/// Network 1's endpoint 2 has the published port; a client on the LAN spoke to it.
fn spoken_to(protocol: u8, v4: bool) -> World {
    let mut world = World::new();
    world.publish(host(v4), protocol, PORT, (1, 2, 80));
    let mut p = first(protocol, (lan(v4), 1000), (host(v4), PORT));
    assert_eq!(world.arrives(&mut p), peer(1, 2));
    world
}

/// C08: the next datagram of an old flow reaches the container that took the port over.
#[test]
fn c08_a_flow_of_a_replaced_container_reaches_the_new_one() {
    for protocol in PROTOCOLS {
        for v4 in FAMILIES {
            let mut world = spoken_to(protocol, v4);
            world.remove(1, 2);
            world.publish(host(v4), protocol, PORT, (2, 3, 80));
            let client = (lan(v4), 1000);
            let mut p = first(protocol, client, (host(v4), PORT));
            assert_eq!(world.arrives(&mut p), peer(2, 3));
            assert_eq!(ends(&p), (client, (inside(v4, 2, 3), 80)));
            let mut p = packet(protocol, (inside(v4, 2, 3), 80), client, ACK, b"x");
            assert_eq!(world.sends(2, 3, &mut p), outside(lan(v4)));
            assert_eq!(ends(&p), ((host(v4), PORT), client));
            assert_eq!(
                world.maps.flows.borrow().len(),
                2,
                "the dead entries are gone"
            );
        }
    }
}

/// Whoever gets the address next gets none of the old packets, nor is it kept from the same ports.
#[test]
fn an_address_used_again_inherits_nothing() {
    for protocol in PROTOCOLS {
        for v4 in FAMILIES {
            let mut world = spoken_to(protocol, v4);
            let client = (lan(v4), 1000);
            world.maps.publications.clear();
            world.place(1, 2, 77);
            let mut p = packet(protocol, client, (host(v4), PORT), ACK, b"x");
            assert_eq!(world.arrives(&mut p), Ok(Verdict::Pass));
            assert!(
                world.maps.flows.borrow().is_empty(),
                "gone with the first packet"
            );
            // Its own packets are not the old one's answers: they begin a flow or are refused.
            let mut p = packet(protocol, (inside(v4, 1, 2), 80), client, SYN | ACK, b"x");
            let sent = world.sends_as(1, 2, 77, &mut p);
            if protocol == protocol::TCP {
                assert_eq!(sent, Err(DropReason::NoFlow));
            } else {
                assert_eq!(sent, outside(lan(v4)));
                assert_ne!(ends(&p).0, (host(v4), PORT));
            }
        }
    }
}

/// The same for what a container sent to a published port of another network.
#[test]
fn a_hairpin_flow_follows_the_port() {
    for protocol in PROTOCOLS {
        for v4 in FAMILIES {
            let mut world = World::new();
            world.publish(host(v4), protocol, PORT, (1, 2, 80));
            let client = (inside(v4, 2, 2), 1000);
            let mut p = first(protocol, client, (host(v4), PORT));
            assert_eq!(world.sends(2, 2, &mut p), peer(1, 2));
            world.remove(1, 2);
            world.publish(host(v4), protocol, PORT, (1, 3, 80));
            let mut p = first(protocol, client, (host(v4), PORT));
            assert_eq!(world.sends(2, 2, &mut p), peer(1, 3));
            assert_eq!(ends(&p), (client, (inside(v4, 1, 3), 80)));
            // And when the publication is gone too, it is the host's.
            world.remove(1, 3);
            world.maps.publications.clear();
            let mut p = first(protocol, client, (host(v4), PORT));
            assert_eq!(
                world.sends(2, 2, &mut p),
                Ok(Verdict::Ingress(gateway_ifindex(2)))
            );
        }
    }
}

/// A dead answers' entry under the key that a new flow needs is written over.
#[test]
fn a_dead_entry_is_no_conflict() {
    for protocol in PROTOCOLS {
        for v4 in FAMILIES {
            let mut world = World::new();
            world.publish(host(v4), protocol, PORT, (1, 2, 80));
            let client = (inside(v4, 2, 2), 1000);
            let mut p = first(protocol, client, (host(v4), PORT));
            assert_eq!(world.sends(2, 2, &mut p), peer(1, 2));
            world.place(2, 2, 78);
            let mut p = first(protocol, client, (host(v4), PORT));
            assert_eq!(world.sends_as(2, 2, 78, &mut p), peer(1, 2));
            let mut p = packet(protocol, (inside(v4, 1, 2), 80), client, SYN | ACK, b"x");
            assert_eq!(world.sends(1, 2, &mut p), Ok(Verdict::Peer(88)));
            assert_eq!(ends(&p), ((host(v4), PORT), client));
        }
    }
}

/// A publication whose endpoint is not there (yet) begins no flow.
#[test]
fn a_publication_without_its_endpoint_makes_no_flow() {
    let mut world = World::new();
    world.publish(Addr::UNSPECIFIED_V4, protocol::UDP, PORT, (1, 2, 80));
    world.remove(1, 2);
    let mut p = first(protocol::UDP, (lan(true), 1), (host(true), PORT));
    assert_eq!(world.arrives(&mut p), Err(DropReason::StaleTarget));
    assert!(world.maps.flows.borrow().is_empty());
}

/// C11: an address that was somewhere else becomes the host's, and its port is published.
#[test]
fn c11_a_destination_that_becomes_the_host_s() {
    for v4 in FAMILIES {
        let mut world = World::new();
        let client = (inside(v4, 1, 2), 1000);
        let datagram = || first(protocol::UDP, client, (lan(v4), PORT));
        assert_eq!(world.sends(1, 2, &mut datagram()), outside(lan(v4)));
        world.maps.hosts.insert(lan(v4), HostAddress::default());
        world.publish(lan(v4), protocol::UDP, PORT, (2, 3, 80));
        world.maps.settings.generation += 1;
        let mut p = datagram();
        assert_eq!(world.sends(1, 2, &mut p), peer(2, 3));
        assert_eq!(ends(&p).1, (inside(v4, 2, 3), 80));
    }
}

/// The reverse: an address by whose published port two containers speak is the host's no more.
#[test]
fn c11_a_hairpin_flow_ends_with_the_host_s_address() {
    for v4 in FAMILIES {
        let mut world = World::new();
        world.publish(host(v4), protocol::UDP, PORT, (1, 2, 80));
        let client = (inside(v4, 2, 2), 1000);
        let datagram = || first(protocol::UDP, client, (host(v4), PORT));
        assert_eq!(world.sends(2, 2, &mut datagram()), peer(1, 2));
        // Another change leaves it as it is.
        world.maps.settings.generation += 1;
        assert_eq!(world.sends(2, 2, &mut datagram()), peer(1, 2));
        world.maps.settings.generation += 1;
        world.maps.hosts.remove(&host(v4));
        world.maps.sources.insert(lan(v4));
        world.maps.sources.remove(&host(v4));
        let mut p = datagram();
        assert_eq!(world.sends(2, 2, &mut p), outside(host(v4)));
        assert_eq!(ends(&p).0.0, lan(v4));
    }
}

/// RFC 5961: a forged ACK in a handshake is answered with a RST by the endpoint's kernel, and the connection comes about.
#[test]
fn c09_a_reset_of_what_was_forged_closes_nothing() {
    for v4 in FAMILIES {
        let mut world = World::new();
        let (client, server) = ((lan(v4), 1000), (inside(v4, 1, 2), 80));
        world.publish(host(v4), protocol::TCP, PORT, (1, 2, 80));
        let l4 = if v4 { 34 } else { 54 };
        let segment = |from, to, flags, seq: u32, ack: u32, data: &[u8]| {
            let mut p = packet(protocol::TCP, from, to, ACK, data);
            p.0[l4 + 13] = flags;
            p.0[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
            p.0[l4 + 8..l4 + 12].copy_from_slice(&ack.to_be_bytes());
            p
        };
        let to = (host(v4), PORT);
        let arrives = |world: &mut World, flags, seq, ack, data: &[u8]| {
            world.arrives(&mut segment(client, to, flags, seq, ack, data))
        };
        let sends = |world: &mut World, flags, seq, ack| {
            world.sends(1, 2, &mut segment(server, client, flags, seq, ack, b""))
        };
        assert_eq!(arrives(&mut world, SYN, 100, 0, b""), peer(1, 2));
        assert_eq!(sends(&mut world, SYN | ACK, 500, 101), outside(lan(v4)));
        assert_eq!(arrives(&mut world, ACK, 101, 9999, b""), peer(1, 2));
        assert_eq!(sends(&mut world, tcp::RST, 9999, 0), outside(lan(v4)));
        assert_eq!(arrives(&mut world, ACK, 101, 501, b""), peer(1, 2));
        // From outside, with a number that nobody waits for.
        assert_eq!(arrives(&mut world, tcp::RST, 7777, 0, b""), peer(1, 2));
        let minute = world.maps.now.get() + 60_000_000_000;
        world.maps.now.set(minute);
        assert_eq!(arrives(&mut world, ACK, 101, 501, b"late"), peer(1, 2));
        // Its own reset does.
        assert_eq!(sends(&mut world, tcp::RST, 501, 0), outside(lan(v4)));
        world.maps.now.set(minute + 20_000_000_000);
        assert_eq!(
            arrives(&mut world, ACK, 105, 501, b"late"),
            Ok(Verdict::Pass)
        );
    }
}
