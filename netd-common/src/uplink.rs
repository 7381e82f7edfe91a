//! `from_uplink`: what arrives on the host's own interfaces. What no map says is netd's passes untouched.

use crate::{
    abi::{AddressKey, HOST_SLOT, HostAddress, flow_flags, network_flags},
    conntrack::{create, lookup},
    container,
    drop_reason::DropReason,
    forward,
    fragment::{self, Fragment},
    mss,
    nat::{hairpin, port_range},
    packet::{Class, Headers, Packet, parse, protocol},
    publication,
    subprograms::Subprograms,
    tables::Tables,
    verdict::{Next, Step},
    work::Work,
};

/// Judges one IP packet that arrived on the uplink `ifindex`; `l3`: offset of its IP header (0 on interfaces without
/// Ethernet).
#[inline(always)]
pub fn from_uplink<P: Packet, T: Subprograms>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    l3: u32,
    v4: bool,
    w: &mut Work,
) -> Step {
    let step = judge(p, t, ifindex, l3, v4, w);
    match step.and_then(|step| forward::finish(p, t, step, w)) {
        Ok(step) => step,
        Err(reason @ (DropReason::TooBig | DropReason::TtlExceeded))
            if check_source(t, &w.h).is_ok() =>
        {
            w.answer = w.h.dst;
            container::answer(p, t, HOST_SLOT, ifindex, reason, w)
        }
        Err(reason) => Step::refused(reason),
    }
}

#[inline(always)]
fn judge<P: Packet, T: Subprograms>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    l3: u32,
    v4: bool,
    w: &mut Work,
) -> Result<Step, DropReason> {
    // What cannot be read is not ours: the stack has its own checks.
    if parse(p, l3, v4, false, &mut w.h).is_err() {
        return Ok(Step::new(Next::Pass));
    }
    if matches!(w.h.class, Class::Discovery | Class::Membership)
        || w.h.dst.is_multicast_or_broadcast()
    {
        return Ok(Step::new(Next::Pass));
    }
    w.near_mtu = 0;
    if mss::is_syn(&w.h) {
        w.near_mtu = t.uplink_mtu(ifindex).unwrap_or(0);
    }
    if w.h.class == Class::Error {
        if parse(p, w.h.l4 + 8, v4, true, &mut w.inner).is_err() {
            // But nobody outside may tell a container anything that cannot be.
            let inside = t.subnet(w.h.dst).is_some() && t.host_address(w.h.dst).is_none();
            return if inside {
                Err(DropReason::Malformed)
            } else {
                Ok(Step::new(Next::Pass))
            };
        }
        // The packet inside left with an address of the host: the error must come back to that one.
        if w.inner.src == w.h.dst && lookup::find_inner(t, w, 0) {
            check_source(t, &w.h)?;
            return Ok(Step::new(Next::Error));
        }
    } else {
        match fragment::ports(t, &mut w.h, 0, HOST_SLOT) {
            Fragment::Whole if lookup::find(t, w, 0) => {
                // Between two endpoints behind the host's addresses: nobody outside has these.
                if w.flow.flags & flow_flags::HAIRPIN != 0 {
                    return Err(DropReason::SpoofedAddress);
                }
                return Ok(Step::new(Next::Forward));
            }
            Fragment::Whole => fragment::note(t, &w.h, 0),
            Fragment::Again => return Ok(Step::to(Next::Again, ifindex)),
            // For whom it is nobody knows: the host's stack has its own time to wait.
            Fragment::Missed if t.subnet(w.h.dst).is_none() => return Ok(Step::new(Next::Pass)),
            Fragment::Missed => return Err(DropReason::Fragment),
        }
    }
    if let Some(host) = t.host_address(w.h.dst) {
        if host.flags & network_flags::INTERNAL != 0 {
            return Err(DropReason::Internal);
        }
        return to_host_address(t, host, w);
    }
    if let Some(network) = t.subnet(w.h.dst) {
        into_network(t, ifindex, network, w)?;
        return Ok(Step::new(Next::Forward));
    }
    Ok(Step::new(Next::Pass))
}

/// To an address of the host: a published port, a mapped one, or the host itself.
#[inline(always)]
fn to_host_address<T: Subprograms>(
    t: &T,
    host: HostAddress,
    w: &mut Work,
) -> Result<Step, DropReason> {
    if publication::matches_publication(t, w) {
        // A gateway's address is its containers' to ask; a neighbour that has a route to it is not one of them.
        if host.network != 0 {
            return Err(DropReason::NotPublished);
        }
        // The answer to a link-local client could leave by any link: the host's stack refuses instead.
        if !w.h.v4 && w.h.src.is_link_local() {
            return Ok(Step::new(Next::Pass));
        }
        check_source(t, &w.h)?;
        create::create_published(t, 0, flow_flags::PUBLISHED, w)?;
        return Ok(Step::new(Next::Forward));
    }
    if is_forged(t, w) {
        return Err(DropReason::SpoofedAddress);
    }
    if w.h.class != Class::Plain || !w.h.has_ports() || !port_range::has(t, w.h.dport) {
        return Ok(Step::new(Next::Pass));
    }
    let sockets_are_known = matches!(w.h.protocol, protocol::TCP | protocol::UDP);
    if sockets_are_known && has_socket(t, w) {
        return Ok(Step::new(Next::Pass));
    }
    let held = hairpin::find_holder(t, w);
    if held && hairpin::is_endpoint_independent(t, w) {
        check_source(t, &w.h)?;
        create::create_mapped(t, w)?;
        return Ok(Step::new(Next::Forward));
    }
    // An answer of the host's would end what the other side is about to open (RFC 5382, REQ-4). But the port may be in use by
    // another NAT of the host, for virtual machines say, and of other protocols nobody can say whether a socket waits for them.
    if sockets_are_known && (held || w.h.is_first_syn()) {
        Err(DropReason::Unsolicited)
    } else {
        Ok(Step::new(Next::Pass))
    }
}

#[inline(always)]
fn has_socket<T: Subprograms>(t: &T, w: &mut Work) -> bool {
    w.socket.remote = w.h.src;
    w.socket.remote_port = w.h.sport;
    w.socket.local = w.h.dst;
    w.socket.local_port = w.h.dport;
    w.socket.protocol = w.h.protocol;
    t.has_socket(w)
}

/// From outside nobody may speak with the host's own or a container's voice.
#[inline(always)]
fn check_source<T: Tables>(t: &T, h: &Headers) -> Result<(), DropReason> {
    if h.src.is_loopback()
        || h.src.is_unspecified()
        || h.src.is_multicast_or_broadcast()
        || t.host_address(h.src).is_some()
        || t.subnet(h.src).is_some()
    {
        return Err(DropReason::SpoofedAddress);
    }
    Ok(())
}

/// Whether a packet to the host itself speaks with the voice of a container: the host's own sockets may trust these more than
/// others. Of TCP only what opens a connection is looked at, the rest belongs to one. The host can have neighbours, or a route
/// to the outside, where a network's subnet is: what it would answer by an uplink is theirs.
#[inline(never)]
fn is_forged<T: Tables>(t: &T, w: &mut Work) -> bool {
    if w.h.protocol == protocol::TCP && !w.h.is_first_syn() {
        return false;
    }
    let Some(network) = t.subnet(w.h.src).and_then(|number| t.network(number)) else {
        return false;
    };
    let (masquerade, open) = if w.h.v4 {
        (
            network_flags::MASQUERADE_V4,
            network_flags::ROUTED_V4 | network_flags::UNPROTECTED_V4,
        )
    } else {
        (
            network_flags::MASQUERADE_V6,
            network_flags::ROUTED_V6 | network_flags::UNPROTECTED_V6,
        )
    };
    // Addresses that are known outside may come back by a router.
    let hidden = network.flags & masquerade != 0 && network.flags & open == 0;
    if network.flags & network_flags::INTERNAL == 0 && !hidden {
        return false;
    }
    let size = core::mem::take(&mut w.h.size);
    let (to, from) = (w.h.src, w.h.dst);
    // The network's device forwards, which the kernel asks of the interface that a packet came by.
    let route = t.route(network.gateway_ifindex, &w.h, from, to, &mut w.route);
    w.h.size = size;
    route.is_err()
}

/// Begins the flow of a packet to an endpoint's own address, where the gateway mode of its network or a trusted
/// uplink lets it in.
#[inline(never)]
fn into_network<T: Subprograms>(
    t: &T,
    ifindex: u32,
    number: u32,
    w: &mut Work,
) -> Result<(), DropReason> {
    let network = t.network(number).ok_or(DropReason::NotPublished)?;
    if network.flags & network_flags::INTERNAL != 0 {
        return Err(DropReason::Internal);
    }
    let (unprotected, routed) = if w.h.v4 {
        (network_flags::UNPROTECTED_V4, network_flags::ROUTED_V4)
    } else {
        (network_flags::UNPROTECTED_V6, network_flags::ROUTED_V6)
    };
    let unprotected = network.flags & unprotected != 0;
    let routed = network.flags & routed != 0;
    if !unprotected && !routed && !t.trusted(number, ifindex) {
        return Err(DropReason::NotPublished);
    }
    let key = AddressKey {
        network: number,
        addr: w.h.dst,
    };
    let endpoint = t.target(&key).ok_or(DropReason::NoEndpoint)?.endpoint;
    let open = if unprotected || (routed && w.h.class == Class::Echo) {
        if !create::may_create(&w.h) {
            return Err(DropReason::NoFlow);
        }
        true
    } else {
        // A publication of all the host's addresses says nothing of the endpoint's own.
        publication::may_create_at_port(&w.h)
            && publication::published_at(t, &w.h.dst, w.h.protocol, w.h.dport, &mut w.found)
            && w.found.endpoint == endpoint
    };
    if !open {
        return Err(DropReason::NotPublished);
    }
    check_source(t, &w.h)?;
    // A link-local source must not leave its link (RFC 4291, 2.5.6).
    if !w.h.v4 && w.h.src.is_link_local() {
        return Err(DropReason::SpoofedAddress);
    }
    create::create_untranslated(t, number, endpoint, w)
}
