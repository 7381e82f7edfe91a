//! ICMP errors that the host makes: what they say, and when there are none.

use netd_common::{
    abi::network_flags::{UNPROTECTED_V4, UNPROTECTED_V6},
    addr::Addr,
    drop_reason::DropReason::{self, TooBig, TtlExceeded},
    packet::protocol::{TCP, UDP},
    verdict::Verdict,
};
use proptest::prelude::*;

use crate::{memory::Bytes, world::*};

fn back(network: u32, last: u8, reason: DropReason) -> Result<Verdict, DropReason> {
    Ok(Verdict::Back(10 + number(network, last), reason))
}

/// Offset of the packet inside an error.
const fn inner(v4: bool) -> usize {
    if v4 { 42 } else { 62 }
}

/// Checks that `p` is the right error about `sent`, from `from`, with this MTU or none; and that all that may be quoted is.
fn check(p: &Bytes, sent: &Bytes, from: Addr, mtu: Option<u32>) {
    let v4 = from.is_v4();
    let ((src, _), (dst, _)) = ends(p);
    assert_eq!(src, from);
    let to = if v4 {
        Addr::from_v4_bytes(sent.0[26..30].try_into().unwrap())
    } else {
        Addr::from_v6_bytes(sent.0[22..38].try_into().unwrap())
    };
    assert_eq!(dst, to);
    assert_eq!((&p.0[..6], &p.0[6..12]), (&sent.0[6..12], &sent.0[..6]));
    let message = &p.0[inner(v4) - 8..inner(v4)];
    let number = u32::from_be_bytes(message[4..].try_into().unwrap());
    let code = match (v4, mtu) {
        (true, Some(_)) => [3, 4],
        (true, None) => [11, 0],
        (false, Some(_)) => [2, 0],
        (false, None) => [3, 0],
    };
    assert_eq!((&message[..2], number), (&code[..], mtu.unwrap_or(0)));
    let quote = &p.0[inner(v4)..];
    assert_eq!(quote, &sent.0[14..14 + quote.len()]);
    let most = if v4 { 544 } else { 1232 };
    assert_eq!(quote.len(), most.min(sent.0.len() - 14));
    assert_eq!(p.1, 0, "no longer to be cut");
}

fn set_ttl(p: &mut Bytes, v4: bool, ttl: u8) {
    if v4 {
        let sum = u16::from_be_bytes([p.0[24], p.0[25]]);
        let new = u32::from(sum) + (u32::from(p.0[22]) << 8) - (u32::from(ttl) << 8);
        p.0[24..26].copy_from_slice(&(((new & 0xffff) + (new >> 16)) as u16).to_be_bytes());
        p.0[22] = ttl;
    } else {
        p.0[21] = ttl;
    }
}

proptest! {
    /// RFC 1191, RFC 8201; NAT 4787-13: what a container sends too large comes back from its gateway, as it sent it.
    #[test]
    fn n4787_13_too_big_from_a_container(v4: bool, tcp: bool, mtu in 1280u32..1500, more in 1usize..200) {
        let mut world = World::new();
        world.maps.mtu = mtu;
        let protocol = if tcp { TCP } else { UDP };
        let payload: Vec<u8> = (0..mtu as usize - if v4 { 20 } else { 40 } - 8 + more).map(|i| i as u8).collect();
        let mut p = packet(protocol, (inside(v4, 1, 2), 1), (lan(v4), 2), SYN, &payload);
        prop_assert!(p.0.len() - 14 > mtu as usize);
        let sent = world.framed(1, 2, &p);
        prop_assert_eq!(world.sends(1, 2, &mut p), back(1, 2, TooBig));
        check(&p, &sent, inside(v4, 1, 1), Some(mtu));
        prop_assert!(world.maps.flows.borrow().is_empty());
    }

    /// Traceroute sees the gateway.
    #[test]
    fn expired_from_a_container(v4: bool, ttl in 0u8..2, payload in prop::collection::vec(any::<u8>(), 0..1400)) {
        let mut world = World::new();
        let mut p = packet(UDP, (inside(v4, 1, 2), 1), (lan(v4), 33434), 0, &payload);
        set_ttl(&mut p, v4, ttl);
        let sent = world.framed(1, 2, &p);
        prop_assert_eq!(world.sends(1, 2, &mut p), back(1, 2, TtlExceeded));
        check(&p, &sent, inside(v4, 1, 1), None);
        prop_assert!(world.maps.flows.borrow().is_empty());
    }
}

#[test]
fn expired_echoes_and_hairpins_too() {
    for v4 in FAMILIES {
        let mut world = World::new();
        world.publish(host(v4), UDP, 8080, (2, 2, 80));
        for mut p in [
            echo(inside(v4, 1, 2), lan(v4), 7, true),
            first(UDP, (inside(v4, 1, 2), 1), (host(v4), 8080)),
        ] {
            set_ttl(&mut p, v4, 1);
            let sent = world.framed(1, 2, &p);
            assert_eq!(world.sends(1, 2, &mut p), back(1, 2, TtlExceeded));
            check(&p, &sent, inside(v4, 1, 1), None);
        }
    }
}

/// A packet that the kernel will cut is judged by its segments.
#[test]
fn segments_count_not_the_whole() {
    for v4 in FAMILIES {
        for (protocol, header) in [(TCP, 20), (UDP, 8)] {
            let ip = if v4 { 20 } else { 40 };
            let mut world = World::new();
            world.maps.mtu = 1400;
            let large = packet(
                protocol,
                (inside(v4, 1, 2), 1),
                (lan(v4), 2),
                SYN,
                &[7; 20000],
            );
            let mut p = Bytes(large.0.clone(), 1400 - ip - header);
            assert_eq!(world.sends(1, 2, &mut p), outside(lan(v4)));
            let mut p = Bytes(large.0.clone(), 1400 - ip - header + 1);
            let sent = world.framed(1, 2, &p);
            assert_eq!(world.sends(1, 2, &mut p), back(1, 2, TooBig));
            check(&p, &sent, inside(v4, 1, 1), Some(1400));
        }
    }
}

/// From outside: back to the sender, from the address that it asked.
#[test]
fn errors_go_back_out_of_the_uplink() {
    for v4 in FAMILIES {
        let mut world = World::new();
        world.mtu = 1300;
        world.place(1, 2, number(1, 2));
        world.publish(host(v4), UDP, 8080, (1, 2, 80));
        world.maps.networks.get_mut(&1).unwrap().flags = UNPROTECTED_V4 | UNPROTECTED_V6;
        for to in [(host(v4), 8080), (inside(v4, 1, 2), 81)] {
            let mut p = packet(UDP, (lan(v4), 1), to, 0, &[9; 1300]);
            p.0[..6].copy_from_slice(&mac(9, 9));
            let sent = p.clone();
            assert_eq!(world.arrives(&mut p), Ok(Verdict::Back(UPLINK, TooBig)));
            check(&p, &sent, to.0, Some(1300));
            let mut p = packet(UDP, (lan(v4), 1), to, 0, &[9; 33]);
            set_ttl(&mut p, v4, 1);
            let sent = p.clone();
            assert_eq!(
                world.arrives(&mut p),
                Ok(Verdict::Back(UPLINK, TtlExceeded))
            );
            check(&p, &sent, to.0, None);
        }
    }
}

/// RFC 1122, 3.2.2; RFC 4443, 2.4.
#[test]
fn some_packets_get_no_error() {
    for v4 in FAMILIES {
        let mut world = World::new();
        let (me, there) = ((inside(v4, 1, 2), 1), (lan(v4), 2));
        // A flow, so that the error about its answer would be forwarded.
        let mut p = first(UDP, me, there);
        assert_eq!(world.sends(1, 2, &mut p), outside(lan(v4)));
        let mapped = ends(&p).0;
        let mut answer = first(UDP, there, mapped);
        assert_eq!(world.arrives(&mut answer), peer(1, 2));
        let (kind, code): (u8, u8) = if v4 { (3, 3) } else { (1, 4) };
        let mut error = echo(me.0, there.0, 0, true);
        let l4 = if v4 { 34 } else { 54 };
        error.0.truncate(l4 + 8);
        error.0[l4..l4 + 2].copy_from_slice(&[kind, code]);
        let quote = first(UDP, there, me);
        error.0.extend(&quote.0[14..]);
        let mut whole = error.clone();
        assert_eq!(world.sends(1, 2, &mut whole), outside(lan(v4)));
        set_ttl(&mut error, v4, 1);
        assert_eq!(
            world.sends(1, 2, &mut error),
            Err(TtlExceeded),
            "an ICMP error"
        );

        // Its Ethernet address is everybody's.
        world.publish(host(v4), UDP, 8080, (1, 2, 80));
        let mut p = first(UDP, (lan(v4), 1), (host(v4), 8080));
        set_ttl(&mut p, v4, 1);
        p.0[..6].fill(0xff);
        assert_eq!(world.arrives(&mut p), Err(TtlExceeded), "a broadcast frame");

        // A network without a gateway address.
        let network = world.maps.networks.get_mut(&1).unwrap();
        (network.gateway_v4, network.gateway_v6) = Default::default();
        let mut p = first(UDP, me, there);
        set_ttl(&mut p, v4, 1);
        assert_eq!(world.sends(1, 2, &mut p), Err(TtlExceeded), "no gateway");
    }
}

/// A forged source of a known flow gets nothing either.
#[test]
fn forged_sources_get_no_error() {
    for v4 in FAMILIES {
        let mut world = World::new();
        // An entry as a forger would like it: from another container's address, by the uplink.
        let forged = inside(v4, 2, 2);
        world.publish(host(v4), UDP, 8080, (1, 2, 80));
        let mut p = first(UDP, (lan(v4), 1), (host(v4), 8080));
        assert_eq!(world.arrives(&mut p), peer(1, 2));
        let entries: Vec<_> = world
            .maps
            .flows
            .borrow()
            .iter()
            .map(|(k, f)| (*k, *f))
            .collect();
        for (mut key, flow) in entries {
            if key.src == lan(v4) {
                key.src = forged;
                world.maps.flows.borrow_mut().insert(key, flow);
            }
        }
        let mut p = first(UDP, (forged, 1), (host(v4), 8080));
        set_ttl(&mut p, v4, 1);
        assert_eq!(world.arrives(&mut p), Err(TtlExceeded));
    }
}

#[test]
fn one_endpoint_gets_so_many_and_no_more() {
    let mut world = World::new();
    let mut send = |last| {
        let mut p = first(UDP, (inside(true, 1, last), 1), (lan(true), 2));
        set_ttl(&mut p, true, 1);
        world.sends(1, last, &mut p)
    };
    let sent = (0..200).filter(|_| send(2).is_ok()).count();
    assert_eq!(sent, 100);
    assert!(send(3).is_ok(), "another one has its own");
    let budgets = world.maps.budgets.borrow();
    let budget = budgets[&number(1, 2)];
    assert_eq!((budget.sent, budget.withheld), (100, 100));
}
