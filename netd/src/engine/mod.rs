//! The engine: requests become desired state, desired state becomes kernel and data plane, and what fails is undone.
//!
//! It must not know gRPC. One writer at a time holds the model; what a request changed is on disk before the kernel is
//! touched, so that a start after a crash finds what to finish.

mod checks;
mod endpoints;
mod host;
mod networks;
mod ports;
mod realize;
mod sandboxes;
mod start;

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use tokio::sync::{Mutex, MutexGuard, broadcast};

use crate::{
    config::{Config, Instance},
    dataplane::Dataplane,
    error::{Error, Result},
    kernel::{Netlink, Netns, host::HostState},
    model::{self, Endpoint, Network, Sandbox},
    store::{Change, Store},
};
pub use endpoints::EndpointRequest;
pub use networks::{NetworkRequest, PoolRequest};
pub use sandboxes::{NamespaceRequest, SandboxRequest};

/// Something that happened to an object.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub time: SystemTime,
    /// network, sandbox, port.
    pub kind: &'static str,
    /// create, connect, disconnect, destroy, publish, unpublish.
    pub action: &'static str,
    /// Id of the object.
    pub id: String,
    /// More about it.
    pub attributes: BTreeMap<String, String>,
}

/// The desired state in memory; the store holds the same.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// By id.
    pub networks: BTreeMap<String, Network>,
    /// By id.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// By id.
    pub sandboxes: BTreeMap<String, Sandbox>,
    /// The next number of a network or an endpoint.
    pub next_number: u32,
    /// The host's random /48 (RFC 4193).
    pub ula: Option<ipnetwork::Ipv6Network>,
    /// What runs: the namespaces of the sandboxes that are there, by sandbox id.
    pub running: BTreeMap<String, Netns>,
    /// Network devices: (device, inner end), by network id.
    pub devices: BTreeMap<String, (u32, u32)>,
    /// Host ends of the endpoints' veths, by endpoint id.
    pub links: BTreeMap<String, u32>,
    /// The host's own configuration, as last read.
    pub host: HostState,
}

impl Model {
    /// A network by name, id or prefix.
    pub fn network(&self, wanted: &str) -> Result<&Network> {
        model::find(
            "network",
            wanted,
            self.networks.values(),
            |n| &n.id,
            |n| &n.name,
        )
    }

    /// A sandbox by name, id or prefix.
    pub fn sandbox(&self, wanted: &str) -> Result<&Sandbox> {
        model::find(
            "sandbox",
            wanted,
            self.sandboxes.values(),
            |s| &s.id,
            |s| &s.name,
        )
        .map_err(|mut e| {
            if e.message.ends_with("not found") {
                e.message = format!("No such container: {wanted}");
                e = e.hint("netctl sandbox ls shows what there is");
            }
            e
        })
    }

    /// The endpoints of a sandbox.
    pub fn endpoints_of<'a>(&'a self, sandbox: &'a str) -> impl Iterator<Item = &'a Endpoint> {
        self.endpoints
            .values()
            .filter(move |e| e.sandbox == sandbox)
    }

    /// The endpoint that holds the sandbox's default route: the highest priority, then the network's name.
    pub fn gateway_endpoint<'a>(&'a self, sandbox: &'a str) -> Option<&'a Endpoint> {
        self.endpoints_of(sandbox)
            .filter_map(|e| Some((e, self.networks.get(&e.network)?)))
            .filter(|(_, n)| n.driver == "bridge" && !n.internal)
            .min_by(|(a, an), (b, bn)| b.priority.cmp(&a.priority).then(an.name.cmp(&bn.name)))
            .map(|(e, _)| e)
    }
}

/// The engine of one instance.
pub struct Engine {
    /// Where it lives.
    pub instance: Instance,
    config: Config,
    store: Store,
    /// The data plane.
    pub dataplane: Arc<Dataplane>,
    netlink: Netlink,
    model: Mutex<Model>,
    events: broadcast::Sender<Event>,
    /// What start-up had to mend or could not.
    pub warnings: std::sync::Mutex<Vec<String>>,
}

impl Engine {
    /// The model, to read or to change; other requests wait.
    pub async fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().await
    }

    /// Events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn emit(
        &self,
        kind: &'static str,
        action: &'static str,
        id: &str,
        attributes: &[(&str, &str)],
    ) {
        let attributes = attributes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        // Nobody listening is fine.
        let _ = self.events.send(Event {
            time: SystemTime::now(),
            kind,
            action,
            id: id.to_owned(),
            attributes,
        });
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        self.store.commit(changes)
    }

    /// Takes a number for the data plane; it goes to disk with the request's other changes.
    fn take_number(model: &mut Model, changes: &mut Vec<Change>) -> Result<u32> {
        let number = model.next_number.max(1);
        model.next_number = number
            .checked_add(1)
            .ok_or_else(|| Error::internal("numbers of networks and endpoints", "all used"))?;
        changes.push(Change::put("meta", "number", &model.next_number)?);
        Ok(number)
    }

    fn warn(&self, text: String) {
        tracing::warn!("{text}");
        self.warnings
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(text);
    }
}
