//! `POST /networks/{id}/connect` and `/disconnect`.

use http::StatusCode;
use netd_proto::v1::{ConnectSandboxRequest, DisconnectSandboxRequest, sandbox::State};

use super::endpoint::Wanted;
use crate::{
    adapter::Adapter,
    containers::{Found, find},
    http::{Answer, answer, body::Object},
    refusal::{Refusal, Result},
    request::Call,
};

/// Connects a container.
pub async fn connect(adapter: &Adapter, mut call: Call, network: &str) -> Result<Answer> {
    let mut body = read(&mut call, "ConnectOptions").await?;
    let container = body.text("Container")?;
    let settings = body.take("EndpointConfig").unwrap_or_default();
    let mut wanted = Wanted::read(settings, "ConnectOptions.EndpointConfig")?;
    if !call.version.since(54) {
        // Engines drop it there, see API 1.54.
        wanted.spec.mac_address = String::new();
    }
    if !call.version.since(48) {
        wanted.spec.gateway_priority = 0;
    }
    let found = find(adapter, &named(&container)?).await?;
    let network = adapter.netd.network(network).await?;
    let sandbox = match found {
        Found::Sandbox(sandbox) => sandbox,
        Found::Foreign(container) => return Err(container.connecting(&network.name)),
    };
    match network.driver.as_str() {
        "host" => {
            return Err(Refusal::invalid(
                "cannot connect container to host network - container must be created in host network mode",
            ));
        }
        "null" => return Err(Refusal::invalid(super::PRIVATE)),
        _ => {}
    }
    let spec = wanted.on(Some(&network), &network.name)?;
    let on_it = sandbox
        .attachments
        .iter()
        .any(|a| a.network == network.name);
    if on_it && sandbox.state() == State::Running {
        return Err(Refusal::forbidden(format!(
            "endpoint with name {} already exists in network {}",
            sandbox.name, network.name
        )));
    }
    if on_it {
        // Of a stopped container Docker takes the new settings.
        leave(adapter, &network.name, &sandbox.id).await?;
    }
    let request = ConnectSandboxRequest {
        sandbox: sandbox.id.clone(),
        spec: Some(spec),
        request_id: String::new(),
    };
    let connected = adapter.netd.endpoints().connect_sandbox(request).await;
    connected.map_err(refusal)?;
    Ok(answer::bare(StatusCode::OK))
}

/// Disconnects a container.
pub async fn disconnect(adapter: &Adapter, mut call: Call, network: &str) -> Result<Answer> {
    let mut body = read(&mut call, "DisconnectOptions").await?;
    let container = named(&body.text("Container")?)?;
    let force = body.boolean("Force")?.unwrap_or_default();
    let found = match find(adapter, &container).await {
        Err(refusal) if force && refusal.status() == StatusCode::NOT_FOUND => {
            adapter.netd.network(network).await?;
            return Err(Refusal::not_found(format!(
                "endpoint {container} not found"
            )));
        }
        found => found?,
    };
    let network = match (adapter.netd.network(network).await, &found) {
        (Ok(network), _) => network,
        // A network that is gone can still be what a stopped container waits for.
        (Err(refusal), Found::Sandbox(sandbox)) if refusal.status() == StatusCode::NOT_FOUND => {
            if !sandbox.attachments.iter().any(|a| a.network == network) {
                return Err(refusal);
            }
            leave(adapter, network, &sandbox.id).await?;
            return Ok(answer::bare(StatusCode::OK));
        }
        (Err(refusal), _) => return Err(refusal),
    };
    let not_connected = |id: &str| {
        Refusal::internal(format!(
            "container {id} is not connected to network {}",
            network.name
        ))
    };
    let sandbox = match found {
        Found::Sandbox(sandbox) => sandbox,
        Found::Foreign(container) if network.driver == "host" && container.mode == "host" => {
            return Err(Refusal::invalid(
                "cannot disconnect container from host network - container was created in host network mode",
            ));
        }
        Found::Foreign(container) => return Err(not_connected(&container.id)),
    };
    if !sandbox
        .attachments
        .iter()
        .any(|a| a.network == network.name)
    {
        return Err(not_connected(&sandbox.id));
    }
    leave(adapter, &network.name, &sandbox.id).await?;
    Ok(answer::bare(StatusCode::OK))
}

async fn leave(adapter: &Adapter, network: &str, sandbox: &str) -> Result<()> {
    let request = DisconnectSandboxRequest {
        network: network.to_owned(),
        sandbox: sandbox.to_owned(),
        allow_missing: false,
    };
    adapter.netd.endpoints().disconnect_sandbox(request).await?;
    Ok(())
}

/// The body; none at all is an empty object.
async fn read(call: &mut Call, kind: &'static str) -> Result<Object> {
    let bytes = call.bytes().await?;
    if bytes.is_empty() {
        return Object::new(serde_json::Value::Null, kind, "");
    }
    Object::parse(call.headers(), &bytes, kind)
}

fn named(container: &str) -> Result<String> {
    match container.trim_start_matches('/') {
        "" => Err(Refusal::invalid(format!(
            "invalid name or ID supplied: {container:?}"
        ))),
        name => Ok(name.to_owned()),
    }
}

/// Docker's words for what netd refuses.
pub fn refusal(status: tonic::Status) -> Refusal {
    match crate::netd::reason(&status).as_deref() {
        Some("ADDRESS_IN_USE") => Refusal::forbidden("Address already in use"),
        _ => status.into(),
    }
}
