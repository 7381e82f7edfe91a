//! `from_host`: what the host itself sends into a network.

use crate::{
    abi::{AddressKey, network_flags},
    drop_reason::DropReason,
    packet::{Class, ETHERNET, Headers, Packet, ether_type, parse},
    tables::Tables,
    verdict::{Next, Step},
};

/// Judges one packet that the host sent by the device of a network, whose inner end is `ifindex`.
#[inline(always)]
pub fn from_host<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    h: &mut Headers,
) -> Result<Step, DropReason> {
    let number = t
        .gateway_network(ifindex)
        .ok_or(DropReason::UnknownDevice)?;
    let network = t.network(number).ok_or(DropReason::UnknownDevice)?;
    let eth: [u8; 14] = p.load(0).ok_or(DropReason::Malformed)?;
    let v4 = match [eth[12], eth[13]] {
        ether_type::IPV4 => true,
        ether_type::IPV6 => false,
        // The device has no ARP: every neighbour is the program's business.
        _ => return Err(DropReason::UnknownProtocol),
    };
    parse(p, ETHERNET, v4, false, h)?;
    if matches!(h.class, Class::Discovery | Class::Membership) {
        return Err(DropReason::NeighbourControl);
    }
    if network.flags & network_flags::INTERNAL != 0 {
        return Err(DropReason::Internal);
    }
    // What the host forwards for others (a neighbour that routes to a container) is not the host's own.
    if t.host_address(h.src).is_none() && h.src != network.gateway_link_local {
        return Err(DropReason::NotForwarded);
    }
    if h.dst.is_multicast_or_broadcast() || (v4 && h.dst == network.broadcast_v4) {
        return Ok(Step::to(Next::Replicate, number));
    }
    let target = t
        .target(&AddressKey {
            network: number,
            addr: h.dst,
        })
        .ok_or(DropReason::NoEndpoint)?;
    if h.size > target.mtu {
        return Err(DropReason::TooBig);
    }
    p.store(0, &target.mac).ok_or(DropReason::Unsupported)?;
    t.received(target.slot, p.len());
    Ok(Step::to(Next::Peer, target.ifindex))
}
