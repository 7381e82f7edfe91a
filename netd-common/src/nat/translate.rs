//! Rewriting packets: addresses, ports, checksums, TTL, and the packets inside ICMP errors.

use crate::{
    abi::Flow,
    addr::{Addr, Be16},
    checksum::{add, address_difference, field_difference, update},
    drop_reason::DropReason,
    packet::{Class, Headers, Packet, protocol},
};

/// Translates a packet of a flow (not an ICMP error): addresses, ports or identifier, checksums.
#[inline(always)]
pub fn packet<P: Packet>(p: &mut P, h: &Headers, f: &Flow) -> Option<()> {
    let addresses = add(
        address_difference(h.src, f.src),
        address_difference(h.dst, f.dst),
    );
    if addresses != 0 {
        set_addresses(p, h, f.src, f.dst, addresses)?;
        if !h.v4 {
            p.header_changed(addresses);
        }
    }
    if h.class == Class::LaterFragment {
        return Some(());
    }
    if h.class == Class::Echo {
        return echo(p, h, f, addresses);
    }
    let Some((field, pseudo)) = transport_checksum(h.protocol) else {
        return Some(());
    };
    let udp = h.protocol == protocol::UDP;
    if addresses != 0 && pseudo {
        p.fix_transport(h.l4 + field, addresses, true, udp)?;
    }
    if f.sport != h.sport || f.dport != h.dport {
        if pseudo {
            let ports = add(
                field_difference(h.sport, f.sport),
                field_difference(h.dport, f.dport),
            );
            p.fix_transport(h.l4 + field, ports, false, udp)?;
        }
        let s = f.sport.to_bytes();
        let d = f.dport.to_bytes();
        p.store(h.l4, &[s[0], s[1], d[0], d[1]])?;
    }
    Some(())
}

/// Offset of the checksum and whether it is the Internet checksum over a pseudo header.
#[inline(always)]
const fn transport_checksum(number: u8) -> Option<(u32, bool)> {
    match number {
        protocol::TCP => Some((16, true)),
        protocol::UDP | protocol::UDP_LITE | protocol::DCCP => Some((6, true)),
        // CRC32c without a pseudo header: right as long as the ports stay, which the flow's maker sees to.
        protocol::SCTP => Some((8, false)),
        _ => None,
    }
}

#[inline(always)]
fn echo<P: Packet>(p: &mut P, h: &Headers, f: &Flow, addresses: u32) -> Option<()> {
    // ICMPv6 has a pseudo header (RFC 4443, 2.3), ICMP has none.
    if !h.v4 && addresses != 0 {
        p.fix_transport(h.l4 + 2, addresses, true, false)?;
    }
    let request = matches!(h.icmp_type, 8 | 128);
    let (old, new) = if request {
        (h.sport, f.sport)
    } else {
        (h.dport, f.dport)
    };
    if old != new {
        p.fix_transport(h.l4 + 2, field_difference(old, new), false, false)?;
        p.store(h.l4 + 4, &new.to_bytes())?;
    }
    Some(())
}

/// Writes both addresses; for IPv4 with the header's checksum.
#[inline(always)]
fn set_addresses<P: Packet>(
    p: &mut P,
    h: &Headers,
    src: Addr,
    dst: Addr,
    difference: u32,
) -> Option<()> {
    if h.v4 {
        let sum = update(p.load(h.l3 + 10)?, difference);
        let s = src.v4_bytes();
        let d = dst.v4_bytes();
        p.store(
            h.l3 + 10,
            &[
                sum[0], sum[1], s[0], s[1], s[2], s[3], d[0], d[1], d[2], d[3],
            ],
        )
    } else {
        p.store_words(h.l3 + 8, &src.words())?;
        p.store_words(h.l3 + 24, &dst.words())
    }
}

/// Translates an ICMP error: the outer addresses, and the packet inside, which went the other way.
/// `f` is the flow that the answer to the packet inside would take (RFC 5508, REQ-4 and -5).
#[inline(always)]
pub fn icmp_error<P: Packet>(p: &mut P, h: &Headers, inner: &Headers, f: &Flow) -> Option<()> {
    let src = if h.src == inner.dst { f.src } else { h.src };
    let outer = add(
        address_difference(h.src, src),
        address_difference(h.dst, f.dst),
    );
    if outer != 0 {
        set_addresses(p, h, src, f.dst, outer)?;
        if !h.v4 {
            p.header_changed(outer);
            p.fix_transport(h.l4 + 2, outer, true, false)?;
        }
    }
    // The inner packet's source is where the error goes to, its destination where its answer would come from.
    let addresses = add(
        address_difference(inner.src, f.dst),
        address_difference(inner.dst, f.src),
    );
    let mut change = addresses;
    if addresses != 0 {
        if inner.v4 {
            let old: [u8; 2] = p.load(inner.l3 + 10)?;
            let new = update(old, addresses);
            change = add(
                change,
                field_difference(Be16::from_bytes(old), Be16::from_bytes(new)),
            );
        }
        set_addresses(p, inner, f.dst, f.src, addresses)?;
    }
    change = add(change, inner_ports(p, inner, f, addresses)?);
    p.fix_transport(h.l4 + 2, change, false, false)
}

/// Rewrites the inner ports and, where it is there, the inner checksum; returns the difference made.
#[inline(always)]
fn inner_ports<P: Packet>(p: &mut P, inner: &Headers, f: &Flow, addresses: u32) -> Option<u32> {
    let (field, pseudo, at) = match inner.protocol {
        protocol::TCP => (16, true, 0),
        protocol::UDP | protocol::UDP_LITE | protocol::DCCP => (6, true, 0),
        protocol::ICMP => (2, false, 4),
        protocol::ICMPV6 => (2, true, 4),
        _ => return Some(0),
    };
    let ports = if inner.class == Class::Echo {
        let request = matches!(inner.icmp_type, 8 | 128);
        let (old, new) = if request {
            (inner.sport, f.dport)
        } else {
            (inner.dport, f.sport)
        };
        p.store(inner.l4 + at, &new.to_bytes())?;
        field_difference(old, new)
    } else if at == 0 {
        let s = f.dport.to_bytes();
        let d = f.sport.to_bytes();
        p.store(inner.l4, &[s[0], s[1], d[0], d[1]])?;
        add(
            field_difference(inner.sport, f.dport),
            field_difference(inner.dport, f.sport),
        )
    } else {
        0
    };
    let own = if pseudo { add(addresses, ports) } else { ports };
    // Only 8 bytes of the transport header need be there; a UDP checksum of zero means none.
    match p.load::<2>(inner.l4 + field) {
        Some(old) if !(inner.protocol == protocol::UDP && old == [0, 0]) => {
            let new = update(old, own);
            p.store(inner.l4 + field, &new)?;
            Some(add(
                ports,
                field_difference(Be16::from_bytes(old), Be16::from_bytes(new)),
            ))
        }
        _ => Some(ports),
    }
}

/// Counts one hop: TTL or hop limit less one, with the IPv4 checksum.
#[inline(always)]
pub fn hop<P: Packet>(p: &mut P, h: &Headers) -> Result<(), DropReason> {
    if h.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    let done = if h.v4 { hop_v4(p, h) } else { hop_v6(p, h) };
    done.ok_or(DropReason::Unsupported)
}

#[inline(always)]
fn hop_v6<P: Packet>(p: &mut P, h: &Headers) -> Option<()> {
    let old = Be16::from_bytes([0, h.ttl]);
    let new = Be16::from_bytes([0, h.ttl - 1]);
    p.header_changed(field_difference(old, new));
    p.store(h.l3 + 7, &[h.ttl - 1])
}

#[inline(always)]
fn hop_v4<P: Packet>(p: &mut P, h: &Headers) -> Option<()> {
    let b: [u8; 4] = p.load(h.l3 + 8)?;
    let old = Be16::from_bytes([b[0], b[1]]);
    let new = Be16::from_bytes([h.ttl - 1, b[1]]);
    let sum = update([b[2], b[3]], field_difference(old, new));
    p.store(h.l3 + 8, &[h.ttl - 1, b[1], sum[0], sum[1]])
}
