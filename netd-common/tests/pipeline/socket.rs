//! Sockets of host processes: binds.

use netd_common::{
    addr::{Addr, Be16},
    packet::protocol::{TCP, UDP},
    socket::is_taken,
};

use crate::world::*;

#[test]
fn published_ports_are_taken() {
    for v4 in FAMILIES {
        for (protocol, other) in [(TCP, UDP), (UDP, TCP)] {
            let (all, loopback) = if v4 {
                (Addr::UNSPECIFIED_V4, Addr::LOCALHOST_V4)
            } else {
                (Addr::UNSPECIFIED, Addr::LOCALHOST_V6)
            };
            let mut world = World::new();
            world.publish(host(v4), protocol, 8080, (1, 2, 80));
            world.publish(all, protocol, 8081, (1, 2, 81));
            world.publish(inside(v4, 1, 2), protocol, 80, (1, 2, 80));
            let taken = |addr, port| is_taken(&world.maps, addr, Be16::new(port), protocol);
            assert!(taken(host(v4), 8080));
            assert!(!taken(loopback, 8080) && !taken(inside(v4, 1, 1), 8080));
            for addr in [host(v4), all, loopback, inside(v4, 1, 1)] {
                assert!(taken(addr, 8081));
                assert!(!taken(addr, 0) && !taken(addr, 8082) && !taken(addr, 80));
                assert!(!is_taken(&world.maps, addr, Be16::new(8081), other));
            }
            if v4 {
                // Published on all addresses, another one of loopback is the host's own; by itself it is taken.
                let other = Addr::from_v4_bytes([127, 0, 0, 53]);
                world.publish(other, protocol, 8083, (1, 2, 83));
                let taken = |addr, port| is_taken(&world.maps, addr, Be16::new(port), protocol);
                assert!(!taken(other, 8081) && taken(other, 8083));
            }
            let taken = |addr, port| is_taken(&world.maps, addr, Be16::new(port), protocol);
            // Not an address of the host.
            assert!(!taken(inside(v4, 1, 2), 80) && !taken(lan(v4), 8081));
        }
    }
}
