//! ARP and IPv6 neighbour discovery: netd gave out every address, so it answers itself; nothing a container claims
//! reaches anybody.

use crate::{
    abi::{AddressKey, Device},
    addr::{Addr, Mac},
    checksum::{self, add},
    drop_reason::DropReason,
    packet::{Headers, Packet},
    tables::Tables,
};

/// Offset of an ARP packet behind its Ethernet header.
const ARP: u32 = 14;

/// The Ethernet address behind an address of the network, as a neighbour of `dev`.
#[inline(always)]
fn resolve<T: Tables>(t: &T, dev: &Device, wanted: Addr) -> Option<Mac> {
    let network = t.network(dev.network)?;
    if wanted == network.gateway_v4
        || wanted == network.gateway_v6
        || wanted == network.gateway_link_local
    {
        return Some(dev.gateway_mac);
    }
    t.target(&AddressKey {
        network: dev.network,
        addr: wanted,
    })
    .map(|peer| peer.mac)
}

/// Whether this is one of the endpoint's additional link-local addresses.
#[inline(always)]
pub fn is_additional<T: Tables>(t: &T, dev: &Device, addr: Addr) -> bool {
    let key = AddressKey {
        network: dev.network,
        addr,
    };
    addr.is_link_local()
        && t.target(&key)
            .is_some_and(|own| own.endpoint == dev.endpoint)
}

/// An ARP packet (RFC 826) from a container: a request is turned into its answer, to be sent
/// back; everything else goes no further.
#[inline(never)]
pub fn arp<P: Packet, T: Tables>(p: &mut P, t: &T, dev: &Device) -> Result<(), DropReason> {
    let head: [u8; 8] = p.load(ARP).ok_or(DropReason::Malformed)?;
    // Ethernet and IPv4, lengths 6 and 4; the operation fits into its second byte.
    if u64::from_be_bytes(head) >> 8 != 0x00_01_08_00_06_04_00 {
        return Err(DropReason::Malformed);
    }
    if dev.ipv4.is_unspecified() {
        return Err(DropReason::FamilyDisabled);
    }
    let sender_mac: Mac = p.load(ARP + 8).ok_or(DropReason::Malformed)?;
    let sender_ip: [u8; 4] = p.load(ARP + 14).ok_or(DropReason::Malformed)?;
    let sender = Addr::from_v4_bytes(sender_ip);
    // 0.0.0.0: a probe (RFC 5227).
    let own = sender == dev.ipv4 || sender.is_unspecified() || is_additional(t, dev, sender);
    if sender_mac != dev.mac || !own {
        return Err(DropReason::SpoofedNeighbour);
    }
    let wanted_ip: [u8; 4] = p.load(ARP + 24).ok_or(DropReason::Malformed)?;
    let wanted = Addr::from_v4_bytes(wanted_ip);
    if head[7] != 1 || wanted == dev.ipv4 {
        return Err(DropReason::NeighbourControl);
    }
    let mac = resolve(t, dev, wanted).ok_or(DropReason::NoEndpoint)?;
    arp_answer(p, dev, &mac, &wanted_ip, &sender_ip).ok_or(DropReason::Unsupported)?;
    Ok(())
}

/// Overwrites a request with the reply that answers it.
#[inline(always)]
fn arp_answer<P: Packet>(
    p: &mut P,
    dev: &Device,
    mac: &Mac,
    wanted: &[u8; 4],
    sender: &[u8; 4],
) -> Option<()> {
    p.store(0, &dev.mac)?;
    p.store(6, mac)?;
    p.store(ARP + 6, &[0, 2])?;
    p.store(ARP + 8, mac)?;
    p.store(ARP + 14, wanted)?;
    p.store(ARP + 18, &dev.mac)?;
    p.store(ARP + 24, sender)
}

/// An ICMPv6 discovery message (RFC 4861) from a container: a solicitation is turned into the advertisement,
/// to be sent back.
#[inline(never)]
pub fn discovery<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    dev: &Device,
    h: &Headers,
) -> Result<(), DropReason> {
    match h.icmp_type {
        134 | 137 => return Err(DropReason::RouterAdvertisement),
        133 => return Err(DropReason::NeighbourControl),
        _ => {}
    }
    let own = h.src == dev.ipv6 || h.src == dev.link_local || is_additional(t, dev, h.src);
    if !own && !h.src.is_unspecified() {
        return Err(DropReason::SpoofedNeighbour);
    }
    // 7.1.1: valid only with hop limit 255, which nothing forwarded can have.
    if h.ttl != 255 || h.l4 != h.l3 + 40 {
        return Err(DropReason::Malformed);
    }
    let wanted = Addr::from_words(p.load_words(h.l4 + 8).ok_or(DropReason::Malformed)?);
    let of_own = wanted == dev.ipv6 || wanted == dev.link_local;
    if h.icmp_type == 136 {
        return Err(if of_own {
            DropReason::NeighbourControl
        } else {
            DropReason::SpoofedNeighbour
        });
    }
    if of_own || h.src.is_unspecified() {
        return Err(DropReason::NeighbourControl);
    }
    let mac = resolve(t, dev, wanted).ok_or(DropReason::NoEndpoint)?;
    advertise(p, dev, h, wanted, mac).ok_or(DropReason::Unsupported)?;
    Ok(())
}

/// Overwrites a solicitation with the advertisement that answers it. With room for it (the solicitation had a source
/// link-layer option) the target link-layer address is given; a unicast probe without one needs none (7.2.4).
#[inline(always)]
fn advertise<P: Packet>(
    p: &mut P,
    dev: &Device,
    h: &Headers,
    wanted: Addr,
    mac: Mac,
) -> Option<()> {
    p.store(0, &dev.mac)?;
    p.store(6, &mac)?;
    let option: Option<[u8; 8]> = p.load(h.l4 + 24);
    let length: u32 = if option.is_some() { 32 } else { 24 };
    p.store(h.l3 + 4, &[0, length as u8, 58, 255])?;
    p.store_words(h.l3 + 8, &wanted.words())?;
    p.store_words(h.l3 + 24, &h.src.words())?;
    // Type 136, code 0; flags: solicited and override. The address stands in it twice: as source and as target.
    let mut sum = add(checksum::address_sum(wanted), checksum::address_sum(wanted));
    sum = add(sum, checksum::address_sum(h.src));
    sum = add(sum, 0xe800_u32.to_be() >> 16);
    sum = add(sum, (length + 58).to_be() >> 16);
    if length == 32 {
        p.store(h.l4 + 24, &[2, 1])?;
        p.store(h.l4 + 26, &mac)?;
        sum = add(sum, (0x0201_u32.to_be() >> 16) + checksum::mac_sum(mac));
    }
    let c = (!checksum::fold16(sum)).to_ne_bytes();
    p.store(h.l4, &[136, 0, c[0], c[1], 0x60, 0, 0, 0])?;
    p.store_words(h.l4 + 8, &wanted.words())
}
