//! C10: more short exchanges than there is room for at once.

use netd_common::packet::protocol;

use crate::world::{FAMILIES, World, ends, first, inside, lan, outside};

/// Exchanges per second, in a share of 8,192 flows.
const RATE: u64 = 50_000;

#[test]
fn c10_exchanges_of_one_endpoint_at_a_high_rate() {
    for v4 in FAMILIES {
        let mut world = World::new();
        let settings = &mut world.maps.settings;
        settings.flows = 32_768;
        settings.flows_per_endpoint = 16_384;
        settings.ports_per_endpoint = 8192;
        (settings.pool_first, settings.pool_last) = (49_152, 65_535);
        let mut port = 0_u32;
        for number in 0..12_000 {
            // As a kernel does, which takes one of 28,232 that is not in use.
            port = (port + 7919) % 28_232;
            let from = (inside(v4, 1, 2), 32_768 + port as u16);
            let mut p = first(protocol::UDP, from, (lan(v4), 2000));
            assert_eq!(
                world.sends(1, 2, &mut p),
                outside(lan(v4)),
                "exchange {number}"
            );
            let (own, to) = ends(&p);
            let mut p = first(protocol::UDP, to, own);
            assert!(world.arrives(&mut p).is_ok());
            let now = world.maps.now.get();
            world.maps.now.set(now + 1_000_000_000 / RATE);
        }
    }
}

/// X04: two endpoints that take all they may leave room to the others.
#[test]
fn x04_two_greedy_endpoints_leave_room() {
    let mut world = World::new();
    let settings = &mut world.maps.settings;
    settings.flows = 4096;
    settings.flows_per_endpoint = 2048;
    settings.ports_per_endpoint = 8192;
    (settings.pool_first, settings.pool_last) = (49_152, 65_535);
    let to = (lan(true), 2000);
    for number in 0..20_000_u16 {
        for greedy in [(1, 2), (2, 2)] {
            let from = (inside(true, greedy.0, greedy.1), 10_000 + number);
            // It may be refused.
            let _ = world.sends(greedy.0, greedy.1, &mut first(protocol::UDP, from, to));
        }
        if number % 10 == 0 {
            for other in [(1, 3), (2, 3)] {
                let from = (inside(true, other.0, other.1), 10_000 + number);
                let mut p = first(protocol::UDP, from, to);
                let sent = world.sends(other.0, other.1, &mut p);
                assert_eq!(sent, outside(lan(true)), "exchange {number}");
                let (own, to) = ends(&p);
                assert!(world.arrives(&mut first(protocol::UDP, to, own)).is_ok());
            }
        }
        let now = world.maps.now.get();
        world.maps.now.set(now + 1_000_000_000 / 20_000);
    }
}
