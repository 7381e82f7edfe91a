//! ARP and IPv6 neighbour discovery: netd gave out every address, so it answers itself; nothing a container claims
//! reaches anybody.

use crate::{
    abi::{AddressKey, Device},
    addr::{Addr, Mac},
    checksum,
    drop_reason::DropReason,
    packet::{Headers, Packet},
    tables::{Tables, Verdict},
};

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

/// An ARP packet (RFC 826) from a container: a request is turned into its answer, everything else goes no further.
#[inline(always)]
pub fn arp<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    dev: &Device,
) -> Result<Verdict, DropReason> {
    let a: [u8; 28] = p.load(14).ok_or(DropReason::Malformed)?;
    if [a[0], a[1], a[2], a[3], a[4], a[5], a[6]] != [0, 1, 8, 0, 6, 4, 0] {
        return Err(DropReason::Malformed);
    }
    if dev.ipv4.is_unspecified() {
        return Err(DropReason::FamilyDisabled);
    }
    let sender = Addr::from_v4_bytes([a[14], a[15], a[16], a[17]]);
    // 0.0.0.0: a probe (RFC 5227).
    if [a[8], a[9], a[10], a[11], a[12], a[13]] != dev.mac
        || !(sender == dev.ipv4 || sender.is_unspecified())
    {
        return Err(DropReason::SpoofedNeighbour);
    }
    let wanted = Addr::from_v4_bytes([a[24], a[25], a[26], a[27]]);
    if a[7] != 1 || wanted == dev.ipv4 {
        return Err(DropReason::NeighbourControl);
    }
    let m = resolve(t, dev, wanted).ok_or(DropReason::NoEndpoint)?;
    let d = dev.mac;
    let answer = [
        d[0], d[1], d[2], d[3], d[4], d[5], m[0], m[1], m[2], m[3], m[4], m[5], 8,
        6, // Ethernet
        0, 1, 8, 0, 6, 4, 0, 2, // reply
        m[0], m[1], m[2], m[3], m[4], m[5], a[24], a[25], a[26], a[27], // sender
        d[0], d[1], d[2], d[3], d[4], d[5], a[14], a[15], a[16], a[17], // target
    ];
    p.store(0, &answer).ok_or(DropReason::Unsupported)?;
    Ok(Verdict::Egress(ifindex))
}

/// An ICMPv6 discovery message (RFC 4861) from a container: a solicitation is turned into the advertisement.
#[inline(always)]
pub fn discovery<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    dev: &Device,
    h: &Headers,
) -> Result<Verdict, DropReason> {
    match h.icmp_type {
        134 | 137 => return Err(DropReason::RouterAdvertisement),
        133 => return Err(DropReason::NeighbourControl),
        _ => {}
    }
    let own = h.src == dev.ipv6 || h.src == dev.link_local;
    if !own && !h.src.is_unspecified() {
        return Err(DropReason::SpoofedNeighbour);
    }
    // 7.1.1: valid only with hop limit 255, which nothing forwarded can have.
    let m: [u8; 24] = p.load(h.l4).ok_or(DropReason::Malformed)?;
    if h.ttl != 255 || m[1] != 0 || h.l4 != h.l3 + 40 {
        return Err(DropReason::Malformed);
    }
    let wanted = Addr::from_v6_bytes([
        m[8], m[9], m[10], m[11], m[12], m[13], m[14], m[15], m[16], m[17], m[18], m[19], m[20],
        m[21], m[22], m[23],
    ]);
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
    Ok(Verdict::Egress(ifindex))
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
    let w = wanted.v6_bytes();
    let d = dev.mac;
    p.store(
        0,
        &[
            d[0], d[1], d[2], d[3], d[4], d[5], mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
        ],
    )?;
    let option: Option<[u8; 8]> = p.load(h.l4 + 24);
    let length: u32 = if option.is_some() { 32 } else { 24 };
    p.store(h.l3 + 4, &[0, length as u8, 58, 255])?;
    p.store(h.l3 + 8, &w)?;
    p.store(h.l3 + 24, &h.src.v6_bytes())?;
    // Type 136, code 0, flags: solicited and override.
    let head = [136, 0, 0, 0, 0x60, 0, 0, 0];
    let option = [2, 1, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]];
    let mut sum = checksum::sum(&head) + 2 * checksum::sum(&w) + checksum::sum(&h.src.v6_bytes());
    sum += u32::from((length as u16).to_be()) + u32::from(58_u16.to_be());
    if length == 32 {
        sum += checksum::sum(&option);
        p.store(h.l4 + 24, &option)?;
    }
    let c = (!checksum::fold16(sum)).to_ne_bytes();
    p.store(h.l4, &[136, 0, c[0], c[1], 0x60, 0, 0, 0])?;
    p.store(h.l4 + 8, &w)
}
