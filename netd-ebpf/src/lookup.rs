//! What the programs ask the kernel itself: its routes and its sockets; and the tables of prefixes.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_F_CURRENT_NETNS as CURRENT_NETNS, bpf_fib_lookup as FibLookup, bpf_sock_tuple,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::{bpf_fib_lookup, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
    maps::lpm_trie::Key,
    programs::TcContext,
};
use netd_common::{
    addr::Addr,
    drop_reason::DropReason,
    packet::{Headers, protocol},
    tables::Route,
    work::SocketTuple,
};

use crate::maps;

/// The namespace of the device that the packet came by: the host's.
const BPF_F_CURRENT_NETNS: u64 = CURRENT_NETNS as u64;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Linux 6.3.
const BPF_FIB_LOOKUP_SKIP_NEIGH: u32 = 1 << 2;
/// Linux 6.7.
const BPF_FIB_LOOKUP_SRC: u32 = 1 << 4;
const RET_SUCCESS: i64 = 0;
const RET_NO_NEIGH: i64 = 7;
const RET_FRAG_NEEDED: i64 = 8;

// Functions of their own, so that their keys do not stand on the stack of the programs.

/// Number of the network with this address; none has 0.
#[inline(never)]
pub fn subnet(addr: &Addr) -> u32 {
    let key = Key::new(128, addr.v6_bytes());
    maps::SUBNETS.get(key).copied().unwrap_or_default()
}

#[inline(never)]
pub fn exempt(addr: &Addr) -> bool {
    maps::EXEMPT.get(Key::new(128, addr.v6_bytes())).is_some()
}

/// Whether the host has a socket for packets like `asked`.
#[inline(always)]
pub fn has_socket(context: &TcContext, asked: &SocketTuple) -> bool {
    let number = asked.protocol;
    if number != protocol::TCP && number != protocol::UDP {
        return false;
    }
    // SAFETY: a struct of integers and unions of them; zero is valid.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let sport = u16::from_ne_bytes(asked.remote_port.to_bytes());
    let dport = u16::from_ne_bytes(asked.local_port.to_bytes());
    let size = if asked.local.is_v4() {
        tuple.__bindgen_anon_1.ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: asked.remote.v4_word(),
            daddr: asked.local.v4_word(),
            sport,
            dport,
        };
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
    } else {
        tuple.__bindgen_anon_1.ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: asked.remote.words(),
            daddr: asked.local.words(),
            sport,
            dport,
        };
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>()
    };
    // SAFETY: the helpers read `size` bytes of `tuple`; a socket found is given back.
    unsafe {
        let skb = context.as_ptr();
        let socket = if number == protocol::TCP {
            bpf_skc_lookup_tcp(skb, &raw mut tuple, size as u32, BPF_F_CURRENT_NETNS, 0)
        } else {
            bpf_sk_lookup_udp(skb, &raw mut tuple, size as u32, BPF_F_CURRENT_NETNS, 0)
        };
        if socket.is_null() {
            return false;
        }
        bpf_sk_release(socket.cast());
    }
    true
}

/// Looks up the way from `out.source` to `out.next_hop`.
#[inline(never)]
pub fn route(
    context: &TcContext,
    ifindex: u32,
    h: &Headers,
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
        fib.__bindgen_anon_2.tos = h.flow_info as u8;
        fib.__bindgen_anon_3.ipv4_src = out.source.v4_word();
        fib.__bindgen_anon_4.ipv4_dst = out.next_hop.v4_word();
    } else {
        fib.family = AF_INET6;
        fib.__bindgen_anon_2.flowinfo = h.flow_info;
        fib.__bindgen_anon_3.ipv6_src = out.source.words();
        fib.__bindgen_anon_4.ipv6_dst = out.next_hop.words();
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
            // A route by an IPv6 next hop (RFC 5549; Linux 5.2) says so by the family.
            let next_hop = if fib.family == AF_INET6 {
                Addr::from_words(fib.__bindgen_anon_4.ipv6_dst)
            } else {
                Addr::from_v4_word(fib.__bindgen_anon_4.ipv4_dst)
            };
            (next_hop, Addr::from_v4_word(fib.__bindgen_anon_3.ipv4_src))
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
