//! Whether netd knows a container that was made for it. Before API 1.43 nobody, be it client or engine, has annotations, by which the
//! runtime sees that a container must not start without netd: here it is seen before.

use serde_json::Value;

use super::{
    rewrite::{ANNOTATION, RUNTIME},
    shape::MODE,
    target,
};
use crate::{
    adapter::Adapter,
    engine::Engine,
    refusal::{Refusal, Result},
};

/// Refuses to start a container whose making was broken off before netd heard of it: it would have no networks.
pub async fn check(adapter: &Adapter, engine: &Engine, name: &str) -> Result<()> {
    match adapter.netd.sandbox(name).await {
        Ok(sandbox) if sandbox.labels.contains_key(MODE) => return Ok(()),
        // The runtime waits for a netd that is away.
        Err(refusal) if refusal.is_away() => return Ok(()),
        _ => {}
    }
    // What the engine has against it, it says at the start itself.
    let Ok(shown) = engine.get(&target(name, "json")).await else {
        return Ok(());
    };
    let text = |pointer: &str| {
        let found = shown.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default()
    };
    let annotations = shown.pointer("/HostConfig/Annotations");
    let annotated = annotations.is_some_and(|all| all.get(ANNOTATION).is_some());
    let (runtime, mode) = (text("/HostConfig/Runtime"), text("/HostConfig/NetworkMode"));
    if annotated || runtime != RUNTIME || mode != "none" {
        return Ok(());
    }
    let id = text("/Id");
    if adapter.netd.sandbox_of(id).await?.is_some() {
        return Ok(());
    }
    // Where it is everybody's runtime, it is also that of containers that want no network.
    let info = engine.get("/info").await?;
    if info.get("DefaultRuntime").and_then(Value::as_str) == Some(RUNTIME) {
        return Ok(());
    }
    Err(Refusal::not_found(format!(
        "failed to set up container networking: netd has no sandbox for container {id}, which was created for its networks; remove the container and create it again"
    )))
}
