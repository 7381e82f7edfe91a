//! The resolver inside every sandbox: 127.0.0.11:53 by UDP and TCP, with a runtime of its own, so that a slow server
//! elsewhere never holds up the control plane. It must not know the model: the engine tells it what each sandbox shows
//! and sees.

mod fair;
mod fd_store;
mod forward;
pub mod keeper;
mod lookup;
pub mod message;
mod serve;
mod socket_saver;
mod socket_store;
mod sockets;
pub mod table;
mod upstream;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use tokio::{runtime::Runtime, time::timeout};

use crate::{
    config,
    error::{Error, Result},
    kernel::Netns,
};
pub use lookup::Lookup;
use serve::{Serving, Shared};
use socket_saver::SocketSaver;
pub use socket_store::StoredSockets;
use sockets::Sockets;
use table::{Table, View};
pub use upstream::check_server;

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
    saver: OnceLock<SocketSaver>,
}

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
            shared: Arc::new(Shared::new(config)?),
            changing: Mutex::default(),
            serving: Mutex::default(),
            saver: OnceLock::new(),
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

    /// At the start: sockets that an earlier daemon stored. It may wait for some seconds.
    pub async fn stored_sockets(&self) -> StoredSockets {
        let run = self.run.clone();
        let started = tokio::task::spawn_blocking(move || SocketSaver::start(&run)).await;
        let failed = |e| {
            Err(Error::internal(
                "asking for the sockets that were stored",
                e,
            ))
        };
        match started.unwrap_or_else(failed) {
            Ok((saver, stored)) => {
                let _ = self.saver.set(saver);
                stored
            }
            Err(e) => {
                tracing::warn!("{e}; questions asked while netd restarts will be lost");
                StoredSockets::new()
            }
        }
    }

    /// Opens a sandbox's resolver, or goes on with the sockets that were stored for its namespace. `redirect`: awaited
    /// for new sockets, redirects questions to them.
    pub async fn open(
        &self,
        sandbox: &str,
        netns: &Netns,
        stored: &mut StoredSockets,
        redirect: impl Future<Output = Result<()>> + Send,
    ) -> Result<()> {
        let (device, inode) = netns.inode()?;
        let key = format!("{sandbox}:{device}:{inode}");
        let sockets = match stored.remove(&key) {
            Some(pair) => Sockets::adopt(pair),
            None => {
                redirect.await?;
                Sockets::open(&self.shared.socket_maker, netns).await?
            }
        };
        let Some(runtime) = &self.runtime else {
            return Ok(());
        };
        let mut all = locked(&self.serving);
        // At the end nobody takes questions any more.
        if self.shared.taken.is_closed() {
            return Ok(());
        }
        let _within = runtime.enter();
        let serving = serve::serve(sandbox, netns, sockets, &self.shared)?;
        if let Some(saver) = self.saver.get() {
            saver.save(&key, serving.sockets());
        }
        all.insert(sandbox.to_owned(), (key, serving));
        Ok(())
    }

    /// Ends a sandbox's resolver with all its connections: whoever asked sees their end as long as the way to it is there.
    /// Says whether there was one.
    pub async fn close(&self, sandbox: &str) -> bool {
        let closed = locked(&self.serving).remove(sandbox);
        let Some((key, serving)) = closed else {
            return false;
        };
        serving.close().await;
        if let Some(saver) = self.saver.get() {
            saver.remove(&key);
        }
        true
    }

    /// Closes what was stored and no sandbox took over.
    pub fn discard(&self, stored: StoredSockets) {
        drop(stored);
        if let Some(saver) = self.saver.get() {
            saver.discard();
        }
    }

    /// Takes no more questions and answers those that were taken. What comes now waits in the sockets for the next
    /// daemon.
    pub async fn finish(&self) {
        {
            let mut serving = locked(&self.serving);
            self.shared.taken.close();
            serving.clear();
        }
        let finished = async {
            if let Some(saver) = self.saver.get() {
                saver.flush().await;
            }
            self.shared.taken.wait().await;
        };
        // Whoever is silent for so long is not waited for.
        let _ = timeout(FINISH, finished).await;
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
