//! The decisions about whole packets, with maps in memory: what goes in, what must come out, byte for byte where it
//! matters. Packets are built and checked by etherparse, which knows nothing of our code.

use std::{cell::RefCell, collections::HashMap};

use etherparse::{IpNumber, PacketBuilder, SlicedPacket, TransportSlice};
use netd_common::{
    abi::*,
    addr::{Addr, Be16},
    checksum, container,
    drop_reason::DropReason,
    packet::{Headers, Packet},
    tables::{Refused, Route, Tables, Verdict, Work},
    uplink,
};
use proptest::prelude::*;

struct Bytes(Vec<u8>);

impl Packet for Bytes {
    fn len(&self) -> u32 {
        self.0.len() as u32
    }
    fn is_gso(&self) -> bool {
        false
    }
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.0.get(at as usize..at as usize + N)?.try_into().ok()
    }
    fn load_words<const N: usize>(&self, at: u32) -> Option<[u32; N]> {
        let bytes = self.0.get(at as usize..at as usize + 4 * N)?;
        Some(std::array::from_fn(|i| {
            u32::from_ne_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap())
        }))
    }
    fn store<const N: usize>(&mut self, at: u32, bytes: &[u8; N]) -> Option<()> {
        self.0
            .get_mut(at as usize..at as usize + N)?
            .copy_from_slice(bytes);
        Some(())
    }
    fn store_words<const N: usize>(&mut self, at: u32, words: &[u32; N]) -> Option<()> {
        for (i, word) in words.iter().enumerate() {
            self.store(at + 4 * i as u32, &word.to_ne_bytes())?;
        }
        Some(())
    }
    fn fix_transport(&mut self, at: u32, diff: u32, _pseudo: bool, udp: bool) -> Option<()> {
        let old: [u8; 2] = self.load(at)?;
        if udp && old == [0, 0] {
            return Some(());
        }
        let new = checksum::update(old, diff);
        self.store(
            at,
            if udp && new == [0, 0] {
                &[0xff; 2]
            } else {
                &new
            },
        )
    }
    fn push_ethernet(&mut self, kind: [u8; 2]) -> Option<()> {
        let mut whole = vec![0; 12];
        whole.extend(kind);
        whole.append(&mut self.0);
        self.0 = whole;
        Some(())
    }
}

#[derive(Default)]
struct Maps {
    flows: RefCell<HashMap<FlowKey, Flow>>,
    mappings: RefCell<HashMap<MappingKey, Mapping>>,
    ports: RefCell<HashMap<OutsidePort, MappingKey>>,
    targets: HashMap<AddressKey, Target>,
    settings: Settings,
    random: RefCell<u32>,
}

impl Tables for Maps {
    fn device(&self, _: u32) -> Option<&Device> {
        None
    }
    fn network(&self, _: u32) -> Option<&Network> {
        None
    }
    fn gateway_network(&self, _: u32) -> Option<u32> {
        None
    }
    fn target(&self, key: &AddressKey) -> Option<&Target> {
        self.targets.get(key)
    }
    fn subnet(&self, addr: Addr) -> Option<u32> {
        (addr.v4_bytes()[..2] == [172, 18]).then_some(1)
    }
    fn host_address(&self, addr: Addr) -> Option<HostAddress> {
        (addr == v4([198, 51, 100, 1])).then(HostAddress::default)
    }
    fn publication(&self, _: &PublicationData) -> Option<Publication> {
        None
    }
    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }
    fn flow(&self, key: &FlowKey, _: u8, out: &mut Flow) -> bool {
        self.flows.borrow().get(key).map(|f| *out = *f).is_some()
    }
    fn insert_flow(&self, key: &FlowKey, flow: &Flow, new: bool) -> Result<(), Refused> {
        if new && self.flows.borrow().contains_key(key) {
            return Err(Refused::Exists);
        }
        self.flows.borrow_mut().insert(*key, *flow);
        Ok(())
    }
    fn remove_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }
    fn mapping(&self, key: &MappingKey) -> Option<Mapping> {
        self.mappings.borrow().get(key).copied()
    }
    fn insert_mapping(&self, key: &MappingKey, mapping: &Mapping) -> Result<(), Refused> {
        self.mappings.borrow_mut().insert(*key, *mapping);
        Ok(())
    }
    fn take_port(&self, port: &OutsidePort, holder: &MappingKey) -> Result<(), Refused> {
        if self.ports.borrow().contains_key(port) {
            return Err(Refused::Exists);
        }
        self.ports.borrow_mut().insert(*port, *holder);
        Ok(())
    }
    fn free_port(&self, port: &OutsidePort) {
        self.ports.borrow_mut().remove(port);
    }
    fn fragment(&self, _: &FragmentKey) -> Option<FragmentPorts> {
        None
    }
    fn insert_fragment(&self, _: &FragmentKey, _: &FragmentPorts) {}
    fn route(&self, _: u32, _: &Headers, flow: &Flow, out: &mut Route) -> Result<(), DropReason> {
        *out = Route {
            ifindex: 9,
            next_hop: flow.dst,
            source: v4([198, 51, 100, 1]),
        };
        Ok(())
    }
    fn received(&self, _: u32, _: u32) {}
    fn now(&self) -> u64 {
        1
    }
    fn random(&self) -> u32 {
        let mut n = self.random.borrow_mut();
        *n += 7;
        *n
    }
}

fn v4(b: [u8; 4]) -> Addr {
    Addr::from_v4_bytes(b)
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
const INSIDE: [u8; 4] = [172, 18, 0, 2];
const LAN: [u8; 4] = [198, 51, 100, 2];

fn world() -> (Maps, Device) {
    let device = Device {
        endpoint: 5,
        network: 1,
        slot: 1,
        flags: network_flags::MASQUERADE_V4,
        gateway_ifindex: 3,
        mtu: 1500,
        ipv4: v4(INSIDE),
        mac: MAC,
        gateway_mac: GATEWAY,
        ..Device::default()
    };
    let target = Target {
        ifindex: 7,
        endpoint: 5,
        slot: 1,
        mtu: 1500,
        mac: MAC,
        gateway_mac: GATEWAY,
    };
    let mut maps = Maps {
        settings: Settings {
            pool_first: 50000,
            pool_last: 50999,
            ..Settings::default()
        },
        ..Maps::default()
    };
    let key = AddressKey {
        network: 1,
        addr: v4(INSIDE),
    };
    maps.targets.insert(key, target);
    (maps, device)
}

fn udp(src: [u8; 4], dst: [u8; 4], sport: u16, dport: u16, payload: &[u8]) -> Bytes {
    let builder = PacketBuilder::ethernet2(MAC, GATEWAY)
        .ipv4(src, dst, 64)
        .udp(sport, dport);
    let mut out = Vec::new();
    builder.write(&mut out, payload).unwrap();
    Bytes(out)
}

/// Addresses and ports of a packet whose every checksum is right.
fn checked(p: &Bytes) -> ([u8; 4], [u8; 4], u16, u16) {
    let sliced = SlicedPacket::from_ethernet(&p.0).unwrap();
    let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net else {
        panic!("no IPv4")
    };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
        panic!("no UDP")
    };
    let sum = udp
        .to_header()
        .calc_checksum_ipv4(&header, udp.payload())
        .unwrap();
    assert_eq!(udp.checksum(), sum);
    assert_eq!(header.protocol, IpNumber::UDP);
    (
        header.source,
        header.destination,
        udp.source_port(),
        udp.destination_port(),
    )
}

proptest! {
    /// D05: out with the host's address and valid checksums, the answer back to the endpoint; one port for all
    /// destinations (RFC 4787 REQ-1).
    #[test]
    fn d05_masquerade_there_and_back(sport in 1u16.., dport in 1u16.., payload in prop::collection::vec(any::<u8>(), 0..64)) {
        let (maps, device) = world();
        let mut work = Work::default();
        let mut out = udp(INSIDE, LAN, sport, dport, &payload);
        let verdict = container::from_container(&mut out, &maps, 7, &device, &mut work);
        prop_assert_eq!(verdict, Ok(Verdict::Neighbour(9, v4(LAN))));
        let (src, dst, port, to) = checked(&out);
        prop_assert_eq!((src, dst, to), ([198, 51, 100, 1], LAN, dport));
        prop_assert!((50000..=50999).contains(&port));

        let mut other = udp(INSIDE, [203, 0, 113, 9], sport, dport, &payload);
        let sent = container::from_container(&mut other, &maps, 7, &device, &mut work);
        prop_assert_eq!(sent, Ok(Verdict::Neighbour(9, v4([203, 0, 113, 9]))));
        prop_assert_eq!(checked(&other).2, port);

        let mut back = udp(LAN, [198, 51, 100, 1], dport, port, &payload);
        let verdict = uplink::from_uplink(&mut back, &maps, 9, 14, true, &mut work);
        prop_assert_eq!(verdict, Ok(Verdict::Peer(7)));
        prop_assert_eq!(checked(&back), (LAN, INSIDE, dport, sport));
    }

    /// X07, and that nothing panics whatever bytes come.
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let (maps, device) = world();
        let mut work = Work::default();
        let verdict = container::from_container(&mut Bytes(bytes.clone()), &maps, 7, &device, &mut work);
        prop_assert!(verdict.is_err() || bytes[6..12] == MAC);
        let _ = uplink::from_uplink(&mut Bytes(bytes), &maps, 9, 14, true, &mut work);
    }
}

#[test]
fn x07_forged_sources_are_dropped() {
    let (maps, device) = world();
    let mut work = Work::default();
    let mut p = udp([172, 18, 0, 9], LAN, 1, 2, b"");
    let verdict = container::from_container(&mut p, &maps, 7, &device, &mut work);
    assert_eq!(verdict, Err(DropReason::SpoofedAddress));
}

#[test]
fn c09_a_segment_without_a_flow_does_not_leave() {
    for flags in 0..64u8 {
        let (maps, device) = world();
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(MAC, GATEWAY)
            .ipv4(INSIDE, LAN, 64)
            .tcp(1000, 80, 1, 100)
            .write(&mut bytes, &[])
            .unwrap();
        bytes[14 + 20 + 13] = flags;
        let mut work = Work::default();
        let verdict = container::from_container(&mut Bytes(bytes), &maps, 7, &device, &mut work);
        let begins = flags & 0b1_0111 == 0b10;
        assert_eq!(verdict.is_ok(), begins, "flags {flags:06b}");
    }
}

#[test]
fn c07_what_nobody_asked_for_stays_outside() {
    let (maps, _) = world();
    let mut work = Work::default();
    let mut p = udp(LAN, INSIDE, 1, 2, b"");
    let verdict = uplink::from_uplink(&mut p, &maps, 9, 14, true, &mut work);
    assert_eq!(verdict, Err(DropReason::NotPublished));
    let mut p = udp(LAN, [198, 51, 100, 77], 1, 2, b"");
    assert_eq!(
        uplink::from_uplink(&mut p, &maps, 9, 14, true, &mut work),
        Ok(Verdict::Pass)
    );
    assert_eq!(Be16::new(1).get(), 1);
}
