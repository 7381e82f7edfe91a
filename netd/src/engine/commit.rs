//! How a request is done: decided under the lock of what is desired, written, carried out; and taken back as a whole when one of
//! these fails. A request ends in what it asked for or in what was before, and nobody writes its way back by hand: it is the
//! same work on the changes' inverse.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Engine,
    change::{self, Change, Object, Transaction},
    locked,
};
use crate::{
    error::Result,
    model::PortBinding,
    store::{Key, Pending, Record, Store, Write},
};

/// What was decided: made in memory, on its way to the disk.
#[must_use = "a decision counts once it is carried out"]
pub(super) struct Decided {
    changes: Vec<Change>,
    pending: Pending,
}

/// The key of the mark of an object whose kernel state may not be what the store says.
pub(super) fn unfinished_key(id: &str) -> Key {
    Key::host("unfinished", id)
}

/// Waits for writes that the daemon goes on without: they are owed if they cannot be written now. Says whether they are on disk.
pub(super) async fn owe_unwritten(store: &dyn Store, pending: Pending, writes: Vec<Write>) -> bool {
    match pending.written().await {
        Ok(_) => true,
        Err(e) => {
            tracing::error!("{e}; what could not be written is as soon as it can be");
            store.insist(writes);
            false
        }
    }
}

/// Networks and sandboxes whose kernel state changes touch, with netd's own names of their namespaces: what a start after a
/// crash may find and would not know otherwise.
fn touched(changes: &[Change]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut touched: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for change in changes {
        for object in change.before.iter().chain(&change.after) {
            match object {
                Object::Network(n) => drop(touched.entry(&n.id).or_default()),
                Object::Endpoint(e) => drop(touched.entry(&e.sandbox).or_default()),
                Object::Sandbox(s) => {
                    let names = touched.entry(&s.id).or_default();
                    let run = s.run.as_ref();
                    names.extend(run.and_then(|r| r.netns.file_name()?.to_str()));
                }
            }
        }
    }
    touched
}

/// Ports that a sandbox had before a change and not after it.
fn freed_ports(change: &Change) -> Option<(&str, Vec<&PortBinding>)> {
    let Some(Object::Sandbox(before)) = &change.before else {
        return None;
    };
    let kept: &[PortBinding] = match &change.after {
        Some(Object::Sandbox(after)) => &after.ports,
        _ => &[],
    };
    let freed = before.ports.iter().filter(|b| !kept.contains(b));
    Some((&before.id, freed.collect()))
}

/// As which an Ethernet address of a network is kept from others while its endpoint leaves.
fn mac_name(network: &str, mac: [u8; 6]) -> String {
    format!("address {mac:?} of {network}")
}

/// Names of sandboxes, networks and devices, and Ethernet addresses, that a change frees.
fn freed_names(change: &Change) -> Vec<String> {
    let names = |object: &Option<Object>| match object {
        Some(Object::Network(n)) => vec![
            format!("network {}", n.name),
            format!("device {}", n.device),
        ],
        Some(Object::Sandbox(s)) => vec![format!("sandbox {}", s.name)],
        Some(Object::Endpoint(e)) => vec![mac_name(&e.network, e.mac)],
        None => Vec::new(),
    };
    let kept = names(&change.after);
    let mut freed = names(&change.before);
    freed.retain(|name| !kept.contains(name) && name != "device ");
    freed
}

impl Engine {
    /// Whether a name, as `network front`, is just being given up.
    pub(super) fn is_leaving(&self, name: &str) -> bool {
        locked(&self.leaving_names).contains(name)
    }

    /// Whether the endpoint that has an Ethernet address of a network is just leaving.
    pub(super) fn is_leaving_mac(&self, network: &str, mac: [u8; 6]) -> bool {
        self.is_leaving(&mac_name(network, mac))
    }

    /// Decides under the lock of what is desired, which is never held across a wait: `work` makes its changes, or refuses and
    /// nothing has changed.
    pub(super) fn decide<T>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<(T, Decided)> {
        let mut desired = self.desired();
        let mut transaction = Transaction::new(&mut desired);
        let made = match work(&mut transaction) {
            Ok(made) => made,
            Err(e) => {
                transaction.abandon();
                return Err(e);
            }
        };
        let (changes, mut settings) = transaction.into_parts();
        let writes = change::writes(&changes, true).and_then(|mut writes| {
            for (id, names) in touched(&changes) {
                writes.push(Write::put(
                    unfinished_key(id),
                    Record::of("a mark", &names)?,
                ));
            }
            Ok(writes)
        });
        let mut writes = match writes {
            Ok(writes) => writes,
            Err(e) => {
                for back in change::inverse(&changes) {
                    back.apply(&mut desired);
                }
                return Err(e);
            }
        };
        writes.append(&mut settings);
        // Whoever publishes one of these now would write it to the data plane before it is taken out there.
        self.note_leaving(&changes, true);
        // Under the lock, so that commits are written in the order in which they were decided.
        let pending = self.store.commit(writes);
        Ok((made, Decided { changes, pending }))
    }

    /// Writes what was decided and makes the kernel and the data plane follow. What fails is taken back as a whole.
    pub(super) async fn carry_out(&self, decided: Decided) -> Result<()> {
        let Decided { changes, pending } = decided;
        if let Err(e) = pending.written().await {
            self.forget(&changes);
            self.note_leaving(&changes, false);
            self.release(&change::inverse(&changes)).await;
            return Err(e);
        }
        if let Err(e) = self.converge(&changes).await {
            self.take_back(&changes).await;
            return Err(e);
        }
        self.finish(&changes).await;
        self.log.add(changes, Vec::new(), Vec::new());
        Ok(())
    }

    /// Marks sandboxes of which a start makes something: one after a crash is to make all of it. Says whether the marks are on
    /// disk; if not, they are owed, and lost with the process.
    pub(super) async fn mark_unfinished(&self, ids: &BTreeSet<String>) -> Result<bool> {
        let none: [&str; 0] = [];
        let marks = ids
            .iter()
            .map(|id| Ok(Write::put(unfinished_key(id), Record::of("a mark", &none)?)));
        let marks: Vec<Write> = marks.collect::<Result<_>>()?;
        if marks.is_empty() {
            return Ok(true);
        }
        let pending = self.store.commit(marks.clone());
        Ok(owe_unwritten(&*self.store, pending, marks).await)
    }

    /// Writes what was decided; what the kernel is to do is done with all else, at a start.
    pub(super) async fn only_write(&self, decided: Decided) -> Result<()> {
        let Decided { changes, pending } = decided;
        let written = pending.written().await.map(drop);
        if written.is_err() {
            self.forget(&changes);
            self.release(&change::inverse(&changes)).await;
        }
        self.note_leaving(&changes, false);
        written
    }

    /// Takes changes back in memory that are not on disk.
    fn forget(&self, changes: &[Change]) {
        let mut desired = self.desired();
        for back in change::inverse(changes) {
            back.apply(&mut desired);
        }
    }

    /// Goes back to what was before changes that are on disk.
    async fn take_back(&self, changes: &[Change]) {
        let back = change::inverse(changes);
        let pending = {
            let mut desired = self.desired();
            for change in &back {
                change.apply(&mut desired);
            }
            change::writes(&back, false).map(|writes| (self.store.commit(writes.clone()), writes))
        };
        match pending {
            Ok((pending, writes)) => {
                owe_unwritten(&*self.store, pending, writes).await;
            }
            Err(e) => tracing::error!("taking a request back: {e}"),
        }
        match self.converge(&back).await {
            Ok(()) => self.finish_marks(&back),
            Err(e) => self.degrade_touched(&back, &e),
        }
        self.note_leaving(changes, false);
        self.release(&back).await;
    }

    /// Nothing leads any more to what was removed.
    async fn finish(&self, changes: &[Change]) {
        self.finish_marks(changes);
        self.note_leaving(changes, false);
        self.release(changes).await;
        for change in changes.iter().filter(|c| c.after.is_none()) {
            if let Some(object) = &change.before {
                self.forget_degraded(&object.id());
            }
            match &change.before {
                Some(Object::Network(n)) => self.network_locks.forget(&n.id),
                Some(Object::Sandbox(s)) => self.sandbox_locks.forget(&s.id),
                _ => {}
            }
        }
    }

    /// The kernel's state is what the store says; a start need not look. If that gets lost, a start only does what is done: it is
    /// not worth a transaction of its own.
    fn finish_marks(&self, changes: &[Change]) {
        let marks = touched(changes).into_keys();
        let marks = marks.map(|id| Write::remove(unfinished_key(id)));
        self.store.defer(marks.collect());
    }

    /// Keeps names and host ports from others until nothing of them is left in the kernel and the data plane, or they are taken
    /// back.
    fn note_leaving(&self, changes: &[Change], leaving: bool) {
        let mut names = locked(&self.leaving_names);
        for name in changes.iter().flat_map(freed_names) {
            if leaving {
                names.insert(name);
            } else {
                names.remove(&name);
            }
        }
        drop(names);
        let mut index = self.leaving_ports();
        for (sandbox, ports) in changes.iter().filter_map(freed_ports) {
            for binding in ports {
                if leaving {
                    index.insert(sandbox, binding);
                } else {
                    index.remove(sandbox, binding);
                }
            }
        }
    }

    /// Gives back the addresses and subnets of what changes have removed.
    async fn release(&self, changes: &[Change]) {
        for change in changes.iter().filter(|c| c.after.is_none()) {
            match &change.before {
                Some(Object::Endpoint(e)) => {
                    for address in e.addresses() {
                        self.release_address(&e.network, address.ip()).await;
                    }
                }
                Some(Object::Network(n)) => {
                    if let Ok(manager) = self.ipam.manager(&n.ipam_driver) {
                        manager.release_pools(&n.id).await;
                    }
                }
                _ => {}
            }
        }
    }
}
