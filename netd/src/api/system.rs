//! The service of the daemon itself: state and counters.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use netd_common::{abi, drop_reason::DropReason};
use netd_proto::v1::{self, system_service_server::SystemService};
use tonic::{Request, Response, async_trait};

use super::{Answer, Api, bounds, convert, drops, holders::Holders};
use crate::{
    dataplane::{Dataplane, MapRow, ProgramRow, object},
    error::{Error, Result},
    model,
};

/// When this process began, nanoseconds since 1970.
static STARTED: OnceLock<u64> = OnceLock::new();

/// Notes the time as that of the daemon's start.
pub fn note_start() {
    STARTED.get_or_init(model::now);
}

fn totals(dataplane: &Dataplane) -> Result<v1::FlowTotals> {
    let totals = dataplane.totals()?;
    Ok(v1::FlowTotals {
        entries: totals.flows,
        capacity: dataplane.capacity("FLOWS"),
        mappings: totals.mappings,
        mappings_capacity: dataplane.capacity("MAPPINGS"),
        shared_ports: totals.shared,
        ended: totals.ended,
        ended_early: totals.early,
    })
}

impl Api {
    /// Reads many counters, without holding up the runtime.
    async fn reading<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Dataplane) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let dataplane = Arc::clone(&self.engine.dataplane);
        tokio::task::spawn_blocking(move || read(&dataplane))
            .await
            .unwrap_or_else(|e| Err(Error::internal("reading counters", e)))
    }
}

#[async_trait]
impl SystemService for Api {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        let uname = nix::sys::utsname::uname().map_err(|e| Error::internal("uname", e))?;
        let instance = &self.engine.instance;
        let dataplane = &self.engine.dataplane;
        let (programs, loose): (Vec<_>, Vec<_>) = dataplane
            .programs()
            .await?
            .into_iter()
            .partition(ProgramRow::hangs);
        let maps = dataplane.maps();
        let flows = totals(dataplane)?;
        let row = |p: ProgramRow| v1::AttachedProgram {
            name: p.name,
            target: p.target,
            hook: p.hook.to_owned(),
            program_id: p.program_id,
        };
        let usage = |m: MapRow| v1::MapUsage {
            name: m.name.to_owned(),
            entries: m.entries,
            capacity: m.capacity,
        };
        let mut warnings = self.engine.warnings();
        warnings.extend(
            loose
                .iter()
                .map(|p| format!("{}; netctl system reconcile hangs it again", p.loose())),
        );
        let model = self.engine.view();
        let store = self.engine.health().borrow().clone().err();
        let hooks = self.engine.hooks_health().borrow().clone().err();
        let hooks = hooks.map(|why| format!("hooks: {why}"));
        let not_serving = store.into_iter().chain(hooks).collect();
        Ok(Response::new(v1::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: instance.name.clone(),
            pid: std::process::id(),
            started: Some(convert::timestamp(*STARTED.get_or_init(model::now))),
            kernel_release: uname.release().to_string_lossy().into_owned(),
            abi_version: abi::VERSION,
            state_directory: instance.state.display().to_string(),
            run_directory: instance.run.display().to_string(),
            pin_directory: object::pin_directory(instance).display().to_string(),
            cgroup: programs
                .iter()
                .chain(&loose)
                .find(|p| p.hook == "cgroup")
                .map(|p| p.target.clone())
                .unwrap_or_default(),
            networks: model.networks().len() as u32,
            sandboxes: model.sandboxes().len() as u32,
            endpoints: model.endpoints().len() as u32,
            publications: model
                .sandboxes()
                .values()
                .map(|s| s.ports.len() as u32)
                .sum(),
            programs: programs.into_iter().map(row).collect(),
            maps: maps.into_iter().map(usage).collect(),
            warnings,
            flows: Some(flows),
            degraded: convert::degraded_objects(&model),
            revision: model.revision,
            oldest_revision: model.oldest,
            not_serving,
        }))
    }

    async fn reconcile(&self, _: Request<v1::ReconcileRequest>) -> Answer<v1::ReconcileResponse> {
        let done = self.whole(|e| async move { e.reconcile().await }).await?;
        Ok(Response::new(v1::ReconcileResponse {
            mended: done.mended,
            failed: done.failed,
        }))
    }

    async fn list_drops(&self, _: Request<v1::ListDropsRequest>) -> Answer<v1::ListDropsResponse> {
        let rows = self.reading(Dataplane::drops).await?;
        let holders = Holders::these(&self.engine, rows.iter().filter_map(|row| row.endpoint));
        let mut drops = Vec::new();
        for row in rows {
            let reason = DropReason::from_number(row.reason);
            let names = holders.of(row.endpoint.unwrap_or(0));
            drops.push(v1::Drop {
                reason: row.reason,
                reason_name: reason.map_or("unknown", DropReason::name).to_owned(),
                description: reason.map_or("", DropReason::description).to_owned(),
                sandbox_name: names.sandbox_name.clone(),
                network_name: names.network_name.clone(),
                endpoint_id: names.endpoint_id.clone(),
                packets: row.packets,
                bytes: row.bytes,
            });
        }
        drops.sort_by(|a, b| (&a.sandbox_name, a.reason).cmp(&(&b.sandbox_name, b.reason)));
        Ok(Response::new(v1::ListDropsResponse { drops }))
    }

    type WatchDropsStream = drops::Stream;

    async fn watch_drops(
        &self,
        request: Request<v1::WatchDropsRequest>,
    ) -> Answer<Self::WatchDropsStream> {
        let request = bounds::open(request)?;
        Ok(Response::new(drops::watch(&self.engine, &request)?))
    }

    async fn list_stats(&self, _: Request<v1::ListStatsRequest>) -> Answer<v1::ListStatsResponse> {
        let (rows, drops) = self
            .reading(|dataplane| Ok((dataplane.stats()?, dataplane.drops()?)))
            .await?;
        let holders = Holders::these(&self.engine, rows.iter().map(|row| row.endpoint));
        let mut dropped: HashMap<u32, u64> = HashMap::new();
        for row in &drops {
            if let Some(endpoint) = row.endpoint {
                *dropped.entry(endpoint).or_default() += row.packets;
            }
        }
        let mut stats = Vec::new();
        for row in rows {
            let names = holders.of(row.endpoint);
            stats.push(v1::EndpointStats {
                sandbox_name: names.sandbox_name.clone(),
                network_name: names.network_name.clone(),
                endpoint_id: names.endpoint_id.clone(),
                interface_name: names.interface_name.clone(),
                rx_packets: row.counters.rx_packets,
                rx_bytes: row.counters.rx_bytes,
                tx_packets: row.counters.tx_packets,
                tx_bytes: row.counters.tx_bytes,
                dropped_packets: dropped.get(&row.endpoint).copied().unwrap_or(0),
            });
        }
        Ok(Response::new(v1::ListStatsResponse { stats }))
    }
}
