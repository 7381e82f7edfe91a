//! Two containers that speak with each other by the outside ports of their mappings, as two hosts behind one NAT do (RFC 4787,
//! REQ-9; RFC 5508, REQ-7). Each sees the other's outside address and port; what one may send to the other is what a
//! host outside might.

use crate::{
    abi::{OutsidePort, network_flags},
    conntrack::{
        create,
        lookup::{locate, was_expired},
    },
    drop_reason::DropReason,
    nat::port_range,
    packet::Class,
    publication,
    subprograms::Subprograms,
    tables::Tables,
    work::Work,
};

/// Whether an inside socket holds the outside port that a packet asks for; it is `w.search.holder` then.
#[inline(always)]
pub fn find_holder<T: Tables>(t: &T, w: &mut Work) -> bool {
    if w.h.class != Class::Plain || !w.h.has_ports() || !port_range::has(t, w.h.dport) {
        return false;
    }
    let port = OutsidePort {
        addr: w.h.dst,
        port: w.h.dport,
        protocol: w.h.protocol,
        pad: 0,
    };
    t.port_holder(&port, &mut w.search.holder)
        && t.mapping(&w.search.holder).is_some_and(|m| m.flows != 0)
}

/// Joins the sender's flow `w.flow`, as if it had left the host, with the receiver's, as if it came in: `w.flow` leads from
/// one to the other.
#[inline(always)]
pub fn join<T: Subprograms>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    if find_other(t, w) && !is_over(t, w) && is_there(t, w) {
        return Ok(());
    }
    if !find_holder(t, w) || !is_endpoint_independent(t, w) {
        return Err(DropReason::Unsolicited);
    }
    // Begun as if the packet came in from the sender's outside address.
    let (src, sport) = (w.h.src, w.h.sport);
    w.key = w.reverse;
    w.h.src = w.key.src;
    w.h.sport = w.key.sport;
    let done = create::create_mapped(t, w);
    w.h.src = src;
    w.h.sport = sport;
    done
}

/// Finds the receiver's flow for [`join`], which is `w.flow` then, and notes the packet in it.
#[inline(never)]
fn find_other<T: Tables>(t: &T, w: &mut Work) -> bool {
    w.reverse.src = w.flow.src;
    w.reverse.dst = w.flow.dst;
    w.reverse.sport = w.flow.sport;
    w.reverse.dport = w.flow.dport;
    w.reverse.endpoint = 0;
    w.reverse.protocol = w.key.protocol;
    w.reverse.pad = [0; 3];
    w.ending.key = w.reverse;
    if w.h.class == Class::Error {
        w.before.last_seen = t.now();
        return t.flow(&w.reverse, &mut w.flow);
    }
    match t.note_flow(&w.reverse, &w.h, w.bytes, &mut w.flow) {
        Some(before) => {
            w.before = before;
            true
        }
        None => false,
    }
}

/// Whether the receiver's flow was over; an ICMP error ends nothing.
#[inline(always)]
fn is_over<T: Tables>(t: &T, w: &mut Work) -> bool {
    w.h.class != Class::Error && was_expired(t, w, w.before)
}

/// Leads `w.flow` from the sender's outside address on; whether its endpoint is there.
#[inline(always)]
fn is_there<T: Tables>(t: &T, w: &mut Work) -> bool {
    w.flow.src = w.reverse.src;
    w.flow.sport = w.reverse.sport;
    w.flow.target != 0 && locate(t, w)
}

/// Whether the holder of a mapped port takes packets from whoever sends them.
#[inline(always)]
pub fn is_endpoint_independent<T: Tables>(t: &T, w: &Work) -> bool {
    let Some(mapping) = t.mapping(&w.search.holder) else {
        return false;
    };
    t.network(mapping.network)
        .is_some_and(|n| n.flags & network_flags::ENDPOINT_INDEPENDENT != 0)
        && publication::may_create_at_port(&w.h)
}
