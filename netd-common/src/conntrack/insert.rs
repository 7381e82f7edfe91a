//! Writing the two entries of a new flow.

use crate::{
    abi::{Flow, flow_flags, seen},
    conntrack::{
        expire,
        lifetime::{Pressure, share},
        lookup::is_live,
    },
    drop_reason::DropReason,
    nat::{
        mapping::{count_port, write_mapping_key},
        port_range::random_port,
    },
    packet::{Class, protocol},
    subprograms::{Subprograms, Written},
    tables::{Count, Refused, Tables},
    work::Work,
};

/// Inserts a flow to an endpoint, under another port of the client where its own cannot be had: the endpoint could not tell two
/// connections of one client socket apart that ask for its port by different ways.
#[inline(never)]
pub fn insert_inbound<T: Subprograms>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    make_room(t, w);
    let done = insert_pair(t, w, Pressure::NONE);
    // SCTP's checksum covers the ports and cannot be updated in place.
    let fixed = w.h.protocol == protocol::SCTP || !w.h.has_ports() || w.h.class == Class::Echo;
    if done != Err(DropReason::FlowConflict) || fixed {
        return done;
    }
    insert_with_random_port(t, w)
}

/// As [`insert_inbound`], under another port from the start, where there are any.
#[inline(never)]
pub fn insert_with_other_port<T: Subprograms>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    make_room(t, w);
    if w.h.protocol != protocol::SCTP {
        let done = insert_with_random_port(t, w);
        if done != Err(DropReason::FlowConflict) {
            return done;
        }
        w.flow.sport = w.h.sport;
    }
    insert_pair(t, w, Pressure::NONE)
}

/// How often a client's source port is chosen anew; the last few times another flow may have to make room.
const SHIFTS: u32 = 16;
const PATIENT_SHIFTS: u32 = 12;

/// Inserts the flow with another source port.
#[inline(always)]
fn insert_with_random_port<T: Subprograms>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    let settings = t.settings().ok_or(DropReason::FlowConflict)?;
    let first = u32::from(settings.shifted_first);
    if first == 0 {
        return Err(DropReason::FlowConflict);
    }
    let size = u32::from(settings.shifted_last)
        .wrapping_sub(first)
        .wrapping_add(1);
    let mut i = 0;
    while i < SHIFTS {
        w.flow.sport = random_port(t, first, size);
        let pressure = if i < PATIENT_SHIFTS {
            Pressure::NONE
        } else {
            Pressure::CONFLICT
        };
        let done = insert_pair(t, w, pressure);
        if done != Err(DropReason::FlowConflict) {
            return done;
        }
        i += 1;
    }
    Err(DropReason::FlowConflict)
}

/// Writes both entries of a new flow (`w.key`, `w.flow`, `w.reply`), which counts for the endpoint with slot `w.payer`.
/// `pressure`: how soon a flow that has the same outside addresses and ports must make room.
#[inline(always)]
pub fn insert_pair<T: Subprograms>(
    t: &T,
    w: &mut Work,
    pressure: Pressure,
) -> Result<(), DropReason> {
    let mut written = t.write_pair(w, false)?;
    if written == Written::Blocked {
        let same = t.displace(w, pressure)?;
        written = t.write_pair(w, same)?;
    }
    match written {
        Written::New | Written::Exists => Ok(()),
        Written::Blocked => Err(DropReason::FlowConflict),
    }
}

/// Looks at some flows that may be over, since a new one is to begin.
#[inline(always)]
pub fn make_room<T: Subprograms>(t: &T, w: &mut Work) {
    let visits = if expire::pressure(t, w.payer, w.key.protocol).is_felt() {
        expire::VISITS_UNDER_PRESSURE
    } else {
        expire::VISITS
    };
    let mut i = 0;
    while i < expire::VISITS_UNDER_PRESSURE {
        if i >= visits || !t.visit(w) {
            break;
        }
        i += 1;
    }
}

/// The first part of [`insert_pair`]. `adopted`: the answers' entry is there already, as `w.ending.flow`.
#[inline(always)]
pub fn write_pair<T: Tables>(t: &T, w: &mut Work, adopted: bool) -> Result<Written, DropReason> {
    let settings = t.settings().ok_or(DropReason::FlowTableFull)?;
    if t.usage(w.payer).flows.saturating_add(2) > share(settings, &t.totals()) {
        return Err(DropReason::Quota);
    }
    let now = t.now();
    let begun = if adopted {
        w.ending.flow.begun
    } else {
        t.instant()
    };
    let (payer, generation) = (w.payer, settings.generation);
    prepare(&mut w.flow, payer, begun, now, generation);
    prepare(&mut w.reply, payer, begun, now, generation);
    w.flow.routed = now;
    w.flow.note(&w.h, w.bytes, now);
    w.flow.write_reverse_key(w.key.protocol, &mut w.reverse);
    t.count_usage(payer, 2, 0);
    t.count(Count::Flows, 2);
    let written = write(t, w, adopted);
    if written != Ok(Written::New) {
        t.count_usage(payer, -2, 0);
        t.count(Count::Flows, -2);
    }
    // Whoever stands there already counts in the mapping of the answers, if they have one; but it may stand on our entry.
    let unused = match written {
        Ok(Written::New) => adopted,
        Ok(Written::Exists) => {
            let e = &mut w.ending;
            adopted || !(t.flow(&w.reverse, &mut e.reply) && e.reply.begun == begun)
        }
        _ => false,
    };
    if unused && w.reply.flags & flow_flags::MAPPED != 0 {
        write_mapping_key(&w.reverse, &w.reply, &mut w.ending.mapping);
        if t.release_mapping(&w.ending.mapping) {
            count_port(t, payer, w.key.protocol, -1);
        }
    }
    if written == Ok(Written::Exists) {
        // The packet goes the way of the flow that is there, which counts in a mapping itself.
        let mapped = w.flow.flags & flow_flags::MAPPED != 0;
        write_mapping_key(&w.key, &w.flow, &mut w.ending.mapping);
        if mapped && t.release_mapping(&w.ending.mapping) {
            count_port(t, payer, w.key.protocol, -1);
        }
        if !t.flow(&w.key, &mut w.flow) {
            return Err(DropReason::NoFlow);
        }
    }
    written
}

/// What a new entry has that does not tell where it leads.
#[inline(always)]
fn prepare(flow: &mut Flow, payer: u32, begun: u64, now: u64, generation: u32) {
    flow.last_seen = now;
    flow.begun = begun;
    flow.packets = 0;
    flow.bytes = 0;
    flow.routed = 0;
    flow.payer = payer;
    flow.next = 0;
    flow.ack = 0;
    flow.fin = 0;
    flow.generation = generation;
    flow.epochs = [0; 2];
    flow.grant = 0;
    flow.class = 0;
    flow.seen = 0;
    flow.pad = [0; 3];
}

/// Writes the answers' entry first: that one must be new.
#[inline(always)]
fn write<T: Tables>(t: &T, w: &mut Work, adopted: bool) -> Result<Written, DropReason> {
    if !adopted {
        match t.insert_flow(&w.reverse, &w.reply) {
            Ok(()) => {}
            Err(Refused::Full) => return Err(DropReason::FlowTableFull),
            Err(Refused::Exists) => return Ok(Written::Blocked),
        }
    }
    if let Err(refused) = t.insert_flow(&w.key, &w.flow) {
        // Another CPU that has adopted the answers' entry stands on it, and says so by its time.
        let e = &mut w.ending;
        let shared = t.flow(&w.key, &mut e.reply) && e.reply.begun == w.flow.begun;
        if !adopted && !shared {
            t.remove_flow(&w.reverse);
        }
        return match refused {
            Refused::Exists => Ok(Written::Exists),
            Refused::Full => Err(DropReason::FlowTableFull),
        };
    }
    w.ending.entry.begun = w.flow.begun;
    w.ending.entry.key = w.key;
    w.ending.entry.pad = 0;
    if !t.push_clock(&w.ending.entry) {
        t.remove_flow(&w.reverse);
        t.remove_flow(&w.key);
        return Err(DropReason::FlowTableFull);
    }
    Ok(Written::New)
}

/// How long an entry may stand alone: another CPU is about to write the other one.
const ALONE: u64 = 1_000_000_000;

/// Makes room for the answers' entry `w.reverse` where another one stands. True: that one does the same, and serves.
#[inline(always)]
pub fn displace<T: Tables>(t: &T, w: &mut Work, pressure: Pressure) -> Result<bool, DropReason> {
    let e = &mut w.ending;
    e.key = w.reverse;
    if !t.flow(&e.key, &mut e.flow) {
        return Ok(false);
    }
    if same_translation(&e.flow, &w.reply) {
        let now = w.flow.last_seen;
        t.change_flow(&e.key, |f| f.last_seen = now);
        return Ok(true);
    }
    let now = w.flow.last_seen;
    let over = if expire::read_reply(t, e) {
        let closed = (e.flow.seen | e.reply.seen) & seen::CLOSED != 0;
        // One datagram and its answer: whoever's it is, only what is sent again could still come.
        let exchange =
            e.flow.packets == 1 && e.reply.packets == 1 && e.key.protocol != protocol::TCP;
        let pressure = if closed {
            Pressure::CONFLICT
        } else if e.flow.payer == w.payer || exchange {
            pressure
        } else {
            Pressure::NONE
        };
        now >= expire::expires_at(t, e, pressure)
    } else {
        now.wrapping_sub(e.flow.begun) > ALONE
    };
    if !over && is_live(t, &e.flow) {
        return Err(DropReason::FlowConflict);
    }
    expire::end(t, e);
    Ok(false)
}

/// Whether two entries do the same to a packet.
#[inline(always)]
fn same_translation(a: &Flow, b: &Flow) -> bool {
    a.target == b.target
        && a.sport == b.sport
        && a.dport == b.dport
        && a.src == b.src
        && a.dst == b.dst
}
