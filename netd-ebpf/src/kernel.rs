//! The maps and the kernel's helpers as `netd_common::tables::Tables`.

// tidy: long: one trait, implemented in one place; each function is a map access.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_map_pop_elem},
    maps::lpm_trie::Key,
    programs::TcContext,
};
use netd_common::{
    abi::{
        AddressKey, ClockEntry, Device, Flow, FlowKey, FragmentKey, FragmentPorts, HOST_SLOT, Home,
        HomeKey, HostAddress, Mapping, MappingKey, Network, OutsidePort, PUBLICATION_PREFIX,
        Publication, PublicationData, Settings, Target, Totals, TrustedKey, Usage,
    },
    addr::{Addr, Be16},
    drop_reason::DropReason,
    packet::Headers,
    tables::{Before, Count, Refused, Route, Tables},
};

use crate::{atomic, lookup, maps};

/// Fragmented datagrams of one endpoint (or of outside) whose ports are remembered, on each CPU in each
/// [`netd_common::rate::SPAN`].
const FRAGMENTS: u32 = 256;
/// How often later fragments may be given back to their interfaces on each CPU, all together, in that time: each time takes
/// about a microsecond.
const HOLDS: u32 = 15_000;
/// Of these, how often one endpoint's.
const OWN_HOLDS: u32 = 7500;
/// Broadcasts of one endpoint, likewise.
const BROADCASTS: u32 = 100;

const EEXIST: i32 = -17;

/// The kernel, with the packet's context where there is one (routes need it; socket hooks have none).
pub struct Kernel<'a>(pub Option<&'a TcContext>);

#[inline(always)]
fn refused(error: i32) -> Refused {
    if error == EEXIST {
        Refused::Exists
    } else {
        Refused::Full
    }
}

impl Tables for Kernel<'_> {
    #[inline(always)]
    fn device(&self, ifindex: u32) -> Option<&Device> {
        // SAFETY: entries are replaced whole; a reader sees the old or the new bytes, any of which are valid.
        unsafe { maps::DEVICES.get(ifindex) }
    }

    #[inline(always)]
    fn network(&self, number: u32) -> Option<&Network> {
        // SAFETY: as above.
        unsafe { maps::NETWORKS.get(number) }
    }

    #[inline(always)]
    fn gateway_network(&self, ifindex: u32) -> Option<u32> {
        // SAFETY: as above.
        unsafe { maps::GATEWAYS.get(ifindex) }.copied()
    }

    #[inline(always)]
    fn target(&self, key: &AddressKey) -> Option<&Target> {
        // SAFETY: as above.
        unsafe { maps::ADDRESSES.get(key) }
    }

    #[inline(always)]
    fn subnet(&self, addr: Addr) -> Option<u32> {
        match lookup::subnet(&addr) {
            0 => None,
            number => Some(number),
        }
    }

    #[inline(always)]
    fn uplink_mtu(&self, ifindex: u32) -> Option<u32> {
        // SAFETY: as above.
        unsafe { maps::UPLINKS.get(ifindex) }.map(|uplink| uplink.mtu)
    }

    #[inline(always)]
    fn trusted(&self, network: u32, ifindex: u32) -> bool {
        // SAFETY: as above.
        unsafe { maps::TRUSTED.get(TrustedKey { network, ifindex }) }.is_some()
    }

    #[inline(always)]
    fn host_address(&self, addr: Addr) -> Option<HostAddress> {
        // SAFETY: as above.
        unsafe { maps::HOST_ADDRESSES.get(addr) }.copied()
    }

    #[inline(always)]
    fn publication(&self, addr: &Addr, protocol: u8, port: Be16, out: &mut Publication) -> bool {
        let data = PublicationData {
            addr: *addr,
            protocol,
            pad: 0,
            port,
        };
        match maps::PUBLICATIONS.get(Key::new(PUBLICATION_PREFIX + 16, data)) {
            Some(found) => {
                *out = *found;
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn home(&self, key: &HomeKey) -> Option<&Home> {
        // SAFETY: as above.
        unsafe { maps::HOMES.get(key) }
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        maps::SETTINGS.get(0)
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey, out: &mut Flow) -> bool {
        // SAFETY: as above.
        match unsafe { maps::FLOWS.get(key) } {
            Some(flow) => {
                *out = *flow;
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn note_flow(&self, key: &FlowKey, h: &Headers, bytes: u32, out: &mut Flow) -> Option<Before> {
        let flow = maps::FLOWS.get_ptr_mut(key)?;
        // SAFETY: the pointer is to a map value, valid until the program ends. Other CPUs may write the same fields at the
        // same time; a count may be one too low, and any value is valid.
        let flow = unsafe { &mut *flow };
        let before = Before {
            last_seen: flow.last_seen,
            seen: flow.seen,
        };
        flow.note(h, bytes, self.now());
        *out = *flow;
        Some(before)
    }

    #[inline(always)]
    fn change_flow(&self, key: &FlowKey, change: impl FnOnce(&mut Flow)) -> bool {
        match maps::FLOWS.get_ptr_mut(key) {
            Some(flow) => {
                // SAFETY: as in `note_flow`.
                change(unsafe { &mut *flow });
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn take_flow_flag(&self, key: &FlowKey, flag: u32) -> bool {
        match maps::FLOWS.get_ptr_mut(key) {
            // SAFETY: the pointer is to a map value, valid until the program ends.
            Some(flow) => unsafe { atomic::and(&raw mut (*flow).flags, !flag) & flag != 0 },
            None => false,
        }
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused> {
        maps::FLOWS
            .insert(key, flow, u64::from(BPF_NOEXIST))
            .map_err(refused)
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) -> bool {
        maps::FLOWS.remove(key).is_ok()
    }

    #[inline(always)]
    fn mapping(&self, key: &MappingKey) -> Option<Mapping> {
        // SAFETY: as above.
        unsafe { maps::MAPPINGS.get(key) }.copied()
    }

    #[inline(always)]
    fn hold_mapping(&self, key: &MappingKey) -> Option<Mapping> {
        let mapping = maps::MAPPINGS.get_ptr_mut(key)?;
        // SAFETY: as in `take_flow_flag`.
        unsafe {
            let flows = atomic::add(&raw mut (*mapping).flows, 1).wrapping_add(1);
            (*mapping).last_used = self.now();
            Some(Mapping { flows, ..*mapping })
        }
    }

    #[inline(always)]
    fn release_mapping(&self, key: &MappingKey) -> bool {
        match maps::MAPPINGS.get_ptr_mut(key) {
            // SAFETY: as in `take_flow_flag`.
            Some(mapping) => unsafe {
                (*mapping).last_used = self.now();
                atomic::add(&raw mut (*mapping).flows, u32::MAX) == 1
            },
            None => false,
        }
    }

    #[inline(always)]
    fn insert_mapping(&self, key: &MappingKey, mapping: &Mapping) -> Result<(), Refused> {
        maps::MAPPINGS
            .insert(key, mapping, u64::from(BPF_NOEXIST))
            .map_err(refused)
    }

    #[inline(always)]
    fn remove_mapping(&self, key: &MappingKey) -> bool {
        maps::MAPPINGS.remove(key).is_ok()
    }

    #[inline(always)]
    fn take_port(&self, port: &OutsidePort, holder: &MappingKey) -> Result<(), Refused> {
        maps::OUTSIDE_PORTS
            .insert(port, holder, u64::from(BPF_NOEXIST))
            .map_err(refused)
    }

    #[inline(always)]
    fn port_holder(&self, port: &OutsidePort, out: &mut MappingKey) -> bool {
        // SAFETY: as above.
        match unsafe { maps::OUTSIDE_PORTS.get(port) } {
            Some(holder) => {
                *out = *holder;
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    fn free_port(&self, port: &OutsidePort) -> bool {
        maps::OUTSIDE_PORTS.remove(port).is_ok()
    }

    #[inline(always)]
    fn exempt(&self, addr: Addr) -> bool {
        lookup::exempt(&addr)
    }

    #[inline(always)]
    fn usage(&self, slot: u32) -> Usage {
        let usage = maps::USAGE.get(slot).copied().unwrap_or_default();
        // Counted down once more than up, by a race or for an endpoint before this one: none.
        let sane = |n: u32| if n > u32::MAX / 2 { 0 } else { n };
        Usage {
            flows: sane(usage.flows),
            ports: sane(usage.ports),
        }
    }

    #[inline(always)]
    fn count_usage(&self, slot: u32, flows: i32, ports: i32) {
        if let Some(usage) = maps::USAGE.get_ptr_mut(slot) {
            // SAFETY: as in `take_flow_flag`.
            unsafe {
                if flows != 0 {
                    atomic::add(&raw mut (*usage).flows, flows as u32);
                }
                if ports != 0 {
                    atomic::add(&raw mut (*usage).ports, ports as u32);
                }
            }
        }
    }

    #[inline(always)]
    fn totals(&self) -> Totals {
        maps::TOTALS.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn count(&self, what: Count, by: i64) {
        let Some(totals) = maps::TOTALS.get_ptr_mut(0) else {
            return;
        };
        // SAFETY: as in `take_flow_flag`.
        unsafe {
            let field = match what {
                Count::Flows => &raw mut (*totals).flows,
                Count::Mappings => &raw mut (*totals).mappings,
                Count::Shared => &raw mut (*totals).shared,
                Count::Ended => &raw mut (*totals).ended,
                Count::Early => &raw mut (*totals).early,
                Count::TcpPorts => &raw mut (*totals).tcp_ports,
                Count::OtherPorts => &raw mut (*totals).other_ports,
            };
            atomic::add(field, by as u64);
        }
    }

    #[inline(always)]
    fn push_clock(&self, entry: &ClockEntry) -> bool {
        maps::CLOCK.push(entry, 0).is_ok()
    }

    #[inline(always)]
    fn pop_clock(&self, out: &mut ClockEntry) -> bool {
        // Not by `Queue::pop`, which has the element on the stack.
        // SAFETY: the helper writes an element or fails.
        unsafe {
            bpf_map_pop_elem(
                (&raw const maps::CLOCK).cast_mut().cast(),
                (&raw mut *out).cast(),
            ) == 0
        }
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        // SAFETY: as above.
        unsafe { maps::FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn insert_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) {
        // An LRU map makes room; on failure later fragments are dropped and counted.
        let _ = maps::FRAGMENTS.insert(key, ports, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn route(
        &self,
        ifindex: u32,
        h: &Headers,
        src: Addr,
        dst: Addr,
        out: &mut Route,
    ) -> Result<(), DropReason> {
        let context = self.0.ok_or(DropReason::Unsupported)?;
        out.source = src;
        out.next_hop = dst;
        lookup::route(context, ifindex, h, out)
    }

    #[inline(always)]
    fn may_answer(&self, slot: u32) -> bool {
        match maps::ERRORS.get_ptr_mut(slot) {
            // SAFETY: a per-CPU value, touched only by this CPU's programs.
            Some(budget) => unsafe { (*budget).take(self.now()) },
            None => false,
        }
    }

    #[inline(always)]
    fn may_remember(&self, slot: u32) -> bool {
        match maps::RATES.get_ptr_mut(slot) {
            // SAFETY: a per-CPU value, touched only by this CPU's programs.
            Some(rates) => unsafe { (*rates).fragments.take(self.now(), FRAGMENTS) },
            None => false,
        }
    }

    #[inline(always)]
    fn may_hold(&self, slot: u32) -> bool {
        let now = self.now();
        let take = |slot: u32, most: u32| match maps::RATES.get_ptr_mut(slot) {
            // SAFETY: as above.
            Some(rates) => unsafe { (*rates).holds.take(now, most) },
            None => false,
        };
        (slot == HOST_SLOT || take(slot, OWN_HOLDS)) && take(HOST_SLOT, HOLDS)
    }

    #[inline(always)]
    fn may_broadcast(&self, slot: u32) -> bool {
        match maps::RATES.get_ptr_mut(slot) {
            // SAFETY: as above.
            Some(rates) => unsafe { (*rates).broadcasts.take(self.now(), BROADCASTS) },
            None => false,
        }
    }

    #[inline(always)]
    fn received(&self, slot: u32, bytes: u32) {
        if let Some(counters) = maps::COUNTERS.get_ptr_mut(slot) {
            // SAFETY: a per-CPU value, touched only by this CPU's programs.
            unsafe {
                (*counters).rx_packets += 1;
                (*counters).rx_bytes += u64::from(bytes);
            }
        }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: takes nothing. Linux 5.11.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn instant(&self) -> u64 {
        // SAFETY: takes nothing.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: takes nothing.
        unsafe { bpf_get_prandom_u32() }
    }
}
