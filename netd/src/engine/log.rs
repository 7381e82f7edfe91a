//! The change log: what has been done, by revision. Lists are read from it, and whoever watches is told every step behind the
//! revision of the list. What is being made, or fails and is taken back, does not stand here.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::sync::broadcast;

use super::{
    change::Change,
    desired::Desired,
    events::{Event, events_of},
};
use crate::{
    by_id::ById,
    error::{Error, Kind, Reason, Result},
    observed::ObjectId,
};

/// Commits that can be asked for again, and that a slow reader may lag behind.
const KEPT: usize = 4096;

/// Bits of a revision that count the commits of one start; above them stands which start it is.
const START: u32 = 40;

/// Bits of those that count the commits of a start that could not be written down, in a second.
const SECOND: u32 = 10;

/// Seconds of such starts are counted from 2026 on, Unix time; there is room for 17 years of them.
const EPOCH: u64 = 1_767_225_600;

/// Which start of the state directory this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// It is on disk.
    Written(u32),
    /// It could not be written; the next start that can is of this number.
    Unwritten(u32),
}

impl Generation {
    /// The revision that the start begins with. One that is not written comes behind all commits of the start before it and of
    /// earlier ones that were not written either, and before the next one that is.
    fn first(self, now: SystemTime) -> u64 {
        match self {
            Self::Written(number) => u64::from(number) << START,
            Self::Unwritten(number) => {
                let seconds = now.duration_since(SystemTime::UNIX_EPOCH);
                let seconds = seconds.map_or(0, |s| s.as_secs().saturating_sub(EPOCH));
                let half = 1_u64 << (START - 1);
                let seconds = seconds.min((half >> SECOND) - 1);
                u64::from(number - 1) << START | half | seconds << SECOND
            }
        }
    }
}

/// What was done at once.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Grows with every commit, also over starts of the daemon.
    pub revision: u64,
    /// When.
    pub time: SystemTime,
    /// What changed of what is desired.
    pub changes: Vec<Change>,
    /// Objects of which something changed that is not desired: degraded, or working again.
    pub observed: Vec<ObjectId>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// What a watcher begins with.
pub struct Watch {
    /// Of the list.
    pub revision: u64,
    /// Everything at that revision.
    pub desired: Desired,
    /// What was done between the revision asked for and that of the list.
    pub missed: Vec<Arc<Commit>>,
    /// What is done from then on.
    pub commits: broadcast::Receiver<Arc<Commit>>,
}

struct Inner {
    revision: u64,
    desired: Desired,
    /// The revision of each object's last change, as far as it was since the start.
    revisions: ById<u64>,
    kept: VecDeque<Arc<Commit>>,
    sender: broadcast::Sender<Arc<Commit>>,
}

/// The log.
pub struct Log {
    first: u64,
    inner: Mutex<Inner>,
}

impl Log {
    pub(super) fn new(generation: Generation) -> Self {
        let first = generation.first(SystemTime::now());
        let inner = Mutex::new(Inner {
            revision: first,
            desired: Desired::default(),
            revisions: ById::default(),
            kept: VecDeque::new(),
            sender: broadcast::channel(KEPT).0,
        });
        Self { first, inner }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision that the start began with: of what has not changed since.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// What a start found is where the log begins.
    pub fn begin(&self, desired: Desired) {
        self.inner().desired = desired;
    }

    /// The revision.
    pub fn revision(&self) -> u64 {
        self.inner().revision
    }

    /// The revision, and everything at it.
    pub fn now(&self) -> (u64, Desired) {
        let inner = self.inner();
        (inner.revision, inner.desired.clone())
    }

    /// The revisions of the objects' last changes. One that has none has not changed since the start.
    pub fn revisions(&self) -> ById<u64> {
        self.inner().revisions.clone()
    }

    /// The oldest revision that a watch can begin from.
    pub fn oldest(&self) -> u64 {
        let inner = self.inner();
        inner
            .kept
            .front()
            .map_or(inner.revision, |c| c.revision - 1)
    }

    /// Refuses to go on if an object has changed after the revision that the client knows; 0: whatever it is now.
    pub fn expect(&self, object: &ObjectId, revision: u64) -> Result<()> {
        let last = self
            .inner()
            .revisions
            .get(object.id())
            .copied()
            .unwrap_or(0);
        if revision == 0 || last <= revision {
            return Ok(());
        }
        Err(Error::new(
            Kind::Conflict,
            format!("the object has changed since revision {revision}"),
        )
        .because(Reason::RevisionMismatch)
        .about("revision", last)
        .hint("read it again, and decide anew"))
    }

    /// Adds what was done.
    pub fn add(&self, changes: Vec<Change>, observed: Vec<ObjectId>, mut events: Vec<Event>) {
        let mut inner = self.inner();
        let before = inner.desired.clone();
        for change in &changes {
            change.apply(&mut inner.desired);
        }
        let mut told = events_of(&changes, &before, &inner.desired);
        told.append(&mut events);
        inner.revision += 1;
        let revision = inner.revision;
        for change in &changes {
            match (&change.before, &change.after) {
                (_, Some(object)) => drop(inner.revisions.insert(object.id_str(), revision)),
                (Some(object), None) => drop(inner.revisions.remove(object.id_str())),
                (None, None) => {}
            }
        }
        for object in &observed {
            inner.revisions.insert(object.id(), revision);
        }
        let commit = Arc::new(Commit {
            revision: inner.revision,
            time: SystemTime::now(),
            changes,
            observed,
            events: told,
        });
        if inner.kept.len() == KEPT {
            inner.kept.pop_front();
        }
        inner.kept.push_back(Arc::clone(&commit));
        // Nobody listening is fine.
        let _ = inner.sender.send(commit);
    }

    /// Everything now and what is done from then on; with `from`, also what was done since that revision.
    ///
    /// # Errors
    /// `RevisionGone`: it is too long ago, of another start, or not yet.
    pub fn watch(&self, from: Option<u64>) -> Result<Watch> {
        let inner = self.inner();
        let missed = match from {
            None => Vec::new(),
            Some(from) => {
                let oldest = inner
                    .kept
                    .front()
                    .map_or(inner.revision, |c| c.revision - 1);
                if !(oldest..=inner.revision).contains(&from) {
                    return Err(Error::new(
                        Kind::Conflict,
                        format!("revision {from} is not remembered"),
                    )
                    .because(Reason::RevisionGone)
                    .about("oldest", oldest)
                    .hint("list again, and watch from the list's revision"));
                }
                let newer = inner.kept.iter().filter(|c| c.revision > from);
                newer.cloned().collect()
            }
        };
        Ok(Watch {
            revision: inner.revision,
            desired: inner.desired.clone(),
            missed,
            commits: inner.sender.subscribe(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{driver::Network, engine::change::Object, model};

    fn made(name: &str) -> Change {
        let network = Network::new(model::Network {
            id: format!("{:0<64}", name.len()),
            name: name.into(),
            driver: "null".into(),
            ..model::Network::default()
        });
        Change {
            before: None,
            after: Some(Object::Network(Arc::new(network.unwrap()))),
        }
    }

    #[test]
    fn n11_no_step_is_missed_between_a_list_and_a_watch() {
        let log = Log::new(Generation::Written(3));
        let (first, _) = log.now();
        log.add(vec![made("a")], vec![], vec![]);
        let (second, listed) = log.now();
        log.add(vec![made("bb")], vec![], vec![]);
        let mut watch = log.watch(Some(second)).unwrap();
        log.add(vec![made("ccc")], vec![], vec![]);
        assert_eq!(listed.networks().len(), 1);
        assert_eq!(watch.missed.len(), 1);
        assert_eq!(&*watch.missed[0].events[0].attributes[0].1, "bb");
        let next = watch.commits.try_recv().unwrap();
        assert_eq!(next.revision, watch.revision + 1);
        assert_eq!(log.watch(Some(first)).unwrap().missed.len(), 3);
        for gone in [first - 1, next.revision + 1, 7] {
            let error = log.watch(Some(gone)).err().unwrap();
            assert_eq!(error.reason, Reason::RevisionGone);
        }
    }

    #[test]
    fn n11_revisions_grow_over_starts_that_cannot_be_written() {
        let seconds = std::time::Duration::from_secs;
        let now = SystemTime::UNIX_EPOCH + seconds(1_790_000_000);
        let firsts = [
            Generation::Written(3).first(now) + (1 << 30),
            Generation::Unwritten(4).first(now),
            Generation::Unwritten(4).first(now + seconds(1)),
            Generation::Unwritten(4).first(now + seconds(1 << 35)),
            Generation::Written(4).first(now),
            Generation::Unwritten(5).first(SystemTime::UNIX_EPOCH - seconds(1)),
        ];
        assert!(firsts.is_sorted_by(|a, b| a < b), "{firsts:?}");
    }

    #[test]
    fn n11_what_is_no_more_remembered_is_said() {
        let log = Log::new(Generation::Written(1));
        let (first, _) = log.now();
        for _ in 0..=KEPT {
            log.add(vec![], vec![], vec![]);
        }
        assert!(log.watch(Some(first)).is_err());
        assert_eq!(log.watch(Some(first + 1)).unwrap().missed.len(), KEPT);
    }
}
