//! `network ls`: filters, order, formats, all on the client as the API lists everything. Asks nothing of the daemon.

use netd_proto::v1::Network;
use regex::Regex;
use serde_json::{Map, Value};

use crate::{
    cli::{Output, network::List},
    failure::{Failure, Result},
    format::{
        docker,
        json::pretty,
        table::Table,
        template::{Missing, Template},
    },
};

/// Docker's own columns.
const TABLE: &str = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
/// What Docker calls a row.
const ROW: Missing = Missing::Field("*network.networkContext");

/// Refuses unknown filters, values and templates.
///
/// # Errors
/// Docker's words.
pub fn check(flags: &List) -> Result<()> {
    for (name, value) in &flags.filters {
        match (name.as_str(), value.as_str()) {
            ("driver" | "id" | "label" | "name" | "scope", _)
            | ("type", "custom" | "builtin")
            | ("dangling", "true" | "1" | "false" | "0") => {}
            ("type", _) => {
                return Err(Failure::new(format!("invalid filter: 'type'='{value}'"))
                    .hint("type is custom or builtin"));
            }
            ("dangling", _) => {
                return Err(Failure::new(
                    "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")",
                ));
            }
            _ => {
                return Err(Failure::new(format!("Invalid filter '{name}'"))
                    .hint("filters are driver, id, label, name, scope, type and dangling"));
            }
        }
    }
    let form = Form::new(flags)?;
    // A field that is not there is said even if there is no row.
    match form {
        Form::Table(template) | Form::Rows(template) => {
            head(&template)?;
        }
        Form::Ids | Form::Lines => {}
    }
    Ok(())
}

/// How rows are printed.
enum Form {
    Ids,
    Lines,
    Table(Template),
    Rows(Template),
}

impl Form {
    fn new(flags: &List) -> Result<Self> {
        let format = flags.format.as_deref().unwrap_or("table");
        // In a shell's quotes a tab is two characters.
        let format = format.trim().replace("\\t", "\t").replace("\\n", "\n");
        let parse = |text: &str| Template::parse(text).map_err(Failure::new);
        match format.as_str() {
            // As in Docker, a template of the user's own is stronger.
            "" | "table" if flags.quiet => Ok(Self::Ids),
            "" | "table" => Ok(Self::Table(parse(TABLE)?)),
            "json" => Ok(Self::Lines),
            format => match format.strip_prefix("table ") {
                Some(columns) => Ok(Self::Table(parse(columns.trim())?)),
                None => Ok(Self::Rows(parse(format)?)),
            },
        }
    }
}

fn heads() -> Value {
    let heads = docker::COLUMNS.map(|(field, head)| (field.to_owned(), Value::from(head)));
    Value::Object(Map::from_iter(heads))
}

/// The head of a table. A label's is the last part of its key, as Docker makes it.
fn head(template: &Template) -> Result<String> {
    let label = |key: &str| {
        let last = key.rsplit('.').next().unwrap_or(key);
        last.replace(['-', '_'], " ").to_uppercase()
    };
    template
        .render_row(&heads(), ROW, Some(&label))
        .map_err(Failure::new)
}

/// The text to print.
///
/// # Errors
/// See [`check`].
pub fn show(mut networks: Vec<Network>, flags: &List, output: Output) -> Result<String> {
    networks.retain(|network| wanted(network, &flags.filters));
    networks.sort_by(|a, b| docker::natural(&a.name, &b.name));
    if output == Output::Json {
        let all: Vec<Value> = networks.iter().map(docker::inspect).collect();
        return Ok(pretty(&Value::Array(all)));
    }
    let rows = networks
        .iter()
        .map(|network| (network, docker::row(network, flags.no_trunc)));
    let filled = |template: &Template, (network, row): (&Network, Value)| {
        let label = |key: &str| network.labels.get(key).cloned().unwrap_or_default();
        template
            .render_row(&row, ROW, Some(&label))
            .map_err(Failure::new)
    };
    let mut text = String::new();
    match Form::new(flags)? {
        Form::Ids => {
            for (_, row) in rows {
                text.push_str(row["ID"].as_str().unwrap_or_default());
                text.push('\n');
            }
        }
        Form::Lines => rows.for_each(|(_, row)| text.push_str(&format!("{row}\n"))),
        Form::Table(template) => {
            let mut table = Table::default();
            table.row(head(&template)?.split('\t'));
            for row in rows {
                table.row(filled(&template, row)?.split('\t'));
            }
            text = table.render();
        }
        Form::Rows(template) => {
            for row in rows {
                text.push_str(&filled(&template, row)?);
                text.push('\n');
            }
        }
    }
    Ok(text)
}

/// Several values of one filter: any of them; of `label`: all.
fn wanted(network: &Network, filters: &[(String, String)]) -> bool {
    filters.iter().all(|(name, value)| {
        if name == "label" {
            return matches(network, name, value);
        }
        let mut same = filters.iter().filter(|(other, _)| other == name);
        same.any(|(name, value)| matches(network, name, value))
    })
}

fn matches(network: &Network, name: &str, value: &str) -> bool {
    let builtin = docker::PREDEFINED.contains(&network.name.as_str());
    match name {
        "driver" => network.driver == value,
        "scope" => network.scope == value,
        "id" => part(&network.id, value),
        "name" => part(&network.name, value),
        "label" => match value.split_once('=') {
            None => network.labels.contains_key(value),
            Some((key, value)) => network.labels.get(key).is_some_and(|have| have == value),
        },
        "type" => (value == "builtin") == builtin,
        "dangling" => {
            let dangling = network.endpoint_count == 0 && !builtin;
            dangling == matches!(value, "true" | "1")
        }
        _ => false,
    }
}

/// Whether the expression is found in `text`; what is none is looked for as it is, as Docker does.
fn part(text: &str, part: &str) -> bool {
    text == part || Regex::new(part).is_ok_and(|expression| expression.is_match(text))
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
