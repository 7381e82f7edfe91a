//! Telling the operator when somebody meets a limit: once a minute for each sandbox and reason, with the way out.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use netd_common::drop_reason::DropReason;

use super::{Engine, desired::Desired, locked};
use crate::{config::Config, dataplane::DropRow, error::Result};

/// How often the same is said at most.
const PAUSE: Duration = Duration::from_secs(60);
/// How long `netctl status` shows it after it was last seen.
const SHOWN: Duration = Duration::from_secs(600);

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Limit {
    /// The endpoint's share of the flow table.
    Flows,
    /// The flow table.
    Table,
    /// The outside ports, for one destination.
    Ports,
    /// The outside ports that one flow can have to itself.
    OwnPorts,
}

impl Limit {
    fn of(reason: u32) -> Option<Self> {
        match DropReason::from_number(reason)? {
            DropReason::Quota => Some(Self::Flows),
            DropReason::FlowTableFull => Some(Self::Table),
            DropReason::NoPort => Some(Self::Ports),
            _ => None,
        }
    }

    fn sentence(self, who: &str, count: u64, config: &Config) -> String {
        let nat = &config.nat;
        match self {
            Self::Flows => format!(
                "{who}: {count} packets refused (quota): it has as many flows as one endpoint may have, {}; raise \
                 limits.flows_per_endpoint, or see netctl stats and netctl drops for what it does",
                config.flows_per_endpoint() / 2
            ),
            Self::Table => format!(
                "{who}: {count} packets refused (flow-table-full): all {} flows of the host are in use; raise limits.flows",
                config.limits.flows / 2
            ),
            Self::Ports => format!(
                "{who}: {count} packets refused (no-port): every port from {} to {} is in use for the destination that it \
                 calls; widen the pool (nat.first_port, nat.last_port)",
                nat.first_port, nat.last_port
            ),
            Self::OwnPorts => format!(
                "{who}: {count} flows share an outside port with flows to other destinations, as no other was free; widen \
                 the pool (nat.first_port, nat.last_port) or raise limits.ports_per_endpoint, {} now, where each must have \
                 its own",
                config.ports_per_endpoint()
            ),
        }
    }
}

/// What was counted of one limit that somebody met.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The counter, when it was last looked at.
    counter: u64,
    /// Of it, what has not been told.
    untold: u64,
    told: Option<Instant>,
    last: Option<(Instant, String)>,
}

/// What has been seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Overload {
    seen: BTreeMap<(String, Limit), Seen>,
    /// What was counted before this daemon looked is no news.
    begun: bool,
}

impl Overload {
    /// Takes note of all counters; returns what is to be told now.
    fn look(
        &mut self,
        now: Instant,
        counters: BTreeMap<(String, Limit), u64>,
        config: &Config,
    ) -> Vec<String> {
        let news = std::mem::replace(&mut self.begun, true);
        self.seen.retain(|key, _| counters.contains_key(key));
        let mut told = Vec::new();
        for ((who, limit), counter) in counters {
            let seen = self.seen.entry((who.clone(), limit)).or_default();
            // A counter that is less than it was began anew, with another endpoint.
            let before = if counter < seen.counter {
                0
            } else {
                seen.counter
            };
            let grown = counter - before;
            seen.counter = counter;
            if !news || grown == 0 {
                continue;
            }
            seen.untold += grown;
            let text = limit.sentence(&who, seen.untold, config);
            seen.last = Some((now, text.clone()));
            if seen
                .told
                .is_none_or(|then| now.duration_since(then) >= PAUSE)
            {
                seen.told = Some(now);
                seen.untold = 0;
                told.push(text);
            }
        }
        told
    }

    fn shown(&self, now: Instant) -> Vec<String> {
        let recent = |seen: &Seen| {
            let (then, text) = seen.last.clone()?;
            (now.duration_since(then) < SHOWN).then_some(text)
        };
        self.seen.values().filter_map(recent).collect()
    }
}

impl Desired {
    fn counters(&self, rows: &[DropRow], shared: u64) -> BTreeMap<(String, Limit), u64> {
        let of = |number: u32| {
            let endpoint = self.endpoint_numbered(number)?;
            let sandbox = self.sandboxes().get(&endpoint.sandbox)?;
            Some(format!("sandbox {}", sandbox.name))
        };
        let mut counters = BTreeMap::new();
        for row in rows {
            let Some(limit) = Limit::of(row.reason) else {
                continue;
            };
            let who = row.endpoint.map_or(Some("from outside".into()), of);
            if let Some(who) = who {
                *counters.entry((who, limit)).or_default() += row.packets;
            }
        }
        if shared > 0 {
            counters.insert(("masquerading".into(), Limit::OwnPorts), shared);
        }
        counters
    }
}

impl Engine {
    /// Looks for limits that were met since the last look, and says so.
    pub(super) fn report_overload(&self) -> Result<()> {
        let rows = self.dataplane.drops()?;
        let shared = self.dataplane.totals()?.shared;
        let desired = self.desired().clone();
        let counters = desired.counters(&rows, shared);
        let mut overload = locked(&self.overload);
        for text in overload.look(Instant::now(), counters, &self.config) {
            tracing::warn!("{text}");
        }
        Ok(())
    }

    /// What start-up had to mend or could not, and the limits that were met lately.
    pub fn warnings(&self) -> Vec<String> {
        let warnings = locked(&self.warnings);
        let overload = locked(&self.overload);
        let lately = overload.shown(Instant::now());
        warnings.iter().cloned().chain(lately).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x04_a_limit_is_told_once_a_minute() {
        let config = Config::default();
        let mut overload = Overload::default();
        let start = Instant::now();
        let key = ("sandbox a".to_owned(), Limit::Flows);
        let mut at = |seconds, count| {
            let counters = [(key.clone(), count)].into();
            let now = start + Duration::from_secs(seconds);
            let told = overload.look(now, counters, &config);
            (told, overload.shown(now))
        };
        // Counted before the start.
        assert_eq!(at(0, 5), (vec![], vec![]));
        assert_eq!(at(5, 5), (vec![], vec![]));
        let (told, shown) = at(10, 8);
        assert_eq!(told, shown);
        assert!(told[0].contains("sandbox a: 3 packets") && told[0].contains("flows_per_endpoint"));
        let (told, shown) = at(15, 18);
        assert!(told.is_empty() && shown[0].contains(" 10 packets"));
        // What was not told meanwhile is told with the next.
        assert!(at(70, 19).0[0].contains(" 11 packets"));
        // Another endpoint has the counter, and met the limit, too.
        assert!(at(131, 2).0[0].contains(" 2 packets"));
        assert_eq!(at(800, 2), (vec![], vec![]));
    }
}
