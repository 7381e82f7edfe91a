//! The engine: requests become desired state, desired state becomes kernel and data plane, and what fails is undone.
//!
//! It must not know gRPC. A request decides under the model's lock, which is never held across a wait; then its changes
//! go to disk, then to the kernel, while it holds the lock of its sandbox or network. So requests for different
//! sandboxes run side by side, and a start after a crash finds on disk what to finish.

mod check_names;
mod checks;
mod endpoints;
mod files;
mod host;
mod hosts;
mod locks;
mod mend;
mod names;
mod networks;
mod overload;
mod plan;
mod plan_endpoint;
mod ports;
mod publish;
mod realize;
mod reserve;
mod reserved;
mod sandboxes;
mod start;
mod state;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::SystemTime,
};

use tokio::sync::broadcast;

use crate::{
    config::{Config, Instance},
    dataplane::Dataplane,
    dns::Resolver,
    kernel::{Netlink, Reaper},
    store::{Change, Store},
};
pub use endpoints::Connected;
pub use files::FilePaths;
use locks::Locks;
pub use networks::{NetworkRequest, PoolRequest, PruneRequest};
pub use ports::show;
pub use sandboxes::{NamespaceRequest, SandboxRequest};
pub use state::Model;

/// Something that happened to an object.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub time: SystemTime,
    /// network, sandbox, port.
    pub kind: &'static str,
    /// create, connect, disconnect, destroy, prune, start, stop, publish, unpublish, warning.
    pub action: &'static str,
    /// Id of the object.
    pub id: String,
    /// More about it.
    pub attributes: BTreeMap<String, String>,
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
    reaper: Reaper,
    resolver: Resolver,
    model: RwLock<Model>,
    sandbox_locks: Locks,
    network_locks: Locks,
    host_lock: tokio::sync::Mutex<()>,
    reserving: Mutex<reserved::Kept>,
    /// The host's reverse path filter when the devices' were set last.
    filter_seen: Mutex<String>,
    /// Held while sandboxes' files are written, from reading the model on.
    writing: Mutex<()>,
    events: broadcast::Sender<Event>,
    /// What start-up had to mend or could not.
    warnings: Mutex<Vec<String>>,
    overload: Mutex<overload::Overload>,
    /// What failed when the programs of uplinks were hung last.
    failing_uplinks: Mutex<std::collections::BTreeSet<String>>,
}

/// Warnings kept for `netctl system status`.
const WARNINGS: usize = 256;

impl Engine {
    /// The model, to read. The guard cannot be held across a wait.
    pub fn read(&self) -> RwLockReadGuard<'_, Model> {
        // A panic elsewhere has left the model as it was before or after one assignment; both are valid.
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Model> {
        self.model.write().unwrap_or_else(PoisonError::into_inner)
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

    /// Writes changes after which nothing more can be done if they fail: the next start finds the old state and mends.
    async fn commit_or_log(&self, changes: Vec<Change>, what: &str) {
        if let Err(e) = self.store.commit(changes).await {
            tracing::error!("{what}: {e}");
        }
    }

    fn warn(&self, text: String) {
        tracing::warn!("{text}");
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < WARNINGS {
            warnings.push(text);
        }
    }
}
