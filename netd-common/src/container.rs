//! `from_container`: what a container sends. Everything is judged here, where the packet enters, because
//! `bpf_redirect_peer` passes by the target's program.

use crate::{
    abi::{AddressKey, Device, Target, network_flags},
    addr::{Addr, Mac},
    begin,
    drop_reason::DropReason,
    flow, icmp, neighbour,
    packet::{Class, ETHERNET, Headers, Packet, ether_type, parse, protocol},
    tables::{Next, Step, Tables, Verdict, Work},
};

/// Judges one packet from the endpoint `dev` behind the veth host end `ifindex`.
#[inline(always)]
pub fn from_container<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    dev: &Device,
    w: &mut Work,
) -> Result<Verdict, DropReason> {
    let step = judge(p, t, ifindex, dev, w);
    let done = step.and_then(|step| flow::finish(p, t, dev.gateway_ifindex, step, w));
    match done {
        Err(reason @ (DropReason::TooBig | DropReason::TtlExceeded)) => {
            w.answer = gateway(t, dev, &w.h);
            icmp::answer(p, t, dev.slot, reason, w)?;
            Ok(Verdict::Back(ifindex, reason))
        }
        done => done,
    }
}

/// The gateway's address as the packet's sender knows it, or `::`.
#[inline(always)]
fn gateway<T: Tables>(t: &T, dev: &Device, h: &Headers) -> Addr {
    match t.network(dev.network) {
        Some(network) if h.v4 => network.gateway_v4,
        Some(network) if h.src.is_link_local() => network.gateway_link_local,
        Some(network) => network.gateway_v6,
        None => Addr::UNSPECIFIED,
    }
}

#[inline(always)]
fn judge<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    dev: &Device,
    w: &mut Work,
) -> Result<Step, DropReason> {
    let eth: [u8; 14] = p.load(0).ok_or(DropReason::Malformed)?;
    if [eth[6], eth[7], eth[8], eth[9], eth[10], eth[11]] != dev.mac {
        return Err(DropReason::SpoofedMac);
    }
    let v4 = match [eth[12], eth[13]] {
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
        return replicate(dev);
    }
    let peer = t.target(&AddressKey {
        network: dev.network,
        addr: w.h.dst,
    });
    if peer.is_none() && dev.flags & network_flags::INTERNAL != 0 {
        return broadcast_or(t, dev, &w.h, DropReason::Internal);
    }
    // Inside a network only answers to hairpinned flows are translated; the rest stays stateless.
    if peer.is_none() || dev.flags & network_flags::PUBLISHED != 0 {
        if w.h.class == Class::Error {
            if error_of_flow(p, t, dev, w)? {
                return Ok(Step::new(Next::Error));
            }
        } else {
            let whole = flow::fragments(t, &mut w.h, dev.endpoint);
            if whole.is_ok() && flow::find(t, w, dev.endpoint) {
                return Ok(Step::new(Next::Forward));
            }
        }
    }
    if let Some(peer) = peer {
        return to_peer(
            p,
            t,
            dev,
            peer,
            [eth[0], eth[1], eth[2], eth[3], eth[4], eth[5]],
            w,
        );
    }
    if let Some(host) = t.host_address(w.h.dst) {
        if host.flags & network_flags::INTERNAL != 0 {
            return Err(DropReason::Internal);
        }
        return to_host_address(p, t, dev, w);
    }
    outside(p, t, dev, w)
}

/// A container may use its own addresses only.
#[inline(always)]
fn check_source<T: Tables>(t: &T, dev: &Device, h: &Headers) -> Result<(), DropReason> {
    let own = if h.v4 {
        h.src == dev.ipv4
    } else {
        h.src == dev.ipv6 || h.src == dev.link_local
    };
    if !own && !neighbour::is_additional(t, dev, h.src) {
        return Err(DropReason::SpoofedAddress);
    }
    // A DHCP server's answers would give neighbours false routes and resolvers.
    if h.protocol == protocol::UDP && h.class == Class::Plain && matches!(h.sport.get(), 67 | 547) {
        return Err(DropReason::RouterAdvertisement);
    }
    Ok(())
}

#[inline(always)]
fn replicate(dev: &Device) -> Result<Step, DropReason> {
    if dev.flags & network_flags::NO_ICC != 0 {
        return Err(DropReason::InterContainer);
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
        Some(network) if h.v4 && network.broadcast_v4 == h.dst => replicate(dev),
        _ => Err(reason),
    }
}

/// To an endpoint of the same network.
#[inline(always)]
fn to_peer<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    dev: &Device,
    peer: &Target,
    mac: Mac,
    w: &mut Work,
) -> Result<Step, DropReason> {
    if dev.flags & network_flags::NO_ICC != 0 && peer.endpoint != dev.endpoint {
        return Err(DropReason::InterContainer);
    }
    if w.h.size > peer.mtu {
        w.limit = peer.mtu;
        return Err(DropReason::TooBig);
    }
    if mac != peer.mac {
        p.store(0, &peer.mac).ok_or(DropReason::Unsupported)?;
    }
    t.received(peer.slot, p.len());
    Ok(Step::to(Next::Peer, peer.ifindex))
}

/// Whether an ICMP error is about a packet of a translated flow, which is then `w.flow`.
#[inline(always)]
fn error_of_flow<P: Packet, T: Tables>(
    p: &P,
    t: &T,
    dev: &Device,
    w: &mut Work,
) -> Result<bool, DropReason> {
    parse(p, w.h.l4 + 8, w.h.v4, true, &mut w.inner)?;
    // The packet inside must be one that this container received: a forged one could end a neighbour's flow.
    if w.inner.dst != w.h.src {
        return Err(DropReason::SpoofedAddress);
    }
    Ok(w.inner.src == w.h.dst && flow::find_inner(t, w, dev.endpoint))
}

/// To an address of the host: a published port (hairpin), or the host itself.
#[inline(always)]
fn to_host_address<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    dev: &Device,
    w: &mut Work,
) -> Result<Step, DropReason> {
    if let Some(found) = begin::publication(t, &w.h)
        && found.addr.is_v4() == w.h.v4
    {
        let own = gateway(t, dev, &w.h);
        let found = begin::at_home(t, found, dev.network);
        begin::begin_published(t, &found, dev.network, &own, w)?;
        return Ok(Step::new(Next::Forward));
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
fn outside<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    dev: &Device,
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
    if !begin::begins(h) {
        return Err(DropReason::NoFlow);
    }
    // What goes no further needs no flow.
    if h.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    w.flow.src = h.src;
    w.flow.dst = h.dst;
    flow::route(t, dev.gateway_ifindex, w)?;
    begin::begin_outgoing(t, dev, w)?;
    Ok(Step::new(Next::Routed))
}
