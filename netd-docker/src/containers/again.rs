//! Containers that could not start because netd was away. An engine that starts them by their restart policy, as at boot, tries once:
//! they are started when netd is back.

use futures::{StreamExt as _, stream};
use http::Method;
use netd_proto::v1::Sandbox;
use serde_json::Value;

use super::{shape, target};
use crate::{engine::Engine, refusal::Result};

/// How many are started at once.
const TOGETHER: usize = 8;

/// Starts those of these that should run and did not find netd.
pub async fn start(engine: &Engine, sandboxes: &[Sandbox]) {
    let stopped = sandboxes
        .iter()
        .filter(|s| s.labels.contains_key(shape::MODE) && !shape::running(s));
    let work = stream::iter(stopped).for_each_concurrent(TOGETHER, |sandbox| async move {
        match start_one(engine, &sandbox.id).await {
            Ok(false) => {}
            Ok(true) => tracing::info!("container {} starts, now that netd is back", sandbox.name),
            Err(e) => tracing::warn!("starting container {} again: {e}", sandbox.name),
        }
    });
    work.await;
}

async fn start_one(engine: &Engine, id: &str) -> Result<bool> {
    let shown = engine.get(&target(id, "json")).await?;
    if !waits(&shown) {
        return Ok(false);
    }
    let started = engine.ask(Method::POST, &target(id, "start")).await?;
    match started.head.status.is_success() || started.head.status.is_redirection() {
        true => Ok(true),
        false => Err(started.refusal()),
    }
}

/// Whether an inspected container should run, and does not because the runtime could not reach netd.
fn waits(shown: &Value) -> bool {
    let text = |pointer: &str| {
        let found = shown.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default()
    };
    let policy = text("/HostConfig/RestartPolicy/Name");
    let error = text("/State/Error");
    !matches!(policy, "" | "no")
        && matches!(text("/State/Status"), "exited" | "created")
        && error.contains("OCI runtime")
        && error.contains("netd: UNAVAILABLE: ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn p05_who_is_started_when_netd_is_back() {
        let error = "failed to create task for container: failed to create shim task: OCI runtime create failed: netd: UNAVAILABLE: cannot reach netd at unix:///run/netd/netd.sock: nobody listens there";
        let shown = |policy: &str, status: &str, error: &str| json!({"HostConfig": {"RestartPolicy": {"Name": policy}}, "State": {"Status": status, "Error": error}});
        assert!(waits(&shown("always", "exited", error)));
        assert!(waits(&shown("unless-stopped", "created", error)));
        assert!(!waits(&shown("no", "exited", error)));
        assert!(!waits(&shown("always", "running", error)));
        assert!(!waits(&shown("always", "exited", "")));
        assert!(!waits(&json!({})));
    }
}
