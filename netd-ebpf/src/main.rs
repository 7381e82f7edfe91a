//! netd's eBPF programs: one small entry point for each hook. Policy is in `netd_common`; here are only map access
//! and helper calls.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(
    internal_features,
    reason = "the only way to atomic instructions, see atomic.rs"
)]
#![allow(
    missing_docs,
    reason = "the macros of aya make public items without documentation"
)]

mod atomic;
mod events;
mod kernel;
mod lookup;
mod maps;
mod skb;
mod sock;
mod subprograms;
mod verdict;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::{bpf_skb_load_bytes, bpf_skb_vlan_pop},
    macros::classifier,
    programs::TcContext,
};
use netd_common::{
    abi::HOST_SLOT,
    conntrack::expire,
    container,
    drop_reason::DropReason,
    host, loopback,
    nat::mapping,
    packet::{ETHERNET, Packet as _, ether_type},
    resolver,
    subprograms::Subprograms as _,
    tables::Tables as _,
    uplink,
    verdict::{Next, Step},
    work::Work,
};

use crate::{kernel::Kernel, skb::Skb};

/// The work space of this CPU.
#[inline(always)]
fn scratch() -> Option<&'static mut Work> {
    let room = maps::SCRATCH.get_ptr_mut(0)?;
    // SAFETY: TC programs run with bottom halves disabled and do not nest (what hangs on egress does not use it), so this
    // CPU's entry has one user; every field is written before it is read, and `Work` is valid when zeroed.
    let room = unsafe { &mut *room };
    // Until the headers are read: what is told of a refused packet must not be of the one before it.
    room.h.l4 = 0;
    Some(room)
}

#[inline(always)]
fn ifindex(context: &TcContext) -> u32 {
    // SAFETY: the context's pointer is valid while the program runs.
    unsafe { (*context.skb.skb).ifindex }
}

/// Whether the packet has a VLAN tag: the kernel takes it out of the packet before the hook, and puts it back when the
/// packet leaves.
#[inline(always)]
fn is_tagged(context: &TcContext) -> bool {
    // SAFETY: as above.
    unsafe { (*context.skb.skb).vlan_present != 0 }
}

/// Takes away a tag that says a priority and no VLAN (IEEE 802.1Q, VID 0): the kernel goes on with such a packet as with an
/// untagged one. False: it says a VLAN.
#[inline(always)]
fn untag_priority(context: &TcContext) -> bool {
    let skb = context.skb.skb;
    // SAFETY: as above; the helper takes the context itself.
    unsafe { (*skb).vlan_tci & 0x0fff == 0 && bpf_skb_vlan_pop(skb) == 0 }
}

/// `pkt_type` of a packet that is sent to the interface's own address (PACKET_HOST).
const TO_US: u32 = 0;

#[inline(always)]
fn is_to_us(context: &TcContext) -> bool {
    // SAFETY: as above.
    unsafe { (*context.skb.skb).pkt_type == TO_US }
}

/// TC ingress of a container veth's host end.
#[classifier]
pub fn from_container(context: TcContext) -> i32 {
    let kernel = Kernel(Some(&context));
    let index = ifindex(&context);
    let Some(device) = kernel.device(index) else {
        let unknown = Step::refused(DropReason::UnknownDevice);
        return verdict::apply::<true>(&context, HOST_SLOT, context.len(), unknown);
    };
    let Some(room) = scratch() else {
        return TC_ACT_SHOT;
    };
    let bytes = context.len();
    room.bytes = bytes;
    let decided = if is_tagged(&context) {
        // It would leave with its tag, into whatever network that is.
        Step::refused(DropReason::UnknownProtocol)
    } else {
        container::from_container(&mut Skb(&context), &kernel, index, device, room)
    };
    if !matches!(decided.next, Next::Drop | Next::Back | Next::Again) {
        verdict::count_sent(device.slot, bytes);
    }
    verdict::apply::<true>(&context, device.slot, bytes, decided)
}

/// TC ingress of the inner end of a network's device pair: what the host sends into the network.
#[classifier]
pub fn from_host(context: TcContext) -> i32 {
    let Some(room) = scratch() else {
        return TC_ACT_SHOT;
    };
    let decided = host::from_host(
        &mut Skb(&context),
        &Kernel(Some(&context)),
        ifindex(&context),
        &mut room.h,
    );
    let step = match decided {
        Ok(step) => step,
        Err(reason) => Step::refused(reason),
    };
    verdict::apply::<true>(&context, HOST_SLOT, context.len(), step)
}

#[inline(always)]
fn uplink(context: &TcContext, l3: u32, v4: bool) -> i32 {
    let Some(room) = scratch() else {
        return TC_ACT_SHOT;
    };
    let bytes = context.len();
    room.bytes = bytes;
    let decided = uplink::from_uplink(
        &mut Skb(context),
        &Kernel(Some(context)),
        ifindex(context),
        l3,
        v4,
        room,
    );
    verdict::apply::<false>(context, HOST_SLOT, bytes, decided)
}

/// TC ingress of an uplink with Ethernet headers. What has a VLAN tag belongs to a VLAN device, an uplink of its own; what is
/// for another station, or for all, is not for an address of ours.
#[classifier]
pub fn from_uplink(context: TcContext) -> i32 {
    if !is_to_us(&context) || (is_tagged(&context) && !untag_priority(&context)) {
        return TC_ACT_UNSPEC;
    }
    let v4 = match Skb(&context).load::<2>(12) {
        Some(ether_type::IPV4) => true,
        Some(ether_type::IPV6) => false,
        _ => return TC_ACT_UNSPEC,
    };
    // One call: the verifier would follow two of them twice.
    uplink(&context, ETHERNET, v4)
}

/// TC ingress of an uplink whose packets begin with the IP header (tun, WireGuard).
#[classifier]
pub fn from_uplink_l3(context: TcContext) -> i32 {
    let v4 = match Skb(&context).load::<1>(0) {
        Some([b]) if b >> 4 == 4 => true,
        Some([b]) if b >> 4 == 6 => false,
        _ => return TC_ACT_UNSPEC,
    };
    uplink(&context, 0, v4)
}

/// TC ingress of the host's loopback device, while ports are published.
#[classifier]
pub fn from_loopback(context: TcContext) -> i32 {
    let v4 = match Skb(&context).load::<2>(12) {
        Some(ether_type::IPV4) => true,
        Some(ether_type::IPV6) => false,
        _ => return TC_ACT_UNSPEC,
    };
    let Some(room) = scratch() else {
        return TC_ACT_UNSPEC;
    };
    let bytes = context.len();
    room.bytes = bytes;
    let step = loopback::from_loopback(&mut Skb(&context), &Kernel(Some(&context)), v4, room);
    if step.next == Next::Peer {
        verdict::forget_route(&context);
    }
    verdict::apply::<false>(&context, HOST_SLOT, bytes, step)
}

/// How many flows a run of [`reclaim`] looks at.
const VISITS: u32 = 64;

/// Looks at flows that may be over; the daemon runs it (BPF_PROG_TEST_RUN), it hangs nowhere. Returns how many it looked at.
#[classifier]
pub fn reclaim(_context: TcContext) -> i32 {
    let Some(room) = scratch() else {
        return 0;
    };
    let mut i = 0;
    while i < VISITS {
        if !Kernel(None).visit(room) {
            break;
        }
        i += 1;
    }
    i as i32
}

/// Reads what the packet consists of behind its Ethernet header. False: it is too short.
///
/// # Safety
/// Any bytes must be a valid `K`.
#[inline(always)]
unsafe fn read_key<K>(context: &TcContext, key: &mut K) -> bool {
    // SAFETY: the helper writes the whole key or fails.
    unsafe {
        bpf_skb_load_bytes(
            context.as_ptr(),
            ETHERNET,
            (&raw mut *key).cast(),
            size_of::<K>() as u32,
        ) == 0
    }
}

/// Ends the flow whose key (`FlowKey`) the packet consists of, behind an Ethernet header; the daemon runs it. Returns 1 if there was one.
#[classifier]
pub fn end_flow(context: TcContext) -> i32 {
    let Some(room) = scratch() else {
        return 0;
    };
    // SAFETY: any bytes are a valid key.
    let read = unsafe { read_key(&context, &mut room.ending.key) };
    let kernel = Kernel(None);
    if !read || !kernel.flow(&room.ending.key, &mut room.ending.flow) {
        return 0;
    }
    expire::end(&kernel, &mut room.ending);
    1
}

/// Gives up the mapping whose key (`MappingKey`) the packet consists of, if no flow uses it and its port has rested; the daemon runs it.
/// Returns 1 if there was one.
#[classifier]
pub fn end_mapping(context: TcContext) -> i32 {
    let Some(room) = scratch() else {
        return 0;
    };
    // SAFETY: any bytes are a valid key.
    let read = unsafe { read_key(&context, &mut room.search.key) };
    i32::from(read && mapping::remove_idle(&Kernel(None), &room.search.key))
}

/// TC egress of a sandbox's loopback device.
#[classifier]
pub fn to_resolver(context: TcContext) -> i32 {
    resolver::redirect(&mut Skb(&context));
    // Whoever else has a filter there shall see it.
    TC_ACT_UNSPEC
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
