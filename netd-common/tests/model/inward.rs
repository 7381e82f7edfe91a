//! The model: packets that belong to no session, to published and open ports.

use std::net::IpAddr;

use crate::{
    begin::{begins, claimed, drop, has_ports, never},
    expect::{Choice, Effect, Expect},
    packet::{Icmp, Seen},
    rewrite::Fields,
    rules::{Case, Model, is_link_local_v6},
    setup::{Mode, Publication, inside},
    state::{Place, Tuple},
};

impl Model {
    /// To a published port, from a container or from outside.
    pub fn to_published(
        &self,
        case: &Case<'_>,
        seen: &Seen,
        ports: (u16, u16),
        to: &Publication,
        from: Option<usize>,
    ) -> Vec<Choice> {
        let target = self.setup.endpoints[to.endpoint];
        let there = Place::Endpoint(target.number);
        let server = (inside(seen.v4, target.network, target.last), to.target);
        // SCTP's sum covers the ports.
        if seen.protocol == crate::setup::SCTP && to.target != to.port {
            return drop();
        }
        // C04: the true client; itself it knows as its gateway.
        let itself = from == Some(to.endpoint);
        // It may also be asked directly, from the same port: the two must not look the same to it.
        let neighbour = from.is_some_and(|i| self.setup.endpoints[i].network == target.network);
        let client: IpAddr = if itself {
            inside(seen.v4, target.network, 1)
        } else {
            seen.src
        };
        let answers = |port| Tuple {
            protocol: seen.protocol,
            src: server,
            dst: (client, port),
        };
        let taken = |port| self.state.is_taken(there, answers(port));
        let kept = !taken(ports.0);
        let port = match claimed(case.got) {
            Some(port)
                if port != ports.0
                    && (!kept || neighbour || itself || self.in_doubt(there, answers(ports.0))) =>
            {
                port
            }
            _ => ports.0,
        };
        let mut all = Vec::new();
        let fields = Fields {
            src: (client, port),
            dst: server,
        };
        let (expect, on) = self.send(case, seen, fields, there);
        if taken(port) {
            let full = if on { Expect::Drop } else { expect };
            return vec![
                never(format!("{:?} is another session's", answers(port))),
                Choice::plain(full),
            ];
        }
        if port != ports.0 && port < 1024 {
            all.push(never(format!(
                "source port {port}: neither the client's nor one of those for all"
            )));
            return all;
        }
        let a = (case.place, Tuple::of(seen, ports));
        let session = self.session(a, (there, answers(port)), false);
        let effect = if on {
            Effect::Begin(session)
        } else {
            Effect::MayBegin(session)
        };
        all.push(Choice {
            expect,
            effects: vec![effect],
        });
        all
    }

    fn in_doubt(&self, place: Place, tuple: Tuple) -> bool {
        !self.state.find(place, tuple).is_empty()
    }

    /// Whether a packet to the host itself has the address of a network that nobody outside knows (X07). Of TCP what belongs to
    /// a connection is left to the host's stack.
    fn is_borrowed(&self, seen: &Seen) -> bool {
        let net = self.setup.subnet(seen.src).map(|n| self.setup.net(n));
        let hidden =
            net.is_some_and(|net| net.internal || net.masquerade && matches!(net.mode, Mode::Nat));
        hidden && (seen.protocol != 6 || begins(seen))
    }

    /// From outside, of no session.
    pub fn new_from_uplink(
        &self,
        case: &Case<'_>,
        seen: &Seen,
        ports: Option<(u16, u16)>,
    ) -> Vec<Choice> {
        let pass = || vec![Choice::plain(Expect::Pass)];
        if self.setup.is_host(seen.dst) {
            if ports.is_some()
                && self
                    .setup
                    .gateway(seen.dst)
                    .is_some_and(|number| self.setup.net(number).internal)
            {
                return drop();
            }
            let Some(ports) = ports else {
                // 4787-14: never lost silently; refused and counted is not silent.
                return [pass(), drop()].concat();
            };
            let refused = self.is_borrowed(seen);
            if seen.later || !has_ports(seen) {
                return if refused { drop() } else { pass() };
            }
            let found = self.setup.published(seen.dst, seen.protocol, ports.1);
            if let Some(to) = found.filter(|_| begins(seen)) {
                if is_link_local_v6(seen.src) {
                    // Who is asked could not answer beyond the link.
                    return [pass(), drop()].concat();
                }
                let mut all = if self.is_forged(seen.src) {
                    drop()
                } else {
                    self.to_published(case, seen, ports, to, None)
                };
                if self.setup.gateway(seen.dst).is_some() {
                    // Not an address of the host's that others should know.
                    all.extend(drop());
                }
                return all;
            }
            return if refused {
                drop()
            } else {
                self.to_pool(case, seen, ports)
            };
        }
        let Some(number) = self.setup.subnet(seen.dst) else {
            return pass();
        };
        let net = self.setup.net(number);
        let holder = self.setup.holder(number, seen.dst);
        if seen.later && ports.is_none() {
            // The stack may have it until the first one comes, but sends nothing on into a network by itself.
            return [pass(), drop()].concat();
        }
        let (Some(ports), Some(endpoint), false) = (ports, holder, seen.later || net.internal)
        else {
            return drop();
        };
        if self.is_forged(seen.src)
            || is_link_local_v6(seen.src)
            || !begins(seen) && seen.icmp != Some(Icmp::Other)
        {
            return drop();
        }
        let at = |p: &Publication| {
            (p.addr, p.protocol, p.port, p.endpoint) == (seen.dst, seen.protocol, ports.1, endpoint)
        };
        let open = has_ports(seen) && self.setup.publications.iter().any(at);
        let echo = seen.icmp == Some(Icmp::Request);
        let may = match net.mode {
            Mode::Unprotected => true,
            Mode::Routed => open || echo,
            Mode::Nat => net.trusted && open,
        };
        if !may {
            return drop();
        }
        let place = Place::Endpoint(self.setup.endpoints[endpoint].number);
        let tuple = Tuple::of(seen, ports);
        // Where the endpoint speaks from that port already, to the same peer, by another way.
        let port = match claimed(case.got) {
            Some(port) if port >= 1024 && self.in_doubt(place, tuple.reversed()) && !echo => port,
            _ => ports.0,
        };
        let answers = Tuple {
            dst: (seen.src, port),
            ..tuple.reversed()
        };
        let fields = Fields {
            src: answers.dst,
            dst: tuple.dst,
        };
        let (expect, on) = self.send(case, seen, fields, place);
        if on && self.state.is_taken(place, answers) {
            return [
                vec![never(format!("{answers:?} is another session's"))],
                drop(),
            ]
            .concat();
        }
        let session = self.session((Place::Outside, tuple), (place, answers), false);
        let effect = if on {
            Effect::Begin(session)
        } else {
            Effect::MayBegin(session)
        };
        let mut all = vec![Choice {
            expect,
            effects: vec![effect],
        }];
        if seen.icmp == Some(Icmp::Other) {
            all.extend(drop());
        }
        all
    }
}
