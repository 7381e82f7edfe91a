//! The resolver inside every sandbox: 127.0.0.11:53 by UDP and TCP, with a runtime of its own, so that a slow server
//! elsewhere never holds up the control plane. It must not know the model: the engine tells it what each sandbox shows
//! and sees.

mod forward;
pub mod keeper;
pub mod message;
mod serve;
mod sockets;
pub mod table;
mod upstream;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{runtime::Runtime, sync::Semaphore, time::timeout};
use tokio_util::task::TaskTracker;

use crate::{
    config,
    error::{Error, Result},
    kernel::Netns,
};
use keeper::Keeper;
use serve::{Serving, Shared};
use sockets::Sockets;
use table::{Table, View};

/// Questions of all sandboxes that are with servers at a time.
const IN_FLIGHT: usize = 4096;

/// Threads at the most.
const WORKERS: usize = 8;

/// How long questions that are with servers may keep the daemon from stopping.
const FINISH: Duration = Duration::from_secs(5);

/// The resolver of all sandboxes.
#[derive(Debug)]
pub struct Resolver {
    run: PathBuf,
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    /// Changes of the table, one at a time.
    changing: Mutex<()>,
    serving: Mutex<BTreeMap<String, (String, Serving)>>,
    keeper: Mutex<Option<Keeper>>,
}

/// Sockets that an earlier daemon left, by key.
pub type Left = BTreeMap<String, [std::os::fd::OwnedFd; 2]>;

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What these guard is whole before and after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Resolver {
    /// Ready to serve nobody yet. `run`: the run directory.
    pub fn new(run: &Path, config: config::Dns) -> Result<Self> {
        // Half of the processors: the other half asks, and two that share a burst only wake each other.
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads((processors / 2).clamp(1, WORKERS))
            .thread_name("dns")
            .enable_all()
            .build()
            .map_err(|e| Error::internal("starting the resolver's runtime", e))?;
        Ok(Self {
            run: run.to_owned(),
            runtime: Some(runtime),
            shared: Arc::new(Shared {
                table: ArcSwap::default(),
                host: upstream::HostResolvers::new(config.resolv_conf.clone()),
                config,
                in_flight: Semaphore::new(IN_FLIGHT),
                taken: TaskTracker::new(),
            }),
            changing: Mutex::default(),
            serving: Mutex::default(),
            keeper: Mutex::default(),
        })
    }

    /// Changes the names: `read` says what a sandbox shows and sees now, `None` that it is not there. Changes come one
    /// at a time, so that the last one has read the latest.
    pub fn publish(&self, sandbox: &str, read: impl FnOnce() -> Option<View>) {
        let _one = locked(&self.changing);
        let mut table = Table::clone(&self.shared.table.load());
        match read() {
            Some(view) => table.put(view),
            None => table.remove(sandbox),
        }
        self.shared.table.store(Arc::new(table));
    }

    /// Sockets that an earlier daemon left with the keeper.
    pub fn left(&self) -> Left {
        let listed = Keeper::find(&self.run).and_then(|found| match found {
            Some(keeper) => {
                let all = keeper.list()?;
                *locked(&self.keeper) = Some(keeper);
                Ok(all)
            }
            None => Ok(Left::new()),
        });
        listed.unwrap_or_else(|e| {
            tracing::warn!("{e}; the resolvers' sockets are opened anew");
            Left::new()
        })
    }

    /// Opens a sandbox' resolver, or goes on with the sockets that were left for its namespace. `lead`: makes the way to
    /// new ones.
    pub fn open(
        &self,
        sandbox: &str,
        netns: &Netns,
        left: &mut Left,
        lead: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let (device, inode) = netns.inode()?;
        let key = format!("{sandbox}:{device}:{inode}");
        let (sockets, new) = match left.remove(&key) {
            Some(pair) => (Sockets::adopt(pair), false),
            None => {
                lead()?;
                (Sockets::open(netns)?, true)
            }
        };
        let Some(runtime) = &self.runtime else {
            return Ok(());
        };
        let _within = runtime.enter();
        let serving = serve::serve(sandbox, netns, sockets, &self.shared)
            .map_err(|e| Error::internal(format!("the resolver of sandbox {sandbox}"), e))?;
        let mut all = locked(&self.serving);
        all.insert(sandbox.to_owned(), (key, serving));
        if new {
            self.keep(sandbox, &all);
        }
        Ok(())
    }

    /// Hands a sandbox' sockets to the keeper; to a new one, those of all. Without a keeper the resolver serves all the
    /// same, but not while the daemon is away.
    fn keep(&self, sandbox: &str, all: &BTreeMap<String, (String, Serving)>) {
        let mut keeper = locked(&self.keeper);
        let hand =
            |to: &Keeper, (key, serving): &(String, Serving)| to.keep(key, serving.sockets());
        let one = all.get(sandbox);
        if let (Some(keeper), Some(one)) = (&*keeper, one)
            && hand(keeper, one).is_ok()
        {
            return;
        }
        // None yet, or it was killed.
        let new = Keeper::find_or_start(&self.run).and_then(|new| {
            all.values().try_for_each(|one| hand(&new, one))?;
            Ok(new)
        });
        match new {
            Ok(new) => *keeper = Some(new),
            Err(e) => tracing::warn!("{e}; questions asked while netd restarts will be lost"),
        }
    }

    /// Ends a sandbox' resolver. Says whether there was one.
    pub fn close(&self, sandbox: &str) -> bool {
        let closed = locked(&self.serving).remove(sandbox);
        let Some((key, serving)) = closed else {
            return false;
        };
        drop(serving);
        self.forget(&key);
        true
    }

    fn forget(&self, key: &str) {
        if let Some(keeper) = &*locked(&self.keeper) {
            // A keeper that was killed keeps nothing.
            let _ = keeper.forget(key);
        }
    }

    /// Lets go of what nobody wanted.
    pub fn discard(&self, left: &Left) {
        left.keys().for_each(|key| self.forget(key));
    }

    /// Takes no more questions and answers those that were taken. What comes now waits in the sockets for the next
    /// daemon.
    pub async fn finish(&self) {
        locked(&self.serving).clear();
        self.shared.taken.close();
        // Whoever is silent for so long is not waited for.
        let _ = timeout(FINISH, self.shared.taken.wait()).await;
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its end is forbidden within another runtime.
            runtime.shutdown_background();
        }
    }
}
