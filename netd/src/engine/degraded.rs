//! Objects that are not as they are desired: marked with the reason, told, and tried again, while the rest lives.

use std::time::SystemTime;

use super::{Engine, change::Change, events::Event};
use crate::{
    error::Error,
    observed::{Degraded, ObjectId},
};

impl ObjectId {
    /// Kind and id, as events tell them.
    pub(super) fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Network(id) => ("network", id),
            Self::Sandbox(id) => ("sandbox", id),
            Self::Endpoint(id) => ("endpoint", id),
            Self::Record(key) => ("record", key),
        }
    }
}

impl Engine {
    /// Notes that an object is not as it is desired.
    pub(super) fn degrade(&self, object: ObjectId, reason: &str) {
        let new = self.context.observations.note(|o| {
            let known = o.degraded.get(&object);
            let since = known.map_or_else(SystemTime::now, |d| d.since);
            let new = known.is_none_or(|d| d.reason != reason);
            let reason = reason.to_owned();
            o.degraded
                .insert(object.clone(), Degraded { reason, since });
            new
        });
        if !new {
            return;
        }
        let (kind, id) = object.parts();
        let name = self.name_of(&object);
        tracing::warn!("{kind} {name} is degraded: {reason}");
        let about = [("name", &*name), ("reason", reason)];
        let event = Event::new(kind, "degraded", id, &about);
        self.log.add(Vec::new(), vec![object], vec![event]);
    }

    /// Marks all objects of changes that could not be taken back.
    pub(super) fn degrade_touched(&self, changes: &[Change], e: &Error) {
        let objects = changes.iter().filter_map(|c| c.after.as_ref());
        for object in objects {
            self.degrade(object.id(), &e.to_string());
        }
    }

    /// Notes that an object is as it is desired.
    pub(super) fn recover(&self, object: &ObjectId) {
        if !self.forget_degraded(object) {
            return;
        }
        let (kind, id) = object.parts();
        let name = self.name_of(object);
        tracing::info!("{kind} {name} works again");
        let event = Event::new(kind, "recovered", id, &[("name", &*name)]);
        self.log.add(Vec::new(), vec![object.clone()], vec![event]);
    }

    /// Forgets that an object was degraded. Says whether it was.
    pub(super) fn forget_degraded(&self, object: &ObjectId) -> bool {
        // Most are not: nobody else waits for that.
        let observed = self.context.observations.now();
        observed.degraded.contains_key(object)
            && self
                .context
                .observations
                .note(|o| o.degraded.remove(object).is_some())
    }

    pub(super) fn name_of(&self, object: &ObjectId) -> String {
        let desired = self.desired();
        let name = match object {
            ObjectId::Network(id) => desired.networks().get(id).map(|n| n.name.clone()),
            ObjectId::Sandbox(id) => desired.sandboxes().get(id).map(|s| s.name.clone()),
            ObjectId::Endpoint(id) => desired.endpoints().get(id).map(|e| {
                let sandbox = desired.sandboxes().get(&e.sandbox);
                let network = desired.networks().get(&e.network);
                let names = sandbox.zip(network);
                names.map_or_else(|| id.clone(), |(s, n)| format!("{} on {}", s.name, n.name))
            }),
            ObjectId::Record(_) => None,
        };
        name.unwrap_or_else(|| object.parts().1.to_owned())
    }
}
