//! Finding publications: published ports of the host's addresses, and where they lead.

use crate::{
    abi::{HomeKey, Publication},
    addr::{Addr, Be16},
    packet::{Class, Headers, protocol},
    tables::Tables,
    work::Work,
};

/// Whether a packet to a port may begin a flow.
#[inline(always)]
pub fn may_create_at_port(h: &Headers) -> bool {
    let begins = match h.protocol {
        protocol::TCP => h.is_first_syn(),
        number => protocol::has_ports(number),
    };
    begins && h.class == Class::Plain
}

/// Whether a packet to an address of the host meets a publication, and may begin a flow by it; it is `w.found` then.
#[inline(always)]
pub fn matches_publication<T: Tables>(t: &T, w: &mut Work) -> bool {
    may_create_at_port(&w.h)
        && published(t, &w.h.dst, w.h.protocol, w.h.dport, &mut w.found)
        && w.found.addr.is_v4() == w.h.v4
}

/// Whether this port of this very address is published; copies the publication.
#[inline(never)]
pub fn published_at<T: Tables>(
    t: &T,
    addr: &Addr,
    number: u8,
    port: Be16,
    out: &mut Publication,
) -> bool {
    t.publication(addr, number, port, out)
}

/// Whether this port of this very address, or of all addresses of its family, is published; copies the publication.
#[inline(never)]
pub fn published<T: Tables>(
    t: &T,
    addr: &Addr,
    number: u8,
    port: Be16,
    out: &mut Publication,
) -> bool {
    if t.publication(addr, number, port, out) {
        return true;
    }
    let all = if addr.is_v4() {
        &Addr::UNSPECIFIED_V4
    } else {
        &Addr::UNSPECIFIED
    };
    t.publication(all, number, port, out)
}

/// Leads the publication to the sandbox's endpoint on the client's own network, if it has one there.
#[inline(always)]
pub fn resolve_home<T: Tables>(t: &T, found: &mut Publication, network: u32) {
    let key = HomeKey {
        endpoint: found.endpoint,
        network,
    };
    if let Some(home) = t.home(&key) {
        let addr = if found.addr.is_v4() {
            home.ipv4
        } else {
            home.ipv6
        };
        if !addr.is_unspecified() {
            found.endpoint = home.endpoint;
            found.network = network;
            found.addr = addr;
        }
    }
}

/// The endpoint's port that a publication leads this host port to.
#[inline(always)]
pub fn target_port(found: &Publication, port: Be16) -> Be16 {
    Be16::new(
        found
            .target_port
            .wrapping_add(port.get().wrapping_sub(found.first_port)),
    )
}
