//! `GET /containers/{id}/json` in front of an engine: its answer with netd's networks.

use std::collections::BTreeSet;

use http::StatusCode;
use netd_proto::v1::Sandbox;
use serde_json::{Map, Value};

use super::{
    lifecycle::networking,
    needed_ids, network_ids,
    ports::{self, Port},
    rewrite::{ANNOTATION, RUNTIME},
    shape::{self, MODE},
};
use crate::{
    adapter::Adapter,
    engine::Engine,
    http::{Answer, Version},
    refusal::Result,
    request::Call,
};

/// When a container was started that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Shows a container.
pub async fn inspect(
    adapter: &Adapter,
    engine: &Engine,
    call: Call,
    _name: &str,
) -> Result<Answer> {
    let version = call.version;
    let whole = engine.whole(call.request).await?;
    if whole.head.status != StatusCode::OK || whole.body.is_empty() {
        return Ok(whole.answer());
    }
    let mut shown = whole.json()?;
    let id = shown.get("Id").and_then(Value::as_str).unwrap_or_default();
    let sandbox = match adapter.netd.sandbox_of(id).await {
        Ok(Some(sandbox)) => sandbox,
        Ok(None) => return foreign(adapter, whole, shown).await,
        // Clients look at a container before nearly everything that they do with it, also what needs no networks.
        Err(refusal) if refusal.is_away() => {
            unknown(&mut shown);
            return Ok(whole.with_json(&shown));
        }
        Err(refusal) => return Err(refusal),
    };
    let ids = needed_ids(adapter, &[&sandbox]).await?;
    let ids = |name: &str| ids.get(name).cloned().unwrap_or_default();
    if let Some(fields) = shown.as_object_mut() {
        patch(fields, &sandbox, &ids, version);
    }
    Ok(whole.with_json(&shown))
}

/// A container that is the engine's alone: on `host` and `none` the networks' ids are netd's.
async fn foreign(
    adapter: &Adapter,
    whole: crate::engine::Whole,
    mut shown: Value,
) -> Result<Answer> {
    let networks = shown.pointer_mut("/NetworkSettings/Networks");
    let Some(networks) = networks.and_then(Value::as_object_mut) else {
        return Ok(whole.answer());
    };
    if !networks.keys().any(|name| name == "host" || name == "none") {
        return Ok(whole.answer());
    }
    let ids = network_ids(adapter).await?;
    own_ids(networks, &ids);
    Ok(whole.with_json(&shown))
}

/// Puts netd's ids in the place of the engine's, of the networks that every host has.
pub fn own_ids(networks: &mut Map<String, Value>, ids: &std::collections::HashMap<String, String>) {
    for (name, settings) in networks.iter_mut() {
        let known = matches!(name.as_str(), "host" | "none");
        let place = settings
            .get_mut("NetworkID")
            .filter(|id| id.as_str() != Some(""));
        if let (true, Some(place), Some(id)) = (known, place, ids.get(name)) {
            *place = id.clone().into();
        }
    }
}

/// Replaces what netd knows better.
fn patch(
    fields: &mut Map<String, Value>,
    sandbox: &Sandbox,
    ids: &dyn Fn(&str) -> String,
    version: Version,
) {
    let mode = sandbox.labels.get(MODE).cloned();
    // Why it did not start is told as at the start itself.
    if let Some(error) = fields.get_mut("State").and_then(|s| s.get_mut("Error"))
        && let Some(refusal) = networking(error.as_str().unwrap_or_default())
    {
        *error = refusal.message().into();
    }
    if let Some(host) = fields.get_mut("HostConfig").and_then(Value::as_object_mut) {
        restore(host, mode);
    }
    let exposed: BTreeSet<Port> =
        ports::exposed(fields.get("Config").and_then(|c| c.get("ExposedPorts")));
    if shape::running(sandbox) {
        for (key, path) in [
            ("ResolvConfPath", &sandbox.resolv_conf_path),
            ("HostsPath", &sandbox.hosts_path),
        ] {
            if !path.is_empty() && fields.contains_key(key) {
                fields.insert(key.to_owned(), path.clone().into());
            }
        }
    }
    if let Some(settings) = fields
        .get_mut("NetworkSettings")
        .and_then(Value::as_object_mut)
    {
        shape::fill(settings, sandbox, &exposed, ids, version);
    }
    let started = fields.get("State").and_then(|s| s.get("StartedAt"));
    if started.and_then(Value::as_str) == Some(NEVER) {
        let networks = fields.get_mut("NetworkSettings");
        shape::never_started(networks.and_then(|s| s.get_mut("Networks")));
    }
    if let (false, Some(mac)) = (version.since(52), mode_mac(sandbox, ids))
        && let Some(config) = fields.get_mut("Config").and_then(Value::as_object_mut)
    {
        config.insert("MacAddress".to_owned(), mac.into());
    }
}

/// The MAC address that was asked for on the mode's network; up to API 1.51 it is the container's, too.
fn mode_mac(sandbox: &Sandbox, ids: &dyn Fn(&str) -> String) -> Option<String> {
    let mode = sandbox.labels.get(MODE)?;
    let mut there = sandbox.attachments.iter();
    let of_mode = there.find(|a| a.network == *mode || ids(&a.network).starts_with(mode))?;
    Some(of_mode.mac_address.clone()).filter(|mac| !mac.is_empty())
}

/// Of a container whose networks cannot be asked for: none are shown, rather than those that the engine knows.
fn unknown(shown: &mut Value) {
    let Some(host) = shown.get_mut("HostConfig").and_then(Value::as_object_mut) else {
        return;
    };
    if host.get("Runtime").and_then(Value::as_str) != Some(RUNTIME) {
        return;
    }
    let annotations = host.get("Annotations");
    let mode = annotations.and_then(|all| Some(all.get(ANNOTATION)?.as_str()?.to_owned()));
    restore(host, mode);
    if let Some(networks) = shown.pointer_mut("/NetworkSettings/Networks") {
        *networks = Value::Object(Map::new());
    }
}

/// What was asked for in `HostConfig`, before it was rewritten.
fn restore(host: &mut Map<String, Value>, mode: Option<String>) {
    if let Some(mode) = mode {
        host.insert("NetworkMode".to_owned(), mode.into());
    }
    if host.get("Runtime").and_then(Value::as_str) == Some(RUNTIME) {
        host.insert("Runtime".to_owned(), "runc".into());
    }
    let Some(annotations) = host.get_mut("Annotations").and_then(Value::as_object_mut) else {
        return;
    };
    annotations.shift_remove(ANNOTATION);
    if annotations.is_empty() {
        host.shift_remove("Annotations");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn p05_what_was_rewritten_is_shown_as_it_was_asked_for() {
        let mut shown = json!({
            "Id": "i", "HostConfig": {"NetworkMode": "none", "Runtime": "netd", "Annotations": {"io.netd.network": "front"}},
            "NetworkSettings": {"Networks": {"none": {}}, "Ports": {}}});
        let sandbox = Sandbox {
            labels: HashMap::from([(MODE.to_owned(), "front".to_owned())]),
            ..Default::default()
        };
        let fields = shown.as_object_mut().unwrap();
        patch(fields, &sandbox, &|_| String::new(), Version::new(1, 51));
        assert_eq!(
            fields["HostConfig"],
            json!({"NetworkMode": "front", "Runtime": "runc"})
        );
        assert_eq!(fields["NetworkSettings"]["Networks"], json!({}));
    }

    #[test]
    fn p05_while_netd_is_away_nothing_is_shown_that_is_wrong() {
        let mut shown = json!({
            "HostConfig": {"NetworkMode": "none", "Runtime": "netd", "Annotations": {"io.netd.network": "front"}},
            "NetworkSettings": {"Networks": {"none": {}}}});
        unknown(&mut shown);
        let wanted = json!({
            "HostConfig": {"NetworkMode": "front", "Runtime": "runc"}, "NetworkSettings": {"Networks": {}}});
        assert_eq!(shown, wanted);
        let mut other = json!({"HostConfig": {"NetworkMode": "none"}, "NetworkSettings": {"Networks": {"none": {}}}});
        let before = other.clone();
        unknown(&mut other);
        assert_eq!(other, before);
    }

    #[test]
    fn p05_the_ids_of_host_and_none_are_netds() {
        let mut shown = json!({"host": {"NetworkID": "theirs"}, "none": {"NetworkID": ""}, "other": {"NetworkID": "x"}});
        let ids = HashMap::from([
            ("host".to_owned(), "ours".to_owned()),
            ("other".into(), "y".into()),
        ]);
        own_ids(shown.as_object_mut().unwrap(), &ids);
        assert_eq!(
            shown,
            json!({"host": {"NetworkID": "ours"}, "none": {"NetworkID": ""}, "other": {"NetworkID": "x"}})
        );
    }
}
