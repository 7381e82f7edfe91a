//! What becomes of a packet's bytes when its fields change.

use std::net::IpAddr;

use crate::packet::{Icmp, Seen, sum, transport_sum, word};

/// What the fields of a packet become; a rewritten packet keeps the truth of its sums: right stays right, wrong wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
}

/// A packet with places where a checksum stands: there, both zeros of ones' complement count as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    pub bytes: Vec<u8>,
    pub sums: Vec<usize>,
}

impl Rewritten {
    /// A packet as it is.
    pub fn same(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            sums: Vec::new(),
        }
    }

    /// Whether these bytes, from `from` on, are this packet.
    pub fn matches(&self, other: &[u8], from: usize) -> bool {
        let zero = |b: &[u8]| {
            let mut b = b.to_vec();
            for &at in &self.sums {
                if b.get(at..at + 2) == Some(&[0xff, 0xff]) {
                    b[at..at + 2].fill(0);
                }
            }
            b
        };
        self.bytes.len() == other.len() && zero(&self.bytes)[from..] == zero(other)[from..]
    }

    fn put(&mut self, at: usize, new: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + new.len()) {
            place.copy_from_slice(new);
        }
    }

    fn put_address(&mut self, at: usize, addr: IpAddr) {
        match addr {
            IpAddr::V4(a) => self.put(at, &a.octets()),
            IpAddr::V6(a) => self.put(at, &a.octets()),
        }
    }

    /// Makes the sum at `at` such that `now` gives `before` again.
    fn balance(&mut self, at: usize, before: u32, now: impl Fn(&[u8]) -> u32, udp: bool) {
        let Some(old) = word(&self.bytes, at) else {
            return;
        };
        if udp && old == 0 {
            return;
        }
        self.put(at, &[0, 0]);
        let need = (before + 0xffff - now(&self.bytes)) % 0xffff;
        let field = u16::try_from(need).expect("less than 65,535");
        let field = if udp && field == 0 { 0xffff } else { field };
        self.put(at, &field.to_be_bytes());
        if !udp {
            self.sums.push(at);
        }
    }

    /// Sets addresses and ports, and takes off a hop; lowers the MSS of a TCP SYN to `mss`.
    pub fn rewrite(&mut self, seen: &Seen, to: Fields, hop: bool, mss: Option<u16>) {
        let old = self.bytes.clone();
        let (from, size) = if seen.v4 {
            (seen.l3 + 12, 4)
        } else {
            (seen.l3 + 8, 16)
        };
        self.put_address(from, to.src.0);
        self.put_address(from + size, to.dst.0);
        if hop {
            self.put(
                if seen.v4 { seen.l3 + 8 } else { seen.l3 + 7 },
                &[seen.ttl - 1],
            );
        }
        if seen.ports.is_some() {
            match seen.icmp {
                Some(Icmp::Request) => self.put(seen.l4 + 4, &to.src.1.to_be_bytes()),
                Some(_) => self.put(seen.l4 + 4, &to.dst.1.to_be_bytes()),
                None => {
                    self.put(seen.l4, &to.src.1.to_be_bytes());
                    self.put(seen.l4 + 2, &to.dst.1.to_be_bytes());
                }
            }
        }
        if let Some(mss) = mss {
            self.lower_mss(seen, mss);
        }
        if seen.v4 {
            let header = seen.l3..seen.l4.min(old.len());
            self.balance(
                seen.l3 + 10,
                sum(&old[header.clone()]),
                |b| sum(&b[header.clone()]),
                false,
            );
        }
        if let Some(at) = seen.sum_at() {
            let udp = seen.protocol == 17;
            self.balance(
                at,
                transport_sum(&old, seen),
                |b| transport_sum(b, seen),
                udp,
            );
        }
    }

    /// RFC 9293, 3.2: options of a SYN; of several the first.
    fn lower_mss(&mut self, seen: &Seen, most: u16) {
        if seen.protocol != 6 || seen.later || seen.flags & 2 == 0 {
            return;
        }
        let end = seen.l4 + usize::from(self.bytes.get(seen.l4 + 12).unwrap_or(&0) >> 4) * 4;
        let mut at = seen.l4 + 20;
        while at + 1 < end.min(self.bytes.len()) {
            match (self.bytes[at], self.bytes[at + 1]) {
                (0, _) => return,
                (1, _) => at += 1,
                (2, 4) if at + 4 <= end => {
                    if word(&self.bytes, at + 2).is_some_and(|now| now > most) {
                        self.put(at + 2, &most.to_be_bytes());
                    }
                    return;
                }
                (_, length) if length >= 2 => at += usize::from(length),
                _ => return,
            }
        }
    }

    /// Sets the fields of the packet inside an ICMP error, then the error's own.
    pub fn rewrite_error(&mut self, seen: &Seen, inner: &Seen, outer_to: Fields, inner_to: Fields) {
        let old = self.bytes.clone();
        let before = transport_sum(&old, seen);
        self.rewrite(inner, inner_to, false, None);
        // Nobody sums up what is inside from scratch: it is cut.
        let at = seen.l4 + 2;
        self.balance(at, before, |b| transport_sum(b, seen), false);
        self.rewrite(seen, outer_to, true, None);
    }
}
