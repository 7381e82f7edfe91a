//! RFC 4787, REQ-14: whose fragments wait for the first one.

use netd_common::{drop_reason::DropReason, packet::protocol, verdict::Verdict};

use crate::{
    memory::Bytes,
    world::{FAMILIES, World, first, host, inside, lan},
};

/// Length of an Ethernet header.
const L3: usize = 14;
/// Of an IPv6 header.
const V6: usize = 40;

/// Makes it a later fragment, the last one.
fn later(v4: bool, p: &mut Bytes) {
    let offset: u16 = 185;
    if v4 {
        p.0[L3 + 6..L3 + 8].copy_from_slice(&offset.to_be_bytes());
        return;
    }
    let next = std::mem::replace(&mut p.0[L3 + 6], 44);
    let [high, low] = (offset << 3).to_be_bytes();
    let header = [next, 0, high, low, 0, 0, 0, 9];
    p.0.splice(L3 + V6..L3 + V6, header);
    let length = (p.0.len() - L3 - V6) as u16;
    p.0[L3 + 4..L3 + 6].copy_from_slice(&length.to_be_bytes());
}

#[test]
fn n4787_14_those_of_translated_flows_wait() {
    for v4 in FAMILIES {
        let from = (inside(v4, 1, 2), 1000);
        let mut p = first(protocol::UDP, from, (lan(v4), 2000));
        later(v4, &mut p);
        let mut world = World::new();
        assert!(matches!(world.sends(1, 2, &mut p), Ok(Verdict::Again(..))));
    }
}

/// The kernel that gets them puts them together: waiting would cost time and gain nothing.
#[test]
fn n4787_14_those_for_the_host_and_neighbours_do_not_wait() {
    for v4 in FAMILIES {
        let from = (inside(v4, 1, 2), 1000);
        for to in [host(v4), inside(v4, 1, 1), inside(v4, 1, 3)] {
            let mut p = first(protocol::UDP, from, (to, 2000));
            later(v4, &mut p);
            let verdict = World::new().sends(1, 2, &mut p);
            let waits = matches!(verdict, Ok(Verdict::Again(..)));
            assert!(
                !waits && verdict != Err(DropReason::Fragment),
                "{to:?}: {verdict:?}"
            );
        }
    }
}
