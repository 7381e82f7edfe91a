//! Reading packets from bytes; what cannot be read is none.

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice};

use super::packet::{Body, Checksum, Fragment, Packet, protocol, sum};

/// The start of a packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Source port, identifier.
    pub sport: u16,
    /// Destination port, identifier.
    pub dport: u16,
}

struct Network {
    packet: Packet,
    protocol: u8,
    /// Bytes before the transport header.
    header: usize,
    /// Where the packet ends by its own word; the bytes may end before.
    end: usize,
}

fn network(bytes: &[u8]) -> Option<Network> {
    let empty = |protocol| Body::Other {
        protocol,
        data: Vec::new(),
    };
    if bytes.first()? >> 4 == 4 {
        let slice = Ipv4HeaderSlice::from_slice(bytes).ok()?;
        let header = slice.to_header();
        let mut packet = Packet::new(
            slice.source_addr().into(),
            slice.destination_addr().into(),
            empty(header.protocol.0),
        );
        packet.ttl = header.time_to_live;
        packet.id = header.identification.into();
        packet.df = header.dont_fragment;
        packet.options = header.options.to_vec();
        let offset = header.fragment_offset.value() * 8;
        packet.fragment = (offset > 0 || header.more_fragments).then_some(Fragment {
            offset,
            more: header.more_fragments,
        });
        if sum(None, slice.slice()) != 0 {
            packet.checksum = Checksum::Wrong;
        }
        return Some(Network {
            packet,
            protocol: header.protocol.0,
            header: slice.slice().len(),
            end: header.total_len.into(),
        });
    }
    let slice = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    let mut packet = Packet::new(
        slice.source_addr().into(),
        slice.destination_addr().into(),
        empty(slice.next_header().0),
    );
    packet.ttl = slice.hop_limit();
    let (mut next, mut at) = (slice.next_header().0, 40);
    loop {
        match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::OPTIONS => {
                let length = (usize::from(*bytes.get(at + 1)?) + 1) * 8;
                if next == protocol::OPTIONS {
                    packet.options = bytes.get(at + 2..at + length)?.to_vec();
                }
                next = *bytes.get(at)?;
                at += length;
            }
            protocol::FRAGMENT => {
                let header: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
                let word = u16::from_be_bytes([header[2], header[3]]);
                packet.id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                packet.fragment = Some(Fragment {
                    offset: word & 0xfff8,
                    more: word & 1 == 1,
                });
                next = header[0];
                at += 8;
            }
            _ => break,
        }
    }
    Some(Network {
        packet,
        protocol: next,
        header: at,
        end: 40 + usize::from(slice.payload_length()),
    })
}

fn body(protocol: u8, bytes: &[u8]) -> Option<Body> {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    Some(match protocol {
        protocol::UDP => Body::Udp {
            sport: word(0)?,
            dport: word(2)?,
            data: bytes.get(8..)?.to_vec(),
        },
        protocol::TCP => {
            let header = TcpHeaderSlice::from_slice(bytes).ok()?;
            Body::Tcp {
                sport: header.source_port(),
                dport: header.destination_port(),
                flags: *bytes.get(13)?,
                seq: header.sequence_number(),
                ack: header.acknowledgment_number(),
                data: bytes.get(header.slice().len()..)?.to_vec(),
            }
        }
        protocol::ICMP | protocol::ICMP6 => Body::Icmp {
            kind: *bytes.first()?,
            code: *bytes.get(1)?,
            rest: bytes.get(4..8)?.try_into().ok()?,
            data: bytes.get(8..)?.to_vec(),
        },
        _ => return None,
    })
}

impl Packet {
    /// Reads a packet from its IP header on. Bytes behind its end (Ethernet's padding) are left out.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let Network {
            mut packet,
            protocol,
            header,
            end,
        } = network(bytes)?;
        let transport = bytes.get(header..end)?;
        let known = packet.fragment.is_none().then(|| body(protocol, transport));
        match known.flatten() {
            Some(body) => {
                packet.body = body;
                let pseudo =
                    (protocol != protocol::ICMP).then_some((packet.src, packet.dst, protocol));
                let absent =
                    protocol == protocol::UDP && transport.get(6..8).is_some_and(|s| s == [0, 0]);
                if packet.checksum == Checksum::Right {
                    packet.checksum = match (absent, sum(pseudo, transport)) {
                        (true, _) if packet.src.is_ipv4() => Checksum::Absent,
                        (false, 0) => Checksum::Right,
                        _ => Checksum::Wrong,
                    };
                }
            }
            None => {
                packet.body = Body::Other {
                    protocol,
                    data: transport.to_vec(),
                };
                if packet.checksum == Checksum::Right {
                    packet.checksum = Checksum::Unknown;
                }
            }
        }
        Some(packet)
    }

    /// Whether it is an ICMP error.
    pub fn is_error(&self) -> bool {
        match (&self.body, self.src) {
            (Body::Icmp { kind, .. }, IpAddr::V4(_)) => matches!(kind, 3 | 4 | 5 | 11 | 12),
            (Body::Icmp { kind, .. }, IpAddr::V6(_)) => *kind < 128,
            _ => false,
        }
    }

    /// What an ICMP error quotes.
    pub fn quoted(&self) -> Option<Quoted> {
        let data = self.is_error().then(|| self.data())?;
        let Network {
            packet,
            protocol,
            header,
            ..
        } = network(data)?;
        // An IPv4 header with a wrong checksum would be quoted by nobody.
        if packet.checksum == Checksum::Wrong {
            return None;
        }
        let start: [u8; 8] = data.get(header..header + 8)?.try_into().ok()?;
        let word = |at: usize| u16::from_be_bytes([start[at], start[at + 1]]);
        let (sport, dport) = match protocol {
            protocol::ICMP | protocol::ICMP6 => (word(4), word(4)),
            _ => (word(0), word(2)),
        };
        Some(Quoted {
            src: packet.src,
            dst: packet.dst,
            sport,
            dport,
        })
    }

    /// The whole packet that an ICMP error quotes, if it is quoted whole.
    pub fn quoted_whole(&self) -> Option<Packet> {
        self.is_error().then(|| Packet::read(self.data())).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_read_as_they_were_written() {
        for (src, dst) in [("192.0.2.1", "198.51.100.7"), ("2001:db8::1", "fd00::2")] {
            let (src, dst): (IpAddr, IpAddr) = (
                src.parse().expect("an address"),
                dst.parse().expect("an address"),
            );
            for packet in [
                Packet::udp((src, 1), (dst, 2), b"odd"),
                Packet::tcp((src, 1), (dst, 2), 18, (7, 8)).with(b"data"),
                Packet::echo(src, dst, true, 9, b"ping"),
                Packet::udp((src, 1), (dst, 2), b"x").summed(Checksum::Wrong),
            ] {
                assert_eq!(Packet::read(&packet.bytes()), Some(packet.clone()));
                let parts = Packet::udp((src, 1), (dst, 2), &[7; 100]).fragments(64);
                assert_eq!(parts.len(), 2);
                let second = Packet::read(&parts[1]).expect("a fragment");
                assert_eq!(
                    second.fragment,
                    Some(Fragment {
                        offset: 64,
                        more: false
                    })
                );
            }
        }
    }
}
