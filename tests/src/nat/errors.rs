//! ICMP errors of both families.

use std::net::IpAddr;

use super::packet::{Body, Packet};

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody listens.
    Port,
    /// Nobody holds the address.
    Host,
    /// Hops are used up.
    Hops,
    /// Too big for a link with this MTU.
    TooBig(u16),
    /// Administratively prohibited.
    Prohibited,
}

impl Trouble {
    /// Type, code and second word of the header.
    pub fn header(self, v4: bool) -> (u8, u8, [u8; 4]) {
        match (self, v4) {
            (Self::Port, true) => (3, 3, [0; 4]),
            (Self::Port, false) => (1, 4, [0; 4]),
            (Self::Host, true) => (3, 1, [0; 4]),
            (Self::Host, false) => (1, 3, [0; 4]),
            (Self::Hops, true) => (11, 0, [0; 4]),
            (Self::Hops, false) => (3, 0, [0; 4]),
            (Self::TooBig(mtu), true) => {
                let [high, low] = mtu.to_be_bytes();
                (3, 4, [0, 0, high, low])
            }
            (Self::TooBig(mtu), false) => (2, 0, u32::from(mtu).to_be_bytes()),
            (Self::Prohibited, true) => (3, 13, [0; 4]),
            (Self::Prohibited, false) => (1, 1, [0; 4]),
        }
    }

    /// The error from `src` to `dst` about a packet with these bytes.
    pub fn about(self, src: IpAddr, dst: IpAddr, quoted: &[u8]) -> Packet {
        let (kind, code, rest) = self.header(src.is_ipv4());
        let body = Body::Icmp {
            kind,
            code,
            rest,
            data: quoted.to_vec(),
        };
        Packet::new(src, dst, body)
    }

    /// Whether a packet is this error.
    pub fn is(self, packet: &Packet) -> bool {
        let wanted = self.header(packet.src.is_ipv4());
        match packet.body {
            Body::Icmp {
                kind, code, rest, ..
            } => (kind, code, rest) == wanted && packet.is_error(),
            _ => false,
        }
    }
}
