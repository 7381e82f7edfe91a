//! The embedded store: `netd.redb` in the state directory. One thread writes: commits that wait while a transaction is
//! written share the next one, so that many requests at once cost few writes to disk.
//!
//! After an error of the file system redb takes no more writes until it is opened again, so the thread opens it again: for the
//! commit that failed at once, and then every second until it works.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use tokio::sync::{broadcast, watch};

use super::{Committed, Health, Pending, Snapshot, Store, Write, failed, record::FORMAT};
use crate::{
    directories,
    error::{Error, Kind, Reason, Result},
};
use file::{open_file, prepare, read_all, read_revision};
use writer::{Job, Opened, Urgency, Writer, answer};

mod file;
mod writer;

/// The store's file in the state directory.
pub(super) const FILE: &str = "netd.redb";
/// Commits that a slow watcher may lag behind.
const BACKLOG: usize = 256;

/// The store.
pub struct RedbStore {
    database: Opened,
    shown: String,
    jobs: mpsc::Sender<Job>,
    health: watch::Receiver<Health>,
    commits: broadcast::Sender<Arc<Committed>>,
}

fn broken(shown: &str, e: &dyn std::fmt::Display) -> Error {
    Error::new(
        Kind::Internal,
        format!("the store {shown} cannot be read: {e}"),
    )
    .because(Reason::StoreFailed)
    .about("store", shown)
    .hint("move the file away to start anew, or restore it from a backup; netd --purge removes it with all networks")
}

/// Refuses a file that may not be written: it is not damaged, and the way out is another.
fn check_writable(path: &Path, shown: &str) -> Result<()> {
    match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
    {
        // One is made.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::internal(format!("the store {shown}"), e)
            .because(Reason::StoreFailed)
            .about("store", shown)
            .hint(directories::WRITABLE)),
        Ok(_) => Ok(()),
    }
}

impl RedbStore {
    /// Opens it, or makes one where none is.
    ///
    /// # Errors
    /// When it is damaged, of another version, or held by another process.
    pub fn open(state: &Path) -> Result<Self> {
        let path = state.join(FILE);
        let shown = path.display().to_string();
        // Taken for a new one, it would have everything that runs removed.
        if std::fs::metadata(&path).is_ok_and(|m| m.len() == 0) {
            return Err(broken(&shown, &"it is empty"));
        }
        check_writable(&path, &shown)?;
        let mut database = open_file(&path).map_err(|e| broken(&shown, &e))?;
        let format = prepare(&mut database).map_err(|e| broken(&shown, &e))?;
        if format != u64::from(FORMAT) {
            let text = format!("it is of form {format}, this netd writes {FORMAT}");
            return Err(broken(&shown, &text));
        }
        let revision = read_revision(&database).map_err(|e| broken(&shown, &e))?;
        let database: Opened = Arc::new(Mutex::new(Some(database)));
        let (jobs, received) = mpsc::channel();
        let (told, health) = watch::channel(Ok(()));
        let commits = broadcast::channel(BACKLOG).0;
        let writer = Writer {
            path,
            shown: shown.clone(),
            database: Arc::clone(&database),
            revision,
            told,
            commits: commits.clone(),
            owed: VecDeque::new(),
            deferred: Vec::new(),
            closed: String::new(),
        };
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(&received))
            .map_err(|e| Error::internal("starting the store's thread", e))?;
        Ok(Self {
            database,
            shown,
            jobs,
            health,
            commits,
        })
    }

    fn submit(&self, writes: Vec<Write>, urgency: Urgency) {
        let writes = writes.into();
        if let Err(mpsc::SendError(job)) = self.jobs.send(Job { writes, urgency }) {
            answer(job, Err(failed(&self.shown, "its writer has ended")));
        }
    }
}

impl Store for RedbStore {
    fn snapshot(&self) -> Result<Snapshot> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let open = database.as_ref();
        let open = open.ok_or_else(|| failed(&self.shown, "it is being opened again"))?;
        read_all(open).map_err(|e| broken(&self.shown, &e))
    }

    fn commit(&self, writes: Vec<Write>) -> Pending {
        let (done, pending) = Pending::new();
        self.submit(writes, Urgency::Awaited(done));
        pending
    }

    fn insist(&self, writes: Vec<Write>) {
        self.submit(writes, Urgency::Owed);
    }

    fn defer(&self, writes: Vec<Write>) {
        self.submit(writes, Urgency::Deferred);
    }

    fn watch(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.commits.subscribe()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}

#[cfg(test)]
mod tests;
