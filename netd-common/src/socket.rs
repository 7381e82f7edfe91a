//! Host processes that reach publications: the destination of their sockets is replaced before a packet exists.

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
