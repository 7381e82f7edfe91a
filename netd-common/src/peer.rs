//! From one endpoint to another of the same network: no hop is counted, and mostly nothing is remembered.

use crate::{
    abi::{AddressKey, Device, Target, network_flags},
    drop_reason::DropReason,
    nat::translate,
    packet::Packet,
    tables::Tables,
    verdict::{Next, Step},
    work::Work,
};

/// To the endpoint of the same network that the packet is for; `w.step` says by which interface.
#[inline(never)]
pub fn to_neighbour<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    dev: &Device,
    w: &mut Work,
) -> Result<(), DropReason> {
    let eth: [u32; 2] = p.load_words(0).ok_or(DropReason::Malformed)?;
    let peer = t
        .target(&AddressKey {
            network: dev.network,
            addr: w.h.dst,
        })
        .ok_or(DropReason::NoEndpoint)?;
    w.step = to_peer(p, t, dev, peer, eth, w)?;
    Ok(())
}

/// Gives a packet of a direct flow the port by which the asked neighbour knows it, or the asker its own again. No hop is
/// counted: it stays on its network.
#[inline(always)]
pub fn translate_direct<P: Packet>(p: &mut P, known: bool, w: &Work) -> Result<(), DropReason> {
    let same = w.flow.sport == w.h.sport && w.flow.dport == w.h.dport;
    if !known || same {
        return Ok(());
    }
    translate::packet(p, &w.h, &w.flow).ok_or(DropReason::Unsupported)
}

/// Endpoints of some networks may not talk to each other.
#[inline(always)]
pub fn check_icc(dev: &Device, peer: &Target) -> Result<(), DropReason> {
    if dev.flags & network_flags::NO_ICC != 0 && peer.endpoint != dev.endpoint {
        return Err(DropReason::InterContainer);
    }
    Ok(())
}

/// To an endpoint of the same network. `mac`: the first words of the Ethernet header.
#[inline(always)]
pub fn to_peer<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    dev: &Device,
    peer: &Target,
    mac: [u32; 2],
    w: &mut Work,
) -> Result<Step, DropReason> {
    check_icc(dev, peer)?;
    if w.h.size > peer.mtu {
        w.limit = peer.mtu;
        return Err(DropReason::TooBig);
    }
    let (first, second) = (mac[0].to_ne_bytes(), mac[1].to_ne_bytes());
    let [d0, d1, d2, d3] = first;
    if [d0, d1, d2, d3, second[0], second[1]] != peer.mac {
        p.store(0, &peer.mac).ok_or(DropReason::Unsupported)?;
    }
    t.received(peer.slot, p.len());
    Ok(Step::to(Next::Peer, peer.ifindex))
}
