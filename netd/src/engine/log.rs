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

/// The revision that the start began with, from one of its own.
pub(super) const fn start_of(revision: u64) -> u64 {
    revision >> START << START
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
pub struct Log(Mutex<Inner>);

impl Log {
    /// `generation`: counts the starts of the state directory.
    pub fn new(generation: u32) -> Self {
        Self(Mutex::new(Inner {
            revision: u64::from(generation) << START,
            desired: Desired::default(),
            revisions: ById::default(),
            kept: VecDeque::new(),
            sender: broadcast::channel(KEPT).0,
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let log = Log::new(3);
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
        assert!(Log::new(4).now().0 > log.now().0, "starts are in order");
    }

    #[test]
    fn n11_what_is_no_more_remembered_is_said() {
        let log = Log::new(1);
        let (first, _) = log.now();
        for _ in 0..=KEPT {
            log.add(vec![], vec![], vec![]);
        }
        assert!(log.watch(Some(first)).is_err());
        assert_eq!(log.watch(Some(first + 1)).unwrap().missed.len(), KEPT);
    }
}
