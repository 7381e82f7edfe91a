//! Host processes and publications: the destination of their connected sockets is replaced before a packet exists, where
//! that can work, and they cannot take a port that is published. What is left alone here goes by the loopback device
//! ([`crate::loopback`]).

use crate::{
    abi::Publication,
    addr::{Addr, Be16},
    publication,
    tables::Tables,
};

/// Finds the publication of a port of one of the host's addresses. One of all addresses covers 127.0.0.1, not the others of
/// 127.0.0.0/8: there the host's own servers live beside it (a resolver at 127.0.0.53).
#[inline(always)]
pub fn published<T: Tables>(
    t: &T,
    addr: &Addr,
    protocol: u8,
    port: Be16,
    out: &mut Publication,
) -> bool {
    if addr.is_loopback() && *addr != Addr::LOCALHOST_V4 && *addr != Addr::LOCALHOST_V6 {
        publication::published_at(t, addr, protocol, port, out)
    } else {
        publication::published(t, addr, protocol, port, out)
    }
}

/// Whether the host's route to an endpoint is by its network's device, from the gateway's address: a process whose
/// destination is replaced would send to wherever the default route leads.
#[inline(always)]
fn is_near<T: Tables>(t: &T, found: &Publication) -> bool {
    let Some(network) = t.network(found.network) else {
        return false;
    };
    let gateway = if found.addr.is_v4() {
        network.gateway_v4
    } else {
        network.gateway_v6
    };
    t.host_address(gateway).is_some()
}

/// The publication that a host process' destination means, if it is an address of this host, and the endpoint can be
/// its destination instead.
#[inline(always)]
pub fn resolve<T: Tables>(
    t: &T,
    addr: Addr,
    port: Be16,
    protocol: u8,
) -> Option<(Publication, Be16)> {
    // Connecting to the unspecified address means the host itself (Linux, ip(7)).
    let addr = if addr.is_unspecified() {
        if addr.is_v4() {
            Addr::LOCALHOST_V4
        } else {
            Addr::LOCALHOST_V6
        }
    } else {
        addr
    };
    if !addr.is_loopback() && t.host_address(addr).is_none() {
        return None;
    }
    let mut found = Publication::default();
    (published(t, &addr, protocol, port, &mut found) && is_near(t, &found))
        .then(|| (found, publication::target_port(&found, port)))
}

/// Whether a port that a host process wants for itself is published: it would get no packet from anywhere.
#[inline(always)]
pub fn is_taken<T: Tables>(t: &T, addr: Addr, port: Be16, protocol: u8) -> bool {
    // Any free port: the kernel's choice is not a published one, for these are reserved.
    if port == Be16::ZERO {
        return false;
    }
    // An endpoint's own address is not the host's to bind, whatever is published there.
    if !addr.is_unspecified() && !addr.is_loopback() && t.host_address(addr).is_none() {
        return false;
    }
    published(t, &addr, protocol, port, &mut Publication::default())
}
