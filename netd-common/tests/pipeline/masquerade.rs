//! What containers send out, and that nothing else gets in.

use netd_common::{
    drop_reason::DropReason,
    packet::protocol,
    uplink,
    verdict::{Next, Verdict},
    work::Work,
};
use proptest::prelude::*;

use crate::{memory::Bytes, world::*};

proptest! {
    /// D05: out with the host's address and valid checksums, the answer back to the endpoint; one port for all
    /// destinations (RFC 4787 REQ-1).
    #[test]
    fn d05_masquerade_there_and_back(
        v4: bool,
        tcp: bool,
        sport in 1u16..,
        dport in 1u16..,
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let protocol = if tcp { protocol::TCP } else { protocol::UDP };
        let mut world = World::new();
        let (me, there) = ((inside(v4, 1, 2), sport), (lan(v4), dport));
        let mut out = packet(protocol, me, there, SYN, &payload);
        prop_assert_eq!(world.sends(1, 2, &mut out), outside(lan(v4)));
        let (from, to) = ends(&out);
        prop_assert_eq!((from.0, to), (host(v4), there));
        prop_assert!((50000..=50999).contains(&from.1));

        let other = (inside(v4, 3, 77), dport);
        let mut p = packet(protocol, me, other, SYN, &payload);
        prop_assert_eq!(world.sends(1, 2, &mut p), outside(other.0));
        prop_assert_eq!(ends(&p), (from, other));

        let mut back = packet(protocol, there, from, SYN | ACK, &payload);
        prop_assert_eq!(world.arrives(&mut back), peer(1, 2));
        prop_assert_eq!(ends(&back), (there, me));
    }

    /// X07, and that nothing panics whatever bytes come.
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let world = World::new();
        let mut work = Work::default();
        let device = world.device(1, 2, number(1, 2));
        let verdict = netd_common::container::from_container(
            &mut Bytes(bytes.clone(), 0), &world.maps, 22, &device, &mut work);
        prop_assert!(verdict.next == Next::Drop || bytes[6..12] == mac(1, 2));
        for v4 in FAMILIES {
            let _ = uplink::from_uplink(&mut Bytes(bytes.clone(), 0), &world.maps, UPLINK, 14, v4, &mut work);
        }
    }
}

#[test]
fn d05_echo_there_and_back() {
    for v4 in FAMILIES {
        let mut world = World::new();
        let mut out = echo(inside(v4, 1, 2), lan(v4), 7, true);
        assert_eq!(world.sends(1, 2, &mut out), outside(lan(v4)));
        assert_eq!(ends(&out).0.0, host(v4));
        let l4 = if v4 { 34 } else { 54 };
        let id = u16::from_be_bytes([out.0[l4 + 4], out.0[l4 + 5]]);
        let mut back = echo(lan(v4), host(v4), id, false);
        assert_eq!(world.arrives(&mut back), peer(1, 2));
        assert_eq!(ends(&back), ((lan(v4), 0), (inside(v4, 1, 2), 0)));
        assert_eq!(back.0[l4 + 4..l4 + 6], [0, 7]);
    }
}

#[test]
fn x07_forged_sources_are_dropped() {
    for v4 in FAMILIES {
        let mut p = first(protocol::UDP, (inside(v4, 1, 9), 1), (lan(v4), 2));
        let verdict = World::new().sends(1, 2, &mut p);
        assert_eq!(verdict, Err(DropReason::SpoofedAddress));
    }
}

#[test]
fn c09_a_segment_without_a_flow_does_not_leave() {
    for v4 in FAMILIES {
        for flags in 0..64u8 {
            let mut p = first(protocol::TCP, (inside(v4, 1, 2), 1000), (lan(v4), 80));
            p.0[if v4 { 34 } else { 54 } + 13] = flags;
            let begins = flags & 0b1_0111 == 0b10;
            let verdict = World::new().sends(1, 2, &mut p);
            assert_eq!(verdict.is_ok(), begins, "flags {flags:06b}");
        }
    }
}

#[test]
fn c07_what_nobody_asked_for_stays_outside() {
    for v4 in FAMILIES {
        let mut world = World::new();
        let mut p = first(protocol::UDP, (lan(v4), 1), (inside(v4, 1, 2), 2));
        assert_eq!(world.arrives(&mut p), Err(DropReason::NotPublished));
        for to in [inside(v4, 3, 77), host(v4)] {
            let mut p = first(protocol::UDP, (lan(v4), 1), (to, 2));
            assert_eq!(world.arrives(&mut p), Ok(Verdict::Pass));
        }
    }
}

/// C12: what comes to a port of the pool that no container uses may be for another NAT of the host; a SYN is for nobody
/// (RFC 5382, REQ-4).
#[test]
fn c12_other_nats_get_their_answers() {
    for v4 in FAMILIES {
        let mut world = World::new();
        let stranger = (lan(v4), 7000);
        let answer = |protocol, port| packet(protocol, stranger, (host(v4), port), SYN | ACK, b"");
        for protocol in [protocol::UDP, protocol::TCP] {
            let arrives = world.arrives(&mut answer(protocol, 50_500));
            assert_eq!(arrives, Ok(Verdict::Pass));
            // That very port belongs to a container's socket now, which did not call the stranger.
            let mut p = first(protocol, (inside(v4, 1, 2), 1000), (lan(v4), 80));
            assert_eq!(world.sends(1, 2, &mut p), outside(lan(v4)));
            let port = ends(&p).0.1;
            let arrives = world.arrives(&mut answer(protocol, port));
            assert_eq!(arrives, Err(DropReason::Unsolicited));
        }
        let mut syn = first(protocol::TCP, stranger, (host(v4), 50_500));
        assert_eq!(world.arrives(&mut syn), Err(DropReason::Unsolicited));
    }
}

/// RFC 1858: a first fragment, or a lie, that ends before what tells where it goes.
#[test]
fn x07_headers_that_end_too_early_are_refused() {
    for v4 in FAMILIES {
        for (protocol, length) in [(protocol::TCP, 8), (protocol::UDP, 4), (protocol::UDP, 7)] {
            let mut p = first(protocol, (inside(v4, 1, 2), 1000), (lan(v4), 80));
            // Of TCP, a header that says to be shorter than any.
            let l4 = if v4 { 34 } else { 54 };
            if protocol == protocol::TCP {
                p.0[l4 + 12] = 2 << 4;
            }
            let length = length + if v4 { 20 } else { 0 };
            let at = if v4 { 16 } else { 18 };
            p.0[at..at + 2].copy_from_slice(&u16::to_be_bytes(length));
            assert_eq!(World::new().sends(1, 2, &mut p), Err(DropReason::Malformed));
        }
    }
}
