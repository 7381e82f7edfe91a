//! What may become of a packet, and whether it did.

use std::net::IpAddr;

use crate::{
    got::Got,
    packet::{self, L3, read},
    rewrite::Rewritten,
    state::{Datagram, DatagramKey, Session, Tuple},
};

/// What may become of a packet.
#[derive(Clone, Debug)]
pub enum Expect {
    Pass,
    Drop,
    Deliver(u32, Rewritten),
    ToHost(u32, Rewritten),
    Out(Rewritten),
    Replicate(u32, u32),
    Error(Error),
    /// Nothing: says why what one might think of is not right.
    Never(String),
}

/// An ICMP error about a packet.
#[derive(Clone, Debug)]
pub struct Error {
    /// Interface that the packet came by.
    pub ifindex: u32,
    /// The packet.
    pub about: Vec<u8>,
    pub from: IpAddr,
    pub kind: u8,
    pub code: u8,
    /// The MTU that it tells, or 0.
    pub number: u32,
    /// Its lengths contradict each other: who quotes less is right, too.
    pub doubtful: bool,
}

/// What is remembered when it did become that.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A packet of a session; whether it went on.
    Touch(usize, usize, bool),
    Begin(Session),
    /// As [`Effect::Begin`], by a packet that goes no further: who remembers it is right, too.
    MayBegin(Session),
    Fragment(DatagramKey, Datagram),
    /// A packet that may have been a session's, and went nowhere by it.
    Doubt(usize),
    /// A direct packet.
    Direct,
    /// A packet to somebody's outside port that was not let in.
    Attempt(Tuple),
}

/// One of the things that may become of a packet.
#[derive(Clone, Debug)]
pub struct Choice {
    pub expect: Expect,
    pub effects: Vec<Effect>,
}

impl Choice {
    /// Without anything to remember.
    pub fn plain(expect: Expect) -> Self {
        Self {
            expect,
            effects: Vec::new(),
        }
    }
}

impl Expect {
    /// Whether this is what became of it.
    pub fn matches(&self, got: &Got) -> bool {
        match (self, got) {
            (Self::Pass, Got::Pass) | (Self::Drop, Got::Drop(_)) => true,
            (Self::Deliver(a, p), Got::Deliver(b, q)) => a == b && p.matches(q, 0),
            (Self::ToHost(a, p), Got::ToHost(b, q)) => a == b && p.matches(q, 0),
            // The kernel writes the Ethernet addresses of neighbours.
            (Self::Out(p), Got::Out(ifindex, to, q)) => {
                let v4 = q.get(12) == Some(&8);
                let dst = packet::address(q, v4, if v4 { L3 + 16 } else { L3 + 24 });
                *ifindex == crate::setup::UPLINK && p.matches(q, 12) && dst == Some(*to)
            }
            (Self::Replicate(a, b), Got::Replicate(c, d)) => (a, b) == (c, d),
            (Self::Error(e), Got::Back(ifindex, q)) => *ifindex == e.ifindex && e.is_told_by(q),
            _ => false,
        }
    }
}

impl Error {
    /// RFC 792, 4443, 1812 (4.3.2.3): quotes as much as may be, with sums that are right.
    fn is_told_by(&self, bytes: &[u8]) -> bool {
        let v4 = self.from.is_ipv4();
        let Some(seen) = read(bytes, L3, v4, false) else {
            return false;
        };
        let asked = packet::address(&self.about, v4, if v4 { L3 + 12 } else { L3 + 8 });
        let message = &bytes[seen.l4..];
        let quote = &message[8..];
        let most = if v4 { 576 - 28 } else { 1280 - 48 };
        // Without what a link has put behind it.
        let whole = match read(&self.about, L3, v4, false) {
            Some(about) if !self.doubtful => &self.about[L3..about.end],
            _ => &self.about[L3..],
        };
        let at = if v4 { L3 + 2 } else { L3 + 4 };
        let length = usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let summed = !v4 || packet::sum(&bytes[L3..seen.l4]) == 0;
        // The pseudo header has the length, too (RFC 8200, 8.1).
        let pseudo = if v4 { 0 } else { message.len() as u32 + 58 };
        !seen.doubtful
            && seen.src == self.from
            && Some(seen.dst) == asked
            && (&bytes[..6], &bytes[6..12]) == (&self.about[6..12], &self.about[..6])
            && (message[0], message[1]) == (self.kind, self.code)
            && (message[4..8] == self.number.to_be_bytes() || self.doubtful)
            && quote == &whole[..quote.len().min(whole.len())]
            && quote.len() <= most
            && (self.doubtful || quote.len() + 8 >= most.min(whole.len()))
            && length == if v4 { bytes.len() - L3 } else { message.len() }
            && summed
            && (packet::transport_sum(bytes, &seen) + pseudo).is_multiple_of(0xffff)
    }
}
