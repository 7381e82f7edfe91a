//! `POST /networks/prune`.

use http::StatusCode;
use jiff::Timestamp;
use netd_proto::v1::{LabelSelector, PruneNetworksRequest};
use serde_json::{Value, json};

use crate::{
    adapter::Adapter,
    filters::Filters,
    http::{Answer, answer},
    refusal::{Refusal, Result},
    request::Call,
    time,
};

/// Removes the networks that nobody uses.
pub async fn prune(adapter: &Adapter, call: &Call) -> Result<Answer> {
    let filters = Filters::parse(call.query.get("filters"))?;
    filters.check(&["until", "label", "label!"])?;
    let created_before = match filters.get("until") {
        [] => None,
        [until] => {
            let before = time::parse(until, Timestamp::now()).map_err(Refusal::invalid)?;
            Some(prost_types::Timestamp {
                seconds: before.as_second(),
                nanos: before.subsec_nanosecond(),
            })
        }
        _ => return Err(Refusal::invalid("more than one until filter specified")),
    };
    let request = PruneNetworksRequest {
        created_before,
        labels: selectors(filters.get("label")),
        excluded_labels: selectors(filters.get("label!")),
    };
    let pruned = adapter.netd.networks().prune_networks(request).await?;
    let names = pruned.into_inner().names;
    let names = if names.is_empty() {
        Value::Null
    } else {
        names.into()
    };
    let body = json!({ "NetworksDeleted": names });
    Ok(answer::json(StatusCode::OK, &body))
}

fn selectors(texts: &[String]) -> Vec<LabelSelector> {
    let selector = |text: &String| {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text.as_str(), None),
        };
        LabelSelector {
            key: key.to_owned(),
            value,
        }
    };
    texts.iter().map(selector).collect()
}
