//! A packet and maps in memory.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use netd_common::{
    abi::*,
    addr::Addr,
    checksum,
    drop_reason::DropReason,
    packet::{Headers, Packet},
    tables::{Refused, Route, Tables},
};

/// A packet; the payload of a segment when it is to be cut, else 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>, pub u32);

impl Packet for Bytes {
    fn len(&self) -> u32 {
        self.0.len() as u32
    }
    fn segment(&self) -> u32 {
        self.1
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
        let none = udp && new == [0, 0];
        self.store(at, if none { &[0xff; 2] } else { &new })
    }
    fn header_changed(&mut self, _: u32) {}
    fn push_ethernet(&mut self, kind: [u8; 2]) -> Option<()> {
        let mut whole = vec![0; 12];
        whole.extend(kind);
        whole.append(&mut self.0);
        self.0 = whole;
        Some(())
    }
    fn quote(&mut self, l3: u32, keep: u32, room: u32) -> Option<()> {
        let l3 = l3 as usize;
        self.0.truncate(l3 + keep as usize);
        self.0.splice(l3..l3, vec![0xaa; room as usize]);
        self.1 = 0;
        Some(())
    }
}

/// The maps, and a routing table with one way: everything leaves by interface `uplink`, straight to its destination.
#[derive(Default)]
pub struct Maps {
    pub flows: RefCell<HashMap<FlowKey, Flow>>,
    pub mappings: RefCell<HashMap<MappingKey, Mapping>>,
    pub ports: RefCell<HashMap<OutsidePort, MappingKey>>,
    pub targets: HashMap<AddressKey, Target>,
    pub networks: HashMap<u32, Network>,
    /// Address, length of the prefix in bytes, number.
    pub subnets: Vec<(Addr, usize, u32)>,
    pub hosts: HashMap<Addr, HostAddress>,
    pub publications: HashMap<PublicationData, Publication>,
    pub homes: HashMap<HomeKey, Home>,
    /// Network and interface index.
    pub trusted: HashSet<(u32, u32)>,
    pub settings: Settings,
    pub uplink: u32,
    /// The uplink's.
    pub mtu: u32,
    pub sources: HashSet<Addr>,
    pub usage: RefCell<HashMap<u32, Usage>>,
    pub budgets: RefCell<HashMap<u32, ErrorBudget>>,
    pub random: RefCell<u32>,
}

impl Tables for Maps {
    fn device(&self, _: u32) -> Option<&Device> {
        None
    }
    fn network(&self, number: u32) -> Option<&Network> {
        self.networks.get(&number)
    }
    fn gateway_network(&self, _: u32) -> Option<u32> {
        None
    }
    fn target(&self, key: &AddressKey) -> Option<&Target> {
        self.targets.get(key)
    }
    fn subnet(&self, addr: Addr) -> Option<u32> {
        let within = |s: &&(Addr, usize, u32)| s.0.v6_bytes()[..s.1] == addr.v6_bytes()[..s.1];
        self.subnets.iter().find(within).map(|s| s.2)
    }
    fn uplink_mtu(&self, ifindex: u32) -> Option<u32> {
        (ifindex == self.uplink).then_some(self.mtu)
    }
    fn trusted(&self, network: u32, ifindex: u32) -> bool {
        self.trusted.contains(&(network, ifindex))
    }
    fn host_address(&self, addr: Addr) -> Option<HostAddress> {
        self.hosts.get(&addr).copied()
    }
    fn publication(&self, data: &PublicationData) -> Option<Publication> {
        self.publications.get(data).copied()
    }
    fn home(&self, key: &HomeKey) -> Option<&Home> {
        self.homes.get(key)
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
    fn route(&self, _: u32, h: &Headers, flow: &Flow, out: &mut Route) -> Result<(), DropReason> {
        out.mtu = self.mtu;
        if h.size > self.mtu {
            return Err(DropReason::TooBig);
        }
        let source = self.sources.iter().find(|a| a.is_v4() == h.v4);
        *out = Route {
            ifindex: self.uplink,
            next_hop: flow.dst,
            mtu: self.mtu,
            source: source.copied().unwrap_or_default(),
        };
        Ok(())
    }
    fn may_answer(&self, slot: u32) -> bool {
        self.budgets.borrow_mut().entry(slot).or_default().take(1)
    }
    fn charge_flow(&self, slot: u32) -> bool {
        let mut usage = self.usage.borrow_mut();
        let usage = usage.entry(slot).or_default();
        usage.flows += 2;
        usage.flows <= self.settings.flows_per_endpoint
    }
    fn charge_port(&self, slot: u32) -> bool {
        let mut usage = self.usage.borrow_mut();
        let usage = usage.entry(slot).or_default();
        usage.ports += 1;
        usage.ports <= self.settings.ports_per_endpoint
    }
    fn received(&self, _: u32, _: u32) {}
    fn now(&self) -> u64 {
        1
    }
    fn random(&self) -> u32 {
        let mut n = self.random.borrow_mut();
        *n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *n
    }
}
