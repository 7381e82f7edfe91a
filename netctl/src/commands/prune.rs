//! `network prune`: filters, the question and the answer, in Docker's words. Which networks go is the daemon's to say.

use std::{io::BufRead, time::SystemTime};

use netd_proto::v1::{LabelSelector, PruneNetworksRequest};
use serde_json::json;

use super::{answer, print};
use crate::{
    cli::Output,
    client::Client,
    failure::{Failure, Result, say},
    when,
};

/// Docker's question.
const QUESTION: &str = "\
WARNING! This will remove all custom networks not used by at least one container.
Are you sure you want to continue? [y/N] ";

/// The filters as the API takes them.
///
/// # Errors
/// Docker's words for an unknown filter and for a time that is none.
pub fn request(filters: &[(String, String)]) -> Result<PruneNetworksRequest> {
    let mut request = PruneNetworksRequest::default();
    for (name, value) in filters {
        match name.as_str() {
            "label" => request.labels.push(selector(value)),
            "label!" => request.excluded_labels.push(selector(value)),
            "until" if request.created_before.is_some() => {
                return Err(Failure::new("more than one until filter specified"));
            }
            "until" => {
                let time = when::parse(value, SystemTime::now()).map_err(Failure::new)?;
                request.created_before = Some(time);
            }
            _ => {
                return Err(Failure::new(format!("Invalid filter '{name}'"))
                    .hint("filters are until, label and label!"));
            }
        }
    }
    Ok(request)
}

/// `key` or `key=value`.
fn selector(text: &str) -> LabelSelector {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    LabelSelector {
        key: key.to_owned(),
        value,
    }
}

/// Asks the user, then the daemon.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(
    client: &Client,
    force: bool,
    filters: &[(String, String)],
    output: Output,
) -> Result<()> {
    if !force && !confirmed(output)? {
        return Ok(());
    }
    let mut service = client.networks();
    let pruned = service
        .prune_networks(request(filters)?)
        .await?
        .into_inner();
    let text = || match pruned.names.as_slice() {
        [] => String::new(),
        names => format!("Deleted Networks:\n{}\n\n", names.join("\n")),
    };
    answer(output, text, || json!({"NetworksDeleted": pruned.names}))
}

/// Whether the user says `y`. The end of the input is a no.
fn confirmed(output: Output) -> Result<bool> {
    match output {
        Output::Text => print(QUESTION)?,
        // Standard output is for the JSON only.
        Output::Json => say(QUESTION),
    }
    let mut said = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut said)
        .map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    Ok(said.trim().eq_ignore_ascii_case("y"))
}
