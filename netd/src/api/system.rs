//! The services of the daemon itself: state, counters, events.

use std::{collections::HashMap, pin::Pin, sync::OnceLock};

use netd_common::{abi, drop_reason::DropReason};
use netd_proto::v1::{
    self, event_service_server::EventService, system_service_server::SystemService,
};
use tokio_stream::{Stream, StreamExt as _, wrappers::BroadcastStream};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, convert};
use crate::{
    dataplane::object,
    engine::Model,
    error::Error,
    model::{self, Endpoint},
};

type Answer<T> = std::result::Result<Response<T>, Status>;

/// When this process began, nanoseconds since 1970.
pub static STARTED: OnceLock<u64> = OnceLock::new();

/// Endpoints by their numbers.
struct Names<'a> {
    model: &'a Model,
    endpoints: HashMap<u32, &'a Endpoint>,
}

impl<'a> Names<'a> {
    fn new(model: &'a Model) -> Self {
        let endpoints = model.endpoints().values().map(|e| (e.number, e));
        Self {
            model,
            endpoints: endpoints.collect(),
        }
    }

    /// Names of an endpoint's sandbox, network, and its id and interface.
    fn of(&self, number: u32) -> (String, String, String, String) {
        let Some(e) = self.endpoints.get(&number) else {
            return Default::default();
        };
        let sandbox = self.model.sandboxes.get(&e.sandbox);
        let network = self.model.networks.get(&e.network);
        (
            sandbox.map(|s| s.name.clone()).unwrap_or_default(),
            network.map(|n| n.name.clone()).unwrap_or_default(),
            e.id.clone(),
            e.interface.clone(),
        )
    }
}

#[async_trait]
impl SystemService for Api {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        let model = self.engine.read();
        let uname = nix::sys::utsname::uname().map_err(|e| Error::internal("uname", e))?;
        let instance = &self.engine.instance;
        let programs = self.engine.dataplane.programs()?;
        let row = |p: crate::dataplane::ProgramRow| v1::AttachedProgram {
            name: p.name,
            target: p.target,
            hook: p.hook.to_owned(),
            program_id: p.program_id,
        };
        let usage = |m: crate::dataplane::MapRow| v1::MapUsage {
            name: m.name.to_owned(),
            entries: m.entries,
            capacity: m.capacity,
        };
        let warnings = self
            .engine
            .warnings
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
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
                .find(|p| p.hook == "cgroup")
                .map(|p| p.target.clone())
                .unwrap_or_default(),
            networks: model.networks.len() as u32,
            sandboxes: model.sandboxes.len() as u32,
            endpoints: model.endpoints().len() as u32,
            publications: model.sandboxes.values().map(|s| s.ports.len() as u32).sum(),
            programs: programs.into_iter().map(row).collect(),
            maps: self
                .engine
                .dataplane
                .maps()
                .into_iter()
                .map(usage)
                .collect(),
            warnings,
        }))
    }

    async fn reconcile(&self, _: Request<v1::ReconcileRequest>) -> Answer<v1::ReconcileResponse> {
        let mended = self.whole(|e| async move { e.reconcile().await }).await?;
        Ok(Response::new(v1::ReconcileResponse { mended }))
    }

    async fn list_drops(&self, _: Request<v1::ListDropsRequest>) -> Answer<v1::ListDropsResponse> {
        let model = self.engine.read();
        let names = Names::new(&model);
        let mut drops = Vec::new();
        for row in self.engine.dataplane.drops()? {
            let reason = DropReason::from_number(row.reason);
            let (sandbox_name, network_name, endpoint_id, _) =
                row.endpoint.map(|n| names.of(n)).unwrap_or_default();
            drops.push(v1::Drop {
                reason: row.reason,
                reason_name: reason.map_or("unknown", DropReason::name).to_owned(),
                description: reason.map_or("", DropReason::description).to_owned(),
                sandbox_name,
                network_name,
                endpoint_id,
                packets: row.packets,
                bytes: row.bytes,
            });
        }
        drops.sort_by(|a, b| (&a.sandbox_name, a.reason).cmp(&(&b.sandbox_name, b.reason)));
        Ok(Response::new(v1::ListDropsResponse { drops }))
    }

    async fn list_stats(&self, _: Request<v1::ListStatsRequest>) -> Answer<v1::ListStatsResponse> {
        let model = self.engine.read();
        let drops = self.engine.dataplane.drops()?;
        let names = Names::new(&model);
        let mut dropped: HashMap<u32, u64> = HashMap::new();
        for row in &drops {
            if let Some(endpoint) = row.endpoint {
                *dropped.entry(endpoint).or_default() += row.packets;
            }
        }
        let mut stats = Vec::new();
        for row in self.engine.dataplane.stats()? {
            let (sandbox_name, network_name, endpoint_id, interface_name) = names.of(row.endpoint);
            stats.push(v1::EndpointStats {
                sandbox_name,
                network_name,
                endpoint_id,
                interface_name,
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

#[async_trait]
impl EventService for Api {
    type WatchStream = Pin<Box<dyn Stream<Item = std::result::Result<v1::Event, Status>> + Send>>;

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let events = BroadcastStream::new(self.engine.subscribe()).map(|event| match event {
            Ok(e) => Ok(v1::Event {
                time: Some(e.time.into()),
                r#type: e.kind.to_owned(),
                action: e.action.to_owned(),
                id: e.id,
                attributes: e.attributes.into_iter().collect(),
            }),
            Err(lag) => Err(Status::data_loss(format!(
                "events were lost: {lag}; watch again"
            ))),
        });
        Ok(Response::new(Box::pin(events)))
    }
}
