//! The model: packets of sessions, and of datagrams in pieces.

use crate::{
    expect::{Choice, Effect},
    open,
    packet::Seen,
    rewrite::Fields,
    rules::{Case, Model},
    state::{Datagram, DatagramKey, Life, Place, Tuple},
};

const SECOND: u64 = 1000;

impl Model {
    /// What the ports of a packet are: its own, or those of the datagram whose later fragment it is; each possibility,
    /// with what is to be remembered.
    fn tuples(&self, case: &Case<'_>, seen: &Seen) -> Vec<(Option<Tuple>, Option<Effect>)> {
        let own = Tuple::of(seen, seen.ports.unwrap_or_default());
        let Some(id) = seen.fragment else {
            return vec![(Some(own), None)];
        };
        let protocol = if seen.v4 { seen.protocol } else { 0 };
        let key = DatagramKey {
            place: case.place,
            src: seen.src,
            dst: seen.dst,
            id,
            protocol,
        };
        let known = self.state.datagrams.get(&key).copied();
        let now = self.state.now;
        if !seen.later {
            let late = known.is_some_and(|d| d.late);
            let now = Datagram {
                at: now,
                tuple: Some(own),
                late,
            };
            let note = Effect::Fragment(key, now);
            let mut all = vec![(Some(own), Some(note.clone()))];
            // 4787-14: the stack has the rest, so that it may have this one, too.
            if late {
                all.push((None, Some(note)));
            }
            return all;
        }
        match known {
            Some(Datagram {
                at,
                tuple: Some(tuple),
                late,
            }) => {
                let mut all = Vec::new();
                if now - at < 120 * SECOND {
                    let known = Effect::Fragment(
                        key,
                        Datagram {
                            at,
                            tuple: Some(tuple),
                            late,
                        },
                    );
                    all.push((Some(tuple), Some(known).filter(|_| now - at > 10 * SECOND)));
                }
                if late || now - at > 10 * SECOND {
                    let late = Datagram {
                        at: now,
                        tuple: Some(tuple),
                        late: true,
                    };
                    all.push((None, Some(Effect::Fragment(key, late))));
                }
                all
            }
            _ => {
                let late = Datagram {
                    at: now,
                    tuple: None,
                    late: true,
                };
                vec![(None, Some(Effect::Fragment(key, late)))]
            }
        }
    }

    /// A packet of a session.
    fn forward(&self, case: &Case<'_>, seen: &Seen, found: (usize, usize)) -> Choice {
        let (id, direction) = found;
        let session = &self.state.sessions[&id];
        let to = session.sides[1 - direction].place;
        let (expect, on) = self.send(case, seen, session.fields(direction), to);
        Choice {
            expect,
            effects: vec![Effect::Touch(id, direction, on)],
        }
    }

    /// Everything that may become of a packet which may belong to a session; `else_` says what, if it does not.
    pub fn by_session(
        &self,
        case: &Case<'_>,
        seen: &Seen,
        else_: impl Fn(Option<(u16, u16)>) -> Vec<Choice>,
    ) -> Vec<Choice> {
        let mut all = Vec::new();
        for (tuple, note) in self.tuples(case, seen) {
            let mut these = Vec::new();
            let mut sure = false;
            if let Some(tuple) = tuple {
                for (id, direction, life) in self.state.find(case.place, tuple) {
                    // An answer to a direct packet is not the session's, if it must not be (H6: newer wins).
                    let direct = self.is_direct_answer(case.place, seen, tuple);
                    // Open: a FIN or RST after a silence is judged by the state that it makes.
                    let idle = self.state.now - self.state.sessions[&id].last;
                    let ends = open::LATE_STATE && seen.flags & 5 != 0 && idle > 10 * SECOND;
                    sure |= life == Life::Live && !direct && !ends;
                    these.push(self.forward(case, seen, (id, direction)));
                    let session = &self.state.sessions[&id];
                    if open::INDEPENDENT && session.is_inside() && session.mapped {
                        let (here, there) = (
                            session.sides[direction].tuple,
                            session.sides[1 - direction].tuple,
                        );
                        let fields = Fields {
                            src: there.dst,
                            dst: here.dst,
                        };
                        these.push(Choice::plain(
                            self.send(case, seen, fields, Place::Outside).0,
                        ));
                    }
                }
            }
            if !sure {
                let whose = tuple.unwrap_or(Tuple::of(seen, seen.ports.unwrap_or_default()));
                let found = self.state.find(case.place, whose);
                for mut choice in else_(tuple.map(|t| (t.src.1, t.dst.1))) {
                    choice
                        .effects
                        .extend(found.iter().map(|found| Effect::Doubt(found.0)));
                    these.push(choice);
                }
            }
            for mut choice in these {
                let on = |e: &Effect| matches!(e, Effect::Touch(_, _, true) | Effect::Begin(_));
                let on = choice.effects.iter().any(on);
                choice.effects.extend(note.clone().map(|note| match note {
                    // Of what goes nowhere nobody need know more.
                    Effect::Fragment(key, datagram) if !on => {
                        // Nor is an earlier one of the same identification forgotten.
                        let known = self.state.datagrams.get(&key).and_then(|d| d.tuple);
                        let tuple = known.or(datagram.tuple);
                        Effect::Fragment(
                            key,
                            Datagram {
                                at: self.state.now,
                                late: true,
                                tuple,
                            },
                        )
                    }
                    note => note,
                }));
                all.push(choice);
            }
        }
        all
    }

    fn is_direct_answer(&self, place: Place, seen: &Seen, tuple: Tuple) -> bool {
        let Place::Endpoint(number) = place else {
            return false;
        };
        let network = self
            .setup
            .endpoints
            .iter()
            .find(|e| e.number == number)
            .map(|e| e.network);
        let peer = network.and_then(|n| self.setup.holder(n, seen.dst));
        peer.is_some_and(|peer| {
            let there = Place::Endpoint(self.setup.endpoints[peer].number);
            self.state.direct.contains_key(&(there, tuple.reversed()))
        })
    }
}
