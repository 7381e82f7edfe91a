//! A packet and maps in memory.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet, VecDeque},
};

use netd_common::{
    abi::*,
    addr::{Addr, Be16},
    checksum,
    conntrack::{expire, insert, lifetime::Pressure},
    drop_reason::DropReason,
    nat::port_allocation,
    packet::{Headers, Packet},
    subprograms::{Subprograms, Written},
    tables::{Before, Count, Refused, Route, Tables},
    work::{SocketTuple, Work},
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
    /// Addresses in networks' subnets that the host routes to the uplink.
    pub outside: HashSet<Addr>,
    pub usage: RefCell<HashMap<u32, Usage>>,
    pub totals: Cell<Totals>,
    pub clock: RefCell<VecDeque<ClockEntry>>,
    pub budgets: RefCell<HashMap<u32, ErrorBudget>>,
    pub rates: RefCell<HashMap<u32, Rates>>,
    pub fragments: RefCell<HashMap<FragmentKey, FragmentPorts>>,
    /// Addresses whose packets keep their source.
    pub exempt: HashSet<Addr>,
    /// Of the host.
    pub sockets: HashSet<SocketTuple>,
    pub random: RefCell<u32>,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub now: Cell<u64>,
}

/// How often something may happen in a span of time, as in the programs.
const FRAGMENTS: u32 = 256;
const HOLDS: u32 = 15_000;
const OWN_HOLDS: u32 = 7500;
const BROADCASTS: u32 = 100;

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
    fn publication(&self, addr: &Addr, protocol: u8, port: Be16, out: &mut Publication) -> bool {
        let data = PublicationData {
            addr: *addr,
            protocol,
            pad: 0,
            port,
        };
        let found = self.publications.get(&data);
        found.map(|found| *out = *found).is_some()
    }
    fn home(&self, key: &HomeKey) -> Option<&Home> {
        self.homes.get(key)
    }
    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }
    fn flow(&self, key: &FlowKey, out: &mut Flow) -> bool {
        self.flows.borrow().get(key).map(|f| *out = *f).is_some()
    }
    fn note_flow(&self, key: &FlowKey, h: &Headers, bytes: u32, out: &mut Flow) -> Option<Before> {
        let mut flows = self.flows.borrow_mut();
        let flow = flows.get_mut(key)?;
        let before = Before {
            last_seen: flow.last_seen,
            seen: flow.seen,
        };
        flow.note(h, bytes, self.now());
        *out = *flow;
        Some(before)
    }
    fn change_flow(&self, key: &FlowKey, change: impl FnOnce(&mut Flow)) -> bool {
        self.flows.borrow_mut().get_mut(key).map(change).is_some()
    }
    fn take_flow_flag(&self, key: &FlowKey, flag: u32) -> bool {
        let mut was = false;
        self.change_flow(key, |f| {
            was = f.flags & flag != 0;
            f.flags &= !flag;
        });
        was
    }
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused> {
        let mut flows = self.flows.borrow_mut();
        if flows.contains_key(key) {
            return Err(Refused::Exists);
        }
        if flows.len() >= self.settings.flows as usize {
            return Err(Refused::Full);
        }
        flows.insert(*key, *flow);
        Ok(())
    }
    fn remove_flow(&self, key: &FlowKey) -> bool {
        self.flows.borrow_mut().remove(key).is_some()
    }
    fn mapping(&self, key: &MappingKey) -> Option<Mapping> {
        self.mappings.borrow().get(key).copied()
    }
    fn hold_mapping(&self, key: &MappingKey) -> Option<Mapping> {
        let mut mappings = self.mappings.borrow_mut();
        let mapping = mappings.get_mut(key)?;
        mapping.flows += 1;
        mapping.last_used = self.now();
        Some(*mapping)
    }
    fn release_mapping(&self, key: &MappingKey) -> bool {
        let mut mappings = self.mappings.borrow_mut();
        let Some(mapping) = mappings.get_mut(key) else {
            return false;
        };
        mapping.flows -= 1;
        mapping.last_used = self.now();
        mapping.flows == 0
    }
    fn insert_mapping(&self, key: &MappingKey, mapping: &Mapping) -> Result<(), Refused> {
        if self.mappings.borrow().contains_key(key) {
            return Err(Refused::Exists);
        }
        self.mappings.borrow_mut().insert(*key, *mapping);
        Ok(())
    }
    fn remove_mapping(&self, key: &MappingKey) -> bool {
        self.mappings.borrow_mut().remove(key).is_some()
    }
    fn take_port(&self, port: &OutsidePort, holder: &MappingKey) -> Result<(), Refused> {
        if self.ports.borrow().contains_key(port) {
            return Err(Refused::Exists);
        }
        self.ports.borrow_mut().insert(*port, *holder);
        Ok(())
    }
    fn port_holder(&self, port: &OutsidePort, out: &mut MappingKey) -> bool {
        let ports = self.ports.borrow();
        ports.get(port).map(|holder| *out = *holder).is_some()
    }
    fn free_port(&self, port: &OutsidePort) -> bool {
        self.ports.borrow_mut().remove(port).is_some()
    }
    fn exempt(&self, addr: Addr) -> bool {
        self.exempt.contains(&addr)
    }
    fn usage(&self, slot: u32) -> Usage {
        self.usage.borrow().get(&slot).copied().unwrap_or_default()
    }
    fn count_usage(&self, slot: u32, flows: i32, ports: i32) {
        let mut usage = self.usage.borrow_mut();
        let usage = usage.entry(slot).or_default();
        usage.flows = usage.flows.checked_add_signed(flows).expect("flows");
        usage.ports = usage.ports.checked_add_signed(ports).expect("ports");
    }
    fn totals(&self) -> Totals {
        self.totals.get()
    }
    fn count(&self, what: Count, by: i64) {
        let mut totals = self.totals.get();
        let field = match what {
            Count::Flows => &mut totals.flows,
            Count::Mappings => &mut totals.mappings,
            Count::Shared => &mut totals.shared,
            Count::Ended => &mut totals.ended,
            Count::Early => &mut totals.early,
            Count::TcpPorts => &mut totals.tcp_ports,
            Count::OtherPorts => &mut totals.other_ports,
        };
        *field = field.checked_add_signed(by).expect("counted down too far");
        self.totals.set(totals);
    }
    fn push_clock(&self, entry: &ClockEntry) -> bool {
        self.clock.borrow_mut().push_back(*entry);
        true
    }
    fn pop_clock(&self, out: &mut ClockEntry) -> bool {
        let popped = self.clock.borrow_mut().pop_front();
        popped.map(|entry| *out = entry).is_some()
    }
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        self.fragments.borrow().get(key).copied()
    }
    fn insert_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) {
        self.fragments.borrow_mut().insert(*key, *ports);
    }
    fn route(
        &self,
        _: u32,
        h: &Headers,
        _: Addr,
        dst: Addr,
        out: &mut Route,
    ) -> Result<(), DropReason> {
        out.mtu = self.mtu;
        if h.size > self.mtu {
            return Err(DropReason::TooBig);
        }
        if self.subnet(dst).is_some() && !self.outside.contains(&dst) {
            return Err(DropReason::NoRoute);
        }
        let source = self.sources.iter().find(|a| a.is_v4() == h.v4);
        *out = Route {
            ifindex: self.uplink,
            next_hop: dst,
            mtu: self.mtu,
            source: source.copied().unwrap_or_default(),
        };
        Ok(())
    }
    fn may_answer(&self, slot: u32) -> bool {
        let now = self.now();
        self.budgets.borrow_mut().entry(slot).or_default().take(now)
    }
    fn may_remember(&self, slot: u32) -> bool {
        let (now, mut rates) = (self.now(), self.rates.borrow_mut());
        let rates = rates.entry(slot).or_default();
        rates.fragments.take(now, FRAGMENTS)
    }
    fn may_hold(&self, slot: u32) -> bool {
        let (now, mut rates) = (self.now(), self.rates.borrow_mut());
        let own = slot == 0 || rates.entry(slot).or_default().holds.take(now, OWN_HOLDS);
        own && rates.entry(0).or_default().holds.take(now, HOLDS)
    }
    fn may_broadcast(&self, slot: u32) -> bool {
        let (now, mut rates) = (self.now(), self.rates.borrow_mut());
        let rates = rates.entry(slot).or_default();
        rates.broadcasts.take(now, BROADCASTS)
    }
    fn received(&self, _: u32, _: u32) {}
    fn now(&self) -> u64 {
        self.now.get()
    }
    fn instant(&self) -> u64 {
        self.now.get()
    }
    fn random(&self) -> u32 {
        let mut n = self.random.borrow_mut();
        *n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *n
    }
}

impl Subprograms for Maps {
    fn visit(&self, w: &mut Work) -> bool {
        expire::visit(self, w)
    }
    fn write_pair(&self, w: &mut Work, adopted: bool) -> Result<Written, DropReason> {
        insert::write_pair(self, w, adopted)
    }
    fn displace(&self, w: &mut Work, pressure: Pressure) -> Result<bool, DropReason> {
        insert::displace(self, w, pressure)
    }
    fn undo_mapping(&self, w: &mut Work) {
        port_allocation::undo_mapping(self, w);
    }
    fn try_port(&self, w: &mut Work, number: u32) -> bool {
        port_allocation::try_port(self, w, number)
    }
    fn has_socket(&self, w: &mut Work) -> bool {
        self.sockets.contains(&w.socket)
    }
}
