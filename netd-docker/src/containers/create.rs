//! `POST /containers/create` in front of an engine.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use netd_proto::v1::{CreateSandboxRequest, EndpointSpec, Sandbox};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    lifecycle::{belongs, follow_name, forget},
    ports,
    rewrite::{Asked, Rewritten, about, rewrite},
    shape::{ENGINE, MODE},
    target,
};
use crate::{
    adapter::Adapter,
    engine::Engine,
    http::{Answer, answer},
    refusal::{Refusal, Result},
    request::Call,
};

/// How long a name that the engine has given away may still be another's at netd.
const LEAVING: Duration = Duration::from_secs(10);
/// Between two attempts at it.
const AGAIN: Duration = Duration::from_millis(20);

/// Makes a container at the engine, and its sandbox at netd.
pub async fn create(adapter: &Adapter, engine: &Engine, mut call: Call) -> Result<Answer> {
    let bytes = call.bytes().await?;
    let (asked, body) = match rewrite(call.headers(), &bytes, call.version)? {
        Rewritten::Untouched => {
            let (head, _) = call.request.into_parts();
            return engine.pass(request(head, bytes)).await;
        }
        Rewritten::Ours(asked, body) => (asked, body),
    };
    let specs = specs(adapter, &asked).await?;
    let (head, _) = call.request.into_parts();
    let made = engine
        .whole(request(head, Bytes::from(body.to_string())))
        .await?;
    if made.head.status != StatusCode::CREATED {
        return Ok(made.answer());
    }
    let id = made
        .json()?
        .get("Id")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let id = id.ok_or_else(|| Refusal::internal("the engine does not say what it made"))?;
    if let Err(refusal) = register(adapter, engine, &id, &asked, specs).await {
        // A container that netd does not know could not be started.
        let undone = engine
            .ask(Method::DELETE, &format!("/containers/{id}?force=1&v=1"))
            .await;
        if let Err(e) = undone {
            tracing::warn!("the container {id} was made, but not removed again: {e}");
        }
        return Err(refusal);
    }
    Ok(made.answer())
}

/// The client's request with another body.
fn request(mut head: http::request::Parts, body: Bytes) -> Request<crate::http::Body> {
    head.headers.remove(header::TRANSFER_ENCODING);
    head.headers.remove(header::EXPECT);
    let length = HeaderValue::from(body.len());
    head.headers.insert(header::CONTENT_LENGTH, length);
    Request::from_parts(head, answer::full(body))
}

/// What is asked of each network, checked.
async fn specs(adapter: &Adapter, asked: &Asked) -> Result<Vec<EndpointSpec>> {
    let mut specs: Vec<EndpointSpec> = Vec::new();
    for (name, wanted) in &asked.networks {
        // One that is not there is told at the start, as the engine does: it may be made until then.
        let network = match adapter.netd.network(name).await {
            Ok(network) => Some(network),
            Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => None,
            Err(refusal) => return Err(refusal),
        };
        let spec = wanted.clone().on(network.as_ref(), name);
        let spec = spec.map_err(|refusal| about(name, &refusal))?;
        // A client may name a network twice, by name and id.
        if !specs.iter().any(|there| there.network == spec.network) {
            specs.push(spec);
        }
    }
    // The engine joins the default network first and then all others by name, whichever the mode is: so eth0 is found.
    specs.sort_by_key(|spec| (spec.network != "bridge", spec.network.clone()));
    Ok(specs)
}

/// Makes the sandbox of a container that was just made.
async fn register(
    adapter: &Adapter,
    engine: &Engine,
    id: &str,
    asked: &Asked,
    endpoints: Vec<EndpointSpec>,
) -> Result<Sandbox> {
    // The image has a part in what the container is: it may expose ports.
    let shown = engine.get(&target(id, "json")).await?;
    let config = shown.get("Config").cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| {
        let found = value.get(key).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let name = text(&shown, "Name").trim_start_matches('/').to_owned();
    let exposed = ports::exposed(config.get("ExposedPorts"));
    let mut names = asked.names.clone();
    names.domainname = text(&config, "Domainname");
    let request = CreateSandboxRequest {
        name: name.clone(),
        id: id.to_owned(),
        hostname: text(&config, "Hostname"),
        labels: HashMap::from([
            (MODE.to_owned(), asked.mode.clone()),
            (ENGINE.to_owned(), engine.id().await?),
        ]),
        ports: asked.ports.clone(),
        endpoints,
        stopped: true,
        exposed: ports::exposed_specs(&exposed),
        publish_all: asked.publish_all,
        names: Some(names),
        allow_missing_networks: true,
        ..Default::default()
    };
    let mut sandboxes = adapter.netd.sandboxes();
    let end = Instant::now() + LEAVING;
    loop {
        let refused = match sandboxes.create_sandbox(request.clone()).await {
            Ok(made) => return Ok(made.into_inner()),
            Err(status) => status,
        };
        if refused.code() != tonic::Code::AlreadyExists || Instant::now() > end {
            return Err(crate::networks::refused(refused));
        }
        match adapter.netd.sandbox(&name).await {
            Ok(holder) if holder.name == name && !belongs(&holder, engine).await? => {
                return Err(Refusal::new(
                    StatusCode::CONFLICT,
                    format!(
                        "Conflict. The name {name:?} is already in use by netd's sandbox {}, which is no container of this engine's: choose another name, or remove it (netctl sandbox rm {name})",
                        holder.id
                    ),
                ));
            }
            Ok(holder) if holder.name == name => {
                // The engine has given the name away: whoever holds it here is gone there, or has another name there.
                let there = engine.ask(Method::GET, &target(&holder.id, "json")).await?;
                if there.head.status == StatusCode::NOT_FOUND {
                    forget(adapter, &holder.id).await?;
                } else if !follow_name(adapter, engine, &holder.id).await? {
                    return Err(refused.into());
                }
            }
            // It is leaving.
            Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => {}
            Err(refusal) => return Err(refusal),
            Ok(_) => return Err(refused.into()),
        }
        sleep(AGAIN).await;
    }
}
