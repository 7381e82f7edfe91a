//! `/events`: netd's networks and the engine's containers in one stream, in order of time.

mod engine;
mod netd;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    adapter::Adapter,
    filters::Filters,
    http::{Answer, answer},
    refusal::{Refusal, Result},
    request::Call,
    time,
};
pub use engine::follow;

/// Events that wait for a client that reads slowly; beyond that their sources wait.
const QUEUE: usize = 256;
/// How long an event waits for an earlier one of the other source.
const HOLD: Duration = Duration::from_millis(40);

/// An event as a client gets it.
#[derive(Debug)]
struct Told {
    /// Nanoseconds since 1970.
    time: i64,
    /// A line of JSON.
    line: Bytes,
}

/// Of which time events are asked for.
#[derive(Clone, Copy, Debug)]
struct Span {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// What `/events` can be filtered by.
const FILTERS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Answers `/events`.
pub async fn answer(adapter: &Adapter, call: Call) -> Result<Answer> {
    if call.method != http::Method::GET {
        return Err(Refusal::no_page());
    }
    let filters = Filters::parse(call.query.get("filters"))?;
    filters.check(&FILTERS)?;
    let span = span(&call)?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let networks = netd::source(adapter, filters.clone(), span, call.version).await?;
    let mut kind = "application/json";
    let mut containers = None;
    if let Some(engine) = &adapter.engine {
        let (told, source) = engine::source(adapter, engine, call).await?;
        let Some(source) = source else {
            return Ok(told);
        };
        let named = told.headers().get(http::header::CONTENT_TYPE);
        let named = named.and_then(|v| v.to_str().ok()).unwrap_or_default();
        for known in [
            "application/x-ndjson",
            "application/jsonl",
            "application/json-seq",
        ] {
            if named.starts_with(known) {
                kind = known;
            }
        }
        containers = Some(source);
    }
    let sequence = kind == "application/json-seq";
    tokio::spawn(merge(networks, containers, sender, span.until, sequence));
    let pieces = ReceiverStream::new(receiver);
    let mut told = answer::stream(kind, futures::StreamExt::map(pieces, Ok));
    *told.status_mut() = StatusCode::OK;
    Ok(told)
}

fn span(call: &Call) -> Result<Span> {
    let now = Timestamp::now();
    let read = |key: &str| -> Result<Option<Timestamp>> {
        let text = call.query.get(key);
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = || {
            Refusal::internal(format!(
                "strconv.ParseInt: parsing {text:?}: invalid syntax"
            ))
        };
        // The CLI makes a number of whatever it was given.
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong());
        }
        time::parse(text, now).map(Some).map_err(|_| wrong())
    };
    let (since, until) = (read("since")?, read("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Refusal::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            call.query.get("since"),
            call.query.get("until")
        )));
    }
    Ok(Span { since, until })
}

/// Joins both sources until the client goes, the time is over, or the engine ends.
async fn merge(
    mut networks: mpsc::Receiver<Told>,
    mut containers: Option<mpsc::Receiver<Told>>,
    client: mpsc::Sender<Bytes>,
    until: Option<Timestamp>,
    sequence: bool,
) {
    let mut waiting: BTreeMap<(i64, u64), (Instant, Bytes)> = BTreeMap::new();
    let mut count = 0_u64;
    let left = until.map(|until| until.duration_since(Timestamp::now()));
    let left = left.map(|left| Duration::try_from(left).unwrap_or_default() + 2 * HOLD);
    let over = async move {
        match left {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        let due = waiting.values().map(|(since, _)| *since + HOLD).min();
        let release = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            () = client.closed() => return,
            () = &mut over => break,
            () = release => None,
            Some(told) = networks.recv() => Some(told),
            told = next(&mut containers) => match told {
                Some(told) => Some(told),
                None => break,
            },
        };
        if let Some(told) = told {
            count += 1;
            waiting.insert((told.time, count), (Instant::now(), told.line));
            continue;
        }
        // The first that has waited long enough goes with all that are earlier.
        let now = Instant::now();
        let last = waiting
            .iter()
            .rev()
            .find(|(_, (since, _))| *since + HOLD <= now);
        let Some(last) = last.map(|(key, _)| *key) else {
            continue;
        };
        let later = waiting.split_off(&(last.0, last.1 + 1));
        for (_, (_, line)) in std::mem::replace(&mut waiting, later) {
            if client.send(framed(line, sequence)).await.is_err() {
                return;
            }
        }
    }
    for (_, (_, line)) in waiting {
        if client.send(framed(line, sequence)).await.is_err() {
            return;
        }
    }
}

async fn next(source: &mut Option<mpsc::Receiver<Told>>) -> Option<Told> {
    match source {
        Some(source) => source.recv().await,
        None => std::future::pending().await,
    }
}

/// RFC 7464 has a record separator before each text.
fn framed(line: Bytes, sequence: bool) -> Bytes {
    let mut framed = Vec::with_capacity(line.len() + 2);
    if sequence {
        framed.push(0x1e);
    }
    framed.extend_from_slice(&line);
    framed.push(b'\n');
    framed.into()
}

/// Nanoseconds since 1970 of an event.
fn when(event: &Value) -> i64 {
    event
        .get("timeNano")
        .and_then(Value::as_i64)
        .unwrap_or_default()
}
