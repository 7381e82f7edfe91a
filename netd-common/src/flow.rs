//! Finding flows again, and sending their packets on.

use crate::{
    abi::{AddressKey, Flow, FlowKey, FragmentKey, FragmentPorts, Target, seen},
    drop_reason::DropReason,
    mss,
    packet::{Class, Headers, Packet, ether_type, protocol, tcp},
    tables::{Next, Step, Tables, Verdict, Work},
    translate,
};

/// Finds the flow of a packet that `endpoint` (0: outside) sent, and where its target is. A flow whose target is gone
/// counts as none, and goes: its peer's packets would keep it for ever.
#[inline(always)]
pub fn find<T: Tables>(t: &T, w: &mut Work, endpoint: u32) -> bool {
    w.key = FlowKey {
        src: w.h.src,
        dst: w.h.dst,
        sport: w.h.sport,
        dport: w.h.dport,
        endpoint,
        protocol: w.h.protocol,
        pad: [0; 3],
    };
    if !t.flow(&w.key, seen_of(&w.h), &mut w.flow) {
        return false;
    }
    if locate(t, w) {
        return true;
    }
    w.reverse = w.flow.reverse_key(w.h.protocol);
    t.remove_flow(&w.reverse);
    t.remove_flow(&w.key);
    false
}

/// Finds the flow that the answer to the packet inside an ICMP error, sent by `endpoint`, would take.
/// An error refreshes nothing (RFC 5508, REQ-6).
#[inline(always)]
pub fn find_inner<T: Tables>(t: &T, w: &mut Work, endpoint: u32) -> bool {
    w.key = FlowKey {
        src: w.inner.dst,
        dst: w.inner.src,
        sport: w.inner.dport,
        dport: w.inner.sport,
        endpoint,
        protocol: w.inner.protocol,
        pad: [0; 3],
    };
    t.flow(&w.key, 0, &mut w.flow) && locate(t, w)
}

/// The endpoint that a flow's packets go to, if it is there and still the same one.
#[inline(always)]
fn target_of<'a, T: Tables>(t: &'a T, flow: &Flow) -> Option<&'a Target> {
    t.target(&AddressKey {
        network: flow.network,
        addr: flow.dst,
    })
    .filter(|found| found.endpoint == flow.target)
}

/// Whether a flow leads somewhere: to the outside, or to an endpoint that is there.
#[inline(always)]
pub fn is_live<T: Tables>(t: &T, flow: &Flow) -> bool {
    flow.target == 0 || target_of(t, flow).is_some()
}

/// As [`is_live`] for `w.flow`; its endpoint becomes `w.target`.
#[inline(always)]
pub fn locate<T: Tables>(t: &T, w: &mut Work) -> bool {
    if w.flow.target == 0 {
        return true;
    }
    match target_of(t, &w.flow) {
        Some(found) => {
            w.target = *found;
            true
        }
        None => false,
    }
}

/// What a packet says of its flow's state.
#[inline(always)]
pub fn seen_of(h: &Headers) -> u8 {
    if h.protocol != protocol::TCP {
        return seen::PACKET;
    }
    let f = h.tcp_flags;
    let mut s = seen::PACKET;
    if f & tcp::SYN != 0 {
        s |= seen::SYN;
    } else if f & tcp::ACK != 0 {
        s |= seen::ACK;
    }
    if f & tcp::FIN != 0 {
        s |= seen::FIN;
    }
    if f & tcp::RST != 0 {
        s |= seen::RST;
    }
    s
}

/// Fills in the ports of a later fragment, or remembers those of a first one (RFC 4787, REQ-14).
#[inline(always)]
pub fn fragments<T: Tables>(t: &T, h: &mut Headers, endpoint: u32) -> Result<(), DropReason> {
    if h.fragmented {
        fragment_ports(t, h, endpoint)
    } else {
        Ok(())
    }
}

#[inline(never)]
fn fragment_ports<T: Tables>(t: &T, h: &mut Headers, endpoint: u32) -> Result<(), DropReason> {
    let key = FragmentKey {
        src: h.src,
        dst: h.dst,
        id: h.fragment_id,
        endpoint,
        protocol: h.protocol,
        pad: [0; 3],
    };
    if h.class == Class::LaterFragment {
        let ports = t.fragment(&key).ok_or(DropReason::Fragment)?;
        h.sport = ports.sport;
        h.dport = ports.dport;
    } else {
        t.insert_fragment(
            &key,
            &FragmentPorts {
                sport: h.sport,
                dport: h.dport,
            },
        );
    }
    Ok(())
}

/// Sends a translated packet on to `w.target`, the endpoint of its flow: sets the Ethernet addresses.
#[inline(always)]
fn deliver<P: Packet, T: Tables>(p: &mut P, t: &T, w: &Work) -> Result<Verdict, DropReason> {
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
    Ok(Verdict::Peer(target.ifindex))
}

/// Does what is left to do with a packet that came in by `ifindex`, or by a network whose device that is.
#[inline(always)]
pub fn finish<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    step: Step,
    w: &mut Work,
) -> Result<Verdict, DropReason> {
    match step.next {
        Next::Pass => return Ok(Verdict::Pass),
        Next::Peer => return Ok(Verdict::Peer(step.first)),
        Next::Ingress => return Ok(Verdict::Ingress(step.first)),
        Next::Egress => return Ok(Verdict::Egress(step.first)),
        Next::Replicate => return Ok(Verdict::Replicate(step.first, step.second)),
        Next::Error => return forward_error(p, t, ifindex, w),
        Next::Forward if w.flow.target == 0 => route(t, ifindex, w)?,
        Next::Forward | Next::Routed => {}
    }
    send(p, t, w)
}

/// Finds the host's route for a packet of `w.flow`.
#[inline(always)]
pub fn route<T: Tables>(t: &T, ifindex: u32, w: &mut Work) -> Result<(), DropReason> {
    let found = t.route(ifindex, &w.h, &w.flow, &mut w.route);
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
fn send<P: Packet, T: Tables>(p: &mut P, t: &T, w: &mut Work) -> Result<Verdict, DropReason> {
    if w.h.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    fits(w)?;
    translate::hop(p, &w.h)?;
    translate::packet(p, &w.h, &w.flow).ok_or(DropReason::Unsupported)?;
    if mss::is_syn(&w.h) {
        // Nothing to lower is no failure.
        let _ = mss::clamp(p, &w.h, w.limit.min(w.near_mtu), &mut w.cell);
    }
    if w.flow.target == 0 {
        return Ok(Verdict::Neighbour(w.route.ifindex, w.route.next_hop));
    }
    deliver(p, t, w)
}

/// As [`send`] for an ICMP error about a packet of the flow's other direction.
#[inline(never)]
fn forward_error<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    w: &mut Work,
) -> Result<Verdict, DropReason> {
    if w.flow.target == 0 {
        route(t, ifindex, w)?;
    }
    fits(w)?;
    translate::hop(p, &w.h)?;
    translate::icmp_error(p, &w.h, &w.inner, &w.flow).ok_or(DropReason::Unsupported)?;
    if w.flow.target == 0 {
        return Ok(Verdict::Neighbour(w.route.ifindex, w.route.next_hop));
    }
    deliver(p, t, w)
}
