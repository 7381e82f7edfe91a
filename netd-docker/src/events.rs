//! `/events`: netd's networks and the engine's containers in one stream, in order of time.

mod engine;
mod gone;
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
use gone::Gone;

/// Events that wait for a client that reads slowly; beyond that their sources wait.
const QUEUE: usize = 256;
/// How long an event waits for an earlier one of the other source.
const HOLD: Duration = Duration::from_millis(40);

/// How long a client waits for the first ones, so that what happened before is in order.
const HISTORY: Duration = Duration::from_millis(250);

/// An event as a client gets it.
#[derive(Debug)]
struct Told {
    /// Nanoseconds since 1970.
    time: i64,
    /// A line of JSON.
    line: Bytes,
    /// The container that it is of, if it is not to be told should netd have known that container.
    unless: Option<String>,
}

/// Of which time events are asked for.
#[derive(Clone, Copy, Debug)]
struct Span {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// Answers `/events`.
pub async fn answer(adapter: &Adapter, call: Call) -> Result<Answer> {
    if call.method != http::Method::GET {
        return Err(Refusal::no_page());
    }
    let filters = Filters::parse(call.query.get("filters"))?;
    let span = span(&call)?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let gone = Gone::default();
    let networks = netd::source(adapter, filters.clone(), span, call.version, gone.clone()).await?;
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
    let merged = merge(networks, containers, gone, sender, span, sequence);
    tokio::spawn(merged);
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
    gone: Gone,
    client: mpsc::Sender<Bytes>,
    span: Span,
    sequence: bool,
) {
    let mut waiting: BTreeMap<(i64, u64), (Instant, Told)> = BTreeMap::new();
    // What happened before is told when netd has told all of it; then, too, a client that wants no more gets its end.
    let (mut known, mut ended) = (false, false);
    let mut count = 0_u64;
    // The end of what happened before is told by neither; a span that is over is told in one go.
    let until = span.until;
    let past = until.is_some_and(|until| until <= Timestamp::now());
    let settled = Instant::now() + span.since.map_or(Duration::ZERO, |_| HISTORY);
    let left = until.map(|until| until.duration_since(Timestamp::now()));
    let left = left.map(|left| Duration::try_from(left).unwrap_or_default() + 2 * HOLD);
    let over = async move {
        match left {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    // An engine ends its part by itself.
    let alone = containers.is_none();
    loop {
        let due = waiting.values().map(|(since, _)| *since + HOLD).min();
        let due = due.filter(|_| known && !past);
        let due = due.map(|due| due.max(settled));
        let release = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            () = client.closed() => return,
            () = &mut over, if alone && !ended => {
                ended = true;
                continue;
            }
            Some(told) = networks.recv() => Some(told),
            () = gone.known(), if !known || ended => {
                known = true;
                if ended {
                    break;
                }
                continue;
            }
            () = release => None,
            told = next(&mut containers), if !ended => {
                ended = told.is_none();
                match told {
                    Some(told) => Some(told),
                    None => continue,
                }
            }
        };
        if let Some(told) = told {
            count += 1;
            waiting.insert((told.time, count), (Instant::now(), told));
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
        let due = std::mem::replace(&mut waiting, later);
        if !send(due, &gone, &client, sequence).await {
            return;
        }
    }
    // What happened at the last moment is on its way.
    tokio::time::sleep(HOLD).await;
    while let Ok(told) = networks.try_recv() {
        count += 1;
        waiting.insert((told.time, count), (Instant::now(), told));
    }
    send(waiting, &gone, &client, sequence).await;
}

/// Sends events in their order; false: the client went.
async fn send(
    due: BTreeMap<(i64, u64), (Instant, Told)>,
    gone: &Gone,
    client: &mpsc::Sender<Bytes>,
    sequence: bool,
) -> bool {
    let told = due.into_values().map(|(_, told)| told);
    for told in told.filter(|t| !t.unless.as_ref().is_some_and(|id| gone.holds(id))) {
        if client.send(framed(told.line, sequence)).await.is_err() {
            return false;
        }
    }
    true
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
