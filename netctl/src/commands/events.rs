//! `events`: filters and formats, on the client as the API sends everything.

use std::fmt::Write;

use netd_proto::v1::{Event, GetSandboxRequest, WatchRequest};

use super::print;
use crate::{
    cli::{Events, Output},
    client::Client,
    failure::{Failure, Result},
    format::{
        json,
        template::{Missing, Template},
        time::rfc3339,
    },
};

/// What Docker calls an event.
const EVENT: Missing = Missing::Field("events.Message");

/// Refuses unknown filters and templates.
///
/// # Errors
/// Docker's words.
pub fn check(flags: &Events) -> Result<()> {
    for (name, _) in &flags.filters {
        if !matches!(
            name.as_str(),
            "type" | "event" | "network" | "sandbox" | "container" | "label"
        ) {
            return Err(Failure::new(format!("Invalid filter '{name}'"))
                .hint("filters are type, event, network, sandbox and label"));
        }
    }
    if let Some(template) = template(flags)? {
        // A field that is not there is said even if nothing ever happens.
        template
            .render(&json::event(&Event::default()), EVENT)
            .map_err(Failure::new)?;
    }
    Ok(())
}

fn template(flags: &Events) -> Result<Option<Template>> {
    match flags.format.as_deref() {
        None | Some("" | "json") => Ok(None),
        Some(text) => Template::parse(text).map(Some).map_err(Failure::new),
    }
}

/// Prints events, a line each, until the daemon ends or the user interrupts.
///
/// # Errors
/// The daemon's refusal or end.
pub async fn run(client: &Client, flags: &Events, output: Output) -> Result<()> {
    let template = template(flags)?;
    let lines = output == Output::Json || flags.format.as_deref() == Some("json");
    let request = WatchRequest {
        events: true,
        ..Default::default()
    };
    let mut stream = client.events().watch(request).await?.into_inner();
    let filters = with_ids(client, &flags.filters).await;
    while let Some(commit) = stream.message().await? {
        for event in commit.events.iter().filter(|e| wanted(e, &filters)) {
            match &template {
                Some(template) => {
                    let text = template.render(&json::event(event), EVENT);
                    print(&(text.map_err(Failure::new)? + "\n"))?;
                }
                None if lines => print(&format!("{}\n", json::event(event)))?,
                None => print(&line(event))?,
            }
        }
    }
    Ok(())
}

/// Events of networks name a sandbox by its id: a name in a filter stands for that, too, if it exists now.
async fn with_ids(client: &Client, filters: &[(String, String)]) -> Vec<(String, String)> {
    let mut all = filters.to_vec();
    for (name, value) in filters {
        if matches!(name.as_str(), "sandbox" | "container") {
            let request = GetSandboxRequest {
                sandbox: value.clone(),
            };
            if let Ok(found) = client.sandboxes().get_sandbox(request).await {
                all.push((name.clone(), found.into_inner().id));
            }
        }
    }
    all
}

/// Several values of one filter: any of them; of `label`: all.
fn wanted(event: &Event, filters: &[(String, String)]) -> bool {
    filters.iter().all(|(name, value)| {
        if name == "label" {
            return matches(event, name, value);
        }
        let mut same = filters.iter().filter(|(other, _)| other == name);
        same.any(|(name, value)| matches(event, name, value))
    })
}

fn matches(event: &Event, name: &str, value: &str) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map(String::as_str);
    // The actor itself by name or by id and its prefixes; or another event that names it.
    let about = |kinds: &[&str]| {
        let itself = kinds.contains(&event.r#type.as_str())
            && (attribute("name") == Some(value)
                || !value.is_empty() && event.id.starts_with(value));
        let names = |key: &str| {
            attribute(key)
                .is_some_and(|text| text == value || value.len() >= 12 && text.starts_with(value))
        };
        itself || kinds.iter().any(|kind| names(kind))
    };
    match name {
        "type" => event.r#type == value,
        "event" => event.action == value,
        "network" => about(&["network"]),
        "sandbox" | "container" => about(&["sandbox", "container"]),
        "label" => match value.split_once('=') {
            None => event.attributes.contains_key(value),
            Some((key, value)) => attribute(key) == Some(value),
        },
        _ => false,
    }
}

/// As `docker events` prints it.
pub fn line(event: &Event) -> String {
    let mut attributes: Vec<String> = event
        .attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    attributes.sort();
    let mut line = rfc3339(event.time.as_ref());
    // Writing to memory cannot fail.
    let _ = write!(line, " {} {} {}", event.r#type, event.action, event.id);
    if !attributes.is_empty() {
        let _ = write!(line, " ({})", attributes.join(", "));
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()));
        Event {
            r#type: kind.into(),
            action: action.into(),
            id: id.into(),
            attributes: attributes.collect(),
            ..Default::default()
        }
    }

    fn passes(filters: &[(&str, &str)], event: &Event) -> bool {
        let filters: Vec<(String, String)> = filters
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        wanted(event, &filters)
    }

    #[test]
    fn n11_filters() {
        let id = "abcdef".repeat(10);
        let connect = event(
            "network",
            "connect",
            &id,
            &[("name", "front"), ("container", "web")],
        );
        for (filters, wanted) in [
            (&[("type", "network")][..], true),
            (&[("type", "sandbox"), ("type", "network")], true),
            (&[("type", "network"), ("event", "destroy")], false),
            (&[("event", "destroy"), ("event", "connect")], true),
            (&[("network", "front")], true),
            (&[("network", "abcdefab")], true),
            (&[("network", "web")], false),
            (&[("network", "")], false),
            (&[("sandbox", "web")], true),
            (&[("container", "front")], false),
            (&[("label", "container=web"), ("label", "name")], true),
            (&[("label", "nope")], false),
        ] {
            assert_eq!(passes(filters, &connect), wanted, "{filters:?}");
        }
        assert!(!passes(
            &[("network", "web")],
            &event("sandbox", "start", "5", &[("name", "web")])
        ));
    }

    #[test]
    fn n11_refused_filters_and_templates() {
        let flags = |filter: &str, format: &str| Events {
            filters: vec![(filter.to_owned(), "x".to_owned())],
            format: Some(format.to_owned()),
        };
        assert!(check(&flags("type", "{{.Actor.Attributes.name}}")).is_ok());
        let error = check(&flags("foo", "json")).unwrap_err().to_string();
        assert!(error.contains("Invalid filter 'foo'"), "{error}");
        let error = check(&flags("type", "{{.Frob}}")).unwrap_err().to_string();
        assert!(
            error.contains("can't evaluate field Frob in type events.Message"),
            "{error}"
        );
    }
}
