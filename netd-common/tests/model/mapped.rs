//! The model: packets to the pool's ports of the host's address, which stand for sockets inside.

use crate::{
    begin::{begins, claimed, drop, never},
    expect::{Choice, Effect, Expect},
    open,
    packet::Seen,
    rewrite::Fields,
    rules::{Case, Model},
    setup::host,
    state::{Life, Mapping, Place, Tuple},
};

impl Model {
    /// Whoever has this outside port.
    fn holders(&self, seen: &Seen, port: u16) -> Vec<(Mapping, Life)> {
        let mut all = self.state.mappings(seen.protocol, seen.dst);
        all.retain(|(m, _)| m.port == port);
        // Until its last flow is found to be over, a mapping lets in whom it let in before.
        let over = self
            .state
            .rested
            .get(&(seen.protocol, seen.dst, port))
            .filter(|_| open::OVER_MAPPINGS);
        all.extend(over.map(|&(_, place, inside)| {
            let protocol = seen.protocol;
            (
                Mapping {
                    protocol,
                    place,
                    inside,
                    outside: seen.dst,
                    port,
                },
                Life::Either,
            )
        }));
        all
    }

    fn is_of_pool(&self, seen: &Seen, port: u16) -> bool {
        let (first, last) = self.setup.pool;
        let open = seen.protocol == crate::setup::SCTP && open::SCTP_PORTS;
        (open || matches!(seen.protocol, 6 | 17 | 33 | 136)) && (first..=last).contains(&port)
    }

    fn is_independent(&self, place: Place) -> bool {
        let with = |e: &&crate::setup::Endpoint| Place::Endpoint(e.number) == place;
        let found = self.setup.endpoints.iter().find(with);
        found.is_some_and(|e| self.setup.net(e.network).independent)
    }

    /// From outside, to an address of the host where nothing is published, of no session.
    pub fn to_pool(&self, case: &Case<'_>, seen: &Seen, ports: (u16, u16)) -> Vec<Choice> {
        if !self.is_of_pool(seen, ports.1) {
            return vec![Choice::plain(Expect::Pass)];
        }
        let mut all = Vec::new();
        let mut sure = false;
        for (m, life) in self.holders(seen, ports.1) {
            // 4787-8: by default only those may answer who were asked.
            if !self.is_independent(m.place) || !begins(seen) || self.is_forged(seen.src) {
                continue;
            }
            let tuple = Tuple::of(seen, ports);
            let answers = Tuple {
                src: m.inside,
                dst: tuple.src,
                ..tuple
            };
            let fields = Fields {
                src: tuple.src,
                dst: m.inside,
            };
            let (expect, on) = self.send(case, seen, fields, m.place);
            let session = self.session((Place::Outside, tuple), (m.place, answers), true);
            let effect = if on && !open::INDEPENDENT {
                Effect::Begin(session)
            } else {
                Effect::MayBegin(session)
            };
            all.push(Choice {
                expect,
                effects: vec![effect],
            });
            sure |= life == Life::Live;
        }
        // 5382-4: silence; but another NAT of the host may wait for what begins nothing. Of other protocols nobody can say
        // whether a socket of the host waits for them.
        if !sure && matches!(seen.protocol, 6 | 17) {
            let lives: Vec<Life> = self.holders(seen, ports.1).iter().map(|h| h.1).collect();
            let live = lives.contains(&Life::Live);
            let syn = seen.protocol == 6 && begins(seen);
            if syn || !lives.is_empty() {
                all.extend(drop());
            }
            if !syn && !live {
                all.push(Choice::plain(Expect::Pass));
            }
        } else if !sure {
            all.push(Choice::plain(Expect::Pass));
            // Forged, to a port that lets all others in.
            all.extend(drop());
        }
        // Of a network's gateway address nobody masquerades.
        if seen.dst != host(seen.v4) {
            all.push(Choice::plain(Expect::Pass));
        }
        all
    }

    /// From a container, to an address of the host where nothing is published, of no session (4787-9).
    pub fn hairpin(
        &self,
        case: &Case<'_>,
        seen: &Seen,
        endpoint: usize,
        ports: (u16, u16),
        up: Vec<Choice>,
    ) -> Vec<Choice> {
        let e = self.setup.endpoints[endpoint];
        let inner = Tuple::of(seen, ports);
        let outside = seen.dst == host(seen.v4);
        // Who does not masquerade would appear to others by an address of another network.
        let masquerade = self.setup.net(e.network).masquerade;
        if !outside || !masquerade || !self.is_of_pool(seen, ports.1) {
            return up;
        }
        let mut all = Vec::new();
        let mut sure = false;
        for (m, life) in self.holders(seen, ports.1) {
            sure |= life == Life::Live;
            let Some(port) = claimed(case.got) else {
                continue;
            };
            let answers = Tuple {
                src: m.inside,
                dst: (seen.dst, port),
                ..inner
            };
            let asked = self.state.attempts.contains_key(&(
                m.place,
                Tuple {
                    src: m.inside,
                    dst: (seen.dst, port),
                    ..inner
                },
            ));
            let asked = asked || open::OVER_MAPPINGS && life != Life::Live;
            if !begins(seen) || !asked && !self.is_independent(m.place) {
                continue;
            }
            let source = seen.dst;
            let answers = Tuple {
                dst: (source, port),
                ..answers
            };
            if let Err(why) = self.may_take(case.place, inner, answers, endpoint) {
                all.push(never(format!("port {port}: {why}")));
                continue;
            }
            let fields = Fields {
                src: (source, port),
                dst: m.inside,
            };
            let (expect, on) = self.send(case, seen, fields, m.place);
            let session = self.session((case.place, inner), (m.place, answers), true);
            let effect = if on && !open::INDEPENDENT {
                Effect::Begin(session)
            } else {
                Effect::MayBegin(session)
            };
            all.push(Choice {
                expect,
                effects: vec![effect],
            });
        }
        if seen.size(case.bytes) > self.setup.uplink_mtu {
            // As if it left the host.
            all.push(Choice::plain(self.error(
                case,
                seen,
                (3, 4),
                (2, 0),
                self.setup.uplink_mtu,
            )));
        }
        let attempt = if begins(seen) {
            vec![Effect::Attempt(inner)]
        } else {
            Vec::new()
        };
        all.push(Choice {
            expect: Expect::Drop,
            effects: attempt,
        });
        if seen.ttl <= 1 {
            all.push(Choice::plain(self.error(case, seen, (11, 0), (3, 0), 0)));
        }
        // With its own address, or without beginning anything, it may as well ask the host.
        if !sure || !masquerade || !begins(seen) {
            all.extend(up);
        }
        all
    }
}
