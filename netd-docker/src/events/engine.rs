//! The engine's events: passed on without those of its own networks, and followed.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use netd_proto::v1::{NetworkView, ObjectType, WatchRequest};
use serde_json::Value;
use tokio::{sync::mpsc, time::sleep};

use super::{QUEUE, Told};
use crate::{
    adapter::Adapter,
    containers,
    engine::Engine,
    http::{Answer, answer},
    lines::Lines,
    refusal::{Refusal, Result},
    request::Call,
};

/// How long to wait before an engine that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// What netd follows: `{"type":["container"],"event":["destroy","rename"]}`.
const FOLLOWED: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22destroy%22%2C%22rename%22%5D%7D";

/// The engine's events for a client: the head of its answer and, if it is one, the stream.
pub async fn source(
    adapter: &Adapter,
    engine: &Engine,
    call: Call,
) -> Result<(Answer, Option<mpsc::Receiver<Told>>)> {
    let (head, _) = call.request.into_parts();
    let request = Request::from_parts(head, answer::empty());
    let answered = engine.send(request).await?;
    if answered.status() != StatusCode::OK {
        let passed = answered.map(|body| body.map_err(Into::into).boxed());
        return Ok((passed, None));
    }
    let (head, body) = answered.into_parts();
    let told = http::Response::from_parts(head, answer::empty());
    let (sender, receiver) = mpsc::channel(QUEUE);
    let netd = adapter.netd.clone();
    let mut ids: HashMap<String, String> = HashMap::new();
    for network in netd.list_networks(NetworkView::Basic).await? {
        ids.insert(network.name, network.id);
    }
    tokio::spawn(async move {
        let mut lines = Lines::new(body);
        while let Some(line) = lines.next_for(&sender).await {
            let Ok(mut event) = serde_json::from_slice::<Value>(&line) else {
                continue;
            };
            let time = super::when(&event);
            let (line, unless) = if event.get("Type").and_then(Value::as_str) == Some("network") {
                match own_network(&netd, &mut event, &ids).await {
                    Some(container) => (Bytes::from(event.to_string()), Some(container)),
                    None => continue,
                }
            } else {
                (line, None)
            };
            if sender.send(Told { time, line, unless }).await.is_err() {
                return;
            }
        }
    });
    Ok((told, Some(receiver)))
}

/// The container of an event, if that is on `host` or `none` by itself; the event then carries netd's id of the network.
async fn own_network(
    netd: &crate::netd::Netd,
    event: &mut Value,
    ids: &HashMap<String, String>,
) -> Option<String> {
    let text = |pointer: &str| {
        let found = event.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let (name, container) = (
        text("/Actor/Attributes/name"),
        text("/Actor/Attributes/container"),
    );
    if !matches!(name.as_str(), "host" | "none") || container.is_empty() {
        return None;
    }
    if !matches!(netd.sandbox_of(&container).await, Ok(None)) {
        return None;
    }
    if let (Some(place), Some(id)) = (event.pointer_mut("/Actor/ID"), ids.get(&name)) {
        *place = id.clone().into();
    }
    Some(container)
}

/// Follows the engine's containers: those that are removed or renamed without a request through this socket, and, whenever the
/// engine or netd comes back, all of them.
pub async fn follow(adapter: &Adapter, engine: &Engine) {
    let engines = again("following the Docker engine's containers", || {
        follow_once(adapter, engine)
    });
    let netds = again("waiting for netd", || follow_netd(adapter, engine));
    tokio::join!(engines, netds);
}

/// Does it again whenever it ends, and says why it fails, once.
async fn again<F: Future<Output = Result<()>>>(what: &str, work: impl Fn() -> F) {
    let mut told = None;
    loop {
        let failed = work().await.err().map(|refusal| refusal.to_string());
        if let Some(text) = failed.as_ref().filter(|_| failed != told) {
            tracing::warn!("{what}: {text}");
        }
        told = failed;
        sleep(AGAIN).await;
    }
}

/// Looks at all containers when netd is there, and waits until it goes.
async fn follow_netd(adapter: &Adapter, engine: &Engine) -> Result<()> {
    // What is watched changes seldom: only the watch's end matters.
    let request = WatchRequest {
        types: vec![ObjectType::Network.into()],
        ..Default::default()
    };
    let mut watch = adapter.netd.events().watch(request).await?.into_inner();
    // An engine that is away is looked at when it is back.
    if let Err(e) = containers::sweep(adapter, engine).await {
        tracing::debug!("looking at the Docker engine's containers: {e}");
    }
    while let Ok(Some(_)) = watch.message().await {}
    Ok(())
}

async fn follow_once(adapter: &Adapter, engine: &Engine) -> Result<()> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(FOLLOWED)
        .header(header::HOST, "docker")
        .body(answer::empty())
        .map_err(|e| Refusal::internal(e.to_string()))?;
    let answered = engine.send(request).await?;
    if answered.status() != StatusCode::OK {
        return Err(Refusal::internal(format!(
            "the Docker engine refuses to tell its events: {}",
            answered.status()
        )));
    }
    // What happens from here on is told; what happened before is looked for.
    containers::sweep(adapter, engine).await?;
    let mut lines = Lines::new(answered.into_body());
    while let Some(line) = lines.next().await {
        let Ok(event) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        if let Err(e) = containers::follow(adapter, engine, &event).await {
            tracing::warn!("following the Docker engine's containers: {e}");
        }
    }
    Ok(())
}
