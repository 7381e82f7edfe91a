//! Packets and events. A packet may answer, repeat or complain about one that came out before, so that a
//! sequence stays a conversation whatever ports were chosen, and whatever a shrinking takes out of it.

use std::net::IpAddr;

use crate::{
    build::{Body, Form, Part, build},
    packet::{Icmp, L3, Seen, read},
    setup::{SCTP, Setup, TCP, UDP, host, inside, link_local, mac, remote},
};

/// One event of a sequence, with its number; a packet that refers to another one keeps doing so when those between them
/// are taken out.
#[derive(Clone, Debug)]
pub struct Event {
    pub number: usize,
    pub step: Step,
    pub refers: Option<usize>,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Send),
    /// Milliseconds.
    Wait(u64),
    /// Publishes what is offered, or takes it back.
    Toggle(usize),
    /// The container behind an endpoint's address is replaced.
    Replace(usize),
}

/// A packet.
#[derive(Clone, Debug)]
pub struct Send {
    /// Index of the endpoint, or none: from outside.
    pub from: Option<usize>,
    pub what: What,
    pub twist: Twist,
}

/// What it is.
#[derive(Clone, Debug)]
pub enum What {
    Fresh {
        v4: bool,
        protocol: u8,
        to: To,
        ports: (u16, u16),
        flags: u8,
    },
    /// An answer to what came out so many packets ago.
    Answer { back: usize, flags: u8 },
    /// The same as came in then.
    Again { back: usize },
    /// An ICMP error about what came out then; from whom it reached, or from somebody else.
    Error {
        back: usize,
        kind: usize,
        cut: usize,
        stranger: bool,
    },
}

/// Whom it is for.
#[derive(Clone, Copy, Debug)]
pub enum To {
    Remote(u8),
    Host,
    Gateway(u32),
    Endpoint(usize),
    /// Nobody's address of a network.
    Nobody(u32),
    LinkLocal(usize),
    Special(u8),
    /// The outside port of what went out so many packets ago.
    Mapped(usize),
}

/// What is odd about it.
#[derive(Clone, Debug)]
pub struct Twist {
    pub ttl: u8,
    pub payload: usize,
    pub mss: Option<u16>,
    pub part: Option<Part>,
    pub options: Vec<u8>,
    pub numbers: (u32, u32),
    pub lie: Lie,
}

/// What is untrue about it.
#[derive(Clone, Copy, Debug)]
pub enum Lie {
    None,
    Cut(usize),
    Length(u16),
    UdpLength(u16),
    DataOffset(u8),
    HeaderLength(u8),
    Sum(bool),
    NoSum,
    Source(To),
    Mac,
    Vlan,
    Byte(usize, u8),
}

/// A packet that came in, and where it came out as what.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Number of the event.
    pub event: usize,
    pub from: Option<usize>,
    pub sent: Vec<u8>,
    /// Index of the endpoint, or none: outside.
    pub to: Option<usize>,
    pub came: Vec<u8>,
}

fn address(to: To, v4: bool, setup: &Setup) -> IpAddr {
    match to {
        To::Remote(last) => remote(v4, last),
        To::Host | To::Mapped(_) => host(v4),
        To::Gateway(network) => inside(v4, network, 1),
        To::Nobody(network) => inside(v4, network, 77),
        To::Endpoint(i) => {
            let e = setup.endpoints[i];
            inside(v4, e.network, e.last)
        }
        To::LinkLocal(i) => {
            let e = setup.endpoints[i];
            let last = if i % 3 == 0 { 1 } else { e.last };
            if v4 {
                [169, 254, 169, 254].into()
            } else {
                link_local(e.network, last)
            }
        }
        To::Special(i) => {
            let list = if v4 {
                [
                    "127.0.0.1",
                    "0.0.0.0",
                    "224.0.0.1",
                    "255.255.255.255",
                    "172.18.1.255",
                    "172.18.8.255",
                    "240.0.0.1",
                    "10.0.0.1",
                ]
            } else {
                [
                    "::1",
                    "::",
                    "ff02::1",
                    "ff0e::5",
                    "::ffff:172.18.1.2",
                    "::ffff:198.51.100.2",
                    "2001:db8:ffff::1",
                    "fe80::1",
                ]
            };
            list[usize::from(i)].parse().expect("it is an address")
        }
    }
}

fn body(v4: bool, protocol: u8, ports: (u16, u16), flags: u8, twist: &Twist) -> Body {
    match protocol {
        TCP => Body::Tcp {
            ports,
            flags,
            numbers: twist.numbers,
            mss: twist.mss.filter(|_| flags & 2 != 0),
        },
        UDP => Body::Udp {
            ports,
            sum: !matches!(twist.lie, Lie::NoSum),
        },
        1 | 58 => Body::Echo {
            request: flags != 18,
            id: if flags == 18 { ports.1 } else { ports.0 },
        },
        SCTP | 136 | 33 => Body::Ports { protocol, ports },
        13 => Body::Icmp {
            kind: if v4 { 13 } else { 139 },
            code: 0,
            rest: 0,
            quote: vec![0; 12],
        },
        _ => Body::Plain { protocol },
    }
}

/// What an answer to a packet carries.
fn answer(seen: &Seen, flags: u8, twist: &Twist) -> Body {
    let ports = seen.ports.unwrap_or_default();
    match seen.icmp {
        Some(Icmp::Request) => Body::Echo {
            request: false,
            id: ports.0,
        },
        // Another message is answered by one of its kind with an identifier of its own.
        Some(_) => Body::Echo {
            request: true,
            id: ports.1.max(7),
        },
        None => body(seen.v4, seen.protocol, (ports.1, ports.0), flags, twist),
    }
}

impl Send {
    /// The packet that it refers to, if it does: its place in `trace`, or none if there is no such one (yet).
    pub fn refers(&self, trace: &[Trace]) -> Option<Option<usize>> {
        match &self.what {
            What::Answer { back, .. } | What::Again { back } | What::Error { back, .. } => {
                Some(trace.len().checked_sub(back + 1))
            }
            What::Fresh {
                v4,
                to: To::Mapped(back),
                ..
            } => {
                let out = |t: &(usize, &Trace)| t.1.to.is_none() && (t.1.came[12] == 8) == *v4;
                Some(
                    trace
                        .iter()
                        .enumerate()
                        .rev()
                        .filter(out)
                        .nth(*back)
                        .map(|t| t.0),
                )
            }
            What::Fresh { .. } => None,
        }
    }

    /// Who sends, and the bytes. `past`: what it refers to.
    pub fn packet(&self, setup: &Setup, past: Option<&Trace>) -> Option<(Option<usize>, Vec<u8>)> {
        let (from, mut bytes) = match &self.what {
            What::Fresh {
                v4,
                protocol,
                to,
                ports,
                flags,
            } => {
                let src = match self.from {
                    Some(i) => {
                        let e = setup.endpoints[i];
                        let near = matches!(to, To::LinkLocal(_)) && !v4;
                        if near {
                            link_local(e.network, e.last)
                        } else {
                            inside(*v4, e.network, e.last)
                        }
                    }
                    None => remote(*v4, 2 + (ports.0 % 3) as u8),
                };
                let (mut dst, mut ports) = (address(*to, *v4, setup), *ports);
                if let To::Mapped(_) = to {
                    let past = past?;
                    let seen = read(&past.came, L3, *v4, false)?;
                    (dst, ports.1) = (seen.src, seen.ports?.0);
                }
                let body = body(*v4, *protocol, ports, *flags, &self.twist);
                (self.from, self.build(self.from, src, dst, body, setup))
            }
            What::Answer { flags, .. } => {
                let past = past?;
                let seen = read(&past.came, L3, past.came[12..14] == [8, 0], false)?;
                // What is answered is known by its first fragment.
                if seen.later {
                    return None;
                }
                let body = answer(&seen, *flags, &self.twist);
                (
                    past.to,
                    self.build(past.to, seen.dst, seen.src, body, setup),
                )
            }
            What::Again { .. } => {
                let past = past?;
                (past.from, past.sent.clone())
            }
            What::Error {
                kind,
                cut,
                stranger,
                ..
            } => {
                let past = past?;
                let v4 = past.came[12..14] == [8, 0];
                let seen = read(&past.came, L3, v4, false)?;
                let from = if *stranger { self.from } else { past.to };
                let src = match from {
                    Some(i) => {
                        let e = setup.endpoints[i];
                        inside(v4, e.network, e.last)
                    }
                    None if *stranger => remote(v4, 9),
                    None => seen.dst,
                };
                let (kind, code) = if v4 {
                    [
                        (3, 3),
                        (3, 1),
                        (3, 4),
                        (11, 0),
                        (12, 0),
                        (3, 13),
                        (4, 0),
                        (5, 1),
                    ][*kind]
                } else {
                    [
                        (1, 4),
                        (1, 0),
                        (2, 0),
                        (3, 0),
                        (4, 0),
                        (1, 1),
                        (1, 3),
                        (137, 0),
                    ][*kind]
                };
                let quote = past.came[L3..].iter().take(*cut).copied().collect();
                let body = Body::Icmp {
                    kind,
                    code,
                    rest: if code == 4 || kind == 2 { 1280 } else { 0 },
                    quote,
                };
                (from, self.build(from, src, seen.src, body, setup))
            }
        };
        self.lie(&mut bytes, setup);
        Some((from, bytes))
    }

    fn build(
        &self,
        from: Option<usize>,
        src: IpAddr,
        dst: IpAddr,
        body: Body,
        setup: &Setup,
    ) -> Vec<u8> {
        let src = match self.twist.lie {
            Lie::Source(to) => address(to, src.is_ipv4(), setup),
            _ => src,
        };
        let macs = match from {
            Some(i) => {
                let e = setup.endpoints[i];
                [mac(e.network, 1), mac(e.network, e.last)]
            }
            None => [[2, 0, 0, 9, 9, 1], [2, 0, 0, 9, 9, 2]],
        };
        let error = matches!(self.what, What::Error { .. });
        build(&Form {
            src,
            dst,
            ttl: self.twist.ttl,
            body,
            payload: if error { 0 } else { self.twist.payload },
            part: self.twist.part.filter(|_| !error),
            options: self.twist.options.clone(),
            macs,
        })
    }

    fn lie(&self, b: &mut Vec<u8>, _: &Setup) {
        let v4 = b[12..14] == [8, 0];
        let l4 = if v4 { 34 } else { 54 };
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = b.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        match self.twist.lie {
            Lie::None | Lie::NoSum | Lie::Source(_) => {}
            Lie::Cut(at) => b.truncate(at.max(14)),
            Lie::Length(length) => put(if v4 { 16 } else { 18 }, &length.to_be_bytes()),
            Lie::UdpLength(length) => put(l4 + 4, &length.to_be_bytes()),
            Lie::DataOffset(words) => put(l4 + 12, &[words << 4]),
            Lie::HeaderLength(words) if v4 => put(14, &[0x40 | words]),
            Lie::HeaderLength(version) => put(14, &[version << 4]),
            Lie::Sum(true) if v4 => put(24, &[0x12, 0x34]),
            Lie::Sum(_) => put(l4 + 6, &[0x12, 0x34]),
            Lie::Mac => put(6, &[2, 0, 0, 0, 1, 9]),
            Lie::Vlan => put(12, &[0x81, 0]),
            Lie::Byte(at, value) => put(at, &[value]),
        }
    }
}
