//! Packets as the model reads them: byte by byte, sums from scratch.

use std::net::IpAddr;

/// Where the IP header begins.
pub const L3: usize = 14;

/// What the model asks of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub v4: bool,
    pub src: IpAddr,
    pub dst: IpAddr,
    /// After extension headers.
    pub protocol: u8,
    pub ttl: u8,
    pub l3: usize,
    pub l4: usize,
    /// Where it ends, as far as its IP header says.
    pub end: usize,
    /// Identification, of a fragment.
    pub fragment: Option<u32>,
    /// Not the first fragment.
    pub later: bool,
    /// Both ports; of an echo request its identifier and 0, of a reply 0 and its identifier.
    pub ports: Option<(u16, u16)>,
    /// TCP flags.
    pub flags: u8,
    pub icmp: Option<Icmp>,
    /// Its lengths contradict each other or the bytes that are there: who refuses it is right, too.
    pub doubtful: bool,
}

/// Kinds of ICMP messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmp {
    Request,
    Reply,
    Error,
    /// Neighbour and router discovery, multicast listeners.
    Control,
    Other,
}

/// A word of network order.
pub fn word(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

/// An address of a header.
pub fn address(b: &[u8], v4: bool, at: usize) -> Option<IpAddr> {
    Some(if v4 {
        IpAddr::from(<[u8; 4]>::try_from(b.get(at..at + 4)?).ok()?)
    } else {
        IpAddr::from(<[u8; 16]>::try_from(b.get(at..at + 16)?).ok()?)
    })
}

/// Reads the IP packet at `l3`. With `inner`, the one inside an ICMP error, which may be cut. None: nobody can say what
/// it is.
pub fn read(b: &[u8], l3: usize, v4: bool, inner: bool) -> Option<Seen> {
    let mut seen = if v4 { read_v4(b, l3)? } else { read_v6(b, l3)? };
    if !seen.later {
        read_transport(b, inner, &mut seen)?;
    }
    // Padding of a link is short (IEEE 802.3); who counts more as part of the packet is right, too.
    seen.doubtful = !inner && (seen.doubtful || b.len() > seen.end + 64);
    Some(seen)
}

/// A packet with its Ethernet header.
pub fn seen(bytes: &[u8]) -> Option<Seen> {
    let v4 = match bytes.get(12..14)? {
        [8, 0] => true,
        [0x86, 0xdd] => false,
        _ => return None,
    };
    read(bytes, L3, v4, false)
}

fn read_v4(b: &[u8], l3: usize) -> Option<Seen> {
    let fixed = b.get(l3..l3 + 20)?;
    let header = usize::from(fixed[0] & 15) * 4;
    if fixed[0] >> 4 != 4 || header < 20 {
        return None;
    }
    let total = usize::from(word(fixed, 2)?);
    let fragment = word(fixed, 6)?;
    let fragmented = fragment & 0x3fff != 0;
    Some(Seen {
        v4: true,
        src: address(b, true, l3 + 12)?,
        dst: address(b, true, l3 + 16)?,
        protocol: fixed[9],
        ttl: fixed[8],
        l3,
        l4: l3 + header,
        end: l3 + total,
        fragment: fragmented.then_some(u32::from(word(fixed, 4)?)),
        later: fragment & 0x1fff != 0,
        ports: None,
        flags: 0,
        icmp: None,
        // RFC 3128: it would lie over the flags of the first one's TCP header.
        doubtful: fixed[9] == 6 && fragment & 0x1fff == 1
            || total > b.len() - l3
            || total < header + need(fixed[9], fragmented, fragment & 0x1fff != 0)
            || l3 + header > b.len(),
    })
}

fn read_v6(b: &[u8], l3: usize) -> Option<Seen> {
    let fixed = b.get(l3..l3 + 40)?;
    if fixed[0] >> 4 != 6 {
        return None;
    }
    let (mut next, mut at, mut count) = (fixed[6], l3 + 40, 0);
    let (mut fragment, mut later) = (None, false);
    while matches!(next, 0 | 43 | 44 | 60) && !later {
        let first = *b.get(at)?;
        if next == 44 {
            let fields = b.get(at..at + 8)?;
            fragment = Some(u32::from_be_bytes(fields[4..8].try_into().ok()?));
            later = word(fields, 2)? & 0xfff8 != 0;
            at += 8;
        } else {
            at += 8 * (usize::from(*b.get(at + 1)?) + 1);
        }
        next = first;
        count += 1;
    }
    let end = l3 + 40 + usize::from(word(fixed, 4)?);
    Some(Seen {
        v4: false,
        src: address(b, false, l3 + 8)?,
        dst: address(b, false, l3 + 24)?,
        protocol: next,
        ttl: fixed[7],
        l3,
        l4: at,
        end,
        fragment,
        later,
        ports: None,
        flags: 0,
        icmp: None,
        // RFC 8200 names six kinds; nobody need follow more headers.
        doubtful: count > 6
            || end > b.len()
            || end < at + need(next, fragment.is_some(), later)
            || at > b.len(),
    })
}

/// Bytes of a whole transport header, or of what must stand in a first fragment.
fn need(protocol: u8, fragmented: bool, later: bool) -> usize {
    match protocol {
        _ if later => 0,
        6 | 17 | 33 | 1 | 58 | 132 | 136 if fragmented => 8,
        6 => 20,
        17 | 1 | 58 | 136 => 8,
        132 | 33 => 12,
        _ => 0,
    }
}

fn read_transport(b: &[u8], inner: bool, seen: &mut Seen) -> Option<()> {
    let at = seen.l4;
    match seen.protocol {
        6 | 17 | 33 | 132 | 136 => {
            seen.ports = Some((word(b, at)?, word(b, at + 2)?));
            if seen.protocol == 6 && !inner {
                seen.flags = *b.get(at + 13)?;
                let header = usize::from(b[at + 12] >> 4) * 4;
                seen.doubtful |= header < 20 || at + header > b.len().min(seen.end);
            }
            if seen.protocol == 17 && !inner {
                let length = usize::from(word(b, at + 4).unwrap_or(0));
                seen.doubtful |= length < 8 || seen.fragment.is_none() && at + length > b.len();
            }
            seen.doubtful |= at + need(seen.protocol, false, false) > b.len();
        }
        1 | 58 => {
            if (seen.protocol == 1) != seen.v4 {
                return None;
            }
            let (kind, id) = (*b.get(at)?, word(b, at + 4)?);
            b.get(at + 7)?;
            seen.icmp = Some(icmp(seen.v4, kind));
            match seen.icmp {
                Some(Icmp::Request) => seen.ports = Some((id, 0)),
                Some(Icmp::Reply) => seen.ports = Some((0, id)),
                _ => {}
            }
        }
        _ => {}
    }
    Some(())
}

fn icmp(v4: bool, kind: u8) -> Icmp {
    match (v4, kind) {
        (true, 8) | (false, 128) => Icmp::Request,
        (true, 0) | (false, 129) => Icmp::Reply,
        (true, 3 | 4 | 11 | 12) | (false, 1..=4) => Icmp::Error,
        (false, 130..=137 | 143) => Icmp::Control,
        _ => Icmp::Other,
    }
}

impl Seen {
    /// Where the transport checksum stands, if there is one.
    pub fn sum_at(&self) -> Option<usize> {
        match self.protocol {
            _ if self.later => None,
            6 => Some(self.l4 + 16),
            17 | 33 | 136 => Some(self.l4 + 6),
            1 | 58 => Some(self.l4 + 2),
            _ => None,
        }
    }

    /// Whether that sum covers the addresses.
    pub fn pseudo(&self) -> bool {
        self.protocol != 1
    }

    /// Bytes of the IP packet.
    pub fn size(&self, b: &[u8]) -> usize {
        b.len() - self.l3
    }
}

/// The sum of big-endian words, less all multiples of 65,535: what a checksum must balance (RFC 1071).
pub fn sum(bytes: &[u8]) -> u32 {
    let words = bytes
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0)));
    words.fold(0, |all, word| (all + word) % 0xffff)
}

/// What transport and addresses of a packet sum up to, its checksum included.
pub fn transport_sum(b: &[u8], seen: &Seen) -> u32 {
    let (at, size) = if seen.v4 {
        (seen.l3 + 12, 8)
    } else {
        (seen.l3 + 8, 32)
    };
    let addresses = if seen.pseudo() {
        sum(&b[at..at + size])
    } else {
        0
    };
    (addresses + sum(b.get(seen.l4..).unwrap_or(&[]))) % 0xffff
}
