//! `GET /containers/json` in front of an engine.

use std::collections::HashMap;

use http::{Request, StatusCode, Uri};
use netd_proto::v1::Sandbox;
use serde_json::{Value, json};

use super::{inspect::own_ids, network_ids, ports, shape};
use crate::{
    adapter::Adapter,
    engine::Engine,
    filters::Filters,
    http::{Answer, Version, answer},
    refusal::{Refusal, Result},
    request::Call,
};

/// Lists the engine's containers with netd's networks and ports. What they are filtered by of these is judged here.
pub async fn list(adapter: &Adapter, engine: &Engine, call: Call) -> Result<Answer> {
    let version = call.version;
    let mut filters = Filters::parse(call.query.get("filters"))?;
    let networks = filters.take("network");
    let publish = filters.take("publish");
    let expose = filters.take("expose");
    if !publish
        .iter()
        .chain(&expose)
        .all(|text| ports::is_range(text))
    {
        // The engine refuses it.
        return engine.pass(call.request).await;
    }
    let ours = !networks.is_empty() || !publish.is_empty() || !expose.is_empty();
    let limit: usize = call.query.get("limit").parse().unwrap_or_default();
    let mut request = call.request;
    if ours {
        // The engine would count what is filtered out here.
        let mut query = call.query.without("filters").without("limit");
        if limit > 0 {
            query = query.with("all", "1");
        }
        if !filters.encode().is_empty() {
            query = query.with("filters", filters.encode());
        }
        request = retarget(request, &query.encode())?;
    }
    let whole = engine.whole(request).await?;
    if whole.head.status != StatusCode::OK {
        return Ok(whole.answer());
    }
    let Value::Array(mut shown) = whole.json()? else {
        return Ok(whole.answer());
    };
    let sandboxes = match adapter.netd.list_sandboxes().await {
        // What runs is seen without netd, too; of its networks nothing is known then.
        Err(refusal) if refusal.is_away() && !ours => return Ok(whole.answer()),
        sandboxes => sandboxes?,
    };
    let sandboxes: HashMap<&str, &Sandbox> = sandboxes.iter().map(|s| (s.id.as_str(), s)).collect();
    let ids = network_ids(adapter).await?;
    if ours {
        shown
            .retain(|container| keeps(container, &sandboxes, &ids, [&networks, &publish, &expose]));
        if limit > 0 {
            shown.truncate(limit);
        }
    }
    for container in &mut shown {
        patch(container, &sandboxes, &ids, version);
    }
    Ok(whole.with_json(&shown.into()))
}

fn retarget(
    request: Request<crate::http::Body>,
    query: &str,
) -> Result<Request<crate::http::Body>> {
    let (mut head, _) = request.into_parts();
    let target = format!("{}?{query}", head.uri.path());
    head.uri = target
        .parse::<Uri>()
        .map_err(|e| Refusal::internal(format!("the request {target}: {e}")))?;
    Ok(Request::from_parts(head, answer::empty()))
}

fn id(container: &Value) -> &str {
    container
        .get("Id")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn keeps(
    container: &Value,
    sandboxes: &HashMap<&str, &Sandbox>,
    ids: &HashMap<String, String>,
    [networks, publish, expose]: [&[String]; 3],
) -> bool {
    let Some(sandbox) = sandboxes.get(id(container)) else {
        let there = container.pointer("/NetworkSettings/Networks");
        let there = there.and_then(Value::as_object);
        let on = |wanted: &String| {
            there.is_some_and(|t| {
                t.keys()
                    .any(|name| name == wanted || ids.get(name) == Some(wanted))
            })
        };
        return publish.is_empty()
            && expose.is_empty()
            && (networks.is_empty() || networks.iter().any(on));
    };
    let on = |wanted: &String| {
        sandbox.attachments.iter().any(|a| {
            let id = ids.get(&a.network);
            a.network == *wanted
                || id.is_some_and(|id| id.starts_with(wanted.as_str()) && wanted.len() >= 12)
        })
    };
    (networks.is_empty() || networks.iter().any(on))
        && (publish.is_empty() || ports::publishes(&sandbox.publications, publish))
        && (expose.is_empty()
            || shape::connected(sandbox) && {
                let open = exposed(sandbox);
                let bound = ports::published(&sandbox.publications);
                ports::exposes(open.iter().chain(&bound), expose)
            })
}

fn patch(
    container: &mut Value,
    sandboxes: &HashMap<&str, &Sandbox>,
    ids: &HashMap<String, String>,
    version: Version,
) {
    let Some(sandbox) = sandboxes.get(id(container)) else {
        let networks = container.pointer_mut("/NetworkSettings/Networks");
        if let Some(networks) = networks.and_then(Value::as_object_mut) {
            own_ids(networks, ids);
        }
        return;
    };
    let find = |name: &str| ids.get(name).cloned().unwrap_or_default();
    let Some(fields) = container.as_object_mut() else {
        return;
    };
    let exposed = exposed(sandbox);
    let listed = match shape::connected(sandbox) {
        true => ports::listed(&sandbox.publications, &exposed),
        false => json!([]),
    };
    fields.insert("Ports".to_owned(), listed);
    if fields.contains_key("NetworkSettings") {
        let mut networks = shape::networks(sandbox, &find, version, shape::Place::List);
        if fields.get("State").and_then(Value::as_str) == Some("created") {
            shape::never_started(Some(&mut networks));
        }
        fields.insert(
            "NetworkSettings".to_owned(),
            json!({ "Networks": networks }),
        );
    }
    let mode = sandbox.labels.get(shape::MODE);
    if let (Some(host), Some(mode)) = (
        fields.get_mut("HostConfig").and_then(Value::as_object_mut),
        mode,
    ) {
        host.insert("NetworkMode".to_owned(), mode.clone().into());
        host.shift_remove("Annotations");
    }
}

/// The exposed ports of a sandbox.
pub fn exposed(sandbox: &Sandbox) -> std::collections::BTreeSet<ports::Port> {
    let rows = sandbox.exposed.iter();
    rows.flat_map(|row| {
        let protocol = row.protocol();
        (0..row.count.max(1)).filter_map(move |offset| {
            let number = u16::try_from(row.port + offset).ok()?;
            Some(ports::Port { number, protocol })
        })
    })
    .collect()
}
