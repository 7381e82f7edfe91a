//! Sending the packets of flows on.

use crate::{
    abi::{LOCAL, LOOPBACK_IFINDEX, flow_flags},
    conntrack::lookup,
    drop_reason::DropReason,
    fragment, mss,
    nat::translate,
    packet::{Class, Packet, ether_type},
    tables::Tables,
    verdict::{Next, Step},
    work::Work,
};

/// How long a flow remembers its route, nanoseconds: changes of the host are followed while no daemon tells of them, too.
const ROUTE_FOR: u64 = 1_000_000_000;

/// Sends a translated packet on to `w.target`, the endpoint of its flow: sets the Ethernet addresses.
#[inline(always)]
fn deliver<P: Packet, T: Tables>(p: &mut P, t: &T, w: &Work) -> Result<(), DropReason> {
    let target = &w.target;
    if w.h.l3 == 0 {
        p.push_ethernet(if w.h.v4 {
            ether_type::IPV4
        } else {
            ether_type::IPV6
        })
        .ok_or(DropReason::Unsupported)?;
    }
    let d = target.mac;
    let s = target.gateway_mac;
    p.store(
        0,
        &[
            d[0], d[1], d[2], d[3], d[4], d[5], s[0], s[1], s[2], s[3], s[4], s[5],
        ],
    )
    .ok_or(DropReason::Unsupported)?;
    t.received(target.slot, p.len());
    Ok(())
}

/// Where a translated answer goes on to the process that asked. To a loopback address by the loopback device. To another
/// address of the host's, the source is one too, which the kernel takes from no device without a route already found
/// (IPv4), unless its `accept_local` says so: that of the network's device does, the loopback device's is the host's.
#[inline(always)]
fn to_process<P: Packet>(p: &mut P, w: &Work) -> Result<Step, DropReason> {
    if !w.h.v4 {
        p.store(0, &[0; 12]).ok_or(DropReason::Unsupported)?;
        return Ok(Step::to(Next::Ingress, LOOPBACK_IFINDEX));
    }
    Ok(if w.flow.dst.is_loopback() {
        Step::new(Next::Local)
    } else {
        Step::to(Next::Ingress, w.route.ifindex)
    })
}

/// Does what is left to do with a packet.
#[inline(always)]
pub fn finish<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    step: Step,
    w: &mut Work,
) -> Result<Step, DropReason> {
    match step.next {
        Next::Forward => send(p, t, w)?,
        Next::Error => forward_error(p, t, w)?,
        _ => return Ok(step),
    }
    match w.flow.target {
        0 => Ok(Step::to(Next::Neighbour, w.route.ifindex)),
        LOCAL => to_process(p, w),
        _ => Ok(Step::to(Next::Peer, w.target.ifindex)),
    }
}

/// Finds the way of a packet of the known flow `w.flow`, sent by an endpoint of the network whose device is `ifindex`.
/// False: the flow's source address or uplink is not right any more, or an address that was the host's is not, or the reverse;
/// it was ended, and the packet begins another.
#[inline(always)]
pub fn find_route<T: Tables>(t: &T, ifindex: u32, w: &mut Work) -> Result<bool, DropReason> {
    let generation = t.settings().map_or(0, |s| s.generation);
    if w.flow.target != 0 || w.flow.flags & flow_flags::HAIRPIN != 0 {
        // Where a process of the host gets its answers.
        w.route.ifindex = ifindex;
        return Ok(w.flow.generation == generation || keeps_address(t, generation, w));
    }
    let fresh = w.flow.routed != 0
        && w.flow.generation == generation
        && w.flow.last_seen.wrapping_sub(w.flow.routed) < ROUTE_FOR;
    if fresh {
        w.route.ifindex = w.flow.ifindex;
        w.route.mtu = w.flow.mtu;
        w.route.next_hop = w.flow.next_hop;
        w.limit = w.flow.mtu;
        return Ok(true);
    }
    reroute(t, ifindex, generation, w)
}

/// Whether the address by which two endpoints speak with each other is still the host's; else their flow was ended.
#[inline(never)]
fn keeps_address<T: Tables>(t: &T, generation: u32, w: &mut Work) -> bool {
    // A process of the host may have asked a loopback address. An ICMP error ends nothing.
    if w.flow.target != LOCAL && w.h.class != Class::Error {
        let asked = if w.flow.flags & flow_flags::INITIATOR != 0 {
            w.h.dst
        } else {
            w.flow.src
        };
        let source = w.flow.flags & flow_flags::HAIRPIN != 0 && w.flow.target == 0;
        let kept =
            t.host_address(asked).is_some() && (!source || t.host_address(w.flow.src).is_some());
        if !kept {
            lookup::end(t, w);
            return false;
        }
    }
    t.change_flow(&w.key, |f| f.generation = generation);
    true
}

#[inline(never)]
fn reroute<T: Tables>(
    t: &T,
    ifindex: u32,
    generation: u32,
    w: &mut Work,
) -> Result<bool, DropReason> {
    // An address that has become the host's has no route any more.
    let own = t.host_address(w.flow.dst).is_some();
    if !own {
        route(t, ifindex, w)?;
    }
    if own || has_moved(t, w) {
        // An ICMP error ends nothing (RFC 4787, REQ-12), and begins nothing.
        if w.h.class == Class::Error {
            return Err(DropReason::NoFlow);
        }
        lookup::end(t, w);
        return Ok(false);
    }
    let now = t.now();
    let route = w.route;
    t.change_flow(&w.key, |f| {
        f.ifindex = route.ifindex;
        f.mtu = route.mtu;
        f.next_hop = route.next_hop;
        f.routed = now;
        f.generation = generation;
    });
    Ok(true)
}

/// Whether `w.flow`, whose packets would now go along `w.route`, has lost its source address, or its uplink with it.
#[inline(always)]
fn has_moved<T: Tables>(t: &T, w: &Work) -> bool {
    if w.flow.src == w.h.src {
        return false;
    }
    let masqueraded = w.flow.flags & flow_flags::MASQUERADED != 0;
    if masqueraded && w.flow.ifindex != 0 && w.route.ifindex != w.flow.ifindex {
        return true;
    }
    !(masqueraded && w.route.source == w.flow.src) && t.host_address(w.flow.src).is_none()
}

/// Finds the host's route for a packet of `w.flow`. What is masqueraded is routed by the endpoint's own address, so that
/// all packets of a flow go one way, and rules for the endpoint's subnet count; an answer to a client outside by
/// the address that was asked.
#[inline(always)]
pub fn route<T: Tables>(t: &T, ifindex: u32, w: &mut Work) -> Result<(), DropReason> {
    let src = if w.flow.flags & flow_flags::INBOUND != 0 {
        w.flow.src
    } else {
        w.h.src
    };
    let found = t.route(ifindex, &w.h, src, w.flow.dst, &mut w.route);
    w.limit = w.route.mtu;
    found
}

/// Whether the packet fits its way out or its endpoint's interface.
#[inline(always)]
fn fits(w: &mut Work) -> Result<(), DropReason> {
    w.limit = if w.flow.target == 0 {
        w.route.mtu
    } else {
        w.target.mtu
    };
    if w.h.size > w.limit {
        return Err(DropReason::TooBig);
    }
    Ok(())
}

/// Translates a packet of `w.flow` and sends it on: to its endpoint, or along `w.route`. Refused, it is as it was: an
/// ICMP error must quote what its sender sent.
#[inline(never)]
fn send<P: Packet, T: Tables>(p: &mut P, t: &T, w: &mut Work) -> Result<(), DropReason> {
    // What a process of the host and an endpoint send each other does not leave the host; it loses no hop, and a datagram
    // may be as large as the loopback device takes.
    let local = w.flow.flags & flow_flags::LOOPBACK != 0;
    if !local {
        if w.h.ttl <= 1 {
            return Err(DropReason::TtlExceeded);
        }
        fits(w)?;
    }
    let slot = if w.key.endpoint == 0 {
        w.target.slot
    } else {
        w.payer
    };
    fragment::remember(t, &w.h, w.key.endpoint, slot)?;
    if !local {
        translate::hop(p, &w.h)?;
    }
    translate::packet(p, &w.h, &w.flow).ok_or(DropReason::Unsupported)?;
    if !local && mss::is_syn(&w.h) {
        // Nothing to lower is no failure.
        let _ = mss::clamp(p, &w.h, w.limit.min(w.near_mtu), &mut w.cell);
    }
    if w.flow.is_to_endpoint() {
        deliver(p, t, w)
    } else {
        Ok(())
    }
}

/// As [`send`] for an ICMP error about a packet of the flow's other direction.
#[inline(never)]
fn forward_error<P: Packet, T: Tables>(p: &mut P, t: &T, w: &mut Work) -> Result<(), DropReason> {
    if w.flow.flags & flow_flags::LOOPBACK == 0 {
        fits(w)?;
        translate::hop(p, &w.h)?;
    }
    translate::icmp_error(p, &w.h, &w.inner, &w.flow).ok_or(DropReason::Unsupported)?;
    if w.flow.is_to_endpoint() {
        deliver(p, t, w)
    } else {
        Ok(())
    }
}
