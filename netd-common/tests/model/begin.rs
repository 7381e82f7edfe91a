//! The model: packets that belong to no session.

use crate::{
    expect::{Choice, Effect, Expect},
    got::Got,
    open,
    packet::{Icmp, L3, Seen, read},
    rewrite::{Fields, Rewritten},
    rules::{Case, Model, is_link_local_v6},
    setup::{Publication, TCP, UDP, gateway_ifindex, host, link_local, mac},
    state::{Life, Place, Session, Side, Tuple},
};

const SECOND: u64 = 1000;
/// RFC 6888, REQ-8.
const REST: u64 = 120 * SECOND;

pub fn never(why: impl Into<String>) -> Choice {
    Choice::plain(Expect::Never(why.into()))
}

pub fn drop() -> Vec<Choice> {
    vec![Choice::plain(Expect::Drop)]
}

/// A packet that may begin a session (RFC 5382: a SYN and nothing that speaks against it; C09).
pub fn begins(seen: &Seen) -> bool {
    match (seen.protocol, seen.icmp) {
        (TCP, _) => seen.flags & 0b1_0111 == 0b10,
        (_, Some(icmp)) => icmp == Icmp::Request,
        _ => true,
    }
}

pub fn has_ports(seen: &Seen) -> bool {
    matches!(seen.protocol, 6 | 17 | 33 | 132 | 136)
}

/// The source port or identifier that a packet came out with.
pub fn claimed(got: &Got) -> Option<u16> {
    let (Got::Out(_, _, bytes) | Got::Deliver(_, bytes)) = got else {
        return None;
    };
    let seen = read(bytes, L3, bytes[12..14] == [8, 0], false)?;
    seen.ports.map(|ports| {
        if seen.icmp == Some(Icmp::Reply) {
            ports.1
        } else {
            ports.0
        }
    })
}

impl Model {
    /// From a container, of no session.
    pub fn new_from_container(
        &self,
        case: &Case<'_>,
        seen: &Seen,
        endpoint: usize,
        ports: Option<(u16, u16)>,
    ) -> Vec<Choice> {
        let e = self.setup.endpoints[endpoint];
        let net = self.setup.net(e.network);
        if let Some(peer) = self.setup.holder(e.network, seen.dst) {
            return self.to_peer(case, seen, endpoint, peer);
        }
        if net.internal {
            return drop();
        }
        let up = || {
            let mut p = Rewritten::same(case.bytes);
            p.bytes[..6].copy_from_slice(&mac(e.network, 1));
            vec![Choice::plain(Expect::ToHost(gateway_ifindex(e.network), p))]
        };
        if self.setup.is_host(seen.dst) {
            let gateway = self.setup.gateway(seen.dst);
            if gateway.is_some_and(|number| self.setup.net(number).internal) {
                return drop();
            }
            // A link-local source is known on its own link only.
            let published = ports
                .filter(|_| !seen.later && begins(seen) && has_ports(seen))
                .and_then(|ports| {
                    self.setup
                        .published(seen.dst, seen.protocol, ports.1)
                        .map(|to| (ports, *to))
                });
            return match published {
                Some((ports, to)) => self.to_published(case, seen, ports, &to, Some(endpoint)),
                None => match ports {
                    Some(ports) if !seen.later => self.hairpin(case, seen, endpoint, ports, up()),
                    _ => up(),
                },
            };
        }
        if seen.dst.is_loopback() || seen.dst.is_unspecified() {
            return drop();
        }
        if is_link_local_v6(seen.dst) {
            return match seen.dst == link_local(e.network, 1) {
                true if open::FRAGMENTS && seen.later => [up(), drop()].concat(),
                true => up(),
                false => drop(),
            };
        }
        if is_link_local_v6(seen.src) || self.setup.subnet(seen.dst).is_some() {
            return drop();
        }
        match ports {
            Some(ports) if !seen.later => self.outgoing(case, seen, endpoint, ports),
            _ => drop(),
        }
    }

    fn to_peer(&self, case: &Case<'_>, seen: &Seen, endpoint: usize, peer: usize) -> Vec<Choice> {
        let (e, to) = (self.setup.endpoints[endpoint], self.setup.endpoints[peer]);
        let net = self.setup.net(e.network);
        if !net.icc && endpoint != peer {
            return drop();
        }
        if seen.size(case.bytes) > net.mtu {
            return vec![Choice::plain(self.error(
                case,
                seen,
                (3, 4),
                (2, 0),
                net.mtu,
            ))];
        }
        let mut p = Rewritten::same(case.bytes);
        p.bytes[..6].copy_from_slice(&mac(to.network, to.last));
        vec![Choice {
            expect: Expect::Deliver(to.ifindex(), p),
            effects: vec![Effect::Direct],
        }]
    }

    /// To the outside.
    fn outgoing(
        &self,
        case: &Case<'_>,
        seen: &Seen,
        endpoint: usize,
        ports: (u16, u16),
    ) -> Vec<Choice> {
        let e = self.setup.endpoints[endpoint];
        let other_icmp = seen.icmp == Some(Icmp::Other);
        if !begins(seen) && !other_icmp {
            return drop();
        }
        let inner = Tuple::of(seen, ports);
        let mut all = Vec::new();
        // UDP-Lite, DCCP: their sums cover the addresses; to refuse what cannot be translated is right, too.
        if other_icmp || matches!(seen.protocol, 33 | 136) {
            all.extend(drop());
        }
        let masquerade = self.setup.net(e.network).masquerade;
        let source = if masquerade { host(seen.v4) } else { seen.src };
        let mapped = masquerade
            && (matches!(seen.protocol, TCP | UDP | 33 | 136) || seen.icmp == Some(Icmp::Request));
        let port = if mapped {
            claimed(case.got).unwrap_or(0)
        } else {
            ports.0
        };
        let fields = Fields {
            src: (source, port),
            dst: inner.dst,
        };
        let (expect, on) = self.send(case, seen, fields, Place::Outside);
        if !on {
            all.push(Choice::plain(expect));
            return all;
        }
        let answers = Tuple {
            protocol: seen.protocol,
            src: inner.dst,
            dst: fields.src,
        };
        let answers = match seen.icmp {
            Some(Icmp::Request) => Tuple {
                src: (seen.dst, 0),
                dst: (source, port),
                ..answers
            },
            _ => answers,
        };
        if self.state.is_taken(Place::Outside, answers) {
            all.push(never(format!(
                "what answers {answers:?} is another session's"
            )));
            if !mapped {
                // 5508-8.
                all.push(Choice::plain(self.error(case, seen, (3, 13), (1, 1), 0)));
            }
            return all;
        }
        if mapped && let Err(why) = self.may_take(case.place, inner, answers, endpoint) {
            all.push(never(format!("port {port}: {why}")));
            return all;
        }
        let session = self.session((case.place, inner), (Place::Outside, answers), mapped);
        all.push(Choice {
            expect,
            effects: vec![Effect::Begin(session)],
        });
        all
    }

    /// Whether an inside socket may have the outside port that its answers come to.
    pub fn may_take(
        &self,
        place: Place,
        inner: Tuple,
        answers: Tuple,
        endpoint: usize,
    ) -> Result<(), String> {
        let (address, port) = answers.dst;
        let free = |port| {
            let tuple = Tuple {
                dst: (address, port),
                ..answers
            };
            !self.state.is_taken(Place::Outside, tuple)
        };
        let own = |p: &&Publication| {
            let covers = p.addr == address
                || p.addr.is_unspecified() && p.addr.is_ipv4() == address.is_ipv4();
            covers
                && p.endpoint == endpoint
                && p.protocol == inner.protocol
                && p.target == inner.src.1
        };
        let published: Vec<u16> = self
            .setup
            .publications
            .iter()
            .filter(own)
            .map(|p| p.port)
            .collect();
        if published.contains(&port) {
            return Ok(());
        }
        if published.iter().any(|port| free(*port)) {
            return Err(format!("a published port of it is free: {published:?}"));
        }
        // 4787-1: one outside port for all destinations, while it has any session.
        let mut others = Vec::new();
        for (mapping, life) in self.state.mappings(inner.protocol, address) {
            let sure = life == Life::Live;
            if (mapping.place, mapping.inside) == (place, inner.src) {
                others.push((mapping.port, sure));
            } else if sure && mapping.port == port {
                return Err(format!(
                    "{:?} of {:?} has it",
                    mapping.inside, mapping.place
                ));
            }
        }
        if others.iter().any(|other| other.0 == port) {
            return Ok(());
        }
        let (first, last) = self.setup.pool;
        // A port that was published for it once is not its to keep.
        let keeps = |port: u16| (first..=last).contains(&port) && free(port);
        if let Some((other, _)) = others.iter().find(|other| other.1 && keeps(other.0)) {
            return Err(format!("it has port {other} already"));
        }
        if !(first..=last).contains(&port) {
            return Err("not of the pool".into());
        }
        if let Some((at, whose, inside)) = self.state.rested.get(&(inner.protocol, address, port))
            && self.state.now - at < REST
            && (*whose, *inside) != (place, inner.src)
        {
            return Err(format!("it rests from {inside:?} of {whose:?}"));
        }
        Ok(())
    }

    pub fn session(&self, a: (Place, Tuple), b: (Place, Tuple), mapped: bool) -> Session {
        let side = |(place, tuple)| Side {
            place,
            tuple,
            packets: 0,
            flags: 0,
            acked: false,
        };
        Session {
            sides: [side(a), side(b)],
            last: self.state.now,
            last_try: self.state.now,
            mapped,
            doubt: false,
            unclear: false,
            hidden: false,
            ending: false,
        }
    }
}
