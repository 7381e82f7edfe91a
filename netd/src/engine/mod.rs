//! The engine: requests become desired state, and the kernel and the data plane follow it.
//!
//! It must not know gRPC, nor what a driver does. A request decides under the lock of what is desired, which is never held
//! across a wait ([`commit`]); its changes go to disk, then the kernel follows ([`converge`]), while the request holds the
//! lock of its sandbox or network. So requests for different sandboxes run side by side. What fails is taken back as a whole.

mod adopt;
mod belongings;
mod change;
mod check_endpoint;
mod check_network;
mod commit;
mod converge;
mod degraded;
mod desired;
mod endpoints;
mod events;
mod files;
mod host;
mod hosts;
mod load;
mod locks;
mod log;
mod lookup;
mod mend;
mod names;
mod namespaces;
mod networks;
mod overlaps;
mod overload;
mod plan;
mod plan_endpoint;
mod pools;
mod port_conflicts;
mod port_index;
mod ports;
mod publish;
mod quarantine;
mod realize;
mod reserve;
mod reserved;
mod sandboxes;
mod start;
mod starting;
mod state;
mod update;
mod withheld;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
};

use tokio::{sync::watch, task::AbortHandle};

use crate::{
    config::{Config, Instance},
    dataplane::Dataplane,
    dns::Resolver,
    driver::Context,
    error::{Error, Result},
    ipam::Ipam,
    store::{Health, Key, Record, Store, Write},
};
pub use change::{Change, Object};
pub use endpoints::Connected;
pub use events::Event;
pub use files::FilePaths;
pub use load::{Stored, stored};
use locks::Locks;
pub use log::{Commit, Watch};
pub use mend::Reconciled;
pub use networks::PruneRequest;
pub use sandboxes::{NamespaceRequest, SandboxRequest};
pub use update::{EndpointUpdate, NetworkUpdate, SandboxUpdate};
pub use {desired::Desired, state::State};

/// Everything at one revision of the change log, and what is there: what lists and answers are made of.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Of the change log.
    pub revision: u64,
    /// What is desired, as far as it is done, beside what is there.
    pub state: State,
    /// Directory of the sandboxes' files, `RUN/files`.
    pub files: std::path::PathBuf,
    /// The oldest revision that a watch can begin from.
    pub oldest: u64,
    /// The revision of the start.
    first: u64,
    revisions: crate::by_id::ById<u64>,
}

impl View {
    /// The revision of an object's last change; of one that has not changed since the start, that of the start.
    pub fn revision_of(&self, object: &crate::observed::ObjectId) -> u64 {
        self.revisions
            .get(object.id())
            .copied()
            .unwrap_or(self.first)
    }

    /// Why an object is not as it is desired.
    pub fn degraded(&self, object: &crate::observed::ObjectId) -> Option<String> {
        self.state.why_degraded(object)
    }
}

impl std::ops::Deref for View {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

/// The engine of one instance.
pub struct Engine {
    /// Where it lives.
    pub instance: Instance,
    config: Config,
    store: Arc<dyn Store>,
    /// The data plane.
    pub dataplane: Arc<Dataplane>,
    context: Context,
    ipam: Ipam,
    resolver: Resolver,
    /// What is desired: decided, on its way or done.
    desired: Mutex<Desired>,
    /// What is done.
    log: log::Log,
    /// Host ports that are not desired any more and still lead somewhere.
    leaving: Mutex<port_index::PortIndex>,
    /// Names, as `network front`, and Ethernet addresses that are not desired any more and may come back.
    leaving_names: Mutex<BTreeSet<String>>,
    /// The number of the next network or endpoint.
    next_number: AtomicU32,
    /// Where the search for a free host port goes on.
    next_port: AtomicU16,
    sandbox_locks: Locks,
    network_locks: Locks,
    host_lock: tokio::sync::Mutex<()>,
    reserving: Mutex<reserved::Kept>,
    /// The host's reverse path filter when the devices' were set last.
    filter_seen: Mutex<String>,
    /// Held while sandboxes' files are written, from reading the state on.
    writing: Mutex<()>,
    /// What start-up had to mend or could not.
    warnings: Mutex<Vec<String>>,
    overload: Mutex<overload::Overload>,
    /// Waits for the ends of the processes that sandboxes were started for, by sandbox id.
    watching: Mutex<HashMap<String, AbortHandle>>,
    /// For tasks that outlive a request.
    myself: Weak<Engine>,
    /// Records that cannot be used.
    quarantined: Mutex<Vec<quarantine::Quarantined>>,
    /// What those have.
    withheld: Mutex<withheld::Withheld>,
    /// What failed when the programs of uplinks were hung last.
    failing_uplinks: Mutex<BTreeSet<String>>,
    /// What of the host's hooks, or their pins, could not be mended last.
    hooks_health: watch::Sender<Health>,
}

/// Warnings kept for `netctl system status`.
const WARNINGS: usize = 256;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere has left what it guards as it was before or after one assignment; both are valid.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// What is desired, to be looked at or changed in this statement.
    fn desired(&self) -> MutexGuard<'_, Desired> {
        locked(&self.desired)
    }

    fn leaving_ports(&self) -> MutexGuard<'_, port_index::PortIndex> {
        locked(&self.leaving)
    }

    /// A copy of what is desired and what is there, with what is being done.
    pub fn state(&self) -> State {
        let desired = self.desired().clone();
        State {
            desired,
            observed: self.context.observations.now(),
        }
    }

    /// What is done and what is there, to be shown.
    pub fn view(&self) -> Arc<View> {
        let (revision, desired) = self.log.now();
        Arc::new(View {
            revision,
            state: State {
                desired,
                observed: self.context.observations.now(),
            },
            files: self.files_directory(),
            oldest: self.log.oldest(),
            first: self.log.first(),
            revisions: self.log.revisions(),
        })
    }

    /// What a watch begins with, to be shown.
    pub fn view_of(&self, watch: &Watch) -> View {
        let mut view = View::clone(&self.view());
        view.revision = watch.revision;
        view.state.desired = watch.desired.clone();
        view
    }

    /// Everything now, and what is done from then on.
    ///
    /// # Errors
    /// `RevisionGone`: `from` is not remembered.
    pub fn watch(&self, from: Option<u64>) -> Result<Watch> {
        self.log.watch(from)
    }

    /// Whether the host's hooks are whole, and every change of that.
    pub fn hooks_health(&self) -> watch::Receiver<Health> {
        self.hooks_health.subscribe()
    }

    /// Whether requests can be done, and every change of that.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.store.health()
    }

    /// Takes a number for the data plane. It is used only once it is on disk, with the changes of `write`.
    fn take_number(&self) -> Result<u32> {
        let taken = self
            .next_number
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_add(1));
        taken.map_err(|_| Error::internal("numbers of networks and endpoints", "all used"))
    }

    /// What notes that numbers were taken. Must be made under the lock of what is desired, so that the last one written is the
    /// highest.
    fn numbers_taken(&self) -> Result<Write> {
        let next = self.next_number.load(Ordering::Relaxed);
        let record = Record::of("the next number", &next)?;
        Ok(Write::put(Key::host("setting", "next_number"), record))
    }

    /// Tells of something that changed nothing of what is desired.
    fn tell(&self, event: Event) {
        self.log.add(Vec::new(), Vec::new(), vec![event]);
    }

    fn warn(&self, text: String) {
        tracing::warn!("{text}");
        let mut warnings = locked(&self.warnings);
        if warnings.len() < WARNINGS {
            warnings.push(text);
        }
    }
}
