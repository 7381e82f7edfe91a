//! Ending flows: those that are over make room without anybody's help. Whoever begins a flow looks at the flows that
//! have waited longest in `CLOCK`, ends those that are over and puts the others back; with no new flows nothing needs
//! room, and the daemon's sweep looks at them all.

use crate::{
    abi::{flow_flags, seen},
    conntrack::lifetime::{self, Pressure},
    nat::mapping::release,
    tables::{Count, Tables},
    work::{Ending, Work},
};

/// How many flows each new one looks at: enough that they are looked at faster than they come.
pub const VISITS: u32 = 2;
/// As [`VISITS`], when room gets scarce.
pub const VISITS_UNDER_PRESSURE: u32 = 8;

/// Reads the entry under `e.key`, and the other one of its flow. False: one of them is missing.
#[inline(always)]
pub fn read<T: Tables>(t: &T, e: &mut Ending) -> bool {
    t.flow(&e.key, &mut e.flow) && read_reply(t, e)
}

/// As [`read`], `e.flow` being read already.
#[inline(always)]
pub fn read_reply<T: Tables>(t: &T, e: &mut Ending) -> bool {
    e.flow.write_reverse_key(e.key.protocol, &mut e.reverse);
    t.flow(&e.reverse, &mut e.reply) && e.reply.begun == e.flow.begun
}

/// By when the flow that was [`read`] is over, nanoseconds of CLOCK_MONOTONIC.
#[inline(always)]
pub fn expires_at<T: Tables>(t: &T, e: &Ending, pressure: Pressure) -> u64 {
    let Some(settings) = t.settings() else {
        return 0;
    };
    let number = e.key.protocol;
    let l = &settings.lifetimes;
    if e.flow.flags & flow_flags::INITIATOR != 0 {
        lifetime::end(l, number, e.key.dport, &e.flow, &e.reply, pressure)
    } else {
        lifetime::end(l, number, e.reverse.dport, &e.reply, &e.flow, pressure)
    }
}

/// Whether there is little room for flows of protocol `number` of the endpoint with slot `payer`.
#[inline(always)]
pub fn pressure<T: Tables>(t: &T, payer: u32, number: u8) -> Pressure {
    match t.settings() {
        Some(settings) => Pressure::on(settings, &t.totals(), t.usage(payer), number),
        None => Pressure::NONE,
    }
}

/// Looks at the foremost flow of the queue: ends it, or puts it back. False: there is none.
#[inline(always)]
pub fn visit<T: Tables>(t: &T, w: &mut Work) -> bool {
    let e = &mut w.ending;
    if !t.pop_clock(&mut e.entry) {
        return false;
    }
    e.key = e.entry.key;
    // Ended by somebody else; another one with the same key has an element of its own.
    if !t.flow(&e.key, &mut e.flow) || e.flow.begun != e.entry.begun {
        return true;
    }
    if !read_reply(t, e) {
        end(t, e);
        return true;
    }
    let now = t.now();
    let pressure = pressure(t, e.flow.payer, e.key.protocol);
    if now < expires_at(t, e, pressure) {
        // Full for a moment: the daemon's sweep finds it.
        t.push_clock(&e.entry);
        return true;
    }
    t.count(Count::Ended, 1);
    if pressure.is_felt() && now < expires_at(t, e, Pressure::NONE) {
        t.count(Count::Early, 1);
    }
    end(t, e);
    true
}

/// Ends the flow of which `e.key` and `e.flow` are one entry.
#[inline(always)]
pub fn end<T: Tables>(t: &T, e: &mut Ending) {
    let both = read_reply(t, e);
    release(t, &e.key, &e.flow, &mut e.mapping);
    if both {
        release(t, &e.reverse, &e.reply, &mut e.mapping);
    }
    // The entry that began the flow goes last, and is counted: whoever removes it has ended the flow.
    if e.flow.flags & flow_flags::INITIATOR != 0 {
        if both {
            t.remove_flow(&e.reverse);
        }
        if t.remove_flow(&e.key) {
            uncount(t, e.flow.payer);
        }
    } else {
        t.remove_flow(&e.key);
        if both && t.remove_flow(&e.reverse) {
            uncount(t, e.flow.payer);
        }
    }
}

#[inline(always)]
fn uncount<T: Tables>(t: &T, payer: u32) {
    t.count_usage(payer, -2, 0);
    t.count(Count::Flows, -2);
}

/// The connection of `w.key` and `w.flow` is over: its port is free at once, its entries stay for what is sent again.
#[inline(always)]
pub fn close<T: Tables>(t: &T, w: &mut Work) {
    w.flow.write_reverse_key(w.key.protocol, &mut w.reverse);
    t.change_flow(&w.key, |f| f.seen |= seen::CLOSED);
    t.change_flow(&w.reverse, |f| f.seen |= seen::CLOSED);
    release(t, &w.key, &w.flow, &mut w.ending.mapping);
    if t.flow(&w.reverse, &mut w.ending.reply) {
        release(t, &w.reverse, &w.ending.reply, &mut w.ending.mapping);
    }
}
