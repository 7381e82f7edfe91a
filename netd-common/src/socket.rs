//! Host processes and publications: the destination of their sockets is replaced before a packet exists, and they
//! cannot take a port that is published.

use crate::{
    abi::Publication,
    addr::{Addr, Be16},
    begin,
    tables::Tables,
};

/// The publication that a host process' destination means, if it is an address of this host.
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
    let found = begin::published(t, addr, protocol, port, addr.is_v4())?;
    Some((found, begin::target_port(&found, port)))
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
    begin::published(t, addr, protocol, port, addr.is_v4()).is_some()
}
