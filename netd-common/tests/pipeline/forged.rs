//! X07: packets from outside to the host itself with a source in a network's subnet.

use netd_common::{
    abi::network_flags::*, drop_reason::DropReason, packet::protocol, verdict::Verdict,
};

use crate::world::*;

const MASQUERADE: u32 = MASQUERADE_V4 | MASQUERADE_V6;

fn with(flags: u32) -> World {
    let mut world = World::new();
    for network in world.maps.networks.values_mut() {
        network.flags = flags;
    }
    world
}

/// What becomes of a packet from an address of network 1 to a port of the host's own.
fn asked(world: &mut World, protocol: u8, v4: bool, last: u8) -> Result<Verdict, DropReason> {
    let mut p = first(protocol, (inside(v4, 1, last), 1000), (host(v4), 22));
    world.arrives(&mut p)
}

#[test]
fn x07_a_container_s_address_from_outside() {
    for v4 in [true, false] {
        for number in [protocol::TCP, protocol::UDP] {
            // An endpoint's, nobody's.
            for last in [2, 77] {
                let forged = Err(DropReason::SpoofedAddress);
                for flags in [MASQUERADE, INTERNAL] {
                    assert_eq!(asked(&mut with(flags), number, v4, last), forged);
                }
                // The other family's way out says nothing of this one.
                let other = if v4 { ROUTED_V6 } else { ROUTED_V4 };
                assert_eq!(
                    asked(&mut with(MASQUERADE | other), number, v4, last),
                    forged
                );
                // Known outside, so it may come back by a router.
                let own = if v4 { ROUTED_V4 } else { ROUTED_V6 };
                let bare = if v4 { UNPROTECTED_V4 } else { UNPROTECTED_V6 };
                for flags in [0, MASQUERADE | own, MASQUERADE | bare] {
                    assert_eq!(asked(&mut with(flags), number, v4, last), Ok(Verdict::Pass));
                }
                // The host has neighbours there.
                let mut world = with(MASQUERADE);
                world.maps.outside.insert(inside(v4, 1, last));
                assert_eq!(asked(&mut world, number, v4, last), Ok(Verdict::Pass));
            }
            let mut p = first(number, (lan(v4), 1000), (host(v4), 22));
            assert_eq!(with(MASQUERADE).arrives(&mut p), Ok(Verdict::Pass));
        }
        let mut p = echo(inside(v4, 1, 2), host(v4), 7, true);
        assert_eq!(
            with(MASQUERADE).arrives(&mut p),
            Err(DropReason::SpoofedAddress)
        );
    }
}
