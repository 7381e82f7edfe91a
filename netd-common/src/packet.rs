//! Reading packets: the trait that a packet is seen through, and the headers that decisions need.
//!
//! Offsets are in bytes from the start of the packet as the hook sees it (Ethernet header included where there is one).

mod numbers;

pub use numbers::{ether_type, protocol, tcp};

use crate::{
    addr::{Addr, Be16},
    drop_reason::DropReason,
};

/// Ethernet header, bytes.
pub const ETHERNET: u32 = 14;

/// A packet in a kernel buffer or in a test's memory.
#[allow(clippy::len_without_is_empty, reason = "a packet is never empty")]
pub trait Packet {
    /// Whole length, bytes; of a GSO packet all its segments.
    fn len(&self) -> u32;
    /// Bytes of payload of each segment that it will still be cut into (GSO), 0 when it stays whole.
    fn segment(&self) -> u32;
    /// `N` bytes at `offset`, `None` beyond the end.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
    /// `N` words of network order at `offset`, `None` beyond the end. Aligned where they land, which bytes are not: eBPF
    /// would put them together one by one.
    fn load_words<const N: usize>(&self, offset: u32) -> Option<[u32; N]>;
    /// Overwrites `N` bytes at `offset`; checksums stay as they are.
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Option<()>;
    /// Overwrites `N` words of network order at `offset`; checksums stay as they are.
    fn store_words<const N: usize>(&mut self, offset: u32, words: &[u32; N]) -> Option<()>;
    /// Brings the transport checksum at `offset` up to date after a change of `diff` ([`crate::checksum`]).
    /// `pseudo`: the change was in the pseudo header; `udp`: a checksum of zero means none and stays.
    fn fix_transport(&mut self, offset: u32, diff: u32, pseudo: bool, udp: bool) -> Option<()>;
    /// Says that an IPv6 header was changed by `diff`: a NIC's sum over the whole packet must follow, which in IPv4 the
    /// header's own checksum sees to.
    fn header_changed(&mut self, diff: u32);
    /// Puts an Ethernet header with this EtherType in front of a packet that has none.
    fn push_ethernet(&mut self, ether_type: [u8; 2]) -> Option<()>;
    /// Cuts the IP packet at `l3` to its first `keep` bytes and makes `room` bytes, zero or not, in front of it. What it
    /// was to be cut into, and what was known of its checksums, is forgotten.
    fn quote(&mut self, l3: u32, keep: u32, room: u32) -> Option<()>;
}

/// What kind of packet it is for the flow table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Class {
    /// A packet of a transport protocol, or of one without ports.
    #[default]
    Plain = 0,
    /// An ICMP echo request or reply; the identifier stands in a port.
    Echo = 1,
    /// An ICMP error with a packet inside.
    Error = 2,
    /// ICMPv6 neighbour or router discovery.
    Discovery = 3,
    /// Multicast listener reports and queries, IGMP.
    Membership = 4,
    /// Any other ICMP message.
    OtherIcmp = 5,
    /// A later fragment: ports unknown.
    LaterFragment = 6,
}

/// Headers of one IP packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Offset of the IP header.
    pub l3: u32,
    /// Offset of the transport header.
    pub l4: u32,
    /// Bytes of the largest IP packet that it will be on a link; 0 when that is not known.
    pub size: u32,
    /// Offset of the first byte behind the packet, as far as its IP header says (a link may have added bytes).
    pub end: u32,
    /// Identification of the fragmented datagram, 0 when not a fragment.
    pub fragment_id: u32,
    /// TCP: the number that follows this segment.
    pub tcp_next: u32,
    /// TCP: acknowledgement number.
    pub tcp_ack: u32,
    /// Source port, or the identifier of an echo request.
    pub sport: Be16,
    /// Destination port, or the identifier of an echo reply.
    pub dport: Be16,
    /// IPv4: the type of service. IPv6: traffic class and flow label as they stand in the first word, network byte order.
    pub flow_info: u32,
    /// IP protocol number after extension headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// Bytes of the TCP header with its options.
    pub tcp_header: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// What kind of packet.
    pub class: Class,
    /// Part of a fragmented datagram (the first one too).
    pub fragmented: bool,
    /// IPv4, else IPv6.
    pub v4: bool,
}

impl Headers {
    /// Whether the transport header stands in this packet and carries ports or an identifier.
    #[inline(always)]
    pub fn has_ports(&self) -> bool {
        match self.class {
            Class::Plain => protocol::has_ports(self.protocol),
            Class::Echo => true,
            _ => false,
        }
    }

    /// A TCP segment that may begin a connection.
    #[inline(always)]
    pub fn is_first_syn(&self) -> bool {
        self.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
    }
}

/// Reads the IPv4 or IPv6 packet at `l3`. With `embedded`, a packet inside an ICMP error, of whose transport header
/// only the first 8 bytes need be there (RFC 792).
#[inline(never)]
pub fn parse<P: Packet>(
    p: &P,
    l3: u32,
    v4: bool,
    embedded: bool,
    h: &mut Headers,
) -> Result<(), DropReason> {
    h.l3 = l3;
    h.v4 = v4;
    h.sport = Be16::ZERO;
    h.dport = Be16::ZERO;
    h.tcp_flags = 0;
    h.tcp_header = 0;
    h.tcp_next = 0;
    h.tcp_ack = 0;
    h.icmp_type = 0;
    h.fragment_id = 0;
    h.fragmented = false;
    h.class = Class::Plain;
    let said = if v4 { parse_v4(p, h)? } else { parse_v6(p, h)? };
    h.size = p.len().wrapping_sub(l3);
    h.end = l3 + if said == 0 || embedded { h.size } else { said };
    // A packet above 64 KiB (BIG TCP) says 0.
    if !embedded && (said > h.size || h.l4 > h.end) {
        return Err(DropReason::Malformed);
    }
    if h.class == Class::LaterFragment {
        return Ok(());
    }
    parse_transport(p, h, embedded)?;
    let segment = p.segment();
    if segment != 0 {
        h.size = segment_size(h, segment);
        // A header for jumbograms (RFC 2675) that BIG TCP needs on its way through the host, and no segment.
        if !v4 && said == 0 && h.l4 == l3 + 48 {
            h.size = h.size.wrapping_sub(8);
        }
    }
    Ok(())
}

/// [`Headers::size`] of a packet that will be cut into segments.
#[inline(always)]
fn segment_size(h: &Headers, segment: u32) -> u32 {
    // SCTP is cut at its chunks, wherever these end (GSO_BY_FRAGS).
    if segment == 0xffff {
        return 0;
    }
    let header = match h.protocol {
        protocol::TCP => u32::from(h.tcp_header),
        protocol::UDP => 8,
        _ => 0,
    };
    h.l4 - h.l3 + header + segment
}

/// Returns the whole length that the header says, bytes.
#[inline(always)]
fn parse_v4<P: Packet>(p: &P, h: &mut Headers) -> Result<u32, DropReason> {
    let w: [u32; 5] = p.load_words(h.l3).ok_or(DropReason::Malformed)?;
    let first = u32::from_be(w[0]);
    let header = (first >> 24 & 0x0f) * 4;
    if first >> 28 != 4 || header < 20 {
        return Err(DropReason::Malformed);
    }
    h.l4 = h.l3 + header;
    h.flow_info = first >> 16 & 0xff;
    let third = u32::from_be(w[2]);
    h.ttl = (third >> 24) as u8;
    h.protocol = (third >> 16) as u8;
    h.src = Addr::from_v4_word(w[3]);
    h.dst = Addr::from_v4_word(w[4]);
    let second = u32::from_be(w[1]);
    let more = second & 0x2000 != 0;
    let later = second & 0x1fff != 0;
    if more || later {
        h.fragmented = true;
        h.fragment_id = second >> 16;
    }
    if later {
        h.class = Class::LaterFragment;
        // It would lie over the flags of the TCP header in the first one (RFC 3128).
        if second & 0x1fff == 1 && h.protocol == protocol::TCP {
            return Err(DropReason::Malformed);
        }
    }
    Ok(first & 0xffff)
}

/// Extension headers that are followed; a packet with more is malformed (RFC 8200 names six kinds).
const MAX_EXTENSIONS: usize = 6;

/// As [`parse_v4`].
#[inline(always)]
fn parse_v6<P: Packet>(p: &P, h: &mut Headers) -> Result<u32, DropReason> {
    let w: [u32; 2] = p.load_words(h.l3).ok_or(DropReason::Malformed)?;
    if u32::from_be(w[0]) >> 28 != 6 {
        return Err(DropReason::Malformed);
    }
    h.flow_info = w[0] & 0x0fff_ffff_u32.to_be();
    let second = u32::from_be(w[1]);
    h.ttl = second as u8;
    h.src = Addr::from_words(p.load_words(h.l3 + 8).ok_or(DropReason::Malformed)?);
    h.dst = Addr::from_words(p.load_words(h.l3 + 24).ok_or(DropReason::Malformed)?);
    let mut next = (second >> 8) as u8;
    let mut at = h.l3 + 40;
    // An IPv4-mapped address in an IPv6 header would alias an IPv4 endpoint in the maps (RFC 4291, 2.5.5.2).
    if h.src.is_v4() || h.dst.is_v4() {
        return Err(DropReason::Martian);
    }
    let mut i = 0;
    while i < MAX_EXTENSIONS {
        match next {
            // Hop-by-hop, routing, destination options: length in 8-byte units without the first.
            0 | 43 | 60 => {
                let e: [u8; 2] = p.load(at).ok_or(DropReason::Malformed)?;
                next = e[0];
                at += (u32::from(e[1]) + 1) * 8;
            }
            // Fragment header.
            44 => {
                let e: [u8; 8] = p.load(at).ok_or(DropReason::Malformed)?;
                next = e[0];
                at += 8;
                h.fragmented = true;
                h.fragment_id = u32::from_ne_bytes([e[4], e[5], e[6], e[7]]);
                if e[2] != 0 || e[3] & 0xf8 != 0 {
                    h.class = Class::LaterFragment;
                    break;
                }
            }
            _ => break,
        }
        i += 1;
    }
    // A later fragment begins in the middle of what the first one's headers name.
    if h.class != Class::LaterFragment && matches!(next, 0 | 43 | 60 | 44) {
        return Err(DropReason::Malformed);
    }
    h.protocol = next;
    h.l4 = at;
    let payload = second >> 16;
    Ok(if payload == 0 { 0 } else { payload + 40 })
}

#[inline(always)]
fn parse_transport<P: Packet>(p: &P, h: &mut Headers, embedded: bool) -> Result<(), DropReason> {
    let short = !embedded && h.l4 + 8 > h.end;
    match h.protocol {
        protocol::TCP if !embedded => parse_tcp(p, h)?,
        number if protocol::has_ports(number) && !short => {
            let [ports] = p.load_words(h.l4).ok_or(DropReason::Malformed)?;
            set_ports(h, ports);
        }
        protocol::ICMP | protocol::ICMPV6 => {
            // ICMPv6 in IPv4 and the reverse are nothing that anyone answers.
            if (h.protocol == protocol::ICMP) != h.v4 || short {
                return Err(DropReason::Malformed);
            }
            let b: [u8; 8] = p.load(h.l4).ok_or(DropReason::Malformed)?;
            h.icmp_type = b[0];
            let id = Be16::from_bytes([b[4], b[5]]);
            h.class = if h.v4 { class_v4(b[0]) } else { class_v6(b[0]) };
            if h.class == Class::Echo {
                if b[0] == 8 || b[0] == 128 {
                    h.sport = id
                } else {
                    h.dport = id
                }
            }
        }
        protocol::IGMP => h.class = Class::Membership,
        number if protocol::has_ports(number) => return Err(DropReason::Malformed),
        _ => {}
    }
    Ok(())
}

#[inline(always)]
fn set_ports(h: &mut Headers, word: u32) {
    let b = word.to_ne_bytes();
    h.sport = Be16::from_bytes([b[0], b[1]]);
    h.dport = Be16::from_bytes([b[2], b[3]]);
}

#[inline(always)]
fn parse_tcp<P: Packet>(p: &P, h: &mut Headers) -> Result<(), DropReason> {
    let w: [u32; 4] = p.load_words(h.l4).ok_or(DropReason::Malformed)?;
    set_ports(h, w[0]);
    h.tcp_ack = u32::from_be(w[2]);
    let fourth = u32::from_be(w[3]);
    h.tcp_header = ((fourth >> 28) * 4) as u8;
    h.tcp_flags = (fourth >> 16) as u8;
    let data = h.l4 + u32::from(h.tcp_header);
    // A first fragment that ends in the middle of the header hides the rest from whoever looks at it (RFC 1858).
    if data > h.end || h.tcp_header < 20 {
        return Err(DropReason::Malformed);
    }
    // SYN and FIN count as a byte each (RFC 9293, 3.4).
    let marks = u32::from(h.tcp_flags & tcp::SYN != 0) + u32::from(h.tcp_flags & tcp::FIN != 0);
    h.tcp_next = u32::from_be(w[1])
        .wrapping_add(h.end - data)
        .wrapping_add(marks);
    Ok(())
}

#[inline(always)]
const fn class_v4(kind: u8) -> Class {
    match kind {
        0 | 8 => Class::Echo,
        3 | 4 | 11 | 12 => Class::Error,
        _ => Class::OtherIcmp,
    }
}

#[inline(always)]
const fn class_v6(kind: u8) -> Class {
    match kind {
        128 | 129 => Class::Echo,
        1..=4 => Class::Error,
        133..=137 => Class::Discovery,
        130..=132 | 143 => Class::Membership,
        _ => Class::OtherIcmp,
    }
}
