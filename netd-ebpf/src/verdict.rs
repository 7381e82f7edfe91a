//! Carrying out verdicts, and counting.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_INGRESS, TC_ACT_OK, TC_ACT_SHOT, bpf_redir_neigh as RedirNeigh},
    helpers::{bpf_clone_redirect, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer},
    programs::TcContext,
};
use netd_common::{
    abi::{DropCount, DropKey, MAX_MEMBERS, MemberKey},
    addr::Addr,
    drop_reason::DropReason,
    tables::{Verdict, forget},
};

use crate::maps;

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
    verdict: Result<Verdict, DropReason>,
) -> i32 {
    match verdict {
        Ok(Verdict::Pass) => TC_ACT_OK,
        Ok(Verdict::Drop(reason)) | Err(reason) => {
            count_drop(slot, reason, bytes);
            TC_ACT_SHOT
        }
        // SAFETY: the redirect helpers take numbers and, for a neighbour, a struct of the size given.
        Ok(Verdict::Peer(ifindex)) => unsafe { bpf_redirect_peer(ifindex, 0) as i32 },
        // SAFETY: as above.
        Ok(Verdict::Ingress(ifindex)) => unsafe {
            bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)) as i32
        },
        // SAFETY: as above.
        Ok(Verdict::Egress(ifindex)) => unsafe { bpf_redirect(ifindex, 0) as i32 },
        Ok(Verdict::Back(ifindex, reason)) => {
            count_drop(slot, reason, bytes);
            // SAFETY: as above.
            unsafe { bpf_redirect(ifindex, 0) as i32 }
        }
        Ok(Verdict::Neighbour(ifindex, next_hop)) => neighbour(ifindex, next_hop),
        Ok(Verdict::Replicate(network, host)) => {
            if REPLICATES {
                replicate(context, network, host)
            } else {
                TC_ACT_SHOT
            }
        }
    }
}

#[inline(always)]
fn neighbour(ifindex: u32, next_hop: Addr) -> i32 {
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
#[inline(always)]
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
fn count_drop(slot: u32, reason: DropReason, bytes: u32) {
    let key = DropKey {
        slot,
        reason: reason as u32,
    };
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
