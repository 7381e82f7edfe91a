//! `from_loopback`: what processes of the host send to the host itself, by its loopback device. A published port is
//! reached there by those whose destination is not replaced at the socket ([`crate::socket`]): sockets bound to a loopback
//! address or to a device, unconnected UDP sockets, SCTP.

use crate::{
    abi::{LOCAL, Publication, flow_flags},
    conntrack::{create, insert, lookup},
    drop_reason::DropReason,
    forward, fragment,
    packet::{Class, ETHERNET, Packet, parse},
    publication, socket,
    subprograms::Subprograms,
    tables::Tables,
    verdict::{Next, Step},
    work::Work,
};

/// Judges one IP packet that the loopback device received.
#[inline(always)]
pub fn from_loopback<P: Packet, T: Subprograms>(p: &mut P, t: &T, v4: bool, w: &mut Work) -> Step {
    let step = judge(p, t, v4, w);
    match step.and_then(|step| forward::finish(p, t, step, w)) {
        Ok(step) => step,
        Err(reason) => Step::refused(reason),
    }
}

#[inline(always)]
fn judge<P: Packet, T: Subprograms>(
    p: &mut P,
    t: &T,
    v4: bool,
    w: &mut Work,
) -> Result<Step, DropReason> {
    if parse(p, ETHERNET, v4, false, &mut w.h).is_err()
        || matches!(w.h.class, Class::Discovery | Class::Membership)
        || w.h.dst.is_multicast_or_broadcast()
    {
        return Ok(Step::new(Next::Pass));
    }
    if w.h.class == Class::Error {
        let ours = parse(p, w.h.l4 + 8, v4, true, &mut w.inner).is_ok()
            && w.inner.src == w.h.dst
            && lookup::find_inner(t, w, LOCAL);
        return Ok(Step::new(if ours { Next::Error } else { Next::Pass }));
    }
    if !fragment::ports_in_order(t, &mut w.h, LOCAL) {
        return Ok(Step::new(Next::Pass));
    }
    if lookup::find(t, w, LOCAL) {
        w.payer = w.target.slot;
        return Ok(Step::new(Next::Forward));
    }
    if !matches_publication(t, w) {
        return Ok(Step::new(Next::Pass));
    }
    match begin(t, w) {
        Ok(()) => Ok(Step::new(Next::Forward)),
        // As at a port where nobody listens.
        Err(DropReason::StaleTarget) => Ok(Step::new(Next::Pass)),
        Err(reason) => Err(reason),
    }
}

/// Whether the packet is for a published port, `w.found` then.
#[inline(never)]
fn matches_publication<T: Tables>(t: &T, w: &mut Work) -> bool {
    let h = &w.h;
    if !publication::may_create_at_port(h)
        || !(h.dst.is_loopback() || t.host_address(h.dst).is_some())
    {
        return false;
    }
    // Link-local addresses belong to one link, which answers by this device would not name.
    if !h.v4 && (h.src.is_link_local() || h.dst.is_link_local()) {
        return false;
    }
    socket::published(t, &h.dst, h.protocol, h.dport, &mut w.found)
        && w.found.addr.is_v4() == h.v4
        // An endpoint's answer to another process.
        && !socket::published(t, &h.src, h.protocol, h.sport, &mut Publication::default())
}

/// Begins a flow from a process of the host by `w.found`.
#[inline(always)]
fn begin<T: Subprograms>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    prepare(t, w)?;
    if w.step.first != 0 {
        insert::insert_with_other_port(t, w)
    } else {
        insert::insert_inbound(t, w)
    }
}

/// The first number of `w.step` says whether the flow must not have the packet's own source port.
#[inline(never)]
fn prepare<T: Tables>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    let found = &w.found;
    let network = t.network(found.network).ok_or(DropReason::StaleTarget)?;
    let host = t.host_address(w.h.src);
    w.flow.src = if host.is_some() {
        w.h.src
    } else if w.h.v4 {
        // A loopback address would be a martian to the endpoint's kernel.
        network.gateway_v4
    } else {
        network.gateway_v6
    };
    if w.flow.src.is_unspecified() {
        return Err(DropReason::StaleTarget);
    }
    w.flow.sport = w.h.sport;
    w.flow.dst = found.addr;
    w.flow.dport = publication::target_port(found, w.h.dport);
    w.flow.target = found.endpoint;
    w.flow.network = found.network;
    w.flow.flags = flow_flags::INITIATOR | flow_flags::PUBLISHED | flow_flags::LOOPBACK;
    w.reply.flags = flow_flags::PUBLISHED | flow_flags::LOOPBACK;
    create::prepare_inbound(t, 0, w)?;
    // From a gateway's address the host's processes also speak with endpoints directly, without a flow: their ports must
    // not be met.
    let shift = host.is_none_or(|host| host.network != 0);
    w.step = Step::to(Next::CreatePublished, u32::from(shift));
    Ok(())
}
