//! Events, derived from changes: what happened, as Docker tells it. Pure.

use super::{
    change::{Change, Object},
    desired::Desired,
};
use crate::{
    driver::Network,
    model::{Endpoint, Sandbox},
};

/// Something that happened to an object, as Docker tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// network, sandbox, port, endpoint.
    pub kind: &'static str,
    /// create, update, rename, connect, disconnect, destroy, prune, start, stop, publish, unpublish, warning, degraded,
    /// recovered.
    pub action: &'static str,
    /// Id of the object.
    pub id: String,
    /// More about it, by name.
    pub attributes: Box<[(&'static str, Box<str>)]>,
}

impl Event {
    /// With these attributes.
    pub fn new(
        kind: &'static str,
        action: &'static str,
        id: &str,
        attributes: &[(&'static str, &str)],
    ) -> Self {
        let attributes = attributes.iter();
        Self {
            kind,
            action,
            id: id.to_owned(),
            attributes: attributes.map(|(k, v)| (*k, (*v).into())).collect(),
        }
    }
}

/// In which order things of one commit are told: makers before users, users away before what they used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Made,
    Disconnected,
    Connected,
    Ports,
    Runs,
    Gone,
    NetworkGone,
}

/// What happened, from what was and what is.
pub(super) fn events_of(changes: &[Change], before: &Desired, after: &Desired) -> Vec<Event> {
    let mut told: Vec<(Place, Event)> = Vec::new();
    for change in changes {
        match (&change.before, &change.after) {
            (None, Some(Object::Network(n))) => told.push((Place::Made, of_network("create", n))),
            (Some(Object::Network(n)), None) => {
                told.push((Place::NetworkGone, of_network("destroy", n)));
            }
            (Some(Object::Network(_)), Some(Object::Network(n))) => {
                told.push((Place::Made, of_network("update", n)));
            }
            (Some(Object::Endpoint(e)), None) => {
                let network = before.networks().get(&e.network);
                let event = network.map(|n| of_connection("disconnect", n, e));
                told.extend(event.map(|event| (Place::Disconnected, event)));
            }
            (None, Some(Object::Endpoint(e))) => {
                let network = after.networks().get(&e.network);
                let event = network.map(|n| of_connection("connect", n, e));
                told.extend(event.map(|event| (Place::Connected, event)));
            }
            (Some(Object::Endpoint(_)), Some(Object::Endpoint(e))) => {
                let about = [("network", &*e.network), ("container", &*e.sandbox)];
                told.push((
                    Place::Connected,
                    Event::new("endpoint", "update", &e.id, &about),
                ));
            }
            (was, is) => sandbox_events(sandbox(was), sandbox(is), &mut told),
        }
    }
    told.sort_by_key(|(place, _)| *place);
    told.into_iter().map(|(_, event)| event).collect()
}

fn sandbox(object: &Option<Object>) -> Option<&Sandbox> {
    match object {
        Some(Object::Sandbox(s)) => Some(s),
        _ => None,
    }
}

fn of_network(action: &'static str, network: &Network) -> Event {
    let about = [("name", &*network.name), ("type", &*network.driver)];
    Event::new("network", action, &network.id, &about)
}

fn of_connection(action: &'static str, network: &Network, endpoint: &Endpoint) -> Event {
    let about = [
        ("name", &*network.name),
        ("type", &*network.record().driver),
        ("container", &*endpoint.sandbox),
        ("endpoint", &*endpoint.id),
    ];
    Event::new("network", action, &network.id, &about)
}

fn sandbox_events(was: Option<&Sandbox>, is: Option<&Sandbox>, told: &mut Vec<(Place, Event)>) {
    let Some(of) = is.or(was) else {
        return;
    };
    let event = |action| Event::new("sandbox", action, &of.id, &[("name", &of.name)]);
    match (was, is) {
        (None, _) => told.push((Place::Made, event("create"))),
        (Some(_), None) => told.push((Place::Gone, event("destroy"))),
        (Some(was), Some(is)) => {
            if was.name != is.name {
                let about = [("name", &*is.name), ("oldName", &*was.name)];
                told.push((Place::Made, Event::new("sandbox", "rename", &is.id, &about)));
            }
            let changed = was.labels != is.labels
                || was.names != is.names
                || was.hostname != is.hostname
                || was.exposed != is.exposed;
            if changed {
                told.push((Place::Made, event("update")));
            }
            let ports = |s: &Sandbox| {
                if s.running() {
                    s.ports.clone()
                } else {
                    s.wanted_ports.clone()
                }
            };
            if was.running() == is.running() {
                let (old, new) = (ports(was), ports(is));
                let all = [("unpublish", &old, &new), ("publish", &new, &old)];
                for (action, of_these, others) in all {
                    for binding in of_these.iter().filter(|b| !others.contains(b)) {
                        let about = [("name", &*is.name), ("port", &*binding.to_string())];
                        told.push((Place::Ports, Event::new("port", action, &is.id, &about)));
                    }
                }
            }
        }
    }
    let runs = |s: Option<&Sandbox>| s.is_some_and(Sandbox::running);
    match (runs(was), runs(is)) {
        (false, true) => told.push((Place::Runs, event("start"))),
        (true, false) if is.is_some() => told.push((Place::Runs, event("stop"))),
        _ => {}
    }
}
