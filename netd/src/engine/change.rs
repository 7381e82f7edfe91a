//! Changes of what is desired: each is what was and what shall be. They are made in one place, a transaction; store, events,
//! watchers and the way back all come from them.

use std::sync::Arc;

use super::desired::Desired;
use crate::{
    driver::Network,
    error::Result,
    model::{Endpoint, Sandbox},
    observed::ObjectId,
    store::{Expect, Key, Record, Write},
};

/// Something that is desired.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A network.
    Network(Arc<Network>),
    /// A sandbox.
    Sandbox(Arc<Sandbox>),
    /// An endpoint.
    Endpoint(Arc<Endpoint>),
}

impl Object {
    /// Which one.
    pub fn id(&self) -> ObjectId {
        match self {
            Self::Network(n) => ObjectId::Network(n.id.clone()),
            Self::Sandbox(s) => ObjectId::Sandbox(s.id.clone()),
            Self::Endpoint(e) => ObjectId::Endpoint(e.id.clone()),
        }
    }

    /// Its id alone.
    pub fn id_str(&self) -> &str {
        match self {
            Self::Network(n) => &n.id,
            Self::Sandbox(s) => &s.id,
            Self::Endpoint(e) => &e.id,
        }
    }

    fn key(&self) -> Key {
        match self {
            Self::Network(n) => Key::shared("network", &n.id),
            Self::Sandbox(s) => Key::host("sandbox", &s.id),
            Self::Endpoint(e) => Key::shared("endpoint", &e.id),
        }
    }

    fn record(&self) -> Result<Record> {
        match self {
            Self::Network(n) => Record::of("a network", n.record()),
            Self::Sandbox(s) => Record::of("a sandbox", &**s),
            Self::Endpoint(e) => Record::of("an endpoint", &**e),
        }
    }

    /// Its number in the data plane, which only this host knows.
    fn number(&self) -> Option<(&str, u32)> {
        match self {
            Self::Network(n) => Some((&n.id, n.number)),
            Self::Endpoint(e) => Some((&e.id, e.number)),
            Self::Sandbox(_) => None,
        }
    }
}

/// The key of an object's number in the data plane.
pub(super) fn number_key(id: &str) -> Key {
    Key::host("number", id)
}

/// One change: from nothing, to nothing, or from one to another of the same id.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What was.
    pub before: Option<Object>,
    /// What shall be.
    pub after: Option<Object>,
}

impl Change {
    /// The object, as it shall be or as it was.
    pub fn object(&self) -> Option<&Object> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// The way back.
    fn inverse(&self) -> Self {
        Self {
            before: self.after.clone(),
            after: self.before.clone(),
        }
    }

    /// Does it to what is desired.
    pub fn apply(&self, desired: &mut Desired) {
        match (&self.before, &self.after) {
            (_, Some(Object::Network(n))) => desired.put_network(Arc::clone(n)),
            (_, Some(Object::Sandbox(s))) => desired.put_sandbox(Arc::clone(s)),
            (_, Some(Object::Endpoint(e))) => desired.put_endpoint(Arc::clone(e)),
            (Some(Object::Network(n)), None) => desired.remove_network(&n.id),
            (Some(Object::Sandbox(s)), None) => desired.remove_sandbox(&s.id),
            (Some(Object::Endpoint(e)), None) => desired.remove_endpoint(&e.id),
            (None, None) => {}
        }
    }

    fn writes(&self, compare: bool) -> Result<Vec<Write>> {
        let Some(object) = self.object() else {
            return Ok(Vec::new());
        };
        let expect = match (compare, &self.before) {
            (false, _) => Expect::Anything,
            (true, None) => Expect::Absent,
            (true, Some(_)) => Expect::Present,
        };
        let record = self.after.as_ref().map(Object::record).transpose()?;
        let mut writes = vec![Write {
            key: object.key(),
            expect,
            record,
        }];
        if let (Object::Network(n), None) = (object, &self.after) {
            writes.push(Write::remove(Key::host("cursors", &n.id)));
        }
        if let Some((id, number)) = object.number() {
            match (&self.before, &self.after) {
                (None, Some(_)) => {
                    let number = Record::of("a number", &number)?;
                    writes.push(Write::put(number_key(id), number));
                }
                (Some(_), None) => writes.push(Write::remove(number_key(id))),
                _ => {}
            }
        }
        Ok(writes)
    }
}

/// The way back of many changes, last first.
pub(super) fn inverse(changes: &[Change]) -> Vec<Change> {
    changes.iter().rev().map(Change::inverse).collect()
}

/// What the store is to write for changes. `compare`: only if the records are as they were.
pub(super) fn writes(changes: &[Change], compare: bool) -> Result<Vec<Write>> {
    let all: Result<Vec<Vec<Write>>> = changes.iter().map(|c| c.writes(compare)).collect();
    Ok(all?.into_iter().flatten().collect())
}

/// Changes that are being decided: made in memory at once, taken back if the decision fails.
pub(super) struct Transaction<'a> {
    desired: &'a mut Desired,
    changes: Vec<Change>,
    /// Records of this host beside the objects: the next number, cursors.
    settings: Vec<Write>,
}

impl<'a> Transaction<'a> {
    pub fn new(desired: &'a mut Desired) -> Self {
        Self {
            desired,
            changes: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// As it is with the changes so far.
    pub fn desired(&self) -> &Desired {
        self.desired
    }

    fn make(&mut self, before: Option<Object>, after: Option<Object>) {
        if before == after {
            return;
        }
        let change = Change { before, after };
        change.apply(self.desired);
        let same = |c: &&mut Change| c.object().map(Object::id) == change.object().map(Object::id);
        match self.changes.iter_mut().find(same) {
            // Two changes of one object are one.
            Some(earlier) => earlier.after = change.after,
            None => self.changes.push(change),
        }
    }

    /// Adds or changes a network.
    pub fn put_network(&mut self, network: Network) {
        let before = self.desired.networks().get(&network.id).cloned();
        let after = Object::Network(Arc::new(network));
        self.make(before.map(Object::Network), Some(after));
    }

    /// Removes a network.
    pub fn remove_network(&mut self, id: &str) {
        let before = self.desired.networks().get(id).cloned();
        self.make(before.map(Object::Network), None);
    }

    /// Adds or changes a sandbox.
    pub fn put_sandbox(&mut self, sandbox: Sandbox) {
        let before = self.desired.sandboxes().get(&sandbox.id).cloned();
        let after = Object::Sandbox(Arc::new(sandbox));
        self.make(before.map(Object::Sandbox), Some(after));
    }

    /// Removes a sandbox.
    pub fn remove_sandbox(&mut self, id: &str) {
        let before = self.desired.sandboxes().get(id).cloned();
        self.make(before.map(Object::Sandbox), None);
    }

    /// Adds or changes an endpoint.
    pub fn put_endpoint(&mut self, endpoint: Endpoint) {
        let before = self.desired.endpoints().get(&endpoint.id).cloned();
        let after = Object::Endpoint(Arc::new(endpoint));
        self.make(before.map(Object::Endpoint), Some(after));
    }

    /// Removes an endpoint.
    pub fn remove_endpoint(&mut self, id: &str) {
        let before = self.desired.endpoints().get(id).cloned();
        self.make(before.map(Object::Endpoint), None);
    }

    /// Writes a record of this host's beside the objects.
    pub fn setting(&mut self, write: Write) {
        self.settings.push(write);
    }

    /// Takes everything back.
    pub fn abandon(self) {
        for change in inverse(&self.changes) {
            change.apply(self.desired);
        }
    }

    /// What was decided.
    pub fn into_parts(self) -> (Vec<Change>, Vec<Write>) {
        (self.changes, self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    fn network(name: &str, label: &str) -> Network {
        Network::new(model::Network {
            id: "a".repeat(64),
            number: 3,
            name: name.into(),
            driver: "null".into(),
            labels: [("l".to_owned(), label.to_owned())].into(),
            ..model::Network::default()
        })
        .unwrap()
    }

    #[test]
    fn b13_the_way_back_is_what_was() {
        let mut desired = Desired::default();
        desired.put_network(Arc::new(network("n", "1")));
        let (was, mut decided) = (desired.clone(), Transaction::new(&mut desired));
        decided.put_network(network("m", "2"));
        decided.put_network(network("m", "3"));
        let (changes, _) = decided.into_parts();
        assert_eq!(changes.len(), 1, "one object, one change");
        assert!(desired.network_named("n").is_none() && desired.network_named("m").is_some());
        for change in inverse(&changes) {
            change.apply(&mut desired);
        }
        assert_eq!(desired.networks(), was.networks());
        assert!(desired.network_named("n").is_some() && desired.network_named("m").is_none());
    }

    #[test]
    fn numbers_are_this_hosts_and_the_rest_could_be_shared() {
        let change = Change {
            before: None,
            after: Some(Object::Network(Arc::new(network("n", "1")))),
        };
        let made = change.writes(true).unwrap();
        let keys: Vec<String> = made.iter().map(|w| w.key.to_string()).collect();
        let id = "a".repeat(64);
        assert_eq!(
            keys,
            [format!("shared/network/{id}"), format!("host/number/{id}")]
        );
        assert_eq!(made[0].expect, Expect::Absent);
        let json: serde_json::Value = made[0].record.as_ref().unwrap().read().unwrap();
        assert!(json.get("number").is_none());
        let gone = change.inverse().writes(true).unwrap();
        assert!(gone.iter().all(|w| w.record.is_none()) && gone.len() == 3);
    }
}
