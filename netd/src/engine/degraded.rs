//! Objects that are not as they are desired: marked with the reason, told, and tried again, while the rest lives.

use std::{collections::BTreeSet, time::SystemTime};

use super::{
    Engine,
    change::{Change, Object},
    events::Event,
    state::State,
};
use crate::{
    error::{Error, Reason},
    model::Endpoint,
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

impl State {
    /// What an endpoint lacks because of its network or its sandbox, which is degraded itself.
    pub(super) fn cause(&self, endpoint: &Endpoint) -> Option<ObjectId> {
        let (network, sandbox) = (&endpoint.network, &endpoint.sandbox);
        let observed = &self.observed;
        let has_device = self.networks().get(network)?.device.is_empty()
            || observed.devices.contains_key(network);
        let network = ObjectId::Network(network.clone());
        if !has_device && observed.degraded.contains_key(&network) {
            return Some(network);
        }
        let open = observed.running.contains_key(sandbox);
        let sandbox = ObjectId::Sandbox(sandbox.clone());
        (!open && observed.degraded.contains_key(&sandbox)).then_some(sandbox)
    }

    /// Why an object is not as it is desired. An endpoint is not if its network or its sandbox is not.
    pub fn why_degraded(&self, object: &ObjectId) -> Option<String> {
        let degraded = &self.observed.degraded;
        if let Some(own) = degraded.get(object) {
            return Some(own.reason.clone());
        }
        let ObjectId::Endpoint(id) = object else {
            return None;
        };
        let cause = self.cause(self.endpoints().get(id)?)?;
        let (kind, _) = cause.parts();
        let reason = &degraded.get(&cause)?.reason;
        Some(format!("{kind} {}: {reason}", self.name_of(&cause)))
    }

    /// Whether an object is there: desired, or for a record, stored.
    pub(super) fn has(&self, object: &ObjectId) -> bool {
        match object {
            ObjectId::Network(id) => self.networks().contains_key(id),
            ObjectId::Sandbox(id) => self.sandboxes().contains_key(id),
            ObjectId::Endpoint(id) => self.endpoints().contains_key(id),
            ObjectId::Record(_) => true,
        }
    }

    /// An object by name, as messages have it; an endpoint by its sandbox and its network.
    pub fn name_of(&self, object: &ObjectId) -> String {
        let name = match object {
            ObjectId::Network(id) => self.networks().get(id).map(|n| n.name.clone()),
            ObjectId::Sandbox(id) => self.sandboxes().get(id).map(|s| s.name.clone()),
            ObjectId::Endpoint(id) => self.endpoints().get(id).and_then(|e| {
                let sandbox = self.sandboxes().get(&e.sandbox)?;
                let network = self.networks().get(&e.network)?;
                Some(format!("{} on {}", sandbox.name, network.name))
            }),
            ObjectId::Record(_) => None,
        };
        name.unwrap_or_else(|| object.parts().1.to_owned())
    }
}

impl Engine {
    /// Notes that an endpoint is not as it is desired, unless its network or its sandbox is the cause and says so already.
    pub(super) fn degrade_endpoint(&self, endpoint: &Endpoint, e: &Error) {
        let object = ObjectId::Endpoint(endpoint.id.clone());
        if e.reason == Reason::Degraded && self.state().cause(endpoint).is_some() {
            self.forget_degraded(&object);
        } else {
            self.degrade(object, &e.to_string());
        }
    }

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
        let state = self.state();
        let name = state.name_of(&object);
        tracing::warn!("{kind} {name} is degraded: {reason}");
        let mut about = vec![("name", &*name), ("reason", reason)];
        if let ObjectId::Endpoint(id) = &object
            && let Some(endpoint) = state.endpoints().get(id)
        {
            let network = state.networks().get(&endpoint.network);
            let sandbox = state.sandboxes().get(&endpoint.sandbox);
            about.extend(network.map(|n| ("network", &*n.name)));
            about.extend(sandbox.map(|s| ("sandbox", &*s.name)));
        }
        let event = Event::new(kind, "degraded", id, &about);
        self.log.add(Vec::new(), vec![object], vec![event]);
    }

    /// Marks the objects of changes that could not be taken back. A sandbox's mark stands for its endpoints'.
    pub(super) fn degrade_touched(&self, changes: &[Change], e: &Error) {
        let objects = || changes.iter().filter_map(|c| c.after.as_ref());
        let sandboxes: BTreeSet<&str> = objects()
            .filter_map(|object| match object {
                Object::Sandbox(s) => Some(s.id.as_str()),
                _ => None,
            })
            .collect();
        for object in objects() {
            if matches!(object, Object::Endpoint(e) if sandboxes.contains(e.sandbox.as_str())) {
                continue;
            }
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
        self.state().name_of(object)
    }
}
