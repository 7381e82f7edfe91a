//! The thread that writes, and what it is given.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use redb::{Database, ReadableTable as _};
use tokio::sync::{broadcast, oneshot, watch};

use super::file::{META, RECORDS, open_file, read_revision};
use crate::{
    error::{Error, Kind, Reason, Result},
    store::{Committed, Expect, Health, Key, Record, Write, failed},
};

/// How often a store that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long deferred writes wait for a commit to go with.
pub(super) const IDLE: Duration = Duration::from_millis(500);
/// Commits that share a transaction at most.
const BATCH: usize = 1024;

pub(super) type Opened = Arc<Mutex<Option<Database>>>;

pub(super) struct Job {
    pub writes: Arc<[Write]>,
    pub urgency: Urgency,
}

pub(super) enum Urgency {
    /// A request waits to be told.
    Awaited(oneshot::Sender<Result<u64>>),
    /// Nobody waits, and it must be made.
    Owed,
    /// It goes with others.
    Deferred,
}

/// The thread that writes.
pub(super) struct Writer {
    pub path: PathBuf,
    pub shown: String,
    pub database: Opened,
    pub revision: u64,
    pub told: watch::Sender<Health>,
    pub commits: broadcast::Sender<Arc<Committed>>,
    /// What must be written and could not be.
    pub owed: VecDeque<Arc<[Write]>>,
    /// What goes with the next transaction.
    pub deferred: Vec<Arc<[Write]>>,
    /// Why the file could not be opened again, if it could not.
    pub closed: String,
}

impl Writer {
    pub fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        loop {
            let healthy = self.told.borrow().is_ok() && self.owed.is_empty();
            let first = match (healthy, self.deferred.is_empty()) {
                (true, true) => jobs
                    .recv()
                    .map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                (true, false) => jobs.recv_timeout(IDLE),
                (false, _) => jobs.recv_timeout(AGAIN),
            };
            match first {
                Ok(first) => {
                    let mut batch = vec![first];
                    batch.extend(jobs.try_iter().take(BATCH - 1));
                    self.sort(&mut batch);
                    if !batch.is_empty() || !self.owed.is_empty() {
                        self.take(batch);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => self.take(Vec::new()),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        // What is owed is tried once more at the end.
        self.take(Vec::new());
    }

    /// Leaves what is awaited in the batch. What takes a commit back comes after it, and before anything new; what is deferred
    /// comes before what is new as well: a mark that it removes may be made again.
    fn sort(&mut self, batch: &mut Vec<Job>) {
        for job in batch.extract_if(.., |job| !matches!(job.urgency, Urgency::Awaited(_))) {
            match job.urgency {
                Urgency::Deferred => self.deferred.push(job.writes),
                _ => self.owed.push_back(job.writes),
            }
        }
    }

    /// Writes what is owed, then what is deferred with these: in one transaction where all are as expected, else each by itself.
    fn take(&mut self, batch: Vec<Job>) {
        while let Some(writes) = self.owed.pop_front() {
            if let Err(e) = self.write(std::slice::from_ref(&writes)) {
                self.owed.push_front(writes);
                for job in batch {
                    answer(job, Err(e.clone()));
                }
                return;
            }
        }
        if batch.is_empty() && self.deferred.is_empty() {
            if self.told.borrow().is_err() {
                // Whether it works again is known by a write.
                let _ = self.write(&[Arc::default()]);
            }
            return;
        }
        let mut writes = self.deferred.clone();
        writes.extend(batch.iter().map(|job| Arc::clone(&job.writes)));
        let written = self.write(&writes);
        if written.is_ok() {
            self.deferred.clear();
        }
        match written {
            Err(e) if e.kind == Kind::Conflict && writes.len() > 1 => {
                // Before the others all the same: a mark that one of them makes anew is to stay.
                if let Err(e) = self.write_deferred() {
                    for job in batch {
                        answer(job, Err(e.clone()));
                    }
                    return;
                }
                for job in batch {
                    let written = self.write(std::slice::from_ref(&job.writes));
                    answer(job, written);
                }
            }
            done => {
                for job in batch {
                    answer(job, done.clone());
                }
            }
        }
    }

    fn write_deferred(&mut self) -> Result<()> {
        if !self.deferred.is_empty() {
            let deferred = self.deferred.clone();
            self.write(&deferred)?;
            self.deferred.clear();
        }
        Ok(())
    }

    /// One transaction; opens the file again and tries once more where that failed.
    fn write(&mut self, batch: &[Arc<[Write]>]) -> Result<u64> {
        let mut done = self.transaction(batch);
        if let Err(Failure::Storage(e)) = &done {
            tracing::error!("{}: {e}; opening it again", self.shown);
            self.reopen();
            // What failed at its very end may be there all the same.
            done = match self.revision_on_disk() {
                Some(revision) if revision == self.revision + 1 => {
                    self.revision = revision;
                    Ok(revision)
                }
                _ => self.transaction(batch),
            };
        }
        let health = match &done {
            Err(Failure::Storage(e)) => Err(e.clone()),
            _ => Ok(()),
        };
        self.told.send_if_modified(|now| {
            let changed = *now != health;
            if changed {
                match &health {
                    Ok(()) => tracing::warn!("{} takes writes again", self.shown),
                    Err(e) => tracing::error!("{} takes no writes: {e}", self.shown),
                }
                *now = health;
            }
            changed
        });
        match done {
            Ok(revision) => {
                for writes in batch.iter().filter(|w| !w.is_empty()) {
                    // Nobody watching is fine.
                    let _ = self.commits.send(Arc::new(Committed {
                        revision,
                        writes: Arc::clone(writes),
                    }));
                }
                Ok(revision)
            }
            Err(Failure::Storage(e)) => Err(failed(&format!("store {}", self.shown), e)),
            Err(Failure::Unexpected(key)) => Err(Error::conflict(format!(
                "{key} was changed by another request"
            ))
            .because(Reason::RevisionMismatch)
            .hint("the same request may succeed now")),
        }
    }

    fn revision_on_disk(&self) -> Option<u64> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        read_revision(database.as_ref()?).ok()
    }

    fn reopen(&mut self) {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        // A file is one handle's at a time.
        *database = None;
        *database = open_file(&self.path)
            .inspect_err(|e| self.closed.clone_from(e))
            .ok();
    }

    fn transaction(&mut self, batch: &[Arc<[Write]>]) -> std::result::Result<u64, Failure> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let open = database.as_ref();
        let closed = || Failure::Storage(format!("it cannot be opened again: {}", self.closed));
        let open = open.ok_or_else(closed)?;
        let next = self.revision + 1;
        let transaction = open.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            for write in batch.iter().flat_map(|writes| &**writes) {
                let key = write.key.to_string();
                if write.expect != Expect::Anything {
                    let found = records.get(key.as_str())?;
                    let found = found.map(|v| Record::decode(v.value()).map_or(0, |r| r.revision));
                    let right = match write.expect {
                        Expect::Anything => true,
                        Expect::Absent => found.is_none(),
                        Expect::Present => found.is_some(),
                        Expect::Revision(revision) => found == Some(revision),
                    };
                    if !right {
                        return Err(Failure::Unexpected(write.key.clone()));
                    }
                }
                match &write.record {
                    Some(record) => {
                        let text = record.encode(next).map_err(Failure::Storage)?;
                        records.insert(key.as_str(), text.as_str())?;
                    }
                    None => drop(records.remove(key.as_str())?),
                }
            }
            transaction.open_table(META)?.insert("revision", next)?;
        }
        transaction.commit()?;
        self.revision = next;
        Ok(next)
    }
}

pub(super) fn answer(job: Job, done: Result<u64>) {
    if let Urgency::Awaited(sender) = job.urgency {
        // The request may have gone meanwhile.
        let _ = sender.send(done);
    }
}

enum Failure {
    Storage(String),
    Unexpected(Key),
}

macro_rules! storage {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Failure {
            fn from(e: $kind) -> Self {
                Self::Storage(e.to_string())
            }
        })*
    };
}

storage!(
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);
