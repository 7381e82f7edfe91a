//! A sequence of events, told to the model and to the decisions at once.

use crate::{
    begin,
    generator::{Event, Send, Step, Trace},
    got::Got,
    open, packet, print,
    rules::Model,
    setup::Setup,
    state::{Place, Tuple},
    subject::Subject,
};

/// Both, and what came out so far.
pub struct Run {
    pub model: Model,
    pub subject: Subject,
    trace: Vec<Trace>,
    next_number: u32,
    /// What happened, in words.
    pub log: Vec<String>,
    /// Packets judged.
    pub packets: usize,
}

/// Packets remembered, for answers to them.
const TRACE: usize = 64;
/// Time between two packets, milliseconds: errors are told only so often.
const PACE: u64 = 5;

impl Run {
    /// Nothing has happened yet.
    pub fn new(setup: Setup) -> Self {
        Self {
            subject: Subject::new(&setup),
            model: Model::new(setup),
            trace: Vec::new(),
            next_number: 1000,
            log: Vec::new(),
            packets: 0,
        }
    }

    fn wait(&mut self, milliseconds: u64) {
        self.model.state.wait(milliseconds);
        self.subject.wait(milliseconds);
    }

    /// The packet that a packet refers to; none: there is no such one, and nothing happens.
    fn past(&self, send: &Send, event: &mut Event) -> Option<Option<Trace>> {
        if let Some(number) = event.refers {
            return self
                .trace
                .iter()
                .find(|t| t.event == number)
                .cloned()
                .map(Some);
        }
        match send.refers(&self.trace) {
            None => Some(None),
            Some(at) => {
                let past = self.trace[at?].clone();
                event.refers = Some(past.event);
                Some(Some(past))
            }
        }
    }

    /// One event; an error says what should not have become of a packet.
    pub fn step(&mut self, event: &mut Event) -> Result<(), String> {
        match &event.step.clone() {
            Step::Wait(milliseconds) => {
                self.wait(*milliseconds);
                self.log.push(format!("{milliseconds} ms pass"));
            }
            Step::Toggle(at) => self.toggle(*at),
            Step::Replace(at) => self.replace(*at),
            Step::Send(send) => {
                self.wait(PACE);
                let Some(past) = self.past(send, event) else {
                    return Ok(());
                };
                let setup = &self.model.setup;
                let Some((from, sent)) = send.packet(setup, past.as_ref()) else {
                    return Ok(());
                };
                let got = self.subject.run_to_end(setup, from, &sent);
                let who = from.map_or("outside".into(), |i| {
                    let e = setup.endpoints[i];
                    format!("{}.{} ({})", e.network, e.last, e.number)
                });
                self.log.push(format!(
                    "{who}: {}\n    {}",
                    print::packet(&sent),
                    print::got(&got)
                ));
                let judged = self.model.step(from, &sent, &got);
                self.packets += 1;
                if judged.is_err() && open::DIRECT_SHIFT && self.is_shifted(from, &sent, &got) {
                    self.begin_anew();
                    return Ok(());
                }
                self.remember(event.number, from, sent, got);
                return judged;
            }
        }
        Ok(())
    }

    /// Whether a container's packet came to a neighbour from another port, where one that asked by a published port
    /// would look the same.
    fn is_shifted(&self, from: Option<usize>, sent: &[u8], got: &Got) -> bool {
        let (Some(i), Some(seen), Some(port)) = (from, packet::seen(sent), begin::claimed(got))
        else {
            return false;
        };
        let setup = &self.model.setup;
        let (Some((sport, dport)), Some(peer)) = (
            seen.ports,
            setup.holder(setup.endpoints[i].network, seen.dst),
        ) else {
            return false;
        };
        let answers = Tuple {
            protocol: seen.protocol,
            src: (seen.dst, dport),
            dst: (seen.src, sport),
        };
        let there = Place::Endpoint(setup.endpoints[peer].number);
        port != sport && !self.model.state.find(there, answers).is_empty()
    }

    /// As if nothing had happened yet.
    fn begin_anew(&mut self) {
        *self = Self {
            next_number: self.next_number,
            packets: self.packets,
            ..Self::new(self.model.setup.clone())
        };
    }

    fn remember(&mut self, event: usize, from: Option<usize>, sent: Vec<u8>, got: Got) {
        let holder = |by: u32| {
            self.model
                .setup
                .endpoints
                .iter()
                .position(|e| e.ifindex() == by)
        };
        let (to, came) = match got {
            Got::Deliver(by, came) => (holder(by), came),
            // Open: what goes out to the host or a container by mistake is not answered.
            Got::Out(_, to, _) if self.model.is_forged(to) => return,
            Got::Out(_, _, came) => (None, came),
            _ => return,
        };
        if self.trace.len() == TRACE {
            self.trace.remove(0);
        }
        self.trace.push(Trace {
            event,
            from,
            sent,
            to,
            came,
        });
    }

    /// What went on, in its order, and who sent it.
    pub fn sent(&self) -> Vec<(Option<usize>, Vec<u8>)> {
        self.trace
            .iter()
            .map(|t| (t.from, t.sent.clone()))
            .collect()
    }

    fn toggle(&mut self, at: usize) {
        let setup = &mut self.model.setup;
        let offer = setup.offers()[at];
        match setup.publications.iter().position(|p| *p == offer) {
            Some(at) => {
                setup.publications.remove(at);
                self.log.push(format!("unpublished {offer:?}"));
            }
            None => {
                setup.publications.push(offer);
                self.log.push(format!("published {offer:?}"));
            }
        }
        // Which sessions go with it is the daemon's to say.
        for session in self.model.state.sessions.values_mut() {
            session.doubt = true;
        }
        self.subject.follow(&self.model.setup);
    }

    fn replace(&mut self, at: usize) {
        self.next_number += 1;
        let e = &mut self.model.setup.endpoints[at];
        let gone = std::mem::replace(&mut e.number, self.next_number);
        self.log.push(format!(
            "{}.{} is replaced by {}",
            e.network, e.last, e.number
        ));
        // Nobody inherits its sessions, and they keep nobody out.
        self.model.state.forget_place(Place::Endpoint(gone));
        self.subject.follow(&self.model.setup);
    }
}
