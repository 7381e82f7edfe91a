//! What happens to the engine's containers happens to netd's sandboxes: started, renamed, removed.

use std::collections::HashMap;

use http::{Method, StatusCode};
use netd_proto::v1::{RemoveSandboxRequest, Sandbox, SandboxUpdate, UpdateSandboxRequest};
use serde_json::Value;

use super::{
    again, id_of, known,
    shape::{ENGINE, MODE},
};
use crate::{
    adapter::Adapter,
    engine::Engine,
    http::{Answer, Query},
    netd,
    refusal::{Refusal, Result},
    request::Call,
};

/// Starts or restarts a container; what netd refuses is told in Docker's words.
pub async fn start(adapter: &Adapter, engine: &Engine, call: Call, name: &str) -> Result<Answer> {
    known::check(adapter, engine, name).await?;
    let whole = engine.whole(call.request).await?;
    if (whole.head.status.is_server_error() || whole.head.status.is_client_error())
        && let Some(refusal) = networking(&whole.message())
    {
        return Err(refusal);
    }
    Ok(whole.answer())
}

/// What the runtime says of netd: `… OCI runtime create failed: netd: REASON: message`.
pub fn networking(message: &str) -> Option<Refusal> {
    let (before, said) = message.split_once("netd: ")?;
    if !before.contains("OCI runtime") {
        return None;
    }
    let said = said.trim_end().trim_end_matches(": unknown");
    let (reason, text) = said.split_once(": ").unwrap_or(("", said));
    let Some(status) = netd::status_of(reason) else {
        return Some(Refusal::internal(format!(
            "failed to set up container networking: {said}"
        )));
    };
    let text = match reason {
        "PORT_ALLOCATED" => text.replacen(" connectivity on ", " connectivity on endpoint ", 1),
        "ADDRESS_NOT_OWNED" => unowned(text),
        "ADDRESS_IN_USE" => "Address already in use".to_owned(),
        _ => text.to_owned(),
    };
    Some(Refusal::new(
        status,
        format!("failed to set up container networking: {text}"),
    ))
}

/// `listen 192.0.2.9:80:80/tcp: bind: cannot assign requested address: why`, as Docker says it.
fn unowned(text: &str) -> String {
    let parts = text
        .strip_prefix("listen ")
        .and_then(|rest| rest.split_once(": bind: cannot assign requested address"));
    match parts {
        Some((binding, why)) => format!(
            "driver failed programming external connectivity on endpoint: failed to bind host port for {binding}: cannot assign requested address{why}"
        ),
        None => text.to_owned(),
    }
}

/// Renames a container: its names in DNS follow. If netd refuses the name, the container has its old one again.
pub async fn rename(adapter: &Adapter, engine: &Engine, call: Call, name: &str) -> Result<Answer> {
    let shown = engine.get(&super::target(name, "json")).await?;
    let text = |key: &str| shown.get(key).and_then(Value::as_str).unwrap_or_default();
    let (id, before) = (text("Id"), text("Name").trim_start_matches('/'));
    let whole = engine.whole(call.request).await?;
    if !whole.head.status.is_success() {
        return Ok(whole.answer());
    }
    let followed = follow_name(adapter, engine, id).await;
    if let Err(refusal) = later(id, followed.map(drop)) {
        let old = Query::default().with("name", before).encode();
        let back = super::target(id, "rename") + "?" + &old;
        if let Err(e) = engine.ask(Method::POST, &back).await {
            tracing::warn!("giving container {id} its name {before} back: {e}");
        }
        return Err(refusal);
    }
    Ok(whole.answer())
}

/// Gives a sandbox the name that its container has now. Returns whether it had another.
pub async fn follow_name(adapter: &Adapter, engine: &Engine, id: &str) -> Result<bool> {
    let Some(sandbox) = adapter.netd.sandbox_of(id).await? else {
        return Ok(false);
    };
    let shown = engine.get(&super::target(id, "json")).await?;
    let name = shown
        .get("Name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let name = name.trim_start_matches('/').to_owned();
    if name.is_empty() || name == sandbox.name {
        return Ok(false);
    }
    let request = UpdateSandboxRequest {
        sandbox: id.to_owned(),
        update: Some(SandboxUpdate {
            name,
            ..Default::default()
        }),
        ..Default::default()
    };
    adapter.netd.sandboxes().update_sandbox(request).await?;
    Ok(true)
}

/// Removes a container and its sandbox.
pub async fn remove(adapter: &Adapter, engine: &Engine, call: Call, name: &str) -> Result<Answer> {
    // Links are removed by the same call.
    let link = call.query.is_set("link");
    let id = if link {
        None
    } else {
        id_of(engine, name).await.ok()
    };
    let whole = engine.whole(call.request).await?;
    if let (true, Some(id)) = (whole.head.status.is_success(), id) {
        later(&id, forget_ours(adapter, &id).await)?;
    }
    Ok(whole.answer())
}

/// Removes all stopped containers and their sandboxes.
pub async fn prune(adapter: &Adapter, engine: &Engine, call: Call) -> Result<Answer> {
    let whole = engine.whole(call.request).await?;
    if whole.head.status.is_success() {
        let deleted = whole.json()?;
        let deleted = deleted.get("ContainersDeleted").and_then(Value::as_array);
        let deleted: Vec<&str> = deleted
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for id in deleted {
            later(id, forget_ours(adapter, id).await)?;
        }
    }
    Ok(whole.answer())
}

/// What the engine has done already is done: a netd that is away follows when it is back, see [`sweep`].
fn later(id: &str, followed: Result<()>) -> Result<()> {
    match followed {
        Err(refusal) if refusal.is_away() => {
            tracing::warn!("container {id}: {refusal}; netd follows when it is back");
            Ok(())
        }
        followed => followed,
    }
}

/// Removes the sandbox of a container that was made through this socket.
async fn forget_ours(adapter: &Adapter, id: &str) -> Result<()> {
    match adapter.netd.sandbox_of(id).await? {
        Some(sandbox) if sandbox.labels.contains_key(MODE) => forget(adapter, id).await,
        _ => Ok(()),
    }
}

/// Removes a sandbox; one that is gone is no error.
pub async fn forget(adapter: &Adapter, id: &str) -> Result<()> {
    let request = RemoveSandboxRequest {
        sandbox: id.to_owned(),
        allow_missing: true,
    };
    adapter.netd.sandboxes().remove_sandbox(request).await?;
    Ok(())
}

/// Whether a sandbox was made for a container of this engine: nothing else may be removed or renamed for the engine's sake.
pub async fn belongs(sandbox: &Sandbox, engine: &Engine) -> Result<bool> {
    Ok(
        sandbox.labels.contains_key(MODE)
            && sandbox.labels.get(ENGINE) == Some(&engine.id().await?),
    )
}

/// Makes netd's sandboxes follow the engine's containers: after either was away.
pub async fn sweep(adapter: &Adapter, engine: &Engine) -> Result<()> {
    engine.forget_id();
    let id = engine.id().await?;
    // Sandboxes first: one that is made meanwhile is of a container that the engine already lists.
    let mut sandboxes = adapter.netd.list_sandboxes().await?;
    sandboxes.retain(|s| s.labels.contains_key(MODE) && s.labels.get(ENGINE) == Some(&id));
    let shown = engine.get("/containers/json?all=1").await?;
    let there = names_by_id(&shown);
    for sandbox in &sandboxes {
        match there.get(sandbox.id.as_str()) {
            Some(name) if *name == sandbox.name => {}
            Some(_) => {
                if let Err(e) = follow_name(adapter, engine, &sandbox.id).await {
                    tracing::warn!("the name of container {}: {e}", sandbox.id);
                }
            }
            // Lists leave out containers that are being removed or made.
            None => {
                let target = super::target(&sandbox.id, "json");
                let asked = engine.ask(Method::GET, &target).await?;
                if asked.head.status == StatusCode::NOT_FOUND {
                    forget(adapter, &sandbox.id).await?;
                }
            }
        }
    }
    again::start(engine, &sandboxes).await;
    Ok(())
}

/// The names of listed containers; those that links give them have a second slash.
fn names_by_id(shown: &Value) -> HashMap<&str, &str> {
    let shown = shown.as_array().into_iter().flatten();
    shown
        .filter_map(|container| {
            let names = container.get("Names")?.as_array()?.iter();
            let mut own = names.filter_map(|name| name.as_str()?.strip_prefix('/'));
            let name = own.find(|name| !name.contains('/')).unwrap_or_default();
            Some((container.get("Id")?.as_str()?, name))
        })
        .collect()
}

/// What an event of the engine's means for netd.
pub async fn follow(adapter: &Adapter, engine: &Engine, event: &Value) -> Result<()> {
    let text = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let id = text("/Actor/ID");
    match text("/Action") {
        "destroy" => forget_ours(adapter, id).await,
        "rename" => follow_name(adapter, engine, id).await.map(drop),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p05_a_container_has_one_name_of_its_own() {
        let shown = serde_json::json!([
            {"Id": "a", "Names": ["/other/alias", "/web"]},
            {"Id": "b", "Names": null},
            {"Id": "c", "Names": []},
        ]);
        let names = names_by_id(&shown);
        assert_eq!(names["a"], "web");
        assert_eq!(names.get("b"), None);
        assert_eq!(names["c"], "");
    }

    #[test]
    fn p05_what_the_runtime_says_is_told_in_dockers_words() {
        let refusal = networking(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: netd: PORT_ALLOCATED: driver failed programming external connectivity on web: Bind for 0.0.0.0:8077 failed: port is already allocated: unknown",
        )
        .unwrap();
        assert_eq!(refusal.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            refusal.message(),
            "failed to set up container networking: driver failed programming external connectivity on endpoint web: Bind for 0.0.0.0:8077 failed: port is already allocated"
        );
        let refusal =
            networking("OCI runtime create failed: netd: NOT_FOUND: network n1 not found: unknown");
        let refusal = refusal.unwrap();
        assert_eq!(refusal.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            refusal.message(),
            "failed to set up container networking: network n1 not found"
        );
        assert!(networking("exec: \"nope\": executable file not found").is_none());
    }
}
