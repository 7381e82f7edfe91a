//! Ending flows and mappings that have been silent for too long (RFC 4787 REQ-5, RFC 5382 REQ-5, RFC 5508 REQ-2).
//! Only here do live flows end: the tables are never LRU.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use aya::maps::{HashMap, MapData};
use netd_common::{
    abi::{Flow, FlowKey, Mapping, MappingKey, OutsidePort, Usage, seen},
    packet::protocol,
};

use crate::error::{Error, Result};

/// A mapping without flows stays this long: a first packet may be on its way.
const MAPPING_GRACE: Duration = Duration::from_secs(10);

/// What one sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Entries of the flow table found.
    pub entries: usize,
    /// Of these, removed.
    pub expired: usize,
    /// Mappings removed.
    pub mappings: usize,
    /// What is left, by the number of the endpoint that it counts for.
    pub usage: std::collections::HashMap<u32, Usage>,
}

/// The endpoint that an entry of the flow table counts for: the sender, or else the receiver.
fn payer(key: &FlowKey, flow: &Flow) -> u32 {
    if key.endpoint == 0 {
        flow.target
    } else {
        key.endpoint
    }
}

/// The tables of flows, with handles of their own so that a long sweep delays no request.
pub struct FlowTables {
    pub(super) flows: HashMap<MapData, FlowKey, Flow>,
    pub(super) mappings: HashMap<MapData, MappingKey, Mapping>,
    pub(super) ports: HashMap<MapData, OutsidePort, MappingKey>,
}

/// How long a flow may be silent, of whose two directions this was seen.
pub fn lifetime(number: u8, one: u8, other: u8) -> Duration {
    let seconds = match number {
        protocol::TCP => {
            let established = one & other & seen::ACK != 0;
            let closing = one & other & seen::FIN != 0 || (one | other) & seen::RST != 0;
            if established && !closing { 7440 } else { 240 }
        }
        protocol::ICMP | protocol::ICMPV6 => 60,
        _ => 300,
    };
    Duration::from_secs(seconds)
}

impl FlowTables {
    /// Removes what has expired at `now` (CLOCK_MONOTONIC, nanoseconds).
    pub fn sweep(&mut self, now: u64) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        let mut used = HashSet::new();
        let mut expired = Vec::new();
        for entry in self.flows.iter() {
            let (key, flow) = entry.map_err(|e| Error::internal("reading the flow table", e))?;
            report.entries += 1;
            let reverse = flow.reverse_key(key.protocol);
            let other = self.flows.get(&reverse, 0).ok();
            let last = flow.last_seen.max(other.map_or(0, |o| o.last_seen));
            let life = lifetime(key.protocol, flow.seen, other.map_or(0, |o| o.seen));
            if now.saturating_sub(last) > life.as_nanos() as u64 {
                expired.push((key, flow.last_seen));
            } else {
                used.insert((flow.src, flow.sport, key.protocol));
                report.usage.entry(payer(&key, &flow)).or_default().flows += 1;
            }
        }
        for (key, last) in expired {
            // A packet that came meanwhile keeps it alive.
            if self.flows.get(&key, 0).is_ok_and(|f| f.last_seen == last)
                && self.flows.remove(&key).is_ok()
            {
                report.expired += 1;
            }
        }
        let grace = MAPPING_GRACE.as_nanos() as u64;
        let mappings = self.mappings.iter().filter_map(std::result::Result::ok);
        let (idle, busy): (Vec<_>, Vec<_>) = mappings.partition(|(key, mapping)| {
            !used.contains(&(key.outside, mapping.port, key.protocol))
                && now.saturating_sub(mapping.last_used) > grace
        });
        for (key, _) in busy {
            report.usage.entry(key.endpoint).or_default().ports += 1;
        }
        for (key, mapping) in idle {
            self.remove_mapping(&key, &mapping);
            report.mappings += 1;
        }
        Ok(report)
    }

    fn remove_mapping(&mut self, key: &MappingKey, mapping: &Mapping) {
        // Gone already is as good.
        let _ = self.mappings.remove(key);
        let _ = self.ports.remove(&OutsidePort {
            addr: key.outside,
            port: mapping.port,
            protocol: key.protocol,
            pad: 0,
        });
    }

    /// Removes everything that belongs to these endpoints.
    pub fn forget_endpoints(&mut self, numbers: &BTreeSet<u32>) {
        self.forget(|key, flow| numbers.contains(&key.endpoint) || numbers.contains(&flow.target));
        let held: Vec<_> = self
            .mappings
            .iter()
            .filter_map(std::result::Result::ok)
            .filter(|(k, _)| numbers.contains(&k.endpoint))
            .collect();
        for (key, mapping) in held {
            self.remove_mapping(&key, &mapping);
        }
    }

    /// Removes the flows for which `which` says so.
    pub fn forget(&mut self, which: impl Fn(&FlowKey, &Flow) -> bool) {
        let gone: Vec<FlowKey> = self
            .flows
            .iter()
            .filter_map(std::result::Result::ok)
            .filter(|(k, f)| which(k, f))
            .map(|(k, _)| k)
            .collect();
        for key in gone {
            let _ = self.flows.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2.
    #[test]
    fn lifetimes_are_those_of_the_rfcs() {
        let both = seen::PACKET | seen::SYN | seen::ACK;
        assert_eq!(lifetime(6, both, both).as_secs(), 7440);
        assert_eq!(lifetime(6, seen::SYN, 0).as_secs(), 240);
        assert_eq!(lifetime(6, both | seen::RST, both).as_secs(), 240);
        assert_eq!(lifetime(6, both | seen::FIN, both).as_secs(), 7440);
        assert_eq!(
            lifetime(6, both | seen::FIN, both | seen::FIN).as_secs(),
            240
        );
        assert_eq!(lifetime(17, seen::PACKET, 0).as_secs(), 300);
        assert_eq!(lifetime(1, seen::PACKET, 0).as_secs(), 60);
    }
}
