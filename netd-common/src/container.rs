//! `from_container`: what a container sends. Everything is judged here, where the packet enters, because
//! `bpf_redirect_peer` passes by the target's program.

use crate::{
    abi::{AddressKey, Device, Publication, flow_flags, network_flags},
    addr::Addr,
    conntrack::{create, lookup},
    drop_reason::DropReason,
    forward,
    fragment::{self, Fragment},
    icmp,
    nat::hairpin,
    neighbour,
    packet::{Class, ETHERNET, Headers, Packet, ether_type, parse, protocol},
    peer, publication,
    subprograms::Subprograms,
    tables::{Route, Tables},
    verdict::{Next, Step},
    work::Work,
};

/// Judges one packet from the endpoint `dev` behind the veth host end `ifindex`.
#[inline(always)]
pub fn from_container<P: Packet, T: Subprograms>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    dev: &Device,
    w: &mut Work,
) -> Step {
    let done = judge(p, t, ifindex, dev, w).and_then(|()| go_on(p, t, dev, w));
    match done {
        Ok(step) => step,
        Err(reason) if icmp::tells(reason) => {
            w.answer = gateway(t, dev, &w.h);
            answer(p, t, dev.slot, ifindex, reason, w)
        }
        Err(reason) => Step::refused(reason),
    }
}

/// Turns a refused packet into the error that tells its sender, if it may be told.
#[inline(always)]
pub fn answer<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    slot: u32,
    ifindex: u32,
    reason: DropReason,
    w: &mut Work,
) -> Step {
    match icmp::answer(p, t, slot, reason, w) {
        Ok(()) => Step {
            next: Next::Back,
            first: ifindex,
            second: reason as u32,
        },
        Err(reason) => Step::refused(reason),
    }
}

/// The gateway's address as the packet's sender knows it, or `::`.
#[inline(never)]
fn gateway<T: Tables>(t: &T, dev: &Device, h: &Headers) -> Addr {
    match t.network(dev.network) {
        Some(network) if h.v4 => network.gateway_v4,
        Some(network) if h.src.is_link_local() => network.gateway_link_local,
        Some(network) => network.gateway_v6,
        None => Addr::UNSPECIFIED,
    }
}

/// Judges a packet; what is to be done is `w.step`. What begins a flow is not called from here: the kernel's stack is small
/// and counts whole chains of calls.
#[inline(always)]
fn judge<P: Packet, T: Subprograms>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    dev: &Device,
    w: &mut Work,
) -> Result<(), DropReason> {
    w.step = first_step(p, t, ifindex, dev, w)?;
    Ok(())
}

/// Begins the flow that is to begin, and does what is left to do.
#[inline(always)]
fn go_on<P: Packet, T: Subprograms>(
    p: &mut P,
    t: &T,
    dev: &Device,
    w: &mut Work,
) -> Result<Step, DropReason> {
    let mut step = w.step;
    let begun = match step.next {
        Next::CreateOutgoing => create::create_outgoing(t, dev, step.first, w),
        Next::CreatePublished => create::create_published(t, dev.network, step.first, w),
        _ => Ok(()),
    };
    if step.next == Next::CreatePublished && step.first & flow_flags::DIRECT != 0 {
        // A neighbour is reached whether there is room to remember it or not.
        peer::translate_direct(p, begun.is_ok(), w)?;
        peer::to_neighbour(p, t, dev, w)?;
        return Ok(w.step);
    }
    begun?;
    if matches!(step.next, Next::CreateOutgoing | Next::CreatePublished) {
        step = Step::new(Next::Forward);
    }
    let of_flow = matches!(step.next, Next::Forward | Next::Error);
    if of_flow && w.flow.target == 0 && w.flow.flags & flow_flags::HAIRPIN != 0 {
        hairpin::join(t, w)?;
    }
    forward::finish(p, t, step, w)
}

#[inline(always)]
fn first_step<P: Packet, T: Subprograms>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    dev: &Device,
    w: &mut Work,
) -> Result<Step, DropReason> {
    // The Ethernet header, in words: a register each.
    let eth: [u32; 4] = p.load_words(0).ok_or(DropReason::Malformed)?;
    let (second, third, fourth) = (
        eth[1].to_ne_bytes(),
        eth[2].to_ne_bytes(),
        eth[3].to_ne_bytes(),
    );
    let [_, _, s0, s1] = second;
    let [s2, s3, s4, s5] = third;
    if [s0, s1, s2, s3, s4, s5] != dev.mac {
        return Err(DropReason::SpoofedMac);
    }
    let v4 = match [fourth[0], fourth[1]] {
        ether_type::IPV4 => true,
        ether_type::IPV6 => false,
        ether_type::ARP => {
            return neighbour::arp(p, t, dev).map(|()| Step::to(Next::Egress, ifindex));
        }
        _ => return Err(DropReason::UnknownProtocol),
    };
    if (if v4 { dev.ipv4 } else { dev.ipv6 }).is_unspecified() {
        return Err(DropReason::FamilyDisabled);
    }
    parse(p, ETHERNET, v4, false, &mut w.h)?;
    w.near_mtu = dev.mtu;
    w.payer = dev.slot;
    match w.h.class {
        Class::Discovery => {
            return neighbour::discovery(p, t, dev, &w.h).map(|()| Step::to(Next::Egress, ifindex));
        }
        Class::Membership => return Err(DropReason::NeighbourControl),
        _ => {}
    }
    check_source(t, dev, &w.h)?;
    if w.h.dst.is_multicast_or_broadcast() {
        return replicate(t, dev);
    }
    let peer = t.target(&AddressKey {
        network: dev.network,
        addr: w.h.dst,
    });
    if peer.is_none() && dev.flags & network_flags::INTERNAL != 0 {
        return broadcast_or(t, dev, &w.h, DropReason::Internal);
    }
    // Inside a network only flows of those who publish ports are tracked: their answers to neighbours who asked directly must
    // be told from those to neighbours who asked by a published port. The rest stays stateless.
    let publishes = peer.is_some_and(|peer| peer.flags & network_flags::PUBLISHED != 0);
    let tracked = peer.is_none() || publishes || dev.flags & network_flags::PUBLISHED != 0;
    let error = w.h.class == Class::Error;
    let known = if error {
        error_of_flow(p, t, dev, tracked, w)?
    } else if !tracked {
        false
    } else {
        match fragment::ports(t, &mut w.h, dev.endpoint, dev.slot) {
            Fragment::Whole => lookup::find(t, w, dev.endpoint),

            Fragment::Again => return Ok(Step::to(Next::Again, ifindex)),
            Fragment::Missed => false,
        }
    };
    let mut moved = false;
    if known && w.flow.flags & flow_flags::DIRECT == 0 {
        if forward::find_route(t, dev.gateway_ifindex, w)? {
            return Ok(Step::new(if error { Next::Error } else { Next::Forward }));
        }
        moved = true;
    }
    if let Some(peer) = peer {
        let direct = known && !moved;
        if direct
            || !publishes
            || !publication::may_create_at_port(&w.h)
            || peer.endpoint == dev.endpoint
        {
            peer::translate_direct(p, direct && !error, w)?;
            return peer::to_peer(p, t, dev, peer, [eth[0], eth[1]], w);
        }
        peer::check_icc(dev, peer)?;
        w.found = Publication {
            network: dev.network,
            endpoint: peer.endpoint,
            addr: w.h.dst,
            first_port: w.h.dport.get(),
            target_port: w.h.dport.get(),
        };
        return Ok(Step::to(Next::CreatePublished, flow_flags::DIRECT));
    }
    match t.host_address(w.h.dst) {
        Some(host) if host.flags & network_flags::INTERNAL != 0 => Err(DropReason::Internal),
        Some(_) => to_host_address(p, t, dev, w),
        None => outside(p, t, dev, moved, w),
    }
}

/// A container may use its own addresses only.
#[inline(never)]
fn check_source<T: Tables>(t: &T, dev: &Device, h: &Headers) -> Result<(), DropReason> {
    let own = if h.v4 {
        h.src == dev.ipv4
    } else {
        h.src == dev.ipv6 || h.src == dev.link_local
    };
    if !own && !neighbour::is_additional(t, dev, h.src) {
        return Err(DropReason::SpoofedAddress);
    }
    // A DHCP server's answers would give neighbours false routes and resolvers. Clients look at the destination port alone.
    if h.protocol == protocol::UDP
        && h.class == Class::Plain
        && (matches!(h.sport.get(), 67 | 547) || matches!(h.dport.get(), 68 | 546))
    {
        return Err(DropReason::RouterAdvertisement);
    }
    Ok(())
}

#[inline(always)]
fn replicate<T: Tables>(t: &T, dev: &Device) -> Result<Step, DropReason> {
    if dev.flags & network_flags::NO_ICC != 0 {
        return Err(DropReason::InterContainer);
    }
    if !t.may_broadcast(dev.slot) {
        return Err(DropReason::TooManyBroadcasts);
    }
    let host = if dev.flags & network_flags::INTERNAL != 0 {
        0
    } else {
        dev.gateway_ifindex
    };
    Ok(Step {
        next: Next::Replicate,
        first: dev.network,
        second: host,
    })
}

/// The subnet's own broadcast address, else `reason`.
#[inline(always)]
fn broadcast_or<T: Tables>(
    t: &T,
    dev: &Device,
    h: &Headers,
    reason: DropReason,
) -> Result<Step, DropReason> {
    match t.network(dev.network) {
        Some(network) if h.v4 && network.broadcast_v4 == h.dst => replicate(t, dev),
        _ => Err(reason),
    }
}

/// Whether an ICMP error is about a packet of a translated flow, which is then `w.flow`; looked for if `tracked`.
#[inline(always)]
fn error_of_flow<P: Packet, T: Tables>(
    p: &P,
    t: &T,
    dev: &Device,
    tracked: bool,
    w: &mut Work,
) -> Result<bool, DropReason> {
    parse(p, w.h.l4 + 8, w.h.v4, true, &mut w.inner)?;
    // The packet inside must be one that this container received: a forged one could end a neighbour's connection, or
    // lower its MTU.
    if w.inner.dst != w.h.src {
        return Err(DropReason::SpoofedAddress);
    }
    Ok(tracked && w.inner.src == w.h.dst && lookup::find_inner(t, w, dev.endpoint))
}

/// To an address of the host: a published port (hairpin), or the host itself.
#[inline(always)]
fn to_host_address<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    dev: &Device,
    w: &mut Work,
) -> Result<Step, DropReason> {
    if publication::matches_publication(t, w) {
        // It must not leave its link (RFC 4291, 2.5.6): the host's stack refuses.
        if !w.h.v4 && w.h.src.is_link_local() {
            return to_host(p, dev);
        }
        w.answer = gateway(t, dev, &w.h);
        publication::resolve_home(t, &mut w.found, dev.network);
        return Ok(Step::to(Next::CreatePublished, flow_flags::PUBLISHED));
    }
    // Who does not masquerade would appear to the other by its own address, across networks.
    if create::may_create(&w.h)
        && create::masquerades(dev, w.h.v4)
        && !t.exempt(w.h.dst)
        && hairpin::find_holder(t, w)
    {
        // From the very address that it asks for.
        w.route = Route {
            source: w.h.dst,
            ..Route::default()
        };
        return Ok(Step::to(Next::CreateOutgoing, flow_flags::HAIRPIN));
    }
    to_host(p, dev)
}

/// Up into the host's stack, as if the network's device had received it.
#[inline(always)]
fn to_host<P: Packet>(p: &mut P, dev: &Device) -> Result<Step, DropReason> {
    p.store(0, &dev.gateway_mac)
        .ok_or(DropReason::Unsupported)?;
    Ok(Step::to(Next::Ingress, dev.gateway_ifindex))
}

/// Neither a peer nor the host: the outside, if it is one.
#[inline(always)]
fn outside<P: Packet, T: Subprograms>(
    p: &mut P,
    t: &T,
    dev: &Device,
    moved: bool,
    w: &mut Work,
) -> Result<Step, DropReason> {
    let h = &w.h;
    if h.dst.is_loopback() || h.dst.is_unspecified() {
        return Err(DropReason::Martian);
    }
    if !h.v4 && h.dst.is_link_local() {
        return match t.network(dev.network) {
            Some(network) if network.gateway_link_local == h.dst => to_host(p, dev),
            _ => Err(DropReason::NoEndpoint),
        };
    }
    // A link-local source must not leave its link (RFC 3927, 2.7; RFC 4291, 2.5.6).
    if h.src.is_link_local() && h.src != dev.ipv4 {
        return Err(DropReason::SpoofedAddress);
    }
    if let Some(number) = t.subnet(h.dst) {
        return if number == dev.network {
            broadcast_or(t, dev, h, DropReason::NoEndpoint)
        } else {
            Err(DropReason::Isolated)
        };
    }
    if dev.flags & network_flags::NO_METADATA != 0
        && (h.dst == Addr::METADATA_V4 || h.dst == Addr::METADATA_V6)
    {
        return Err(DropReason::Metadata);
    }
    // The connection of a flow that moved cannot go on, but its other end, asked from the new address, says so at once.
    if h.class == Class::LaterFragment {
        return Err(DropReason::Fragment);
    }
    if !create::may_create(h) && !moved {
        return Err(DropReason::NoFlow);
    }
    // What goes no further needs no flow.
    if h.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    w.flow.dst = h.dst;
    w.flow.flags = 0;
    forward::route(t, dev.gateway_ifindex, w)?;
    Ok(Step::new(Next::CreateOutgoing))
}
