//! Random packets and events.

use proptest::{prelude::*, sample::select};

use crate::{
    build::Part,
    generator::{Lie, Send, Step, To, Twist, What},
    setup::{SCTP, TCP, UDP},
};

fn to() -> impl Strategy<Value = To> {
    prop_oneof![
        6 => (2..5u8).prop_map(To::Remote),
        5 => Just(To::Host),
        2 => (1..9u32).prop_map(To::Gateway),
        5 => (0..16usize).prop_map(To::Endpoint),
        1 => (1..9u32).prop_map(To::Nobody),
        1 => (0..16usize).prop_map(To::LinkLocal),
        1 => (0..8u8).prop_map(To::Special),
        2 => (0..4usize).prop_map(To::Mapped),
    ]
}

fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![6 => Just(2u8), 3 => Just(18u8), 5 => Just(16u8), 2 => Just(17u8), 1 => select(vec![4u8, 20]), 1 => 0..64u8]
}

fn what() -> impl Strategy<Value = What> {
    let protocol = prop_oneof![
        5 => Just(TCP), 5 => Just(UDP), 3 => Just(1u8), 1 => Just(SCTP),
        1 => select(vec![47u8, 136, 33, 50, 59, 255, 2, 13]),
    ];
    let sport = select(vec![1000u16, 1001, 1002, 80, 53, 67, 8080, 50001]);
    let dport = select(vec![
        80u16, 80, 8080, 8080, 8081, 8082, 1001, 53, 68, 50000, 50001, 50002, 1000,
    ]);
    let fresh = (any::<bool>(), protocol, to(), (sport, dport), flags()).prop_map(
        |(v4, protocol, to, ports, flags)| What::Fresh {
            v4,
            protocol,
            to,
            ports,
            flags,
        },
    );
    prop_oneof![
        5 => fresh,
        5 => (0..12usize, flags()).prop_map(|(back, flags)| What::Answer { back, flags }),
        2 => (0..12usize).prop_map(|back| What::Again { back }),
        2 => (0..12usize, 0..8usize, prop_oneof![Just(2000usize), Just(28), Just(48), 0..80usize], prop::bool::weighted(0.3))
            .prop_map(|(back, kind, cut, stranger)| What::Error { back, kind, cut, stranger }),
    ]
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        60 => Just(Lie::None),
        3 => (0..120usize).prop_map(Lie::Cut),
        1 => any::<u16>().prop_map(Lie::Length),
        1 => (0..80u16).prop_map(Lie::Length),
        1 => (0..40u16).prop_map(Lie::UdpLength),
        1 => (0..16u8).prop_map(Lie::DataOffset),
        1 => (0..16u8).prop_map(Lie::HeaderLength),
        2 => any::<bool>().prop_map(Lie::Sum),
        2 => Just(Lie::NoSum),
        3 => to().prop_map(Lie::Source),
        1 => Just(Lie::Mac),
        1 => Just(Lie::Vlan),
        2 => (12..90usize, any::<u8>()).prop_map(|(at, value)| Lie::Byte(at, value)),
    ]
}

fn twist() -> impl Strategy<Value = Twist> {
    let ttl = prop_oneof![30 => Just(64u8), 1 => Just(0u8), 2 => Just(1u8), 1 => Just(2u8), 1 => Just(255u8)];
    let payload = prop_oneof![20 => 0..40usize, 1 => 1200..1500usize];
    let mss = prop_oneof![3 => Just(None), 1 => select(vec![Some(100u16), Some(1460), Some(1240), Some(9000)])];
    let part = (
        1..4u16,
        prop_oneof![2 => Just(0u16), 2 => Just(1u16), 2 => Just(5u16), 1 => 0..0x1fffu16],
        any::<bool>(),
    );
    let part = prop_oneof![10 => Just(None), 2 => part.prop_map(|(id, offset, more)| {
        Some(Part { id, offset, more: more || offset == 0 })
    })];
    let options = prop_oneof![8 => Just(Vec::new()), 1 => prop::collection::vec(any::<u8>(), 0..8)];
    let numbers = (
        select(vec![100u32, 101, 102]),
        select(vec![100u32, 101, 102]),
    );
    (ttl, payload, mss, part, options, numbers, lie()).prop_map(
        |(ttl, payload, mss, part, options, numbers, lie)| Twist {
            ttl,
            payload,
            mss,
            part,
            options,
            numbers,
            lie,
        },
    )
}

/// A packet.
pub fn send() -> impl Strategy<Value = Send> {
    let from = prop_oneof![3 => (0..16usize).prop_map(Some), 2 => Just(None)];
    (from, what(), twist()).prop_map(|(from, what, twist)| Send { from, what, twist })
}

/// Any event.
pub fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![
        4 => 0..20u64, 2 => Just(9_000), 1 => Just(12_000), 1 => Just(28_000), 1 => Just(32_000), 1 => Just(62_000),
        1 => Just(250_000), 1 => Just(302_000), 1 => Just(7_450_000),
    ];
    prop_oneof![
        50 => send().prop_map(Step::Send),
        5 => wait.prop_map(Step::Wait),
        1 => (0..23usize).prop_map(Step::Toggle),
        1 => (0..16usize).prop_map(Step::Replace),
    ]
}
