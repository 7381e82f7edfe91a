//! Packets as values: made by the tests, and read from the wire with every checksum judged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Ipv4Header, Ipv6Header, TcpHeader, UdpHeader, checksum::Sum16BitWords};

pub use super::numbers::{flag, protocol};

/// What a packet's checksums are, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Every one is right.
    #[default]
    Right,
    /// UDP without a checksum (IPv4 only).
    Absent,
    /// At least one is wrong.
    Wrong,
    /// It cannot be told from a fragment or an unknown protocol.
    Unknown,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Bytes before it.
    pub offset: u16,
    /// Whether others follow.
    pub more: bool,
}

/// What is behind the IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// UDP.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Payload.
        data: Vec<u8>,
    },
    /// TCP.
    Tcp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// See [`flag`].
        flags: u8,
        /// Sequence number.
        seq: u32,
        /// Acknowledgement number.
        ack: u32,
        /// Payload.
        data: Vec<u8>,
    },
    /// ICMP of the packet's family.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Second word of the header.
        rest: [u8; 4],
        /// The rest.
        data: Vec<u8>,
    },
    /// A fragment, or a protocol that is not known here.
    Other {
        /// Protocol number.
        protocol: u8,
        /// Everything.
        data: Vec<u8>,
    },
}

/// One packet from its IP header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Time to live, hop limit.
    pub ttl: u8,
    /// Identification of its fragments.
    pub id: u32,
    /// IPv4: do not fragment.
    pub df: bool,
    /// IPv4 options, or one IPv6 destination options header without its first two bytes; a multiple of four, of
    /// eight and six more.
    pub options: Vec<u8>,
    /// Set when it is a part of a datagram.
    pub fragment: Option<Fragment>,
    /// What it carries.
    pub body: Body,
    /// How the checksums are to be, or were.
    pub checksum: Checksum,
}

/// Internet checksum over bytes, with the pseudo header of a transport protocol where one is given.
pub fn sum(pseudo: Option<(IpAddr, IpAddr, u8)>, bytes: &[u8]) -> u16 {
    let mut sum = Sum16BitWords::new().add_slice(bytes);
    if let Some((src, dst, protocol)) = pseudo {
        for address in [src, dst] {
            sum = match address {
                IpAddr::V4(v4) => sum.add_4bytes(v4.octets()),
                IpAddr::V6(v6) => sum.add_16bytes(v6.octets()),
            };
        }
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        sum = sum
            .add_2bytes([0, protocol])
            .add_2bytes(length.to_be_bytes());
    }
    sum.ones_complement().to_be()
}

impl Packet {
    /// A packet with ordinary headers.
    pub fn new(src: IpAddr, dst: IpAddr, body: Body) -> Self {
        Self {
            src,
            dst,
            ttl: 64,
            id: 1,
            df: false,
            options: Vec::new(),
            fragment: None,
            body,
            checksum: Checksum::Right,
        }
    }

    /// A datagram.
    pub fn udp(src: (IpAddr, u16), dst: (IpAddr, u16), data: &[u8]) -> Self {
        let body = Body::Udp {
            sport: src.1,
            dport: dst.1,
            data: data.to_vec(),
        };
        Self::new(src.0, dst.0, body)
    }

    /// A segment with the numbers `(seq, ack)`.
    pub fn tcp(src: (IpAddr, u16), dst: (IpAddr, u16), flags: u8, numbers: (u32, u32)) -> Self {
        let body = Body::Tcp {
            sport: src.1,
            dport: dst.1,
            flags,
            seq: numbers.0,
            ack: numbers.1,
            data: Vec::new(),
        };
        Self::new(src.0, dst.0, body)
    }

    /// An echo request, or the reply to one.
    pub fn echo(src: IpAddr, dst: IpAddr, request: bool, id: u16, data: &[u8]) -> Self {
        let kind = match (src, request) {
            (IpAddr::V4(_), true) => 8,
            (IpAddr::V4(_), false) => 0,
            (IpAddr::V6(_), true) => 128,
            (IpAddr::V6(_), false) => 129,
        };
        let [high, low] = id.to_be_bytes();
        let body = Body::Icmp {
            kind,
            code: 0,
            rest: [high, low, 0, 1],
            data: data.to_vec(),
        };
        Self::new(src, dst, body)
    }

    /// The same with this payload.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        match &mut self.body {
            Body::Udp { data, .. }
            | Body::Tcp { data, .. }
            | Body::Icmp { data, .. }
            | Body::Other { data, .. } => *data = bytes.to_vec(),
        }
        self
    }

    /// The same with other checksums.
    #[must_use]
    pub fn summed(mut self, checksum: Checksum) -> Self {
        self.checksum = checksum;
        self
    }

    /// Source and destination port; of an echo, its identifier twice.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match &self.body {
            Body::Udp { sport, dport, .. } | Body::Tcp { sport, dport, .. } => {
                Some((*sport, *dport))
            }
            Body::Icmp {
                kind: 0 | 8 | 128 | 129,
                rest: [high, low, ..],
                ..
            } => {
                let id = u16::from_be_bytes([*high, *low]);
                Some((id, id))
            }
            _ => None,
        }
    }

    /// Payload.
    pub fn data(&self) -> &[u8] {
        match &self.body {
            Body::Udp { data, .. }
            | Body::Tcp { data, .. }
            | Body::Icmp { data, .. }
            | Body::Other { data, .. } => data,
        }
    }

    /// Protocol number of the body.
    pub fn protocol(&self) -> u8 {
        match (&self.body, self.src) {
            (Body::Udp { .. }, _) => protocol::UDP,
            (Body::Tcp { .. }, _) => protocol::TCP,
            (Body::Icmp { .. }, IpAddr::V4(_)) => protocol::ICMP,
            (Body::Icmp { .. }, IpAddr::V6(_)) => protocol::ICMP6,
            (Body::Other { protocol, .. }, _) => *protocol,
        }
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = match &self.body {
            Body::Udp { sport, dport, data } => {
                let length = u16::try_from(data.len() + 8).unwrap_or(u16::MAX);
                let header = UdpHeader {
                    source_port: *sport,
                    destination_port: *dport,
                    length,
                    checksum: 0,
                };
                [header.to_bytes().as_slice(), data].concat()
            }
            Body::Tcp {
                sport,
                dport,
                flags,
                seq,
                ack,
                data,
            } => {
                let mut header = TcpHeader::new(*sport, *dport, *seq, 65_000);
                header.acknowledgment_number = *ack;
                let mut bytes = header.to_bytes().to_vec();
                bytes[13] = *flags;
                bytes.extend(data);
                bytes
            }
            Body::Icmp {
                kind,
                code,
                rest,
                data,
            } => [&[*kind, *code, 0, 0], rest.as_slice(), data].concat(),
            Body::Other { data, .. } => data.clone(),
        };
        let Some(at) = self.sum_offset() else {
            return bytes;
        };
        let mut value = sum(self.pseudo(), &bytes);
        value = match (self.checksum, value, self.protocol()) {
            (Checksum::Absent, _, protocol::UDP) => 0,
            (Checksum::Wrong, ..) => value ^ 0x5555,
            // A datagram's checksum is never 0: that says that there is none (RFC 768).
            (_, 0, protocol::UDP) => 0xffff,
            _ => value,
        };
        bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
        bytes
    }

    fn sum_offset(&self) -> Option<usize> {
        match self.body {
            Body::Udp { .. } => Some(6),
            Body::Tcp { .. } => Some(16),
            Body::Icmp { .. } => Some(2),
            Body::Other { .. } => None,
        }
    }

    fn pseudo(&self) -> Option<(IpAddr, IpAddr, u8)> {
        let protocol = self.protocol();
        (protocol != protocol::ICMP).then_some((self.src, self.dst, protocol))
    }

    /// As it goes on the wire, without the Ethernet header.
    ///
    /// # Panics
    /// When source and destination are of two families, or options or payload have no legal length.
    pub fn bytes(&self) -> Vec<u8> {
        self.around(self.protocol(), &self.transport())
    }

    /// This packet's IP header around other bytes.
    fn around(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.around_v4(src, dst, protocol, payload),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.around_v6(src, dst, protocol, payload),
            (src, dst) => panic!("a packet from {src} to {dst}"),
        }
    }

    fn around_v4(&self, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("a payload that fits");
        let mut header = Ipv4Header::new(length, self.ttl, 0.into(), src.octets(), dst.octets())
            .expect("a payload that fits");
        header.protocol = protocol.into();
        header.identification = (self.id & 0xffff) as u16;
        header.dont_fragment = self.df;
        header.options = self
            .options
            .as_slice()
            .try_into()
            .expect("options of whole words");
        header
            .set_payload_len(payload.len())
            .expect("a payload that fits");
        if let Some(fragment) = self.fragment {
            header.more_fragments = fragment.more;
            header.fragment_offset = (fragment.offset / 8).try_into().expect("an offset");
        }
        header.header_checksum = header.calc_header_checksum();
        [header.to_bytes().as_slice(), payload].concat()
    }

    fn around_v6(&self, src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut next = protocol;
        let mut rest = payload.to_vec();
        if let Some(fragment) = self.fragment {
            let word = (fragment.offset & 0xfff8) | u16::from(fragment.more);
            let mut header = vec![next, 0];
            header.extend(word.to_be_bytes());
            header.extend(self.id.to_be_bytes());
            rest = [header, rest].concat();
            next = protocol::FRAGMENT;
        }
        if !self.options.is_empty() {
            let units = (self.options.len() + 2) / 8 - 1;
            let length = u8::try_from(units).expect("options that fit");
            rest = [&[next, length], self.options.as_slice(), &rest].concat();
            next = protocol::OPTIONS;
        }
        let header = Ipv6Header {
            payload_length: u16::try_from(rest.len()).expect("a payload that fits"),
            next_header: next.into(),
            hop_limit: self.ttl,
            source: src.octets(),
            destination: dst.octets(),
            ..Default::default()
        };
        [header.to_bytes().as_slice(), &rest].concat()
    }

    /// The packet in parts of at most `size` bytes of payload (a multiple of 8), first part first.
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        let whole = self.transport();
        let parts = whole.chunks(size);
        let last = parts.len() - 1;
        parts
            .enumerate()
            .map(|(index, part)| {
                let mut packet = self.clone();
                packet.df = false;
                packet.fragment = Some(Fragment {
                    offset: u16::try_from(index * size).expect("an offset"),
                    more: index != last,
                });
                packet.around(self.protocol(), part)
            })
            .collect()
    }
}
