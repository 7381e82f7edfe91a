//! Carrying out verdicts, and counting.

use aya_ebpf::{
    bindings::{
        BPF_ANY, BPF_F_INGRESS, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_redir_neigh as RedirNeigh,
        bpf_tunnel_key as TunnelKey,
    },
    helpers::{
        bpf_clone_redirect, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer,
        bpf_skb_change_type, bpf_skb_set_tunnel_key,
    },
    programs::TcContext,
};
use netd_common::{
    abi::{DropCount, DropKey, LOOPBACK_IFINDEX, MAX_MEMBERS, MemberKey},
    verdict::{Next, Step},
    work::forget,
};

use crate::{events, maps};

const PACKET_HOST: u32 = 0;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// Does what was decided about a packet of `bytes` and returns the program's return value; refusals are counted for
/// `slot`.
///
/// A program that never replicates is spared the loop (`REPLICATES`), and the verifier with it.
#[inline(always)]
pub fn apply<const REPLICATES: bool>(
    context: &TcContext,
    slot: u32,
    bytes: u32,
    step: Step,
) -> i32 {
    match step.next {
        // Other programs and filters on the interface shall see what is not ours.
        Next::Pass => TC_ACT_UNSPEC,
        Next::Peer => peer(context, step.first),
        // SAFETY: the redirect helpers take numbers.
        Next::Ingress | Next::Again => unsafe {
            bpf_redirect(step.first, u64::from(BPF_F_INGRESS)) as i32
        },
        // SAFETY: as above.
        Next::Egress => unsafe { bpf_redirect(step.first, 0) as i32 },
        Next::Local => local(context),
        Next::Back => {
            count_drop(slot, step.second, bytes);
            events::refused(context, slot, step.second, bytes);
            // SAFETY: as above.
            unsafe { bpf_redirect(step.first, 0) as i32 }
        }
        Next::Neighbour => neighbour(step.first),
        Next::Replicate if REPLICATES => replicate(context, step.first, step.second),
        Next::Drop => {
            count_drop(slot, step.first, bytes);
            events::refused(context, slot, step.first, bytes);
            TC_ACT_SHOT
        }
        _ => TC_ACT_SHOT,
    }
}

/// Sends the packet out of the loopback device, and so to a socket. The kernel looks up its route first, and does not take
/// a loopback address for forged then, as it would that of a packet without a route (IPv4).
#[inline(always)]
fn local(context: &TcContext) -> i32 {
    for_this_host(context);
    // SAFETY: takes numbers, and no parameters.
    unsafe { bpf_redirect_neigh(LOOPBACK_IFINDEX, core::ptr::null_mut(), 0, 0) as i32 }
}

/// A frame that came to another Ethernet address than that of the interface it came by is for this host all the same.
#[inline(always)]
fn for_this_host(context: &TcContext) {
    // SAFETY: the context's pointer is valid while the program runs; the helper takes numbers.
    unsafe {
        let skb = context.skb.skb;
        if (*skb).pkt_type != PACKET_HOST {
            bpf_skb_change_type(skb, PACKET_HOST);
        }
    }
}

#[inline(always)]
fn peer(context: &TcContext, ifindex: u32) -> i32 {
    // Since 6.1.139, 6.6.91, 6.12.29 and 6.14.7 ("bpf: Scrub packet on bpf_redirect_peer") the kernel forgets what the frame
    // was; before, the target would drop it.
    for_this_host(context);
    // SAFETY: takes numbers.
    unsafe { bpf_redirect_peer(ifindex, 0) as i32 }
}

/// Takes from a packet the route that it has, as all have that come by the loopback device. Since 6.1.139, 6.6.91, 6.12.29 and
/// 6.14.7 `bpf_redirect_peer` does so; before, the target's stack would go on with the host's route, and refuse a
/// connection from there. The metadata for a tunnel, which takes the route's place, is no route to anybody.
#[inline(never)]
pub fn forget_route(context: &TcContext) {
    // SAFETY: a struct of integers and unions of them; zero is valid.
    let mut key: TunnelKey = unsafe { core::mem::zeroed() };
    // SAFETY: `key` is of the size given. A failure leaves the packet as it was.
    unsafe {
        bpf_skb_set_tunnel_key(
            context.skb.skb,
            &raw mut key,
            size_of::<TunnelKey>() as u32,
            0,
        )
    };
}

/// Sends the packet out of an interface to the next hop of this CPU's work space.
#[inline(never)]
fn neighbour(ifindex: u32) -> i32 {
    let Some(room) = maps::SCRATCH.get_ptr_mut(0) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: this CPU's entry has one user, see `scratch`; the decision wrote it.
    let next_hop = unsafe { (*room).route.next_hop };
    // SAFETY: a struct of integers and a union of them; zero is valid.
    let mut params: RedirNeigh = unsafe { core::mem::zeroed() };
    if next_hop.is_v4() {
        params.nh_family = AF_INET;
        params.__bindgen_anon_1.ipv4_nh = next_hop.v4_word();
    } else {
        params.nh_family = AF_INET6;
        params.__bindgen_anon_1.ipv6_nh = next_hop.words();
    }
    // SAFETY: `params` is of the size given.
    unsafe {
        bpf_redirect_neigh(ifindex, &raw mut params, size_of::<RedirNeigh>() as i32, 0) as i32
    }
}

/// A copy to every member but the sender, and to the host's device of the network if there is one to tell.
#[inline(never)]
fn replicate(context: &TcContext, number: u32, host: u32) -> i32 {
    // SAFETY: the context's pointer is valid while the program runs.
    let sender = unsafe { (*context.skb.skb).ifindex };
    let Some(room) = maps::SCRATCH.get_ptr_mut(0) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: this CPU's entry has one user, see `scratch`; the decision that used it is over.
    let cell = unsafe { &mut (*room).cell };
    let (number, host) = (forget(cell, number), forget(cell, host));
    // SAFETY: a reader sees the old or the new value, both valid.
    let Some(network) = (unsafe { maps::NETWORKS.get(number) }) else {
        return TC_ACT_SHOT;
    };
    let members = network.members;
    let mut index: u32 = 0;
    while index < MAX_MEMBERS {
        if index >= members {
            break;
        }
        // SAFETY: as above.
        if let Some(&ifindex) = unsafe {
            maps::MEMBERS.get(MemberKey {
                network: number,
                index,
            })
        } && ifindex != sender
        {
            // SAFETY: takes numbers; a failed copy is one member's loss.
            let _ = unsafe { bpf_clone_redirect(context.skb.skb, ifindex, 0) };
        }
        index += 1;
    }
    if host != 0 {
        // SAFETY: as above.
        let _ = unsafe { bpf_clone_redirect(context.skb.skb, host, u64::from(BPF_F_INGRESS)) };
    }
    TC_ACT_SHOT
}

/// Counts a packet that an endpoint sent and that was accepted.
#[inline(always)]
pub fn count_sent(slot: u32, bytes: u32) {
    if let Some(counters) = maps::COUNTERS.get_ptr_mut(slot) {
        // SAFETY: a per-CPU value, touched only by this CPU's programs.
        unsafe {
            (*counters).tx_packets += 1;
            (*counters).tx_bytes += u64::from(bytes);
        }
    }
}

#[inline(never)]
fn count_drop(slot: u32, reason: u32, bytes: u32) {
    let key = DropKey { slot, reason };
    if let Some(count) = maps::DROPS.get_ptr_mut(key) {
        // SAFETY: a per-CPU value, touched only by this CPU's programs.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += u64::from(bytes);
        }
        return;
    }
    // A full map loses the count, never the drop.
    let _ = maps::DROPS.insert(
        key,
        DropCount {
            packets: 1,
            bytes: u64::from(bytes),
        },
        u64::from(BPF_ANY),
    );
}
