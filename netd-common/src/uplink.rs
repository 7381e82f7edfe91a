//! `from_uplink`: what arrives on the host's own interfaces. What no map says is netd's passes untouched.

use crate::{
    abi::{AddressKey, HOST_SLOT, network_flags},
    addr::Addr,
    begin,
    drop_reason::DropReason,
    flow, icmp, mss,
    packet::{Class, Headers, Packet, parse},
    tables::{Next, Step, Tables, Verdict, Work},
};

/// Judges one IP packet that arrived on the uplink `ifindex`; `l3`: offset of its IP header (0 on interfaces without
/// Ethernet).
#[inline(always)]
pub fn from_uplink<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    l3: u32,
    v4: bool,
    w: &mut Work,
) -> Result<Verdict, DropReason> {
    let step = judge(p, t, ifindex, l3, v4, w);
    let done = step.and_then(|step| flow::finish(p, t, ifindex, step, w));
    match done {
        Err(reason @ (DropReason::TooBig | DropReason::TtlExceeded)) => {
            check_source(t, &w.h).map_err(|_| reason)?;
            w.answer = w.h.dst;
            icmp::answer(p, t, HOST_SLOT, reason, w)?;
            Ok(Verdict::Back(ifindex, reason))
        }
        done => done,
    }
}

#[inline(always)]
fn judge<P: Packet, T: Tables>(
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
            return Ok(Step::new(Next::Pass));
        }
        // The packet inside left with an address of the host: the error must come back to that one.
        if w.inner.src == w.h.dst && flow::find_inner(t, w, 0) {
            return Ok(Step::new(Next::Error));
        }
    } else {
        let whole = flow::fragments(t, &mut w.h, 0);
        if whole.is_ok() && flow::find(t, w, 0) {
            return Ok(Step::new(Next::Forward));
        }
    }
    if let Some(host) = t.host_address(w.h.dst) {
        if host.flags & network_flags::INTERNAL != 0 {
            return Err(DropReason::Internal);
        }
        let Some(found) = begin::publication(t, &w.h).filter(|found| found.addr.is_v4() == v4)
        else {
            return Ok(Step::new(Next::Pass));
        };
        check_source(t, &w.h)?;
        begin::begin_published(t, &found, 0, &Addr::UNSPECIFIED, w)?;
        return Ok(Step::new(Next::Forward));
    }
    if let Some(network) = t.subnet(w.h.dst) {
        into_network(t, ifindex, network, w)?;
        return Ok(Step::new(Next::Forward));
    }
    Ok(Step::new(Next::Pass))
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

/// Begins the flow of a packet to an endpoint's own address, where the gateway mode of its network or a trusted
/// uplink lets it in.
#[inline(never)]
fn into_network<T: Tables>(
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
        if !begin::begins(&w.h) {
            return Err(DropReason::NoFlow);
        }
        true
    } else {
        // A publication of all the host's addresses says nothing of the endpoint's own.
        begin::begins_at_port(&w.h)
            && begin::published_at(t, w.h.dst, w.h.protocol, w.h.dport)
                .is_some_and(|found| found.endpoint == endpoint)
    };
    if !open {
        return Err(DropReason::NotPublished);
    }
    check_source(t, &w.h)?;
    // A link-local source must not leave its link (RFC 4291, 2.5.6).
    if !w.h.v4 && w.h.src.is_link_local() {
        return Err(DropReason::SpoofedAddress);
    }
    begin::begin_identity(t, number, endpoint, w)
}
