//! TCP's largest segment, lowered on the way through the host.

use etherparse::TcpOptionElement::{
    self, MaximumSegmentSize as Mss, Noop, SelectiveAcknowledgementPermitted as Sack, WindowScale,
};
use netd_common::{drop_reason::DropReason, packet::protocol::TCP};
use proptest::prelude::*;

use crate::{memory::Bytes, world::*};

/// A SYN with options; the answer's flag too if `ack`.
fn syn(from: End, to: End, ack: bool, options: &[TcpOptionElement]) -> Bytes {
    let mut out = Vec::new();
    let mut step = builder(from.0, to.0).tcp(from.1, to.1, 1000, 100).syn();
    if ack {
        step = step.ack(1);
    }
    step.options(options).unwrap().write(&mut out, b"").unwrap();
    Bytes(out, 0)
}

/// The first MSS option that etherparse sees.
fn mss_of(p: &Bytes) -> Option<u16> {
    let _ = ends(p);
    let sliced = etherparse::SlicedPacket::from_ethernet(&p.0).unwrap();
    let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else {
        panic!("no TCP")
    };
    tcp.options_iterator().find_map(|o| match o {
        Ok(Mss(n)) => Some(n),
        _ => None,
    })
}

const fn headers(v4: bool) -> u16 {
    if v4 { 40 } else { 60 }
}

/// MTU of the endpoint and of the uplink.
fn world(inner: u32, outer: u32) -> World {
    let mut world = World::new();
    world.mtu = inner;
    world.maps.mtu = outer;
    for last in [2, 3] {
        world.place(1, last, number(1, last));
    }
    world
}

proptest! {
    /// Both handshakes through the host, wherever the option stands, with the checksum right.
    #[test]
    fn the_smaller_mtu_decides(v4: bool, inner in 1280u32..9000, outer in 1280u32..9000, asked: u16, shift in 0usize..6) {
        let fitting = (inner.min(outer) as u16 - headers(v4)).min(asked);
        let mut options = vec![Noop; shift];
        options.extend([Mss(asked), Sack, WindowScale(7)]);
        let mut world = world(inner, outer);
        let (me, there) = ((inside(v4, 1, 2), 1000), (lan(v4), 80));
        let mut p = syn(me, there, false, &options);
        prop_assert_eq!(world.sends(1, 2, &mut p), outside(lan(v4)));
        prop_assert_eq!(mss_of(&p), Some(fitting));
        let mut p = syn(there, ends(&p).0, true, &options);
        prop_assert_eq!(world.arrives(&mut p), peer(1, 2));
        prop_assert_eq!(mss_of(&p), Some(fitting));

        world.publish(host(v4), TCP, 8080, (1, 2, 80));
        let (client, server) = ((lan(v4), 1001), (inside(v4, 1, 2), 80));
        let mut p = syn(client, (host(v4), 8080), false, &options);
        prop_assert_eq!(world.arrives(&mut p), peer(1, 2));
        prop_assert_eq!(mss_of(&p), Some(fitting));
        let mut p = syn(server, client, true, &options);
        prop_assert_eq!(world.sends(1, 2, &mut p), outside(lan(v4)));
        prop_assert_eq!(mss_of(&p), Some(fitting));
    }

    /// Whatever stands where options should: the packet goes on, and only an MSS is ever touched.
    #[test]
    fn malformed_options_stay(v4: bool, words in 0u8..16, junk in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut world = world(1400, 1400);
        let mut p = packet(TCP, (inside(v4, 1, 2), 1000), (lan(v4), 80), SYN, &junk);
        let l4 = if v4 { 34 } else { 54 };
        p.0[l4 + 12] = words << 4;
        let old = p.clone();
        if words < 5 || 20 + junk.len() < usize::from(words) * 4 {
            prop_assert_eq!(world.sends(1, 2, &mut p), Err(DropReason::Malformed));
            return Ok(());
        }
        prop_assert_eq!(world.sends(1, 2, &mut p), outside(lan(v4)));
        let changed: Vec<usize> = (l4 + 20..p.0.len()).filter(|&i| p.0[i] != old.0[i]).collect();
        if let Some(&at) = changed.first() {
            let start = if p.0[at - 2..at] == [2, 4] { at } else { at - 1 };
            prop_assert_eq!(&p.0[start - 2..start], &[2u8, 4]);
            prop_assert!(changed.iter().all(|i| (start..start + 2).contains(i)));
            prop_assert!(start + 2 <= l4 + usize::from(words) * 4);
        }
    }
}

#[test]
fn inside_a_network_nothing_changes() {
    for v4 in FAMILIES {
        let mut world = world(1400, 1400);
        let mut p = syn(
            (inside(v4, 1, 2), 1),
            (inside(v4, 1, 3), 2),
            false,
            &[Mss(9000)],
        );
        assert_eq!(world.sends(1, 2, &mut p), peer(1, 3));
        assert_eq!(mss_of(&p), Some(9000));
    }
}
