//! `GET /containers/{id}/stats` in front of an engine: its figures, with those of netd's endpoints.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{StatusCode, header};
use netd_proto::v1::ListStatsRequest;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::id_of;
use crate::{
    adapter::Adapter,
    engine::Engine,
    http::{Answer, answer},
    lines::Lines,
    netd::Netd,
    refusal::Result,
    request::Call,
};

/// Passes the engine's figures on, each with the packets and bytes of the container's interfaces.
pub async fn stats(adapter: &Adapter, engine: &Engine, call: Call, name: &str) -> Result<Answer> {
    let ours = match id_of(engine, name).await {
        Ok(id) => adapter.netd.sandbox_of(&id).await?,
        Err(_) => None,
    };
    let Some(sandbox) = ours else {
        return engine.pass(call.request).await;
    };
    let answered = engine.send(call.request).await?;
    if answered.status() != StatusCode::OK {
        use http_body_util::BodyExt as _;
        return Ok(answered.map(|body| body.map_err(Into::into).boxed()));
    }
    let (mut head, body) = answered.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.remove(header::TRANSFER_ENCODING);
    let (sender, receiver) = mpsc::channel(1);
    let netd = adapter.netd.clone();
    tokio::spawn(async move {
        let mut lines = Lines::new(body);
        while let Some(line) = lines.next_for(&sender).await {
            let mut told = with_networks(&netd, &sandbox.id, &line).await;
            told.push(b'\n');
            if sender.send(Bytes::from(told)).await.is_err() {
                return;
            }
        }
    });
    let pieces = futures::StreamExt::map(ReceiverStream::new(receiver), Ok);
    let mut told = answer::stream("application/json", pieces);
    std::mem::swap(told.headers_mut(), &mut head.headers);
    Ok(told)
}

/// One of the engine's figures with the networks'; as it came where that cannot be done.
async fn with_networks(netd: &Netd, sandbox: &str, line: &[u8]) -> Vec<u8> {
    let parsed: Option<Value> = serde_json::from_slice(line).ok();
    // It may have been restarted or connected since the last one.
    let (Some(mut figures), Ok(Some(sandbox)), Ok(counted)) = (
        parsed.filter(Value::is_object),
        netd.sandbox_of(sandbox).await,
        netd.system().list_stats(ListStatsRequest {}).await,
    ) else {
        return line.to_vec();
    };
    let all = counted.into_inner().stats;
    let ours = all
        .into_iter()
        .filter(|s| sandbox.endpoints.iter().any(|e| e.id == s.endpoint_id));
    let networks: BTreeMap<String, Value> = ours
        .map(|s| {
            let figures = json!({
                "rx_bytes": s.rx_bytes,
                "rx_packets": s.rx_packets,
                "rx_errors": 0,
                "rx_dropped": 0,
                "tx_bytes": s.tx_bytes,
                "tx_packets": s.tx_packets,
                "tx_errors": 0,
                "tx_dropped": s.dropped_packets,
            });
            (s.interface_name, figures)
        })
        .collect();
    figures["networks"] = json!(networks);
    figures.to_string().into_bytes()
}
