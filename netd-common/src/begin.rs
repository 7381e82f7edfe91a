//! Beginning flows: of masquerading and routed endpoints to the outside, and to published ports.

use crate::{
    abi::{Device, Flow, HomeKey, Publication, PublicationData, network_flags},
    addr::{Addr, Be16},
    drop_reason::DropReason,
    flow::{is_live, locate, seen_of},
    packet::{Class, Headers, protocol},
    pool::{self, outside_port},
    tables::{Refused, Tables, Work},
};

/// Whether a packet to a port may begin a flow.
#[inline(always)]
pub fn begins_at_port(h: &Headers) -> bool {
    let begins = match h.protocol {
        protocol::TCP => h.is_first_syn(),
        protocol::UDP | protocol::SCTP => true,
        _ => false,
    };
    begins && h.class == Class::Plain
}

/// Whether a packet may begin a flow, ports or not.
#[inline(always)]
pub fn begins(h: &Headers) -> bool {
    match h.class {
        Class::Plain => h.protocol != protocol::TCP || h.is_first_syn(),
        Class::Echo => matches!(h.icmp_type, 8 | 128),
        _ => false,
    }
}

/// The publication that a packet to an address of the host meets, if it may begin a flow.
#[inline(always)]
pub fn publication<T: Tables>(t: &T, h: &Headers) -> Option<Publication> {
    if !begins_at_port(h) {
        return None;
    }
    published(t, h.dst, h.protocol, h.dport, h.v4)
}

/// The publication of this port of this very address.
#[inline(always)]
pub fn published_at<T: Tables>(t: &T, addr: Addr, number: u8, port: Be16) -> Option<Publication> {
    t.publication(&PublicationData {
        addr,
        protocol: number,
        pad: 0,
        port,
    })
}

/// The publication of this port of this very address, or of all addresses of its family.
#[inline(always)]
pub fn published<T: Tables>(
    t: &T,
    addr: Addr,
    number: u8,
    port: Be16,
    v4: bool,
) -> Option<Publication> {
    if let Some(found) = published_at(t, addr, number, port) {
        return Some(found);
    }
    let all = if v4 {
        Addr::UNSPECIFIED_V4
    } else {
        Addr::UNSPECIFIED
    };
    published_at(t, all, number, port)
}

/// The same publication, leading to the sandbox' endpoint on the client's own network if it has one there.
#[inline(always)]
pub fn at_home<T: Tables>(t: &T, mut found: Publication, network: u32) -> Publication {
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
    found
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

/// Begins a flow of a masquerading or routed endpoint to the outside, along `w.route`. `w.key` is the packet's.
#[inline(never)]
pub fn begin_outgoing<T: Tables>(t: &T, dev: &Device, w: &mut Work) -> Result<(), DropReason> {
    let wanted = if w.h.v4 {
        network_flags::MASQUERADE_V4
    } else {
        network_flags::MASQUERADE_V6
    };
    let mut src = w.h.src;
    let mut sport = w.h.sport;
    if dev.flags & wanted != 0 {
        if w.route.source.is_unspecified() {
            return Err(DropReason::NoUplinkAddress);
        }
        src = w.route.source;
        sport = outside_port(t, dev.endpoint, &w.h, &src, w.payer)?;
    }
    w.flow.src = src;
    w.flow.sport = sport;
    w.flow.dst = w.h.dst;
    w.flow.dport = w.h.dport;
    w.flow.target = 0;
    w.flow.network = 0;
    w.back.src = w.h.dst;
    w.back.sport = w.h.dport;
    w.back.dst = w.h.src;
    w.back.dport = w.h.sport;
    w.back.target = dev.endpoint;
    w.back.network = dev.network;
    insert_pair(t, w)
}

/// Begins a flow to a published port; `w.key` is the packet's. `sender_network`: of the sending endpoint, or 0.
/// `own`: the gateway address that stands in when an endpoint reaches itself.
#[inline(never)]
pub fn begin_published<T: Tables>(
    t: &T,
    found: &Publication,
    sender_network: u32,
    own: &Addr,
    w: &mut Work,
) -> Result<(), DropReason> {
    let sender = w.key.endpoint;
    w.flow.src = w.h.src;
    w.flow.sport = w.h.sport;
    if sender != 0 && sender == found.endpoint {
        // A packet from its own address would be a martian to the endpoint's kernel.
        w.flow.sport = outside_port(t, sender, &w.h, own, w.payer)?;
        w.flow.src = *own;
    }
    w.flow.dst = found.addr;
    w.flow.dport = target_port(found, w.h.dport);
    w.flow.target = found.endpoint;
    w.flow.network = found.network;
    if !locate(t, w) {
        return Err(DropReason::StaleTarget);
    }
    if w.key.endpoint == 0 {
        w.payer = w.target.slot;
    }
    w.back.src = w.h.dst;
    w.back.sport = w.h.dport;
    w.back.dst = w.h.src;
    w.back.dport = w.h.sport;
    w.back.target = sender;
    w.back.network = sender_network;
    insert_published(t, w)
}

/// Begins a flow from outside to the endpoint `endpoint` of `network` at its own address, without translation; `w.key`
/// is the packet's. Its answers keep their source even where the network masquerades.
#[inline(never)]
pub fn begin_identity<T: Tables>(
    t: &T,
    network: u32,
    endpoint: u32,
    w: &mut Work,
) -> Result<(), DropReason> {
    w.flow.src = w.h.src;
    w.flow.sport = w.h.sport;
    w.flow.dst = w.h.dst;
    w.flow.dport = w.h.dport;
    w.flow.target = endpoint;
    w.flow.network = network;
    if !locate(t, w) {
        return Err(DropReason::StaleTarget);
    }
    if w.key.endpoint == 0 {
        w.payer = w.target.slot;
    }
    w.back.src = w.h.dst;
    w.back.sport = w.h.dport;
    w.back.dst = w.h.src;
    w.back.dport = w.h.sport;
    w.back.target = 0;
    w.back.network = 0;
    insert_pair(t, w)
}

/// How often a client's source port is chosen anew.
const SHIFTS: u32 = 8;

/// As [`insert_pair`]. A client socket that already speaks with the endpoint's port by another address or port of the
/// host gets a source port of the pool: the endpoint could not tell its two connections apart.
#[inline(always)]
fn insert_published<T: Tables>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    let mut done = insert_pair(t, w);
    // SCTP's checksum covers the ports and cannot be updated in place.
    if done != Err(DropReason::FlowConflict) || w.h.protocol == protocol::SCTP {
        return done;
    }
    let (first, size) = pool::range(t)?;
    let mut i = 0;
    while i < SHIFTS {
        i += 1;
        w.flow.sport = pool::random_port(t, first, size);
        done = insert_pair(t, w);
        if done != Err(DropReason::FlowConflict) {
            break;
        }
    }
    done
}

/// Writes both entries, the answering direction's first: that one must be new, or belong to the same two ends.
#[inline(never)]
fn insert_pair<T: Tables>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    if !t.charge_flow(w.payer) {
        return Err(DropReason::Quota);
    }
    let now = t.now();
    w.flow.last_seen = now;
    w.flow.seen = seen_of(&w.h);
    w.flow.pad = [0; 3];
    w.back.last_seen = now;
    w.back.seen = 0;
    w.back.pad = [0; 3];
    w.reverse = w.flow.reverse_key(w.h.protocol);
    insert_answers(t, w)?;
    if t.insert_flow(&w.key, &w.flow, false).is_err() {
        t.remove_flow(&w.reverse);
        return Err(DropReason::FlowTableFull);
    }
    Ok(())
}

/// Writes the answers' entry `w.back` under `w.reverse`, in the place of one that leads to an endpoint that is gone.
#[inline(always)]
fn insert_answers<T: Tables>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    match t.insert_flow(&w.reverse, &w.back, true) {
        Ok(()) => return Ok(()),
        Err(Refused::Full) => return Err(DropReason::FlowTableFull),
        Err(Refused::Exists) => {}
    }
    if t.flow(&w.reverse, 0, &mut w.old) {
        if same_way(&w.old, &w.back) {
            return Ok(());
        }
        if is_live(t, &w.old) {
            return Err(DropReason::FlowConflict);
        }
    }
    t.insert_flow(&w.reverse, &w.back, false)
        .map_err(|_| DropReason::FlowTableFull)
}

/// Whether two entries do the same to a packet.
#[inline(always)]
fn same_way(a: &Flow, b: &Flow) -> bool {
    a.target == b.target
        && a.sport == b.sport
        && a.dport == b.dport
        && a.src == b.src
        && a.dst == b.dst
}
