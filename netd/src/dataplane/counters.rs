//! Reading what the programs counted.

use std::path::Path;

use aya::{Ebpf, programs::Program};
use netd_common::abi::{Counters, DropCount, DropKey};

use super::{attach, batch, tables::Tables};
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

/// A program on its hook.
#[derive(Clone, Debug)]
pub struct ProgramRow {
    /// Its name.
    pub name: String,
    /// Interface or cgroup.
    pub target: String,
    /// tcx, clsact or cgroup.
    pub hook: &'static str,
    /// The kernel's number for it.
    pub program_id: u32,
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

pub(super) fn drops(tables: &Tables) -> Result<Vec<DropRow>> {
    let mut rows = Vec::new();
    let endpoints = tables.endpoint_of_slots();
    batch::for_each_per_cpu(
        &tables.drops,
        "DROPS",
        |key: &DropKey, counts: &[DropCount]| {
            rows.push(DropRow {
                endpoint: endpoints.get(&key.slot).copied(),
                reason: key.reason,
                packets: counts.iter().map(|c| c.packets).sum(),
                bytes: counts.iter().map(|c| c.bytes).sum(),
            });
        },
    )?;
    Ok(rows)
}

pub(super) fn stats(tables: &Tables) -> Result<Vec<StatsRow>> {
    let mut rows = Vec::new();
    for (_, device) in tables.devices.iter().filter_map(std::result::Result::ok) {
        let values = tables
            .counters
            .get(&device.slot, 0)
            .map_err(|e| Error::internal("reading map COUNTERS", e))?;
        let mut counters = Counters::default();
        for value in values.iter() {
            counters.rx_packets += value.rx_packets;
            counters.rx_bytes += value.rx_bytes;
            counters.tx_packets += value.tx_packets;
            counters.tx_bytes += value.tx_bytes;
        }
        rows.push(StatsRow {
            endpoint: device.endpoint,
            counters,
        });
    }
    Ok(rows)
}

/// The kernel's number for a program.
fn id(object: &Ebpf, name: &str) -> u32 {
    let info = match object.program(name) {
        Some(Program::SchedClassifier(p)) => p.info().ok(),
        Some(Program::CgroupSockAddr(p)) => p.info().ok(),
        _ => None,
    };
    info.map_or(0, |i| i.id())
}

/// The loopback device's program.
pub(super) fn loopback(object: &Ebpf, hook: &'static str) -> ProgramRow {
    let name = attach::LOOPBACK_PROGRAM;
    let target = attach::name_of(attach::LOOPBACK).unwrap_or_else(|_| "lo".to_owned());
    ProgramRow {
        name: name.to_owned(),
        target,
        hook,
        program_id: id(object, name),
    }
}

/// `hook`: what an uplink's program hangs on.
pub(super) fn programs(
    object: &Ebpf,
    tables: &Tables,
    cgroup: &Path,
    hook: impl Fn(u32) -> &'static str,
) -> Result<Vec<ProgramRow>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, target: String, hook| {
        rows.push(ProgramRow {
            name: name.to_owned(),
            target,
            hook,
            program_id: id(object, name),
        });
    };
    for ifindex in tables.devices.keys().filter_map(std::result::Result::ok) {
        row(
            "from_container",
            attach::name_of(ifindex).unwrap_or_else(|_| ifindex.to_string()),
            "clsact",
        );
    }
    for (ifindex, uplink) in tables.uplinks.iter().filter_map(std::result::Result::ok) {
        let name = attach::UPLINK_PROGRAMS[usize::from(uplink.ethernet != 1)];
        row(
            name,
            attach::name_of(ifindex).unwrap_or_else(|_| ifindex.to_string()),
            hook(ifindex),
        );
    }
    for name in attach::CGROUP_PROGRAMS {
        row(name, cgroup.display().to_string(), "cgroup");
    }
    Ok(rows)
}
