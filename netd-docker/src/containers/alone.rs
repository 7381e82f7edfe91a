//! Sandboxes shown as containers, without an engine.

use http::{Method, StatusCode};
use netd_proto::v1::{Sandbox, sandbox::State};
use serde_json::{Map, Value, json};

use super::{lifecycle::forget, list::exposed, network_ids, ports, shape};
use crate::{
    adapter::Adapter,
    filters::Filters,
    http::{Answer, Version, answer},
    networks::shape::map,
    refusal::{Refusal, Result},
    request::Call,
    system, time,
};

/// What sandboxes can be filtered by.
const FILTERS: [&str; 10] = [
    "id", "name", "label", "network", "status", "publish", "expose", "ancestor", "health", "volume",
];

/// Answers a request below `/containers`.
pub async fn answer(adapter: &Adapter, call: &Call, rest: &str) -> Result<Answer> {
    let get = matches!(call.method, Method::GET | Method::HEAD);
    match (rest, rest.rsplit_once('/')) {
        ("json", _) if get => list(adapter, call).await,
        (_, Some((name, "json"))) if get => inspect(adapter, call, name).await,
        (name, None) if call.method == Method::DELETE => remove(adapter, call, name).await,
        _ => Err(system::no_engine()),
    }
}

async fn list(adapter: &Adapter, call: &Call) -> Result<Answer> {
    let filters = Filters::parse(call.query.get("filters"))?;
    filters.check(&FILTERS)?;
    let limit: usize = call.query.get("limit").parse().unwrap_or_default();
    let all = call.query.is_set("all") || limit > 0 || filters.has("status");
    let ids = network_ids(adapter).await?;
    let mut sandboxes = adapter.netd.list_sandboxes().await?;
    // The newest first.
    sandboxes.reverse();
    sandboxes.retain(|sandbox| {
        let on = |wanted: &String| {
            let mut there = sandbox.attachments.iter();
            there.any(|a| a.network == *wanted || ids.get(&a.network) == Some(wanted))
        };
        let networks = filters.get("network");
        (all || shape::running(sandbox))
            && filters.matches("id", &sandbox.id)
            && filters.matches("name", &sandbox.name)
            && filters.exactly("status", status(sandbox))
            && filters.labels("label", |key| {
                sandbox
                    .labels
                    .get(key)
                    .filter(|_| !key.starts_with(shape::OWN))
            })
            && (networks.is_empty() || networks.iter().any(on))
            && (!filters.has("publish")
                || ports::publishes(&sandbox.publications, filters.get("publish")))
            && !filters.has("ancestor")
            && !filters.has("volume")
    });
    if limit > 0 {
        sandboxes.truncate(limit);
    }
    let find = |name: &str| ids.get(name).cloned().unwrap_or_default();
    let rows = sandboxes.iter();
    let rows: Vec<Value> = rows.map(|s| row(s, &find, call.version)).collect();
    Ok(answer::json(StatusCode::OK, &rows))
}

/// All sandboxes as containers of a list.
pub async fn rows(adapter: &Adapter, version: Version) -> Result<Vec<Value>> {
    let ids = network_ids(adapter).await?;
    let find = |name: &str| ids.get(name).cloned().unwrap_or_default();
    let sandboxes = adapter.netd.list_sandboxes().await?;
    Ok(sandboxes.iter().map(|s| row(s, &find, version)).collect())
}

fn status(sandbox: &Sandbox) -> &'static str {
    match sandbox.state() {
        State::Running => "running",
        State::Gone => "dead",
        State::Stopped | State::Unspecified => "created",
    }
}

fn mode(sandbox: &Sandbox) -> String {
    let first = sandbox.attachments.first();
    first.map_or_else(|| "none".to_owned(), |a| a.network.clone())
}

fn labels(sandbox: &Sandbox) -> Value {
    let mut labels = sandbox.labels.clone();
    labels.retain(|key, _| !key.starts_with(shape::OWN));
    map(&labels)
}

fn row(sandbox: &Sandbox, ids: &dyn Fn(&str) -> String, version: Version) -> Value {
    let up = shape::running(sandbox);
    let ports = match up {
        true => ports::listed(&sandbox.publications, &exposed(sandbox)),
        false => json!([]),
    };
    let networks = shape::networks(sandbox, ids, version, shape::Place::List);
    json!({
        "Id": sandbox.id,
        "Names": [format!("/{}", sandbox.name)],
        "Image": "",
        "ImageID": "",
        "Command": "",
        "Created": sandbox.created.as_ref().map_or(0, |t| t.seconds),
        "Ports": ports,
        "Labels": labels(sandbox),
        "State": status(sandbox),
        "Status": if up { "Up" } else { "Created" },
        "HostConfig": { "NetworkMode": mode(sandbox) },
        "NetworkSettings": { "Networks": networks },
        "Mounts": [],
    })
}

async fn inspect(adapter: &Adapter, call: &Call, name: &str) -> Result<Answer> {
    let sandbox = adapter.netd.sandbox(name).await?;
    let ids = network_ids(adapter).await?;
    let find = |name: &str| ids.get(name).cloned().unwrap_or_default();
    let mut settings = Map::new();
    if !call.version.since(52) {
        for key in ["Bridge", "SandboxID", "SandboxKey"] {
            settings.insert(key.to_owned(), "".into());
        }
        for (key, value) in [
            ("Ports", json!({})),
            ("HairpinMode", json!(false)),
            ("LinkLocalIPv6Address", json!("")),
            ("LinkLocalIPv6PrefixLen", json!(0)),
            ("SecondaryIPAddresses", Value::Null),
            ("SecondaryIPv6Addresses", Value::Null),
            ("EndpointID", json!("")),
            ("Gateway", json!("")),
            ("GlobalIPv6Address", json!("")),
            ("GlobalIPv6PrefixLen", json!(0)),
            ("IPAddress", json!("")),
            ("IPPrefixLen", json!(0)),
            ("IPv6Gateway", json!("")),
            ("MacAddress", json!("")),
        ] {
            settings.insert(key.to_owned(), value);
        }
    }
    let open = exposed(&sandbox);
    shape::fill(&mut settings, &sandbox, &open, &find, call.version);
    let ports: Map<String, Value> = open.iter().map(|p| (p.key(), json!({}))).collect();
    let names = sandbox.names.clone().unwrap_or_default();
    let shown = json!({
        "Id": sandbox.id,
        "Created": time::rfc3339(sandbox.created.as_ref()),
        "Path": "",
        "Args": [],
        "State": {
            "Status": status(&sandbox),
            "Running": shape::running(&sandbox),
            "Paused": false,
            "Restarting": false,
            "OOMKilled": false,
            "Dead": sandbox.state() == State::Gone,
            "Pid": sandbox.pid,
            "ExitCode": 0,
            "Error": sandbox.degraded.join("; "),
            "StartedAt": "0001-01-01T00:00:00Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        },
        "Image": "",
        "ResolvConfPath": sandbox.resolv_conf_path,
        "HostnamePath": sandbox.hostname_path,
        "HostsPath": sandbox.hosts_path,
        "LogPath": "",
        "Name": format!("/{}", sandbox.name),
        "RestartCount": 0,
        "Driver": "",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": {
            "NetworkMode": mode(&sandbox),
            "Dns": names.dns,
            "DnsOptions": names.dns_options,
            "DnsSearch": names.dns_search,
            "PortBindings": {},
        },
        "Mounts": [],
        "Config": {
            "Hostname": sandbox.hostname,
            "Domainname": names.domainname,
            "ExposedPorts": ports,
            "Labels": labels(&sandbox),
            "Image": "",
            "Env": [],
            "Cmd": null,
        },
        "NetworkSettings": settings,
    });
    Ok(answer::json(StatusCode::OK, &shown))
}

async fn remove(adapter: &Adapter, call: &Call, name: &str) -> Result<Answer> {
    let sandbox = adapter.netd.sandbox(name).await?;
    if shape::running(&sandbox) && !call.query.is_set("force") {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            format!(
                "cannot remove container {name:?}: container is running: stop the container before removing or force remove"
            ),
        ));
    }
    forget(adapter, &sandbox.id).await?;
    Ok(answer::bare(StatusCode::NO_CONTENT))
}
