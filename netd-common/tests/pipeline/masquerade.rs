//! What containers send out, and that nothing else gets in.

use netd_common::{
    drop_reason::DropReason,
    packet::protocol,
    tables::{Next, Verdict, Work},
    uplink,
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
