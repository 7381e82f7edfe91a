//! netd's eBPF programs: one small entry point for each hook. Policy is in `netd_common`; here are only map access
//! and helper calls.
#![no_std]
#![no_main]
#![allow(
    missing_docs,
    reason = "the macros of aya make public items without documentation"
)]

mod kernel;
mod maps;
mod skb;
mod sock;
mod verdict;

use aya_ebpf::{
    bindings::{TC_ACT_OK, TC_ACT_SHOT, TC_ACT_UNSPEC},
    macros::classifier,
    programs::TcContext,
};
use netd_common::{
    abi::HOST_SLOT,
    container,
    drop_reason::DropReason,
    host,
    packet::{ETHERNET, Packet as _, ether_type},
    resolver,
    tables::{Tables as _, Verdict, Work},
    uplink,
};

use crate::{kernel::Kernel, skb::Skb};

/// The work space of this CPU.
#[inline(always)]
fn scratch() -> Option<&'static mut Work> {
    let room = maps::SCRATCH.get_ptr_mut(0)?;
    // SAFETY: TC programs run with bottom halves disabled and do not nest (what hangs on egress does not use it), so this
    // CPU's entry has one user; every field is written before it is read, and `Work` is valid when zeroed.
    Some(unsafe { &mut *room })
}

#[inline(always)]
fn ifindex(context: &TcContext) -> u32 {
    // SAFETY: the context's pointer is valid while the program runs.
    unsafe { (*context.skb.skb).ifindex }
}

/// TC ingress of a container veth's host end.
#[classifier]
pub fn from_container(context: TcContext) -> i32 {
    let kernel = Kernel(Some(&context));
    let index = ifindex(&context);
    let Some(device) = kernel.device(index) else {
        let unknown = Err(DropReason::UnknownDevice);
        return verdict::apply::<true>(&context, HOST_SLOT, context.len(), unknown);
    };
    let Some(room) = scratch() else {
        return TC_ACT_SHOT;
    };
    let bytes = context.len();
    let decided = container::from_container(&mut Skb(&context), &kernel, index, device, room);
    if !matches!(decided, Err(_) | Ok(Verdict::Back(..))) {
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
    verdict::apply::<true>(&context, HOST_SLOT, context.len(), decided)
}

#[inline(always)]
fn uplink(context: &TcContext, l3: u32, v4: bool) -> i32 {
    let Some(room) = scratch() else {
        return TC_ACT_SHOT;
    };
    let bytes = context.len();
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

/// TC ingress of an uplink with Ethernet headers.
#[classifier]
pub fn from_uplink(context: TcContext) -> i32 {
    let v4 = match Skb(&context).load::<2>(12) {
        Some(ether_type::IPV4) => true,
        Some(ether_type::IPV6) => false,
        _ => return TC_ACT_OK,
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
        _ => return TC_ACT_OK,
    };
    uplink(&context, 0, v4)
}

/// TC egress of a sandbox' loopback device.
#[classifier]
pub fn to_resolver(context: TcContext) -> i32 {
    resolver::lead(&mut Skb(&context));
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
