//! The flow table to look at: its flows whole, both directions in one, without a lock that a request might wait for.

use std::{
    collections::{BinaryHeap, HashMap, HashSet},
    net::IpAddr,
    path::Path,
};

use aya::maps::{Array, HashMap as HashTable, Map, MapData};
use ipnetwork::IpNetwork;
use netd_common::{
    abi::{Flow, FlowKey, Settings, Totals, Usage, flow_flags},
    addr::{Addr, Be16},
    conntrack::lifetime::{self, Pressure, State},
};

use super::{Dataplane, batch, locked};
use crate::error::{Error, Result};

/// A flow, both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRow {
    /// Its first packet as it came.
    pub key: FlowKey,
    /// Source address of that packet as it was sent on.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// Number of the endpoint that it leads to, 0 for outside.
    pub target: u32,
    /// See [`flow_flags`].
    pub flags: u32,
    /// When it began, nanoseconds of CLOCK_MONOTONIC.
    pub begun: u64,
    /// When its last packet came.
    pub last_seen: u64,
    /// When it is held to be over.
    pub end: u64,
    /// Packets of the direction that began it, and of its answers.
    pub packets: [u64; 2],
    /// Their bytes.
    pub bytes: [u64; 2],
    /// Its state.
    pub state: State,
}

/// The place of a flow among all: by age, and by key where that is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    begun: u64,
    src: [u32; 4],
    dst: [u32; 4],
    ports: (Be16, Be16),
    endpoint: u32,
    protocol: u8,
}

impl Place {
    fn new(begun: u64, key: &FlowKey) -> Self {
        Self {
            begun,
            src: key.src.words(),
            dst: key.dst.words(),
            ports: (key.sport, key.dport),
            endpoint: key.endpoint,
            protocol: key.protocol,
        }
    }

    fn key(&self) -> FlowKey {
        FlowKey {
            src: Addr::from_words(self.src),
            dst: Addr::from_words(self.dst),
            sport: self.ports.0,
            dport: self.ports.1,
            endpoint: self.endpoint,
            protocol: self.protocol,
            pad: [0; 3],
        }
    }

    /// As text, for those who come back for the next page.
    pub fn token(&self) -> String {
        let mut words = vec![self.begun];
        words.extend(self.src.iter().chain(&self.dst).map(|w| u64::from(*w)));
        let ports = [self.ports.0, self.ports.1].map(|p| u64::from(p.get()));
        words.extend(ports);
        words.extend([u64::from(self.endpoint), u64::from(self.protocol)]);
        let words: Vec<String> = words.iter().map(|w| format!("{w:x}")).collect();
        words.join("-")
    }

    /// From that text.
    pub fn parse(token: &str) -> Option<Self> {
        let words: Option<Vec<u64>> = token
            .split('-')
            .map(|w| u64::from_str_radix(w, 16).ok())
            .collect();
        let words: [u64; 13] = words?.try_into().ok()?;
        let word = |i: usize| u32::try_from(*words.get(i)?).ok();
        let address = |i| Some([word(i)?, word(i + 1)?, word(i + 2)?, word(i + 3)?]);
        let port = |i| Some(Be16::new(u16::try_from(word(i)?).ok()?));
        Some(Self {
            begun: words[0],
            src: address(1)?,
            dst: address(5)?,
            ports: (port(9)?, port(10)?),
            endpoint: word(11)?,
            protocol: u8::try_from(word(12)?).ok()?,
        })
    }
}

impl FlowRow {
    /// Its place among all flows, which is no other's.
    pub fn place(&self) -> Place {
        Place::new(self.begun, &self.key)
    }
}

/// Which flows are meant: those that have all that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// One end is one of these endpoints; each set.
    pub ends: Vec<HashSet<u32>>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Met a published port.
    pub published: bool,
    /// One of its addresses, before or after translation.
    pub net: Option<IpNetwork>,
    /// One of its ports, before or after translation.
    pub port: Option<u16>,
}

impl FlowFilter {
    fn passes(&self, key: &FlowKey, there: &Flow) -> bool {
        let here = |ends: &HashSet<u32>| {
            [key.endpoint, there.target]
                .iter()
                .any(|n| *n != 0 && ends.contains(n))
        };
        let addresses = [key.src, key.dst, there.src, there.dst];
        let ports = [key.sport, key.dport, there.sport, there.dport];
        self.ends.iter().all(here)
            && self.protocol.is_none_or(|p| p == key.protocol)
            && (!self.published || there.flags & flow_flags::PUBLISHED != 0)
            && self
                .net
                .is_none_or(|net| addresses.iter().any(|a| net.contains(IpAddr::from(*a))))
            && self
                .port
                .is_none_or(|port| ports.iter().any(|p| p.get() == port))
    }
}

/// Handles of the maps that only look.
pub struct FlowReader {
    flows: HashTable<MapData, FlowKey, Flow>,
    totals: Array<MapData, Totals>,
    usage: Array<MapData, Usage>,
}

impl FlowReader {
    /// Opens the maps where they are pinned.
    pub fn open(pins: &Path) -> Result<Self> {
        Ok(Self {
            flows: open(pins, "FLOWS")?,
            totals: open(pins, "TOTALS")?,
            usage: open(pins, "USAGE")?,
        })
    }

    /// What the programs counted of all flows.
    pub fn totals(&self) -> Result<Totals> {
        self.totals
            .get(&0, 0)
            .map_err(|e| Error::internal("reading map TOTALS", e))
    }

    /// At most `most` flows that follow `after`, in order; and whether there are more.
    pub fn page(
        &self,
        settings: &Settings,
        filter: &FlowFilter,
        after: Option<Place>,
        most: usize,
    ) -> Result<(Vec<FlowRow>, Option<Place>)> {
        // A table has no order: the page's flows are those of one walk whose places come first.
        let mut first = BinaryHeap::with_capacity(most + 2);
        self.walk(filter, |key, there| {
            let place = Place::new(there.begun, key);
            if after.is_some_and(|after| place <= after) {
                return;
            }
            first.push(place);
            if first.len() > most + 1 {
                first.pop();
            }
        })?;
        let mut places = first.into_sorted_vec();
        // One that was met twice in the walk, because others moved.
        places.dedup();
        let more = places.len() > most;
        places.truncate(most);
        let next = places.last().copied().filter(|_| more);
        let mut lives = Lives::new(self, settings)?;
        let rows = places.iter().filter_map(|place| {
            let key = place.key();
            let there = self.flows.get(&key, 0).ok()?;
            // Gone meanwhile, or another one by now, which has its own place.
            (there.begun == place.begun).then(|| self.row(&mut lives, &key, &there))
        });
        Ok((rows.collect(), next))
    }

    /// Hands each flow to `visit`, in any order.
    pub fn each(
        &self,
        settings: &Settings,
        filter: &FlowFilter,
        mut visit: impl FnMut(FlowRow),
    ) -> Result<()> {
        let mut lives = Lives::new(self, settings)?;
        self.walk(filter, |key, there| {
            visit(self.row(&mut lives, key, there));
        })
    }

    /// Places of at most `most` flows that began no later than `until`.
    pub fn places(&self, filter: &FlowFilter, until: u64, most: usize) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        self.walk(filter, |key, there| {
            if there.begun <= until && places.len() < most {
                places.push(Place::new(there.begun, key));
            }
        })?;
        Ok(places)
    }

    fn walk(&self, filter: &FlowFilter, mut visit: impl FnMut(&FlowKey, &Flow)) -> Result<()> {
        batch::for_each(&self.flows, "FLOWS", |key: &FlowKey, there: &Flow| {
            if there.flags & flow_flags::INITIATOR != 0 && filter.passes(key, there) {
                visit(key, there);
            }
        })
    }

    fn row(&self, lives: &mut Lives<'_>, key: &FlowKey, there: &Flow) -> FlowRow {
        // Without the answers' entry it is being ended.
        let back = self.flows.get(&there.reverse_key(key.protocol), 0);
        let back = back.unwrap_or_default();
        FlowRow {
            key: *key,
            src: there.src,
            dst: there.dst,
            sport: there.sport,
            dport: there.dport,
            target: there.target,
            flags: there.flags,
            begun: there.begun,
            last_seen: there.last_seen.max(back.last_seen),
            end: lives.end(key, there, &back),
            packets: [there.packets, back.packets],
            bytes: [there.bytes, back.bytes],
            state: lifetime::state(key.protocol, there, &back),
        }
    }
}

impl Dataplane {
    /// The flow table, to look at. A walk may take a tenth of a second.
    pub fn flow_reader(&self) -> &FlowReader {
        &self.reader
    }

    /// What the programs are told.
    pub fn settings(&self) -> Settings {
        locked(&self.settings).get()
    }

    /// What the programs counted of flows.
    pub fn totals(&self) -> Result<Totals> {
        self.reader.totals()
    }

    /// Ends the flows at these places that are still there; says how many.
    pub fn end_flows(&self, places: &[Place]) -> Result<u64> {
        let mut ended = 0;
        for place in places {
            let key = place.key();
            // Another one may have that key by now.
            let there = self.reader.flows.get(&key, 0);
            if there.is_ok_and(|there| there.begun == place.begun) {
                ended += u64::from(locked(&self.flows).end(&key)?);
            }
        }
        Ok(ended)
    }
}

/// By when flows are over, as the programs judge it now.
struct Lives<'a> {
    reader: &'a FlowReader,
    settings: &'a Settings,
    totals: Totals,
    pressure: HashMap<(u32, u8), Pressure>,
}

impl<'a> Lives<'a> {
    fn new(reader: &'a FlowReader, settings: &'a Settings) -> Result<Self> {
        Ok(Self {
            reader,
            settings,
            totals: reader.totals()?,
            pressure: HashMap::new(),
        })
    }

    fn end(&mut self, key: &FlowKey, there: &Flow, back: &Flow) -> u64 {
        let of = (there.payer, key.protocol);
        let pressure = *self.pressure.entry(of).or_insert_with(|| {
            let usage = self.reader.usage.get(&there.payer, 0).unwrap_or_default();
            Pressure::on(self.settings, &self.totals, usage, key.protocol)
        });
        let lifetimes = &self.settings.lifetimes;
        lifetime::end(lifetimes, key.protocol, key.dport, there, back, pressure)
    }
}

/// Now, nanoseconds of CLOCK_MONOTONIC.
pub fn monotonic() -> u64 {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    // Every Linux has that clock.
    nix::time::clock_gettime(clock).map_or(0, |now| {
        now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
    })
}

/// Another handle of a pinned map.
pub(super) fn open<T: TryFrom<Map>>(pins: &Path, name: &str) -> Result<T>
where
    T::Error: std::fmt::Display,
{
    let fail = |e: &dyn std::fmt::Display| Error::internal(format!("opening map {name}"), e);
    let data = MapData::from_pin(pins.join(name)).map_err(|e| fail(&e))?;
    let map = Map::from_map_data(data).map_err(|e| fail(&e))?;
    T::try_from(map).map_err(|e| fail(&e))
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
