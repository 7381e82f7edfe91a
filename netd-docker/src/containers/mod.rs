//! `/containers`: alone sandboxes shown as containers; in front of an engine its containers, with netd's networks.

mod again;
mod alone;
mod create;
mod inspect;
mod known;
mod lifecycle;
mod list;
mod ports;
mod rewrite;
mod shape;
mod stats;

use std::collections::HashMap;

use http::{Method, StatusCode};
use netd_proto::v1::{Endpoint, Network, NetworkView, Sandbox};
use serde_json::Value;

use crate::{
    adapter::Adapter,
    engine::Engine,
    http::Answer,
    networks::PRIVATE,
    refusal::{Refusal, Result},
    request::Call,
};
pub use alone::rows as listed;
pub use lifecycle::{follow, sweep};
pub use rewrite::{RUNTIME, Rewritten, rewrite};

/// Who a container is to netd.
#[derive(Debug)]
pub enum Found {
    /// netd's.
    Sandbox(Box<Sandbox>),
    /// The engine's alone.
    Foreign(Foreign),
}

/// A container whose networks are not netd's.
#[derive(Debug)]
pub struct Foreign {
    /// Its full id.
    pub id: String,
    /// Its `HostConfig.NetworkMode`.
    pub mode: String,
    name: String,
    /// It was made for netd, which has no sandbox of it any more.
    lost: bool,
}

impl Foreign {
    /// Why it cannot be connected to a network.
    pub fn connecting(&self, network: &str) -> Refusal {
        let mode = self.mode.as_str();
        if self.lost {
            return Refusal::not_found(format!(
                "netd has no sandbox for container {}, which was created for its networks; remove the container and create it again",
                self.name
            ));
        }
        if mode == network {
            return Refusal::forbidden(format!(
                "endpoint with name {} already exists in network {network}",
                self.name
            ));
        }
        if mode == "none" {
            return Refusal::invalid(PRIVATE);
        }
        if mode == "host" || mode.starts_with("container:") {
            return Refusal::invalid(
                "container sharing network namespace with another container or host cannot be connected to any other network",
            );
        }
        Refusal::invalid(format!(
            "container {} was not made through netd's socket, its networks are the Docker engine's own: create it anew through this socket",
            self.name
        ))
    }
}

/// A container by name, id or unique id prefix. In front of an engine a name is the engine's to give; sandboxes that others made
/// are found by theirs where it has none of that name.
///
/// # Errors
/// 404 in Docker's words when there is none.
pub async fn find(adapter: &Adapter, name: &str) -> Result<Found> {
    let ours = adapter.netd.sandbox(name).await;
    let Some(engine) = &adapter.engine else {
        return ours.map(|sandbox| Found::Sandbox(Box::new(sandbox)));
    };
    let other = match ours {
        Ok(sandbox) if lifecycle::belongs(&sandbox, engine).await? => {
            return Ok(Found::Sandbox(Box::new(sandbox)));
        }
        Ok(sandbox) => Some(sandbox),
        Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => None,
        Err(refusal) => return Err(refusal),
    };
    let shown = match (engine.get(&target(name, "json")).await, other) {
        (Ok(shown), _) => shown,
        (Err(refusal), Some(sandbox)) if refusal.status() == StatusCode::NOT_FOUND => {
            return Ok(Found::Sandbox(Box::new(sandbox)));
        }
        (Err(refusal), _) => return Err(refusal),
    };
    let text = |pointer: &str| {
        let found = shown.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let id = text("/Id");
    if let Some(sandbox) = adapter.netd.sandbox_of(&id).await? {
        return Ok(Found::Sandbox(Box::new(sandbox)));
    }
    Ok(Found::Foreign(Foreign {
        mode: text("/HostConfig/NetworkMode"),
        name: text("/Name").trim_start_matches('/').to_owned(),
        lost: text("/HostConfig/Runtime") == RUNTIME,
        id,
    }))
}

/// The engine's path of a container's.
fn target(name: &str, what: &str) -> String {
    let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("/containers/{name}/{what}")
}

/// The id of a container of the engine's, by name, id or unique id prefix.
async fn id_of(engine: &Engine, name: &str) -> Result<String> {
    let shown = engine.get(&target(name, "json")).await?;
    let id = shown.get("Id").and_then(Value::as_str);
    id.map(str::to_owned)
        .ok_or_else(|| Refusal::internal(format!("the engine does not say the id of {name}")))
}

/// Ids of networks by name, if one of these sandboxes needs them to be shown: of a network that it is on its endpoint says the id.
async fn needed_ids(adapter: &Adapter, sandboxes: &[&Sandbox]) -> Result<HashMap<String, String>> {
    let waits = |sandbox: &&Sandbox| {
        !shape::running(sandbox) || sandbox.endpoints.len() < sandbox.attachments.len()
    };
    if sandboxes.iter().any(waits) {
        network_ids(adapter).await
    } else {
        Ok(HashMap::new())
    }
}

/// Ids of networks by name.
async fn network_ids(adapter: &Adapter) -> Result<HashMap<String, String>> {
    let networks = adapter.netd.list_networks(NetworkView::Basic).await?;
    Ok(networks.into_iter().map(|n| (n.name, n.id)).collect())
}

/// Adds to `host` or `none` the running containers of the engine's that are on it: netd has no sandboxes for them.
pub async fn add_foreign(adapter: &Adapter, network: &mut Network) -> Result<()> {
    let Some(engine) = &adapter.engine else {
        return Ok(());
    };
    if !matches!(network.driver.as_str(), "host" | "null") {
        return Ok(());
    }
    // An engine that is away has no containers that anybody could ask for.
    let Ok(shown) = engine.get(&format!("/networks/{}", network.name)).await else {
        return Ok(());
    };
    for endpoint in endpoints_of(&shown) {
        if adapter
            .netd
            .sandbox_of(&endpoint.sandbox_id)
            .await?
            .is_none()
        {
            network.endpoints.push(endpoint);
        }
    }
    Ok(())
}

/// The containers of an inspected network of the engine's.
fn endpoints_of(shown: &Value) -> Vec<Endpoint> {
    let there = shown.get("Containers").and_then(Value::as_object);
    let there = there.into_iter().flatten();
    there
        .map(|(id, container)| {
            let text = |key: &str| {
                let found = container.get(key).and_then(Value::as_str);
                found.unwrap_or_default().to_owned()
            };
            Endpoint {
                id: text("EndpointID"),
                sandbox_id: id.clone(),
                sandbox_name: text("Name"),
                ..Default::default()
            }
        })
        .collect()
}

/// Answers a request below `/containers`, if it is one about networks; else it is given back.
pub async fn answer(adapter: &Adapter, call: Call, rest: &str) -> Result<Answer> {
    let Some(engine) = &adapter.engine else {
        return alone::answer(adapter, &call, rest).await;
    };
    let method = call.method.clone();
    let get = matches!(method, Method::GET | Method::HEAD);
    match rest {
        "json" if get => list::list(adapter, engine, call).await,
        "create" if method == Method::POST => create::create(adapter, engine, call).await,
        "prune" if method == Method::POST => lifecycle::prune(adapter, engine, call).await,
        rest => {
            let rest = rest.to_owned();
            match rest.rsplit_once('/') {
                Some((name, "json")) if get => inspect::inspect(adapter, engine, call, name).await,
                Some((name, "stats")) if get => stats::stats(adapter, engine, call, name).await,
                Some((name, "start" | "restart")) if method == Method::POST => {
                    lifecycle::start(adapter, engine, call, name).await
                }
                Some((name, "rename")) if method == Method::POST => {
                    lifecycle::rename(adapter, engine, call, name).await
                }
                None if method == Method::DELETE => {
                    lifecycle::remove(adapter, engine, call, &rest).await
                }
                _ => engine.pass(call.request).await,
            }
        }
    }
}
