//! Ending flows before somebody needs their room, and setting right what was miscounted. The programs end what is over
//! themselves (`netd_common::clock`); the sweep has them look at all flows, so that what is shown is true and a host without new flows
//! is clean, too. Live flows are never evicted.

use std::collections::{BTreeSet, HashMap as Entries};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use netd_common::abi::{Flow, FlowKey, LOCAL, Mapping, MappingKey, Totals, Usage, flow_flags};

use super::{batch, object, run::Runner};
use crate::error::{Error, Result};

/// Flows that a run of `reclaim` looks at.
const VISITS: u64 = 64;
/// Runs in one system call.
const REPEAT: u32 = 64;
/// Every so many sweeps, everything is counted anew.
const AUDIT: u32 = 12;
/// An entry without its other one that was silent for so long is nobody's, nanoseconds.
const ALONE: u64 = 60_000_000_000;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Flows looked at.
    pub visited: u64,
    /// Entries that stood alone, and mappings that had rested, removed by an audit.
    pub removed: u64,
    /// Endpoints whose counts an audit has put right.
    pub recounted: u64,
}

/// The tables of flows, with handles of their own so that a long sweep delays no request.
pub struct FlowTables {
    pub(super) flows: HashMap<MapData, FlowKey, Flow>,
    pub(super) mappings: HashMap<MapData, MappingKey, Mapping>,
    totals: Array<MapData, Totals>,
    usage: Array<MapData, Usage>,
    reclaim: Runner,
    end_flow: Runner,
    end_mapping: Runner,
    sweeps: u32,
}

impl FlowTables {
    /// Takes the maps and programs out of the object.
    pub fn take(object: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            flows: object::take(object, "FLOWS")?,
            mappings: object::take(object, "MAPPINGS")?,
            totals: object::take(object, "TOTALS")?,
            usage: object::take(object, "USAGE")?,
            reclaim: Runner::new(object, "reclaim")?,
            end_flow: Runner::new(object, "end_flow")?,
            end_mapping: Runner::new(object, "end_mapping")?,
            sweeps: 0,
        })
    }

    /// What the programs have counted.
    pub fn totals(&self) -> Result<Totals> {
        self.totals
            .get(&0, 0)
            .map_err(|e| Error::internal("reading map TOTALS", e))
    }

    /// Has every flow looked at once; what is over at that moment ends. `now`: CLOCK_MONOTONIC, nanoseconds.
    pub fn sweep(&mut self, now: u64) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        // Two entries for each flow; elements of flows that are gone stand in the queue, too.
        let most = self.totals()?.flows / 2 + u64::from(REPEAT) * VISITS;
        while report.visited < most {
            let last = u64::from(self.reclaim.run(&[], REPEAT)?);
            report.visited += u64::from(REPEAT) * VISITS;
            if last < VISITS {
                break;
            }
        }
        self.sweeps = self.sweeps.wrapping_add(1);
        if self.sweeps.is_multiple_of(AUDIT) {
            self.audit(now, &mut report)?;
        }
        Ok(report)
    }

    /// Ends a flow by the key of one of its entries. Says whether there was one.
    pub fn end(&self, key: &FlowKey) -> Result<bool> {
        Ok(self.end_flow.run(bytes_of(key), 1)? == 1)
    }

    /// Ends the flows of endpoints, which count in `slots`.
    pub fn forget_endpoints(&mut self, numbers: &BTreeSet<u32>, slots: &[u32]) -> Result<()> {
        self.end_where(|key, flow| {
            numbers.contains(&key.endpoint) || numbers.contains(&flow.target)
        })?;
        for slot in slots {
            self.usage
                .set(*slot, Usage::default(), 0)
                .map_err(|e| Error::internal("writing map USAGE", e))?;
        }
        Ok(())
    }

    /// Ends the flows of which `which` says so of one entry; returns how many.
    pub fn end_where(&self, which: impl Fn(&FlowKey, &Flow) -> bool) -> Result<u64> {
        let mut keys = Vec::new();
        batch::for_each(&self.flows, "FLOWS", |key, flow| {
            if which(key, flow) {
                keys.push(*key);
            }
        })?;
        let mut ended = 0;
        for key in keys {
            ended += u64::from(self.end(&key)?);
        }
        Ok(ended)
    }

    /// Counts everything anew. What programs count meanwhile is left as it is.
    fn audit(&mut self, now: u64, report: &mut SweepReport) -> Result<()> {
        let totals = self.totals()?;
        let mut right_totals = totals;
        (right_totals.tcp_ports, right_totals.other_ports) = (0, 0);
        let before: Vec<Usage> = self
            .usage
            .iter()
            .filter_map(std::result::Result::ok)
            .collect();
        let mut flows = Entries::new();
        batch::for_each(&self.flows, "FLOWS", |key, flow| {
            flows.insert(*key, *flow);
        })?;
        let mut counted: Entries<u32, Usage> = Entries::new();
        for (key, flow) in &flows {
            if flow.flags & flow_flags::INITIATOR != 0 {
                counted.entry(flow.payer).or_default().flows += 2;
            }
            let whole = flows.contains_key(&flow.reverse_key(key.protocol));
            if !whole && now.saturating_sub(flow.last_seen) > ALONE {
                report.removed += u64::from(self.end(key)?);
            }
        }
        let mut idle = Vec::new();
        // Whoever began a flow pays for it, or the endpoint that was asked from outside or by the host.
        let began = flows
            .iter()
            .filter(|(_, f)| f.flags & flow_flags::INITIATOR != 0);
        let payers: Entries<u32, u32> = began
            .map(|(k, f)| {
                (
                    if k.endpoint == 0 || k.endpoint == LOCAL {
                        f.target
                    } else {
                        k.endpoint
                    },
                    f.payer,
                )
            })
            .collect();
        batch::for_each(&self.mappings, "MAPPINGS", |key, mapping| {
            if mapping.flows == 0 {
                idle.push(*key);
                return;
            }
            if key.protocol == netd_common::packet::protocol::TCP {
                right_totals.tcp_ports += 1;
            } else {
                right_totals.other_ports += 1;
            }
            if let Some(payer) = payers.get(&key.endpoint) {
                counted.entry(*payer).or_default().ports += 1;
            }
        })?;
        for key in idle {
            report.removed += u64::from(self.end_mapping.run(bytes_of(&key), 1)?);
        }
        if totals != right_totals && self.totals()? == totals {
            self.totals
                .set(0, right_totals, 0)
                .map_err(|e| Error::internal("writing map TOTALS", e))?;
            report.recounted += 1;
        }
        for (slot, there) in before.into_iter().enumerate() {
            let slot = slot as u32;
            let right = counted.get(&slot).copied().unwrap_or_default();
            if there != right && self.usage.get(&slot, 0).is_ok_and(|now| now == there) {
                self.usage
                    .set(slot, right, 0)
                    .map_err(|e| Error::internal("writing map USAGE", e))?;
                report.recounted += 1;
            }
        }
        Ok(())
    }
}

/// The bytes of a key, as the programs read them.
fn bytes_of<K: aya::Pod>(key: &K) -> &[u8] {
    // SAFETY: a `Pod` has no implicit padding, so all its bytes are initialised; they live as long as the key.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(key).cast(), size_of::<K>()) }
}
