//! What the model remembers: sessions between two places, and the fragments it saw the beginning of.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{open, packet::Seen, rewrite::Fields};

/// Where a packet comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Outside,
    /// Number of the endpoint.
    Endpoint(u32),
}

/// Addresses and ports of a packet as it comes from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    pub protocol: u8,
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
}

impl Tuple {
    /// Of a packet whose ports are known (0 where its protocol has none).
    pub fn of(seen: &Seen, ports: (u16, u16)) -> Self {
        Self {
            protocol: seen.protocol,
            src: (seen.src, ports.0),
            dst: (seen.dst, ports.1),
        }
    }

    /// An answer to it.
    pub fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            ..self
        }
    }
}

/// One of the two sides of a session: what comes from there.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    pub place: Place,
    pub tuple: Tuple,
    /// Packets that came and went on.
    pub packets: u64,
    /// TCP flags ever seen from here.
    pub flags: u8,
    /// An ACK without SYN came from here.
    pub acked: bool,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// The side that began it first.
    pub sides: [Side; 2],
    /// When a packet last went on, milliseconds.
    pub last: u64,
    /// When one last came, though it was refused for another reason.
    pub last_try: u64,
    /// Its outside port is one of the pool's.
    pub mapped: bool,
    /// Something happened after which nobody need remember it (its publication went).
    pub doubt: bool,
    /// It could not be seen whether a packet was its or another session's.
    pub unclear: bool,
    /// Begun by a packet that was refused: what port it has, nobody knows.
    pub hidden: bool,
    /// A FIN or RST came.
    pub ending: bool,
}

/// What can be said of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Live,
    Over,
    /// The promises leave it open.
    Either,
}

const SECOND: u64 = 1000;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

impl Session {
    /// What comes from side 0 goes to side 1 as an answer to what comes from there, and the reverse.
    pub fn fields(&self, direction: usize) -> Fields {
        let there = self.sides[1 - direction].tuple;
        Fields {
            src: there.dst,
            dst: there.src,
        }
    }

    /// Between two endpoints.
    pub fn is_inside(&self) -> bool {
        self.sides.iter().all(|s| s.place != Place::Outside)
    }

    /// Shortest and longest time that it may be silent, seconds (RFC 4787, 5382, 5508, 7857).
    fn lifetime(&self) -> (u64, u64) {
        let [a, b] = &self.sides;
        let inside = a.place != Place::Outside;
        match a.tuple.protocol {
            6 => {
                let flags = a.flags | b.flags;
                let both = a.flags & b.flags;
                let opened = both & SYN != 0 && a.acked;
                let silent = b.packets == 0 && !a.acked;
                match (opened, inside) {
                    // RFC 5382, REQ-5: partly closed, as long as nothing but a FIN from one side came.
                    _ if self.ending && flags & (FIN | RST) == FIN && both & FIN == 0 && opened => {
                        (240, 7440)
                    }
                    _ if self.ending => (0, 7440),
                    (true, _) => (7440, 7440),
                    // Open: the very packet that comes too late may change the state that it is judged by.
                    (false, true) if silent && !open::LATE_STATE => (240, 240),
                    (false, false) if silent && !open::LATE_STATE => (30, 30),
                    (false, true) => (240, 7440),
                    (false, false) => (30, 7440),
                }
            }
            17 | 136 => {
                let dns = [a.tuple.dst.1, b.tuple.src.1].contains(&53);
                match (inside, a.packets + b.packets) {
                    _ if dns => (10, 300),
                    (false, 1) => (30, 30),
                    (false, _) if b.packets == 0 || a.packets == 1 => (30, 300),
                    _ => (300, 300),
                }
            }
            1 | 58 => (60, 60),
            _ => (300, 300),
        }
    }

    /// Whether it lives.
    pub fn life(&self, now: u64) -> Life {
        let (least, most) = self.lifetime();
        let (sure, maybe) = (now - self.last, now - self.last_try);
        if maybe >= (most + 1) * SECOND {
            Life::Over
        } else if !self.doubt && !self.unclear && sure + SECOND < least * SECOND {
            Life::Live
        } else {
            Life::Either
        }
    }
}

/// A fragmented datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatagramKey {
    pub place: Place,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub id: u32,
    /// IPv4 only (RFC 791; RFC 8200, 4.5).
    pub protocol: u8,
}

/// What was seen of one.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    pub at: u64,
    /// Of its first fragment, once that was seen.
    pub tuple: Option<Tuple>,
    /// A later fragment came before the first.
    pub late: bool,
}

/// When an outside port was last known to be used, and by which inside socket.
type Rest = (u64, Place, (IpAddr, u16));

/// All that is remembered.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Milliseconds.
    pub now: u64,
    pub sessions: BTreeMap<usize, Session>,
    index: BTreeMap<(Place, Tuple), BTreeSet<usize>>,
    next: usize,
    pub datagrams: BTreeMap<DatagramKey, Datagram>,
    /// Sessions that are over.
    pub ghosts: BTreeMap<(Place, Tuple), (Session, usize)>,
    /// Packets to outside ports of inside sockets that were not let in: they open the way back.
    pub attempts: BTreeMap<(Place, Tuple), u64>,
    /// Direct packets between endpoints of one network, which need no session.
    pub direct: BTreeMap<(Place, Tuple), u64>,
    /// Outside ports by protocol, when their last session was last known to live, and for whom.
    pub rested: BTreeMap<(u8, IpAddr, u16), Rest>,
}

impl State {
    /// Sessions that a packet may belong to, and in which direction; none of them is over.
    pub fn find(&self, place: Place, tuple: Tuple) -> Vec<(usize, usize, Life)> {
        let mut found = Vec::new();
        for &id in self.index.get(&(place, tuple)).into_iter().flatten() {
            let session = &self.sessions[&id];
            let life = session.life(self.now);
            for (direction, side) in session.sides.iter().enumerate() {
                if (side.place, side.tuple) == (place, tuple) && life != Life::Over {
                    found.push((id, direction, life));
                }
            }
        }
        found
    }

    /// Whether a packet from there is surely somebody's.
    pub fn is_taken(&self, place: Place, tuple: Tuple) -> bool {
        self.find(place, tuple)
            .iter()
            .any(|found| found.2 == Life::Live)
    }

    /// Remembers a session; what stood in its place is over.
    pub fn begin(&mut self, session: Session) -> usize {
        for side in &session.sides {
            for (id, ..) in self.find(side.place, side.tuple) {
                self.forget(id);
            }
        }
        let id = self.next;
        self.next += 1;
        for side in &session.sides {
            self.index
                .entry((side.place, side.tuple))
                .or_default()
                .insert(id);
        }
        self.sessions.insert(id, session);
        id
    }

    /// Forgets a session.
    pub fn forget(&mut self, id: usize) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        for (direction, side) in session.sides.iter().enumerate() {
            self.ghosts
                .insert((side.place, side.tuple), (session.clone(), direction));
        }
        for side in &session.sides {
            if let Some(ids) = self.index.get_mut(&(side.place, side.tuple)) {
                ids.remove(&id);
            }
        }
        for m in session.mappings() {
            self.rested.insert(
                (m.protocol, m.outside, m.port),
                (session.last, m.place, m.inside),
            );
        }
    }

    /// Forgets all sessions with a place.
    pub fn forget_place(&mut self, place: Place) {
        let with = |s: &Session| s.sides.iter().any(|side| side.place == place);
        let gone: Vec<_> = self
            .sessions
            .iter()
            .filter(|s| with(s.1))
            .map(|s| *s.0)
            .collect();
        for id in gone {
            self.forget(id);
        }
    }

    /// Time passes.
    pub fn wait(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        let now = self.now;
        let over: Vec<_> = self
            .sessions
            .iter()
            .filter(|s| s.1.life(now) == Life::Over)
            .map(|s| *s.0)
            .collect();
        for id in over {
            self.forget(id);
        }
        self.datagrams.retain(|_, d| now - d.at < 130 * SECOND);
        self.attempts.retain(|_, at| now - *at < 7500 * SECOND);
        self.direct.retain(|_, at| now - *at < 7500 * SECOND);
        self.rested.retain(|_, r| now - r.0 < 20_000 * SECOND);
    }

    /// Notes a packet of a session.
    pub fn touch(&mut self, id: usize, direction: usize, seen: &Seen, went_on: bool) {
        let now = self.now;
        let session = self.sessions.get_mut(&id).expect("it was found");
        session.last_try = now;
        session.ending |= seen.flags & (FIN | RST) != 0;
        if went_on {
            session.last = now;
            session.doubt &=
                open::INDEPENDENT && session.mapped && session.sides[1].place != Place::Outside;
        }
        let side = &mut session.sides[direction];
        // A SYN begins anew.
        if seen.flags & (SYN | 16) == SYN {
            (side.flags, side.acked) = (0, false);
        }
        side.packets += u64::from(went_on);
        side.flags |= seen.flags;
        side.acked |= seen.flags & (SYN | 16) == 16;
    }
}

/// An inside socket and the port that stands for it outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub protocol: u8,
    pub place: Place,
    pub inside: (IpAddr, u16),
    pub outside: IpAddr,
    pub port: u16,
}

impl Session {
    /// The mappings that it uses: of one side, or, between two inside sockets that know each other's outside ports, of both.
    pub fn mappings(&self) -> Vec<Mapping> {
        let mut all = Vec::new();
        for (here, there) in [(0, 1), (1, 0)] {
            let (here, there) = (&self.sides[here], &self.sides[there]);
            let outside = there.tuple.dst.0;
            if self.mapped
                && here.place != Place::Outside
                && outside == crate::setup::host(outside.is_ipv4())
            {
                let (protocol, place, inside) = (here.tuple.protocol, here.place, here.tuple.src);
                all.push(Mapping {
                    protocol,
                    place,
                    inside,
                    outside,
                    port: there.tuple.dst.1,
                });
            }
        }
        all
    }
}

impl State {
    /// All mappings of sessions that are not over.
    pub fn mappings(&self, protocol: u8, outside: IpAddr) -> Vec<(Mapping, Life)> {
        let mut all = Vec::new();
        for session in self.sessions.values().filter(|s| s.mapped) {
            let life = session.life(self.now);
            let own = session.mappings().into_iter();
            let own = own
                .filter(|m| life != Life::Over && (m.protocol, m.outside) == (protocol, outside));
            all.extend(own.map(|m| (m, life)));
        }
        all
    }
}
