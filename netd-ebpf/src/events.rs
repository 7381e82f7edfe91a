//! Telling of refused packets one by one, while somebody listens.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::TcContext};
use netd_common::{
    abi::{DropEvent, watch},
    drop_reason::DropReason,
};

use crate::maps;

/// Packets told of one slot and CPU in a tenth of a second; the ring buffer holds some 3,000 and is read at once.
const MOST: u32 = 10;

/// Tells of a packet that was refused, if somebody listens.
#[inline(always)]
pub fn refused(context: &TcContext, slot: u32, reason: u32, bytes: u32) {
    let Some(settings) = maps::SETTINGS.get(0) else {
        return;
    };
    if settings.watch & watch::DROPS != 0 {
        tell(context, slot, reason, bytes);
    }
}

#[inline(never)]
fn tell(context: &TcContext, slot: u32, reason: u32, bytes: u32) {
    let (Some(rates), Some(room)) = (maps::RATES.get_ptr_mut(slot), maps::SCRATCH.get_ptr_mut(0))
    else {
        return;
    };
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: both are per-CPU values, touched only by this CPU's programs (see `scratch`).
    let (rate, h) = unsafe { (&mut (*rates).events, &(*room).h) };
    if !rate.take(now, MOST) {
        return;
    }
    let Some(mut place) = maps::EVENTS.reserve::<DropEvent>(0) else {
        rate.left_out = rate.left_out.saturating_add(1);
        return;
    };
    let mut event = DropEvent {
        time: now,
        slot,
        reason,
        left_out: rate.left_out,
        // SAFETY: the context's pointer is valid while the program runs.
        ifindex: unsafe { (*context.skb.skb).ifindex },
        bytes,
        ..DropEvent::default()
    };
    // Before its device is known, the work space is another packet's; then `l4` says whether there were headers.
    if reason != DropReason::UnknownDevice as u32 && h.l4 != 0 {
        event.src = h.src;
        event.dst = h.dst;
        event.sport = h.sport;
        event.dport = h.dport;
        event.protocol = h.protocol;
        event.tcp_flags = h.tcp_flags;
        event.icmp_type = h.icmp_type;
    }
    place.write(event);
    place.submit(0);
    rate.left_out = 0;
}
