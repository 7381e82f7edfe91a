//! `system watch`: changes of objects as the daemon tells them, a line each.

use netd_proto::v1::{
    self, ObjectChange, WatchRequest, WatchResponse,
    object_change::{Kind as Change, Object},
    watch_response::Kind,
};
use serde_json::{Value, json};

use super::{events, print};
use crate::{
    cli::{ObjectType, Output, Watch},
    client::Client,
    failure::Result,
    format::{docker, json, time::rfc3339},
};

impl From<ObjectType> for v1::ObjectType {
    fn from(kind: ObjectType) -> Self {
        match kind {
            ObjectType::Network => Self::Network,
            ObjectType::Sandbox => Self::Sandbox,
            ObjectType::Endpoint => Self::Endpoint,
        }
    }
}

/// Prints changes until the daemon ends or the user interrupts.
///
/// # Errors
/// The daemon's refusal or end.
pub async fn run(client: &Client, flags: Watch, output: Output) -> Result<()> {
    let types = flags.types.into_iter().map(v1::ObjectType::from);
    let request = WatchRequest {
        from_revision: flags.from,
        types: types.map(Into::into).collect(),
        filter: flags.filter.unwrap_or_default(),
        snapshot: flags.snapshot,
        events: flags.events,
    };
    let mut stream = client.events().watch(request).await?.into_inner();
    while let Some(told) = stream.message().await? {
        match output {
            Output::Text => print(&lines(&told))?,
            Output::Json => print(&format!("{}\n", message(&told)))?,
        }
    }
    Ok(())
}

fn word(change: &ObjectChange) -> &'static str {
    match change.kind() {
        Change::Present => "present",
        Change::Created => "created",
        Change::Updated => "updated",
        Change::Removed => "removed",
        Change::Unspecified => "unknown",
    }
}

fn name(change: &ObjectChange) -> String {
    match &change.object {
        Some(Object::Network(network)) => network.name.clone(),
        Some(Object::Sandbox(sandbox)) => sandbox.name.clone(),
        Some(Object::Endpoint(e)) => format!("{} on {}", e.sandbox_name, e.network_name),
        None => String::new(),
    }
}

/// Revision, time, what became of what; the snapshot's end is a line of its own.
fn lines(told: &WatchResponse) -> String {
    let head = match told.time.as_ref() {
        Some(time) => format!("{} {}", told.revision, rfc3339(Some(time))),
        None => told.revision.to_string(),
    };
    if told.kind() == Kind::Synced {
        return format!("{head} synced\n");
    }
    let changes = told.changes.iter().map(|change| {
        let kind = json::object_type(change.r#type());
        let line = format!("{head} {} {kind} {}", word(change), change.id);
        format!("{line} {}", name(change)).trim_end().to_owned() + "\n"
    });
    let events = told.events.iter();
    let events = events.map(|event| format!("{} event {}", told.revision, events::line(event)));
    changes.chain(events).collect()
}

fn message(told: &WatchResponse) -> Value {
    let kind = match told.kind() {
        Kind::Snapshot => "snapshot",
        Kind::Synced => "synced",
        Kind::Commit => "commit",
        Kind::Progress => "progress",
        Kind::Unspecified => "unknown",
    };
    let changes = told.changes.iter().map(|change| {
        json!({
            "Kind": word(change),
            "Type": json::object_type(change.r#type()),
            "Id": change.id,
            "Object": match &change.object {
                Some(Object::Network(network)) => docker::inspect(network),
                Some(Object::Sandbox(sandbox)) => json::sandbox(sandbox),
                Some(Object::Endpoint(endpoint)) => json::endpoint(endpoint),
                None => Value::Null,
            },
        })
    });
    json!({
        "Kind": kind,
        "Revision": told.revision,
        "Time": rfc3339(told.time.as_ref()),
        "Changes": changes.collect::<Vec<_>>(),
        "Events": told.events.iter().map(json::event).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p01_a_commit_is_a_line_for_each_change() {
        let network = v1::Network {
            name: "front".into(),
            ..Default::default()
        };
        let told = WatchResponse {
            kind: Kind::Commit.into(),
            revision: 7,
            changes: vec![
                ObjectChange {
                    kind: Change::Created.into(),
                    r#type: v1::ObjectType::Network.into(),
                    id: "aa".into(),
                    object: Some(Object::Network(network)),
                },
                ObjectChange {
                    kind: Change::Removed.into(),
                    r#type: v1::ObjectType::Endpoint.into(),
                    id: "bb".into(),
                    object: None,
                },
            ],
            ..Default::default()
        };
        assert_eq!(
            lines(&told),
            "7 created network aa front\n7 removed endpoint bb\n"
        );
        let shown = message(&told);
        assert_eq!(shown["Changes"][0]["Object"]["Name"], "front");
        assert_eq!(shown["Changes"][1]["Object"], Value::Null);
        let synced = WatchResponse {
            kind: Kind::Synced.into(),
            revision: 8,
            ..Default::default()
        };
        assert_eq!(lines(&synced), "8 synced\n");
    }
}
