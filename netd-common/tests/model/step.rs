//! The model: what is made of what became of a packet.

use crate::{
    expect::{Choice, Effect},
    got::Got,
    packet::seen,
    rules::Model,
    state::{Place, Tuple},
};

impl Model {
    /// Takes note of what became of a packet, from the endpoint of this index or from outside.
    pub fn step(&mut self, from: Option<usize>, bytes: &[u8], got: &Got) -> Result<(), String> {
        let mut choices = match from {
            Some(endpoint) => self.of_container(endpoint, bytes, got),
            None => self.of_uplink(bytes, got),
        };
        let Some(at) = choices.iter().position(|choice| choice.expect.matches(got)) else {
            let may: Vec<_> = choices
                .iter()
                .map(|c| format!("  {}", crate::print::expect(&c.expect)))
                .collect();
            return Err(format!(
                "became\n  {}\nbut may only become\n{}",
                crate::print::got(got),
                may.join("\n")
            ));
        };
        let touched = |c: &Choice| {
            c.effects.iter().find_map(|e| match e {
                Effect::Touch(id, ..) => Some(*id),
                _ => None,
            })
        };
        // Whose it was cannot be seen, if it would have become the same without that session.
        let others = choices
            .iter()
            .filter(|c| c.expect.matches(got))
            .map(touched);
        let unclear =
            touched(&choices[at]).filter(|id| others.into_iter().any(|other| other != Some(*id)));
        let chosen = choices.swap_remove(at);
        let place = from.map_or(Place::Outside, |e| {
            Place::Endpoint(self.setup.endpoints[e].number)
        });
        self.note(place, bytes, chosen.effects);
        if let Some(session) = unclear.and_then(|id| self.state.sessions.get_mut(&id)) {
            session.unclear = true;
        }
        Ok(())
    }

    fn note(&mut self, place: Place, bytes: &[u8], effects: Vec<Effect>) {
        let Some(seen) = seen(bytes) else { return };
        for effect in effects {
            match effect {
                Effect::Touch(id, direction, on) => self.state.touch(id, direction, &seen, on),
                Effect::Begin(session) => {
                    let id = self.state.begin(session);
                    self.state.touch(id, 0, &seen, true);
                }
                Effect::MayBegin(mut session) => {
                    let new = session
                        .sides
                        .iter()
                        .all(|s| self.state.find(s.place, s.tuple).is_empty());
                    if new {
                        (session.doubt, session.hidden) = (true, true);
                        let id = self.state.begin(session);
                        self.state.touch(id, 0, &seen, false);
                    }
                }
                Effect::Fragment(key, datagram) => {
                    self.state.datagrams.insert(key, datagram);
                }
                Effect::Doubt(id) => {
                    if let Some(session) = self.state.sessions.get_mut(&id) {
                        (session.doubt, session.last_try) = (true, self.state.now);
                    }
                }
                Effect::Direct => {
                    let tuple = Tuple::of(&seen, seen.ports.unwrap_or_default());
                    self.state.direct.insert((place, tuple), self.state.now);
                }
                Effect::Attempt(tuple) => {
                    self.state.attempts.insert((place, tuple), self.state.now);
                }
            }
        }
    }
}
