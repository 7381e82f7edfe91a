//! The way to a sandbox's resolver on its loopback device.

use netd_common::{
    addr::Addr,
    packet::protocol::{TCP, UDP},
    resolver::{ADDRESS, PORT, SOCKETS, redirect},
};

use crate::{memory::Bytes, world::*};

const OWN: [u8; 4] = [127, 0, 0, 1];

/// What becomes of a packet between two ends; every checksum must be right.
fn led(protocol: u8, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> (u16, u16) {
    let end = |(address, port)| (Addr::from_v4_bytes(address), port);
    let mut p = first(protocol, end(from), end(to));
    redirect(&mut p);
    let ((src, sport), (dst, dport)) = ends(&p);
    assert_eq!((src, dst), (end(from).0, end(to).0));
    (sport, dport)
}

#[test]
fn questions_and_answers_are_led() {
    for protocol in [TCP, UDP] {
        let there = led(protocol, (OWN, 4000), (ADDRESS, PORT));
        assert_eq!(there, (4000, SOCKETS));
        let back = led(protocol, (ADDRESS, SOCKETS), (OWN, 4000));
        assert_eq!(back, (PORT, 4000));
        // A client that is bound to the resolver's address itself.
        let own = led(protocol, (ADDRESS, 4000), (ADDRESS, PORT));
        assert_eq!(own, (4000, SOCKETS));
        let own = led(protocol, (ADDRESS, SOCKETS), (ADDRESS, 4000));
        assert_eq!(own, (PORT, 4000));
    }
}

#[test]
fn all_else_stays() {
    for protocol in [TCP, UDP] {
        for (from, to) in [
            ((OWN, 4000), (OWN, PORT)),
            ((OWN, 4000), (ADDRESS, 54)),
            ((OWN, SOCKETS), (OWN, PORT)),
            ((ADDRESS, PORT), (OWN, 4000)),
            (([10, 0, 0, 2], 4000), ([10, 0, 0, 3], PORT)),
        ] {
            assert_eq!(led(protocol, from, to), (from.1, to.1));
        }
    }
    let v6 = (inside(false, 1, 2), 4000);
    for whole in [
        first(UDP, v6, (inside(false, 1, 3), PORT)),
        echo(
            Addr::from_v4_bytes(OWN),
            Addr::from_v4_bytes(ADDRESS),
            53,
            true,
        ),
        Bytes(vec![0; 20], 0),
        Bytes(Vec::new(), 0),
    ] {
        let mut p = whole.clone();
        assert_eq!(redirect(&mut p), None);
        assert_eq!(p.0, whole.0);
    }
    // A later fragment has no ports.
    let mut p = first(
        UDP,
        (Addr::from_v4_bytes(OWN), 1),
        (Addr::from_v4_bytes(ADDRESS), PORT),
    );
    p.0[21] = 1;
    assert_eq!(redirect(&mut p), None);
}
