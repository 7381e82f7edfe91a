//! netd's events in Docker's form.

use std::collections::HashMap;

use bytes::Bytes;
use netd_proto::v1::{Event, GetStatusRequest, WatchRequest};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Gone, QUEUE, Span, Told};
use crate::{
    adapter::Adapter, filters::Filters, http::Version, networks::shape::map, refusal::Result, time,
};

/// netd's events of a span of time. They end where netd ends the watch.
pub async fn source(
    adapter: &Adapter,
    filters: Filters,
    span: Span,
    version: Version,
    gone: Gone,
) -> Result<mpsc::Receiver<Told>> {
    let (from_revision, newest) = match span.since {
        None => (None, 0),
        Some(_) => {
            let status = adapter
                .netd
                .system()
                .get_status(GetStatusRequest {})
                .await?
                .into_inner();
            (Some(status.oldest_revision), status.revision)
        }
    };
    if from_revision.is_none_or(|oldest| oldest >= newest) {
        gone.is_known();
    }
    let request = WatchRequest {
        from_revision,
        events: true,
        ..Default::default()
    };
    let mut watch = adapter.netd.events().watch(request).await?.into_inner();
    let (sender, receiver) = mpsc::channel(QUEUE);
    // An engine behind tells of its containers itself.
    let containers = adapter.engine.is_none();
    let nanos = |t: jiff::Timestamp| i64::try_from(t.as_nanosecond()).unwrap_or(i64::MAX);
    let since = span.since.map_or(i64::MIN, nanos);
    let until = span.until.map_or(i64::MAX, nanos);
    tokio::spawn(async move {
        // Whatever ends this: there is no more to wait for.
        let _known = gone.is_known_at_the_end();
        loop {
            let message = tokio::select! {
                () = sender.closed() => return,
                message = watch.message() => message,
            };
            let Ok(Some(message)) = message else {
                return;
            };
            for event in message.events {
                if (event.r#type.as_str(), event.action.as_str()) == ("sandbox", "destroy") {
                    gone.add(&event.id);
                }
                let Some(shown) = shape(&event, containers, version) else {
                    continue;
                };
                let at = super::when(&shown);
                if at < since || at > until || !takes(&filters, &shown) {
                    continue;
                }
                let line = Bytes::from(shown.to_string());
                let told = Told {
                    time: at,
                    line,
                    unless: None,
                };
                if sender.send(told).await.is_err() {
                    return;
                }
            }
            if message.revision >= newest {
                gone.is_known();
            }
        }
    });
    Ok(receiver)
}

/// As Docker tells it; none: Docker has no such event.
fn shape(event: &Event, containers: bool, version: Version) -> Option<Value> {
    let action = match (event.r#type.as_str(), event.action.as_str()) {
        ("network", action @ ("create" | "connect" | "disconnect" | "destroy" | "prune")) => action,
        ("sandbox", action @ ("create" | "start" | "destroy")) if containers => action,
        ("sandbox", "stop") if containers => "die",
        _ => return None,
    };
    let at = event.time.unwrap_or_default();
    let kind = if event.r#type == "network" {
        "network"
    } else {
        "container"
    };
    let mut attributes: HashMap<String, String> = event.attributes.clone();
    if kind == "container" {
        attributes.entry("image".to_owned()).or_default();
    }
    let mut shown = serde_json::Map::new();
    if kind == "container" && !version.since(52) {
        shown.insert("status".to_owned(), action.into());
        shown.insert("id".to_owned(), event.id.clone().into());
        shown.insert("from".to_owned(), "".into());
    }
    for (key, value) in [
        ("Type", json!(kind)),
        ("Action", json!(action)),
        (
            "Actor",
            json!({ "ID": event.id, "Attributes": map(&attributes) }),
        ),
        ("scope", json!("local")),
        ("time", json!(at.seconds)),
        ("timeNano", json!(time::nanoseconds(&at))),
    ] {
        shown.insert(key.to_owned(), value);
    }
    Some(shown.into())
}

/// Whether a client's filters take an event, as Docker judges it.
fn takes(filters: &Filters, event: &Value) -> bool {
    let text = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let attribute = |key: &str| {
        let attributes = event.pointer("/Actor/Attributes")?;
        attributes.get(key)?.as_str()
    };
    let (id, name) = (text("/Actor/ID"), attribute("name").unwrap_or_default());
    let known = [
        "config",
        "container",
        "daemon",
        "image",
        "network",
        "node",
        "plugin",
        "secret",
        "service",
        "volume",
    ];
    let labels = filters
        .get("label")
        .iter()
        .all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => attribute(key) == Some(value),
            None => attribute(wanted).is_some(),
        });
    labels
        && filters.exactly("type", text("/Type"))
        && filters.exactly("event", text("/Action"))
        && filters.exactly("scope", text("/scope"))
        && known.iter().all(|key| {
            let wanted = filters.get(key);
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|w| id.starts_with(w.as_str()) || name.starts_with(w.as_str()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str) -> Event {
        let attributes = [("name", "front"), ("type", "bridge")];
        Event {
            time: Some(prost_types::Timestamp {
                seconds: 5,
                nanos: 7,
            }),
            r#type: kind.into(),
            action: action.into(),
            id: "abc".into(),
            attributes: attributes.map(|(k, v)| (k.into(), v.into())).into(),
        }
    }

    #[test]
    fn n11_network_events_are_dockers() {
        let shown = shape(&event("network", "create"), false, Version::new(1, 24));
        // As Engine 28.5.2 tells it, down to the order of the fields.
        assert_eq!(
            shown.unwrap().to_string(),
            r#"{"Type":"network","Action":"create","Actor":{"ID":"abc","Attributes":{"name":"front","type":"bridge"}},"scope":"local","time":5,"timeNano":5000000007}"#
        );
        assert!(shape(&event("network", "update"), true, Version::new(1, 51)).is_none());
        assert!(shape(&event("sandbox", "start"), false, Version::new(1, 51)).is_none());
        let started = shape(&event("sandbox", "start"), true, Version::new(1, 51)).unwrap();
        assert_eq!(started["status"], "start");
        let newest = shape(&event("sandbox", "stop"), true, Version::new(1, 52)).unwrap();
        assert!(newest.get("status").is_none());
        assert_eq!(newest["Action"], "die");
    }

    #[test]
    fn n11_filters_judge_events_as_dockers_do() {
        let shown = shape(&event("network", "create"), false, Version::new(1, 51)).unwrap();
        let takes = |text: &str| takes(&Filters::parse(text).unwrap(), &shown);
        assert!(takes(r#"{"type":["network"],"event":["create"]}"#));
        assert!(takes(r#"{"network":["fro"]}"#));
        assert!(takes(r#"{"label":["name=front"]}"#));
        assert!(!takes(r#"{"container":["front2"]}"#));
        assert!(!takes(r#"{"type":["container"]}"#));
        assert!(!takes(r#"{"label":["x"]}"#));
    }
}
