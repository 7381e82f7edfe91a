//! cgroup hooks: connected sockets of host processes whose destination is a publication get the endpoint's address
//! instead, and are told the address they asked for; and nobody there binds a published port.

use aya_ebpf::{
    bindings::{BPF_ANY, bpf_sock, bpf_sock_addr},
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use netd_common::{
    abi::{Publication, SocketPeer, SocketPeerKey},
    addr::{Addr, Be16},
    packet::protocol,
    socket,
    tables::Tables as _,
};

use crate::{kernel::Kernel, maps};

/// Return value that lets the call go on.
const ALLOW: i32 = 1;

/// Return value that ends it.
const REFUSE: i32 = 0;
const EADDRINUSE: i32 = 98;

/// Whether the socket is in the host's network namespace; containers' sockets are none of these hooks' business.
#[inline(always)]
fn of_host(context: &SockAddrContext) -> bool {
    // SAFETY: the context's pointer is valid while the program runs.
    let cookie = unsafe { bpf_get_netns_cookie(context.sock_addr.cast()) };
    Kernel(None)
        .settings()
        .is_some_and(|s| s.host_netns_cookie == cookie)
}

/// Reads an address of a context, in whichever of the two fields its family has.
///
/// # Safety
/// Both are fields of a context that is valid.
#[inline(always)]
unsafe fn read_address(v4: bool, ip4: *const u32, ip6: *const [u32; 4]) -> Addr {
    // SAFETY: the fields are read one by one, as the verifier asks (4 bytes at a time).
    unsafe {
        if v4 {
            return Addr::from_v4_word(core::ptr::read_volatile(ip4));
        }
        let ip: *const u32 = ip6.cast();
        Addr::from_words([
            core::ptr::read_volatile(ip),
            core::ptr::read_volatile(ip.add(1)),
            core::ptr::read_volatile(ip.add(2)),
            core::ptr::read_volatile(ip.add(3)),
        ])
    }
}

#[inline(always)]
fn destination(a: *const bpf_sock_addr, v4: bool) -> (Addr, Be16) {
    // SAFETY: the context is valid while the program runs; its fields are read 4 bytes at a time, as the verifier asks.
    unsafe {
        let addr = read_address(v4, &raw const (*a).user_ip4, &raw const (*a).user_ip6);
        let port = core::ptr::read_volatile(&raw const (*a).user_port) as u16;
        (addr, Be16::from_bytes(port.to_ne_bytes()))
    }
}

#[inline(always)]
fn set_destination(a: *mut bpf_sock_addr, v4: bool, addr: Addr, port: Be16) {
    // SAFETY: as in `destination`; these fields are writable for the hooks used.
    unsafe {
        if v4 {
            core::ptr::write_volatile(&raw mut (*a).user_ip4, addr.v4_word());
        } else {
            let ip: *mut u32 = (&raw mut (*a).user_ip6).cast();
            let words = addr.words();
            core::ptr::write_volatile(ip, words[0]);
            core::ptr::write_volatile(ip.add(1), words[1]);
            core::ptr::write_volatile(ip.add(2), words[2]);
            core::ptr::write_volatile(ip.add(3), words[3]);
        }
        core::ptr::write_volatile(
            &raw mut (*a).user_port,
            u32::from(u16::from_ne_bytes(port.to_bytes())),
        );
    }
}

#[inline(always)]
fn cookie(context: &SockAddrContext) -> u64 {
    // SAFETY: the context's pointer is valid while the program runs.
    unsafe { bpf_get_socket_cookie(context.sock_addr.cast()) }
}

/// What a socket's peer is remembered by, at the address and port that its packets go to.
#[inline(always)]
fn peer_key(context: &SockAddrContext, addr: Addr, port: Be16) -> SocketPeerKey {
    SocketPeerKey {
        cookie: cookie(context),
        addr,
        port,
        pad: [0; 6],
    }
}

/// Whether packets of the socket can reach an endpoint: bound to a loopback address they have no route there, and bound
/// to a device they would leave by that one.
#[inline(always)]
fn is_free(socket: *const bpf_sock, v4: bool) -> bool {
    // SAFETY: as in `destination`; the kernel gives these hooks a socket.
    unsafe {
        if core::ptr::read_volatile(&raw const (*socket).bound_dev_if) != 0 {
            return false;
        }
        let source = read_address(
            v4,
            &raw const (*socket).src_ip4,
            &raw const (*socket).src_ip6,
        );
        !source.is_loopback()
    }
}

#[inline(always)]
fn protocol_of(a: *const bpf_sock_addr) -> u8 {
    // SAFETY: as in `destination`.
    (unsafe { core::ptr::read_volatile(&raw const (*a).protocol) }) as u8
}

/// The publication that a socket's call means, and the endpoint's port.
#[inline(always)]
fn meant(
    context: &SockAddrContext,
    v4: bool,
    addr: Addr,
    port: Be16,
) -> Option<(Publication, Be16)> {
    let a = context.sock_addr;
    let number = protocol_of(a);
    // SAFETY: as in `destination`.
    let sk = unsafe { core::ptr::read_volatile(&raw const (*a).__bindgen_anon_1.sk) };
    if !of_host(context)
        || !matches!(number, protocol::TCP | protocol::UDP)
        || sk.is_null()
        || !is_free(sk, v4)
    {
        return None;
    }
    let (found, target) = socket::resolve(&Kernel(None), addr, port, number)?;
    // An IPv4 socket cannot reach an IPv6-only endpoint; an IPv6 one reaches IPv4 by the mapped form.
    (!v4 || found.addr.is_v4()).then_some((found, target))
}

/// connect: replaces the destination.
#[inline(always)]
fn replace(context: &SockAddrContext, v4: bool) -> i32 {
    let (addr, port) = destination(context.sock_addr, v4);
    let Some((found, target_port)) = meant(context, v4, addr, port) else {
        return ALLOW;
    };
    let key = peer_key(context, found.addr, target_port);
    let asked = SocketPeer {
        addr,
        port,
        protocol: protocol_of(context.sock_addr),
        pad: 0,
    };
    // Without the note the process would see the endpoint's address as its peer, and nobody would end the socket with its
    // publication: less right, but connected.
    let _ = maps::SOCKET_PEERS.insert(key, asked, u64::from(BPF_ANY));
    set_destination(context.sock_addr, v4, found.addr, target_port);
    ALLOW
}

/// State of a UDP socket that is connected (`TCP_ESTABLISHED`).
const CONNECTED: u32 = 1;

/// sendmsg: where a connected socket names the destination that it was connected to once more, it is replaced once more.
/// What others send goes by the loopback device, so that each answer comes from the address that was asked.
#[inline(always)]
fn replace_again(context: &SockAddrContext, v4: bool) -> i32 {
    let a = context.sock_addr;
    // SAFETY: as in `is_free`.
    let state = unsafe {
        let sk = core::ptr::read_volatile(&raw const (*a).__bindgen_anon_1.sk);
        if sk.is_null() {
            return ALLOW;
        }
        core::ptr::read_volatile(&raw const (*sk).state)
    };
    if state != CONNECTED {
        return ALLOW;
    }
    let (addr, port) = destination(a, v4);
    let Some((found, target_port)) = meant(context, v4, addr, port) else {
        return ALLOW;
    };
    let key = peer_key(context, found.addr, target_port);
    // The kernel takes no IPv4 address from this hook of an IPv6 socket (ENOTSUPP).
    let same_family = found.addr.is_v4() == v4;
    // SAFETY: as in `restore`.
    if same_family && unsafe { maps::SOCKET_PEERS.get(key) }.is_some() {
        set_destination(a, v4, found.addr, target_port);
    }
    ALLOW
}

/// recvmsg and getpeername: gives the address back that the process asked for.
#[inline(always)]
fn restore(context: &SockAddrContext, v4: bool) -> i32 {
    let a = context.sock_addr;
    if !of_host(context) {
        return ALLOW;
    }
    let (addr, port) = destination(a, v4);
    let key = peer_key(context, addr, port);
    // SAFETY: a reader sees the old or the new value, both valid.
    if let Some(asked) = unsafe { maps::SOCKET_PEERS.get(key) } {
        set_destination(a, v4, asked.addr, asked.port);
    }
    ALLOW
}

/// bind: refuses a published port as if somebody listened there.
#[inline(always)]
fn guard(context: &SockAddrContext, v4: bool) -> i32 {
    let a = context.sock_addr;
    if !of_host(context) {
        return ALLOW;
    }
    let number = protocol_of(a);
    if !matches!(number, protocol::TCP | protocol::UDP) {
        return ALLOW;
    }
    let (addr, port) = destination(a, v4);
    if !socket::is_taken(&Kernel(None), addr, port, number) {
        return ALLOW;
    }
    // SAFETY: takes a number. These hooks have the helper since Linux 6.1; without it the process would see EPERM.
    unsafe { bpf_set_retval(-EADDRINUSE) };
    REFUSE
}

/// TCP and UDP bind of IPv4 sockets.
#[cgroup_sock_addr(bind4)]
pub fn bind4(context: SockAddrContext) -> i32 {
    guard(&context, true)
}

/// TCP and UDP bind of IPv6 sockets.
#[cgroup_sock_addr(bind6)]
pub fn bind6(context: SockAddrContext) -> i32 {
    guard(&context, false)
}

/// TCP and UDP connect of IPv4 sockets.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    replace(&context, true)
}

/// TCP and UDP connect of IPv6 sockets.
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    replace(&context, false)
}

/// UDP sends of IPv4 sockets that name a destination.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    replace_again(&context, true)
}

/// UDP sends of IPv6 sockets that name a destination.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    replace_again(&context, false)
}

/// Receives of connected UDP sockets, IPv4.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(context: SockAddrContext) -> i32 {
    restore(&context, true)
}

/// Receives of connected UDP sockets, IPv6.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(context: SockAddrContext) -> i32 {
    restore(&context, false)
}

/// getpeername of IPv4 sockets.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(context: SockAddrContext) -> i32 {
    restore(&context, true)
}

/// getpeername of IPv6 sockets.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(context: SockAddrContext) -> i32 {
    restore(&context, false)
}
