//! Reading what the programs counted, with handles of its own: no request waits for one who reads.

use std::{collections::HashMap, path::Path};

use aya::maps::{MapData, PerCpuArray, PerCpuHashMap};
use netd_common::abi::{Counters, DropCount, DropKey};

use super::{Dataplane, batch, flows, locked};
use crate::error::{Error, Result};

/// Packets of one endpoint that were refused for one reason.
#[derive(Clone, Copy, Debug)]
pub struct DropRow {
    /// Number of the endpoint, `None` for the host's side.
    pub endpoint: Option<u32>,
    /// Number of the reason.
    pub reason: u32,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Packets of one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct StatsRow {
    /// Number of the endpoint.
    pub endpoint: u32,
    /// Its counters.
    pub counters: Counters,
}

/// How full a map is.
#[derive(Clone, Debug)]
pub struct MapRow {
    /// Its name.
    pub name: &'static str,
    /// Entries in it.
    pub entries: u64,
    /// Entries that fit.
    pub capacity: u64,
}

pub(super) fn usage(name: &'static str, entries: usize) -> MapRow {
    MapRow {
        name,
        entries: entries as u64,
        capacity: 0,
    }
}

/// Handles of the maps that only look.
pub struct CounterReader {
    counters: PerCpuArray<MapData, Counters>,
    drops: PerCpuHashMap<MapData, DropKey, DropCount>,
}

impl CounterReader {
    /// Opens the maps where they are pinned.
    pub fn open(pins: &Path) -> Result<Self> {
        Ok(Self {
            counters: flows::open(pins, "COUNTERS")?,
            drops: flows::open(pins, "DROPS")?,
        })
    }

    /// `endpoints`: who counts in each slot.
    fn drops(&self, endpoints: &HashMap<u32, u32>) -> Result<Vec<DropRow>> {
        let mut rows = Vec::new();
        let row = |key: &DropKey, counts: &[DropCount]| {
            rows.push(DropRow {
                endpoint: endpoints.get(&key.slot).copied(),
                reason: key.reason,
                packets: counts.iter().map(|c| c.packets).sum(),
                bytes: counts.iter().map(|c| c.bytes).sum(),
            });
        };
        batch::for_each_per_cpu(&self.drops, "DROPS", row)?;
        Ok(rows)
    }

    fn stats(&self, endpoints: &HashMap<u32, u32>) -> Result<Vec<StatsRow>> {
        let row = |(slot, endpoint): (&u32, &u32)| {
            let values = self
                .counters
                .get(slot, 0)
                .map_err(|e| Error::internal("reading map COUNTERS", e))?;
            let mut counters = Counters::default();
            for value in values.iter() {
                counters.rx_packets += value.rx_packets;
                counters.rx_bytes += value.rx_bytes;
                counters.tx_packets += value.tx_packets;
                counters.tx_bytes += value.tx_bytes;
            }
            Ok(StatsRow {
                endpoint: *endpoint,
                counters,
            })
        };
        endpoints.iter().map(row).collect()
    }
}

impl Dataplane {
    /// Drops by endpoint and reason. Takes a system call for some hundred of them.
    pub fn drops(&self) -> Result<Vec<DropRow>> {
        let endpoints = locked(&self.tables).endpoint_of_slots();
        self.counters.drops(&endpoints)
    }

    /// Packets and bytes by endpoint. Takes a system call for each.
    pub fn stats(&self) -> Result<Vec<StatsRow>> {
        let endpoints = locked(&self.tables).endpoint_of_slots();
        self.counters.stats(&endpoints)
    }
}
