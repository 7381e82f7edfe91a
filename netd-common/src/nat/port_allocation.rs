//! Outside ports of masquerading. An inside socket has one for all destinations (RFC 4787, REQ-1), which no other socket
//! has (REQ-3), while the pool has free ones and the endpoint has not used up its share. Beyond that, flows to different
//! destinations share ports (RFC 7857, 3).

use crate::{
    abi::{Device, Mapping, OutsidePort, flow_flags, network_flags},
    addr::{Addr, Be16},
    conntrack::{insert::insert_pair, lifetime::Pressure},
    drop_reason::DropReason,
    nat::{
        mapping::{count_port, write_mapping_key},
        port_range::{pool, random_offset, random_port},
    },
    packet::{Class, protocol},
    publication::{published, published_at, target_port},
    subprograms::Subprograms,
    tables::{Count, Refused, Tables},
    work::{Search, Work},
};

/// Ports that are tried at random (RFC 6888, REQ-15)...
const RANDOM: u32 = 16;
/// ... and then one after the other, for one that is free.
const CONSECUTIVE: u32 = 112;
/// Then the one that has rested longest of those seen is taken...
const RESTED: u32 = RANDOM + CONSECUTIVE;
/// ... and at last ports that others use for other destinations.
const SHARED: u32 = 64;
const FIRST_SHARED: u32 = RESTED + 1;
const TRIES: u32 = FIRST_SHARED + SHARED;

/// Whether a host's socket listens at the flow's outside port, or speaks from there with the flow's other end.
#[inline(always)]
fn has_socket<T: Subprograms>(t: &T, w: &mut Work) -> bool {
    w.socket.remote = w.h.dst;
    w.socket.remote_port = w.h.dport;
    w.socket.local = w.flow.src;
    w.socket.local_port = w.flow.sport;
    w.socket.protocol = w.h.protocol;
    w.h.class == Class::Plain && t.has_socket(w)
}

/// Begins the flow in `w`, from the outside address `w.flow.src`, by whichever port can be had.
#[inline(always)]
pub fn allocate<T: Subprograms>(t: &T, dev: &Device, w: &mut Work) -> Result<(), DropReason> {
    // Without ports there is nothing to choose; SCTP keeps its port because its checksum cannot be updated in place.
    if !w.h.has_ports() || w.h.protocol == protocol::SCTP {
        return insert_pair(t, w, Pressure::NONE);
    }
    if dev.flags & network_flags::PUBLISHED != 0 && own_published(t, dev.endpoint, w) {
        w.flow.sport = target_port(&w.found, w.h.sport);
        let done = insert_pair(t, w, Pressure::NONE);
        if done != Err(DropReason::FlowConflict) {
            return done;
        }
    }
    write_mapping_key(&w.key, &w.flow, &mut w.search.key);
    if let Some(done) = by_mapping(t, w) {
        return done;
    }
    search(t, dev, w)
}

/// Whether this very port of the endpoint is published at the outside address; `w.found` leads to the host port then: a
/// server that speaks first is known by it.
#[inline(always)]
fn own_published<T: Tables>(t: &T, endpoint: u32, w: &mut Work) -> bool {
    w.search.key.inside = Addr::own_ports(endpoint, w.h.v4);
    let own = &w.search.key.inside;
    w.h.class == Class::Plain
        && published_at(t, own, w.h.protocol, w.h.sport, &mut w.found)
        && (w.found.addr.is_unspecified() || w.found.addr == w.flow.src)
}

/// Begins the flow by the port that the socket has already. `None`: it has none, or that one is taken at this
/// destination.
#[inline(always)]
fn by_mapping<T: Subprograms>(t: &T, w: &mut Work) -> Option<Result<(), DropReason>> {
    w.search.tried = 0;
    let mapping = t.hold_mapping(&w.search.key)?;
    w.search.tried = 1;
    if mapping.flows == 1 {
        count_port(t, w.payer, w.h.protocol, 1);
    }
    w.flow.sport = mapping.port;
    w.flow.flags |= flow_flags::MAPPED;
    let done = insert_pair(t, w, Pressure::NONE);
    if done.is_ok() {
        return Some(done);
    }
    w.flow.flags &= !flow_flags::MAPPED;
    if t.release_mapping(&w.search.key) {
        count_port(t, w.payer, w.h.protocol, -1);
    }
    if done == Err(DropReason::FlowConflict) {
        None
    } else {
        Some(done)
    }
}

#[inline(always)]
fn search<T: Subprograms>(t: &T, dev: &Device, w: &mut Work) -> Result<(), DropReason> {
    let settings = t.settings().ok_or(DropReason::NoPort)?;
    let (first, size) = pool(settings).ok_or(DropReason::NoPort)?;
    w.search.first = first;
    w.search.size = size;
    w.search.start = random_offset(t, size);
    w.search.network = dev.network;
    w.search.resting = 0;
    let mut number = if t.usage(w.payer).ports < settings.ports_per_endpoint {
        0
    } else {
        FIRST_SHARED
    };
    while number < TRIES {
        if t.try_port(w, number) {
            let shared = number >= FIRST_SHARED;
            let pressure = if shared {
                Pressure::CONFLICT
            } else {
                Pressure::NONE
            };
            let done = if has_socket(t, w) {
                Err(DropReason::FlowConflict)
            } else {
                insert_pair(t, w, pressure)
            };
            if done.is_ok() {
                if shared {
                    t.count(Count::Shared, 1);
                }
                return done;
            }
            t.undo_mapping(w);
            if done != Err(DropReason::FlowConflict) {
                return done;
            }
        }
        number += 1;
    }
    Err(DropReason::NoPort)
}

/// Gives up what the flow that did not begin has of a mapping: one without flows goes, since it may not serve others either.
#[inline(always)]
pub fn undo_mapping<T: Tables>(t: &T, w: &mut Work) {
    if w.flow.flags & flow_flags::MAPPED == 0 {
        return;
    }
    w.flow.flags &= !flow_flags::MAPPED;
    if !t.release_mapping(&w.search.key) {
        return;
    }
    count_port(t, w.payer, w.h.protocol, -1);
    if t.remove_mapping(&w.search.key) {
        t.count(Count::Mappings, -1);
        t.free_port(&OutsidePort {
            addr: w.search.key.outside,
            port: w.flow.sport,
            protocol: w.search.key.protocol,
            pad: 0,
        });
    }
}

/// The port of a try.
#[inline(always)]
fn candidate<T: Tables>(t: &T, s: &Search, number: u32) -> Option<Be16> {
    if number < RANDOM {
        return Some(random_port(t, s.first, s.size));
    }
    if number < RESTED {
        let past = number - RANDOM;
        if past >= s.size {
            return None;
        }
        let offset = s.start + past;
        let offset = if offset >= s.size {
            offset - s.size
        } else {
            offset
        };
        return Some(Be16::new((s.first + offset) as u16));
    }
    if number == RESTED {
        return (s.resting != 0).then(|| Be16::new(s.resting as u16));
    }
    // An endpoint shares ports of one quarter of the pool only: it must not use up a destination for the others.
    let quarter = s.size / 4;
    if quarter == 0 {
        return Some(random_port(t, s.first, s.size));
    }
    let which = s.key.endpoint.wrapping_mul(0x9e37_79b1) >> 30;
    Some(random_port(t, s.first + which * quarter, quarter))
}

/// Finds out whether the flow may have one more port, `w.flow.sport` then; takes it, where it is not a shared one.
#[inline(always)]
pub fn try_port<T: Tables>(t: &T, w: &mut Work, number: u32) -> bool {
    let Some(port) = candidate(t, &w.search, number) else {
        return false;
    };
    if published(t, &w.flow.src, w.h.protocol, port, &mut w.found) {
        return false;
    }
    w.flow.sport = port;
    if number >= FIRST_SHARED {
        w.flow.flags |= flow_flags::SHARED;
        return true;
    }
    // Another CPU has mapped the socket by now; or its port is taken at this destination, and it cannot have a second one.
    if t.mapping(&w.search.key).is_some() {
        let tried = w.search.tried != 0;
        w.search.tried = 1;
        return !tried && hold(t, w);
    }
    let taken = OutsidePort {
        addr: w.flow.src,
        port,
        protocol: w.h.protocol,
        pad: 0,
    };
    match t.take_port(&taken, &w.search.key) {
        Ok(()) => {}
        Err(Refused::Exists) => {
            if !take_over(t, w, &taken, number) {
                return false;
            }
        }
        // With no room for a port of its own, it shares one.
        Err(Refused::Full) => return false,
    }
    add_mapping(t, w, &taken)
}

/// Takes a port that is held without flows, once it has rested (RFC 6888, REQ-8); before that only at the end.
#[inline(always)]
fn take_over<T: Tables>(t: &T, w: &mut Work, taken: &OutsidePort, number: u32) -> bool {
    let s = &mut w.search;
    if t.port_holder(taken, &mut s.holder)
        && let Some(mapping) = t.mapping(&s.holder)
    {
        if mapping.flows != 0 {
            return false;
        }
        let rest = t.settings().map_or(0, |s| s.port_rest);
        if number != RESTED && t.now().wrapping_sub(mapping.last_used) < rest {
            if s.resting == 0 || mapping.last_used < s.resting_since {
                s.resting = u32::from(taken.port.get());
                s.resting_since = mapping.last_used;
            }
            return false;
        }
    }
    // Of several who come at once, one frees it.
    if !t.free_port(taken) {
        return false;
    }
    if t.remove_mapping(&s.holder) {
        t.count(Count::Mappings, -1);
    }
    t.take_port(taken, &s.key).is_ok()
}

/// Takes the port that the flow's socket has been mapped to meanwhile.
#[inline(always)]
fn hold<T: Tables>(t: &T, w: &mut Work) -> bool {
    let Some(mapping) = t.hold_mapping(&w.search.key) else {
        return false;
    };
    if mapping.flows == 1 {
        count_port(t, w.payer, w.h.protocol, 1);
    }
    w.flow.sport = mapping.port;
    w.flow.flags |= flow_flags::MAPPED;
    true
}

/// Maps the flow's socket to a port that has been taken.
#[inline(always)]
fn add_mapping<T: Tables>(t: &T, w: &mut Work, taken: &OutsidePort) -> bool {
    let mapping = Mapping {
        last_used: t.now(),
        flows: 1,
        network: w.search.network,
        port: taken.port,
        pad: [0; 6],
    };
    if t.insert_mapping(&w.search.key, &mapping).is_err() {
        t.free_port(taken);
        // Another CPU mapped the same socket at the same moment: one mapping for both.
        let Some(other) = t.hold_mapping(&w.search.key) else {
            return false;
        };
        w.flow.sport = other.port;
    } else {
        t.count(Count::Mappings, 1);
        count_port(t, w.payer, w.h.protocol, 1);
    }
    w.flow.flags |= flow_flags::MAPPED;
    true
}
