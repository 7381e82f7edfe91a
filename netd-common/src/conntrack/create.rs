//! Creating flows: of masquerading and routed endpoints to the outside, and to published ports.

use crate::{
    abi::{Device, LOCAL, flow_flags, network_flags},
    addr::{Addr, Be16},
    conntrack::{
        insert::{insert_inbound, insert_pair, make_room},
        lifetime::Pressure,
        lookup::{locate, write_key},
    },
    drop_reason::DropReason,
    nat::port_allocation,
    packet::{Class, Headers, protocol},
    publication::target_port,
    subprograms::Subprograms,
    tables::Tables,
    work::Work,
};

/// Whether a packet may begin a flow, ports or not.
#[inline(always)]
pub fn may_create(h: &Headers) -> bool {
    match h.class {
        Class::Plain => h.protocol != protocol::TCP || h.is_first_syn(),
        Class::Echo => matches!(h.icmp_type, 8 | 128),
        _ => false,
    }
}

/// Whether an endpoint's packets of this family leave with an address of the host.
#[inline(always)]
pub fn masquerades(dev: &Device, v4: bool) -> bool {
    let wanted = if v4 {
        network_flags::MASQUERADE_V4
    } else {
        network_flags::MASQUERADE_V6
    };
    dev.flags & wanted != 0
}

/// Sets where the packets of the new flow go, from the packet's own source.
#[inline(always)]
fn set_destination(w: &mut Work, dst: Addr, dport: Be16, target: u32, network: u32) {
    w.flow.src = w.h.src;
    w.flow.sport = w.h.sport;
    w.flow.dst = dst;
    w.flow.dport = dport;
    w.flow.target = target;
    w.flow.network = network;
}

/// Sets where the answers go: to the packet's sender, from the address that it asked.
#[inline(always)]
fn set_answers(w: &mut Work, target: u32, network: u32) {
    w.reply.src = w.h.dst;
    w.reply.sport = w.h.dport;
    w.reply.dst = w.h.src;
    w.reply.dport = w.h.sport;
    w.reply.target = target;
    w.reply.network = network;
}

/// Begins a flow of an endpoint to the outside, along `w.route`. `w.key` is the packet's. `flags`: further
/// [`flow_flags`].
#[inline(always)]
pub fn create_outgoing<T: Subprograms>(
    t: &T,
    dev: &Device,
    flags: u32,
    w: &mut Work,
) -> Result<(), DropReason> {
    prepare_outgoing(t, dev, flags, w)?;
    insert_outgoing(t, dev, w)
}

#[inline(never)]
fn insert_outgoing<T: Subprograms>(t: &T, dev: &Device, w: &mut Work) -> Result<(), DropReason> {
    make_room(t, w);
    if w.flow.flags & flow_flags::MASQUERADED == 0 {
        return insert_pair(t, w, Pressure::NONE);
    }
    port_allocation::allocate(t, dev, w)
}

#[inline(never)]
fn prepare_outgoing<T: Tables>(
    t: &T,
    dev: &Device,
    flags: u32,
    w: &mut Work,
) -> Result<(), DropReason> {
    write_key(&w.h, dev.endpoint, &mut w.key);
    let (dst, dport) = (w.h.dst, w.h.dport);
    set_destination(w, dst, dport, 0, 0);
    w.flow.flags = flow_flags::INITIATOR | flags;
    w.flow.ifindex = w.route.ifindex;
    w.flow.mtu = w.route.mtu;
    w.flow.next_hop = w.route.next_hop;
    set_answers(w, dev.endpoint, dev.network);
    w.reply.flags = flags & flow_flags::HAIRPIN;
    if !masquerades(dev, w.h.v4) || t.exempt(w.h.dst) {
        return Ok(());
    }
    if w.route.source.is_unspecified() {
        return Err(DropReason::NoUplinkAddress);
    }
    w.flow.src = w.route.source;
    w.flow.flags |= flow_flags::MASQUERADED;
    Ok(())
}

/// Begins a flow to a published port by `w.found`; `w.key` is the packet's. `sender_network`: of the sending endpoint, or 0.
/// `flags`: [`flow_flags::PUBLISHED`], or [`flow_flags::DIRECT`]. `w.answer`: the gateway address that stands in when an
/// endpoint reaches itself.
#[inline(always)]
pub fn create_published<T: Subprograms>(
    t: &T,
    sender_network: u32,
    flags: u32,
    w: &mut Work,
) -> Result<(), DropReason> {
    prepare_published(t, sender_network, flags, w)?;
    insert_inbound(t, w)
}

#[inline(never)]
fn prepare_published<T: Tables>(
    t: &T,
    sender_network: u32,
    flags: u32,
    w: &mut Work,
) -> Result<(), DropReason> {
    let sender = w.key.endpoint;
    let found = &w.found;
    // A packet from its own address would be a martian to the endpoint's kernel.
    let own = sender != 0 && sender == found.endpoint;
    w.flow.src = if own { w.answer } else { w.h.src };
    w.flow.sport = w.h.sport;
    w.flow.dst = found.addr;
    w.flow.dport = target_port(found, w.h.dport);
    w.flow.target = found.endpoint;
    w.flow.network = found.network;
    w.flow.flags = flow_flags::INITIATOR | flags;
    w.reply.flags = flags;
    prepare_inbound(t, sender_network, w)
}

/// Begins a flow from outside to the socket that holds a mapped outside port (`w.search.holder`), whoever it has spoken
/// with (RFC 4787, REQ-8).
#[inline(always)]
pub fn create_mapped<T: Subprograms>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    prepare_mapped(t, w)?;
    make_room(t, w);
    let done = insert_pair(t, w, Pressure::NONE);
    if done.is_err() {
        t.release_mapping(&w.search.holder);
    }
    done
}

#[inline(never)]
fn prepare_mapped<T: Tables>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    let mapping = t
        .hold_mapping(&w.search.holder)
        .ok_or(DropReason::Unsolicited)?;
    let holder = w.search.holder;
    set_destination(
        w,
        holder.inside,
        holder.port,
        holder.endpoint,
        mapping.network,
    );
    // From an address of the host's own: the other end is an endpoint behind it.
    let hairpin = if t.host_address(w.h.src).is_some() {
        flow_flags::HAIRPIN
    } else {
        0
    };
    w.flow.flags = flow_flags::INITIATOR | hairpin;
    w.reply.flags = flow_flags::MAPPED | flow_flags::MASQUERADED | hairpin;
    w.reply.ifindex = 0;
    let done = prepare_inbound(t, 0, w);
    if done.is_err() {
        t.release_mapping(&holder);
    }
    done
}

/// Begins a flow from outside to the endpoint `endpoint` of `network` at its own address, without translation; `w.key`
/// is the packet's. Its answers keep their source even where the network masquerades.
#[inline(always)]
pub fn create_untranslated<T: Subprograms>(
    t: &T,
    network: u32,
    endpoint: u32,
    w: &mut Work,
) -> Result<(), DropReason> {
    prepare_untranslated(t, network, endpoint, w)?;
    // Not from there: that would be one call deeper, and the stacks of a program's calls have 512 bytes together, of which
    // Linux 6.1 counts them in steps of 32.
    insert_inbound(t, w)
}

#[inline(never)]
fn prepare_untranslated<T: Tables>(
    t: &T,
    network: u32,
    endpoint: u32,
    w: &mut Work,
) -> Result<(), DropReason> {
    let (dst, dport) = (w.h.dst, w.h.dport);
    set_destination(w, dst, dport, endpoint, network);
    w.flow.flags = flow_flags::INITIATOR;
    w.reply.flags = 0;
    prepare_inbound(t, 0, w)
}

/// What all flows to an endpoint have in common.
#[inline(always)]
pub fn prepare_inbound<T: Tables>(
    t: &T,
    sender_network: u32,
    w: &mut Work,
) -> Result<(), DropReason> {
    if !locate(t, w) {
        return Err(DropReason::StaleTarget);
    }
    // What goes no further needs no flow; what stays on the host goes nowhere.
    let near = flow_flags::DIRECT | flow_flags::LOOPBACK;
    if w.h.ttl <= 1 && w.flow.flags & near == 0 {
        return Err(DropReason::TtlExceeded);
    }
    if w.key.endpoint == LOCAL {
        w.payer = w.target.slot;
    } else if w.key.endpoint == 0 {
        w.payer = w.target.slot;
        if w.flow.flags & flow_flags::HAIRPIN == 0 {
            w.flow.flags |= flow_flags::INBOUND;
            w.reply.flags |= flow_flags::INBOUND;
        }
    }
    let sender = w.key.endpoint;
    set_answers(w, sender, sender_network);
    Ok(())
}
