//! What filters ask of the engine's objects. The fields are those that the `.proto` files name at each list.

use std::borrow::Cow;

use netd_proto::v1::sandbox::State;

use super::{convert, filter::Subject};
use crate::{
    driver::Network,
    engine::View,
    model::{Endpoint, PortBinding, Sandbox},
    observed::ObjectId,
};

/// Fields of networks.
pub const NETWORK: &[&str] = &[
    "id",
    "name",
    "driver",
    "scope",
    "internal",
    "predefined",
    "degraded",
];
/// Fields of sandboxes.
pub const SANDBOX: &[&str] = &["id", "name", "network", "state", "degraded"];
/// Fields of endpoints.
pub const ENDPOINT: &[&str] = &["id", "network", "sandbox", "interface", "degraded"];
/// Fields of publications.
pub const PUBLICATION: &[&str] = &["sandbox", "protocol", "active"];

type Values<'a> = Vec<Cow<'a, str>>;

fn flag<'a>(is: bool) -> Values<'a> {
    vec![if is { "true" } else { "false" }.into()]
}

/// An object, and the model that it is in.
pub struct Of<'a, T>(pub &'a View, pub &'a T);

impl Subject for Of<'_, Network> {
    fn values(&self, field: &str) -> Values<'_> {
        let network = self.1;
        match field {
            "id" => vec![(&network.id).into()],
            "name" => vec![(&network.name).into()],
            "driver" => vec![network.driver_name().into()],
            "scope" => vec![(&network.scope).into()],
            "internal" => flag(network.internal),
            "predefined" => flag(network.predefined()),
            "degraded" => flag(
                self.0
                    .degraded(&ObjectId::Network(network.id.clone()))
                    .is_some(),
            ),
            _ => Vec::new(),
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.1.labels.get(key).map(String::as_str)
    }
}

impl Subject for Of<'_, Sandbox> {
    fn values(&self, field: &str) -> Values<'_> {
        let (model, sandbox) = (self.0, self.1);
        match field {
            "id" => vec![(&sandbox.id).into()],
            "name" => vec![(&sandbox.name).into()],
            // By name as by id.
            "network" => {
                let asked = sandbox.attachments.iter().map(|a| &*a.spec.network);
                let ids = asked
                    .clone()
                    .filter_map(|name| model.network(name).ok())
                    .map(|n| &*n.id);
                asked.chain(ids).map(Cow::from).collect()
            }
            "state" => vec![
                match convert::state(model, sandbox) {
                    State::Running => "running",
                    State::Stopped => "stopped",
                    State::Gone | State::Unspecified => "gone",
                }
                .into(),
            ],
            "degraded" => flag(
                model
                    .degraded(&ObjectId::Sandbox(sandbox.id.clone()))
                    .is_some(),
            ),
            _ => Vec::new(),
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.1.labels.get(key).map(String::as_str)
    }
}

impl Subject for Of<'_, Endpoint> {
    fn values(&self, field: &str) -> Values<'_> {
        let (model, endpoint) = (self.0, self.1);
        match field {
            "id" => vec![(&endpoint.id).into()],
            "network" => {
                let name = model.networks().get(&endpoint.network).map(|n| &n.name);
                let both = name.into_iter().chain([&endpoint.network]);
                both.map(Cow::from).collect()
            }
            "sandbox" => {
                let name = model.sandboxes().get(&endpoint.sandbox).map(|s| &s.name);
                let both = name.into_iter().chain([&endpoint.sandbox]);
                both.map(Cow::from).collect()
            }
            "interface" => vec![(&endpoint.interface).into()],
            "degraded" => flag(
                model
                    .degraded(&ObjectId::Endpoint(endpoint.id.clone()))
                    .is_some(),
            ),
            _ => Vec::new(),
        }
    }

    /// Its sandbox's.
    fn label(&self, key: &str) -> Option<&str> {
        let sandbox = self.0.sandboxes().get(&self.1.sandbox)?;
        sandbox.labels.get(key).map(String::as_str)
    }
}

/// A publication of a sandbox.
pub struct Published<'a> {
    /// The sandbox.
    pub sandbox: &'a Sandbox,
    /// What is published.
    pub binding: &'a PortBinding,
    /// Whether an endpoint takes the traffic.
    pub active: bool,
}

impl Subject for Published<'_> {
    fn values(&self, field: &str) -> Values<'_> {
        match field {
            "sandbox" => vec![(&self.sandbox.name).into(), (&self.sandbox.id).into()],
            "protocol" => vec![
                match self.binding.protocol {
                    17 => "udp",
                    132 => "sctp",
                    _ => "tcp",
                }
                .into(),
            ],
            "active" => flag(self.active),
            _ => Vec::new(),
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.sandbox.labels.get(key).map(String::as_str)
    }
}
