//! The desired state on disk, behind a trait: records by key, written all or none, with a comparison. It must not know what
//! the records mean.

mod embedded;
mod record;

use std::{borrow::Cow, collections::BTreeMap, fmt, path::Path, sync::Arc};

use tokio::sync::{broadcast, oneshot, watch};

use crate::error::{Error, Kind, Reason, Result};

pub use embedded::RedbStore;
pub use record::{FORMAT, Record, Unread};

/// Whose records: a cluster's hosts could share some, others are about this host alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// What a network or an endpoint is, wherever it is looked at from.
    Shared,
    /// What this host has of it: numbers, namespaces, marks.
    Host,
}

impl Scope {
    const fn text(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Host => "host",
        }
    }
}

/// A record's key: `scope/kind/id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Whose.
    pub scope: Scope,
    /// network, endpoint, sandbox, number, …
    pub kind: Cow<'static, str>,
    /// Which one.
    pub id: String,
}

impl Key {
    /// A key of this host's.
    pub fn host(kind: &'static str, id: &str) -> Self {
        Self {
            scope: Scope::Host,
            kind: kind.into(),
            id: id.into(),
        }
    }

    /// A key that a cluster could share.
    pub fn shared(kind: &'static str, id: &str) -> Self {
        Self {
            scope: Scope::Shared,
            ..Self::host(kind, id)
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (scope, rest) = text.split_once('/')?;
        let (kind, id) = rest.split_once('/')?;
        let scope = [Scope::Shared, Scope::Host]
            .into_iter()
            .find(|s| s.text() == scope)?;
        Some(Self {
            scope,
            kind: kind.to_owned().into(),
            id: id.into(),
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.scope.text(), self.kind, self.id)
    }
}

/// What must be true of a record before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Anything,
    /// It is not there.
    Absent,
    /// It is there.
    Present,
    /// It was written last by the commit of this revision.
    Revision(u64),
}

/// One write of a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Which record.
    pub key: Key,
    /// What must be true of it.
    pub expect: Expect,
    /// The new one; `None`: it is removed.
    pub record: Option<Record>,
}

impl Write {
    /// Writes a record, whatever was there.
    pub fn put(key: Key, record: Record) -> Self {
        Self {
            key,
            expect: Expect::Anything,
            record: Some(record),
        }
    }

    /// Removes a record; one that is not there is fine.
    pub fn remove(key: Key) -> Self {
        Self {
            key,
            expect: Expect::Anything,
            record: None,
        }
    }
}

/// What a commit wrote, and its revision.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Grows with every commit.
    pub revision: u64,
    /// What was written.
    pub writes: Arc<[Write]>,
}

/// Everything in the store at one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Of the last commit.
    pub revision: u64,
    /// Records by key. One that cannot be read is there with the reason.
    pub records: BTreeMap<Key, std::result::Result<Record, Unread>>,
    /// Keys that are not of this form.
    pub strange: Vec<String>,
}

/// Whether the store takes writes; `Err`: why not.
pub type Health = std::result::Result<(), String>;

/// Writes that are on their way to the disk.
#[must_use = "writes count only once they are on disk"]
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<u64>>);

impl Pending {
    /// A commit, and whom to tell of its end.
    pub fn new() -> (oneshot::Sender<Result<u64>>, Self) {
        let (done, written) = oneshot::channel();
        (done, Self(written))
    }

    /// Waits until they are there, or were refused. Returns the revision.
    pub async fn written(self) -> Result<u64> {
        self.0
            .await
            .unwrap_or_else(|_| Err(failed("the store", "its writer has ended")))
    }
}

/// Records that survive the daemon.
pub trait Store: Send + Sync {
    /// Everything that is there.
    ///
    /// # Errors
    /// When it cannot be read at all; single records that cannot be read are in the snapshot.
    fn snapshot(&self) -> Result<Snapshot>;

    /// Hands over writes that are made all or none, after all that were handed over before. `Conflict`: a record was not as
    /// expected. `Unavailable`: the store takes no writes; nothing was written.
    fn commit(&self, writes: Vec<Write>) -> Pending;

    /// Hands over writes that must be made, as soon as they can be and before any commit: what takes one back, what a start found.
    fn insist(&self, writes: Vec<Write>);

    /// Hands over writes for which no transaction of their own is worth while: they go with the next commit, or follow soon. They
    /// are lost if the process ends before.
    fn defer(&self, writes: Vec<Write>);

    /// Commits from now on; a reader that is too slow is told how many it missed, and takes a snapshot.
    fn watch(&self) -> broadcast::Receiver<Arc<Committed>>;

    /// Whether it takes writes, and every change of that.
    fn health(&self) -> watch::Receiver<Health>;
}

/// Opens the store of a state directory.
///
/// # Errors
/// When it is damaged, of another version, or held by another process.
pub fn open(state: &Path) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(RedbStore::open(state)?))
}

/// Whether the state directory has a store.
pub fn exists(state: &Path) -> bool {
    state.join(embedded::FILE).exists()
}

fn failed(store: &str, e: impl fmt::Display) -> Error {
    Error::new(Kind::Unavailable, format!("{store}: {e}"))
        .because(Reason::StoreFailed)
        .about("store", store)
        .hint(
            "nothing was changed; netd tries again by itself, see that the disk has room and works",
        )
}
