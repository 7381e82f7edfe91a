//! The maps and the kernel's helpers as `netd_common::tables::Tables`.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_ANY, BPF_NOEXIST, bpf_fib_lookup as FibLookup},
    helpers::{bpf_fib_lookup, bpf_get_prandom_u32, bpf_ktime_get_ns},
    maps::lpm_trie::Key,
    programs::TcContext,
};
use netd_common::{
    abi::{
        AddressKey, Device, Flow, FlowKey, FragmentKey, FragmentPorts, Home, HomeKey, HostAddress,
        Mapping, MappingKey, Network, OutsidePort, PUBLICATION_PREFIX, Publication,
        PublicationData, Settings, Target, TrustedKey, seen,
    },
    addr::Addr,
    drop_reason::DropReason,
    packet::Headers,
    tables::{Refused, Route, Tables},
};

use crate::maps;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Linux 6.3.
const BPF_FIB_LOOKUP_SKIP_NEIGH: u32 = 1 << 2;
/// Linux 6.7.
const BPF_FIB_LOOKUP_SRC: u32 = 1 << 4;
const RET_SUCCESS: i64 = 0;
const RET_NO_NEIGH: i64 = 7;
const RET_FRAG_NEEDED: i64 = 8;
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
        maps::SUBNETS.get(Key::new(128, addr.v6_bytes())).copied()
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
    fn publication(&self, data: &PublicationData) -> Option<Publication> {
        maps::PUBLICATIONS
            .get(Key::new(PUBLICATION_PREFIX + 16, *data))
            .copied()
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
    fn flow(&self, key: &FlowKey, what: u8, out: &mut Flow) -> bool {
        let Some(flow) = maps::FLOWS.get_ptr_mut(key) else {
            return false;
        };
        // SAFETY: the pointer is to a map value, valid until the program ends. Other CPUs may write the same two
        // fields at the same time; either value is right.
        unsafe {
            if what != 0 {
                (*flow).last_seen = self.now();
                let old = (*flow).seen;
                // A SYN begins the connection anew; otherwise write only what is new, to keep the line shared.
                let new = if what & seen::SYN != 0 {
                    what
                } else {
                    old | what
                };
                if new != old {
                    (*flow).seen = new;
                }
            }
            *out = *flow;
        }
        true
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, flow: &Flow, new: bool) -> Result<(), Refused> {
        let flags = if new { BPF_NOEXIST } else { BPF_ANY };
        maps::FLOWS
            .insert(key, flow, u64::from(flags))
            .map_err(refused)
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) {
        // Gone already is as good.
        let _ = maps::FLOWS.remove(key);
    }

    #[inline(always)]
    fn mapping(&self, key: &MappingKey) -> Option<Mapping> {
        let mapping = maps::MAPPINGS.get_ptr_mut(key)?;
        // SAFETY: as in `flow`.
        unsafe {
            (*mapping).last_used = self.now();
            Some(*mapping)
        }
    }

    #[inline(always)]
    fn insert_mapping(&self, key: &MappingKey, mapping: &Mapping) -> Result<(), Refused> {
        maps::MAPPINGS
            .insert(key, mapping, u64::from(BPF_NOEXIST))
            .map_err(refused)
    }

    #[inline(always)]
    fn take_port(&self, port: &OutsidePort, holder: &MappingKey) -> Result<(), Refused> {
        maps::OUTSIDE_PORTS
            .insert(port, holder, u64::from(BPF_NOEXIST))
            .map_err(refused)
    }

    #[inline(always)]
    fn free_port(&self, port: &OutsidePort) {
        let _ = maps::OUTSIDE_PORTS.remove(port);
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
        flow: &Flow,
        out: &mut Route,
    ) -> Result<(), DropReason> {
        let context = self.0.ok_or(DropReason::Unsupported)?;
        route(context, ifindex, h, flow, out)
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
    fn charge_flow(&self, slot: u32) -> bool {
        let (Some(usage), Some(settings)) = (maps::USAGE.get_ptr_mut(slot), maps::SETTINGS.get(0))
        else {
            return false;
        };
        // SAFETY: an aligned number in a map. Two CPUs at once may count one flow too few until the next sweep.
        unsafe {
            let flows = (*usage).flows;
            if flows >= settings.flows_per_endpoint {
                return false;
            }
            (*usage).flows = flows + 2;
        }
        true
    }

    #[inline(always)]
    fn charge_port(&self, slot: u32) -> bool {
        let (Some(usage), Some(settings)) = (maps::USAGE.get_ptr_mut(slot), maps::SETTINGS.get(0))
        else {
            return false;
        };
        // SAFETY: as above.
        unsafe {
            let ports = (*usage).ports;
            if ports >= settings.ports_per_endpoint {
                return false;
            }
            (*usage).ports = ports + 1;
        }
        true
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
        // SAFETY: takes nothing.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: takes nothing.
        unsafe { bpf_get_prandom_u32() }
    }
}

#[inline(never)]
fn route(
    context: &TcContext,
    ifindex: u32,
    h: &Headers,
    flow: &Flow,
    out: &mut Route,
) -> Result<(), DropReason> {
    // SAFETY: a struct of integers and unions of them; zero is valid, and the kernel wants unused fields zero.
    let mut fib: FibLookup = unsafe { core::mem::zeroed() };
    fib.l4_protocol = h.protocol;
    fib.sport = u16::from_ne_bytes(h.sport.to_bytes());
    fib.dport = u16::from_ne_bytes(h.dport.to_bytes());
    fib.ifindex = ifindex;
    // With 0, the kernel looks at the device's MTU only.
    fib.__bindgen_anon_1.tot_len = h.size.min(0xffff) as u16;
    if h.v4 {
        fib.family = AF_INET;
        fib.__bindgen_anon_3.ipv4_src = flow.src.v4_word();
        fib.__bindgen_anon_4.ipv4_dst = flow.dst.v4_word();
    } else {
        fib.family = AF_INET6;
        fib.__bindgen_anon_3.ipv6_src = flow.src.words();
        fib.__bindgen_anon_4.ipv6_dst = flow.dst.words();
    }
    let modern = maps::SETTINGS.get(0).is_some_and(|s| s.fib_source != 0);
    let flags = if modern {
        BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC
    } else {
        0
    };
    // SAFETY: `fib` is of the size given.
    let answer = unsafe {
        bpf_fib_lookup(
            context.as_ptr(),
            (&raw mut fib).cast(),
            size_of::<FibLookup>() as i32,
            flags,
        )
    };
    // SAFETY: a union of two numbers of one size.
    let found = u32::from(unsafe { fib.__bindgen_anon_1.mtu_result });
    // SAFETY: see `Tables::device`.
    let uplink = unsafe { maps::UPLINKS.get(fib.ifindex) };
    match answer as i64 {
        // The route's own MTU (path MTU discovery included), which a lookup without a length leaves out.
        RET_SUCCESS if found != 0 => out.mtu = found,
        RET_SUCCESS | RET_NO_NEIGH => out.mtu = uplink.map_or(0, |u| u.mtu),
        RET_FRAG_NEEDED => {
            out.mtu = found;
            return Err(DropReason::TooBig);
        }
        _ => return Err(DropReason::NoRoute),
    }
    let uplink = uplink.ok_or(DropReason::NoRoute)?;
    // SAFETY: every union member is plain integers, set by the kernel for the family.
    let (next_hop, source) = unsafe {
        if h.v4 {
            (
                Addr::from_v4_word(fib.__bindgen_anon_4.ipv4_dst),
                Addr::from_v4_word(fib.__bindgen_anon_3.ipv4_src),
            )
        } else {
            (
                Addr::from_words(fib.__bindgen_anon_4.ipv6_dst),
                Addr::from_words(fib.__bindgen_anon_3.ipv6_src),
            )
        }
    };
    let source = if modern {
        source
    } else if h.v4 {
        uplink.ipv4
    } else {
        uplink.ipv6
    };
    out.ifindex = fib.ifindex;
    out.next_hop = next_hop;
    out.source = source;
    Ok(())
}
