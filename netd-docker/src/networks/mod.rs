//! `/networks`: as objects, and who is on them.

mod check;
mod connect;
mod create;
pub mod endpoint;
mod prune;
pub mod shape;

use http::{Method, StatusCode};
use netd_proto::v1::{Network, NetworkView, RemoveNetworkRequest};

use crate::{
    adapter::Adapter,
    filters::Filters,
    http::{Answer, answer},
    refusal::{Refusal, Result},
    request::Call,
};
pub use connect::refusal as refused;
use shape::{PREDEFINED, Place};

/// Of a container on `none`, and of `none` itself.
pub const PRIVATE: &str = "container cannot be connected to multiple networks with one of the networks in private (none) mode";

/// What `GET /networks` can be filtered by.
const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// Answers a request below `/networks`; `rest` is what follows that, without a slash.
pub async fn answer(adapter: &Adapter, call: Call, rest: &str) -> Result<Answer> {
    let method = call.method.clone();
    match (&method, rest) {
        (&(Method::GET | Method::HEAD), "") => list(adapter, &call).await,
        (&Method::POST, "create") => create::create(adapter, call).await,
        (&Method::POST, "prune") => prune::prune(adapter, &call).await,
        (&Method::POST, rest) => {
            let rest = rest.to_owned();
            if let Some(name) = rest.strip_suffix("/connect") {
                connect::connect(adapter, call, name).await
            } else if let Some(name) = rest.strip_suffix("/disconnect") {
                connect::disconnect(adapter, call, name).await
            } else {
                Err(Refusal::no_page())
            }
        }
        (&(Method::GET | Method::HEAD), name) => inspect(adapter, &call, name).await,
        (&Method::DELETE, name) => remove(adapter, name).await,
        _ => Err(Refusal::no_page()),
    }
}

async fn list(adapter: &Adapter, call: &Call) -> Result<Answer> {
    let filters = Filters::parse(call.query.get("filters"))?;
    filters.check(&FILTERS)?;
    let dangling = filters.boolean("dangling").map_err(|_| {
        let must = "must be \"true\" (or \"1\"), or \"false\" (or \"0\")";
        Refusal::invalid(format!("invalid value for filter 'dangling', {must}"))
    })?;
    for kind in filters.get("type") {
        if !matches!(kind.as_str(), "custom" | "builtin") {
            return Err(Refusal::invalid(format!("invalid filter: 'type'='{kind}'")));
        }
    }
    let view = if call.version.since(28) {
        NetworkView::Basic
    } else {
        NetworkView::Full
    };
    let mut networks = adapter.netd.list_networks(view).await?;
    networks.retain(|network| matches(network, &filters, dangling));
    let shown: Vec<_> = networks
        .iter()
        .map(|network| shape::network(network, call.version, Place::List))
        .collect();
    Ok(answer::json(StatusCode::OK, &shown))
}

fn matches(network: &Network, filters: &Filters, dangling: Option<bool>) -> bool {
    let predefined = PREDEFINED.contains(&network.name.as_str());
    let kind = if predefined { "builtin" } else { "custom" };
    let unused = network.endpoint_count == 0 && !predefined;
    dangling.is_none_or(|wanted| wanted == unused)
        && filters.exactly("driver", shape::driver(network))
        && filters.exactly("scope", &network.scope)
        && filters.exactly("type", kind)
        && filters.matches("id", &network.id)
        && filters.matches("name", &network.name)
        && filters.labels("label", |key| network.labels.get(key))
}

async fn inspect(adapter: &Adapter, call: &Call, name: &str) -> Result<Answer> {
    let verbose = call.query.get("verbose");
    let truths = [
        "", "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
    ];
    if !truths.contains(&verbose) {
        return Err(Refusal::invalid(format!(
            "invalid value for verbose: {verbose}: strconv.ParseBool: parsing {verbose:?}: invalid syntax"
        )));
    }
    let network = adapter.netd.network_with_endpoints(name).await;
    let mut network = network.map_err(ambiguous)?;
    let scope = call.query.get("scope");
    if !scope.is_empty() && scope != network.scope {
        return Err(Refusal::not_found(format!("network {name} not found")));
    }
    crate::containers::add_foreign(adapter, &mut network).await?;
    let shown = shape::network(&network, call.version, Place::Inspect);
    Ok(answer::json(StatusCode::OK, &shown))
}

/// Docker tells it in another order where it inspects.
fn ambiguous(refusal: Refusal) -> Refusal {
    let text = refusal.message();
    let parts = text
        .strip_suffix(')')
        .and_then(|text| text.split_once(" is ambiguous ("));
    match parts {
        Some((network, found)) => Refusal::invalid(format!("{found}: {network} is ambiguous")),
        None => refusal,
    }
}

async fn remove(adapter: &Adapter, name: &str) -> Result<Answer> {
    let network = adapter.netd.network(name).await?;
    if PREDEFINED.contains(&network.name.as_str()) {
        return Err(Refusal::forbidden(format!(
            "{} is a pre-defined network and cannot be removed",
            network.name
        )));
    }
    let request = RemoveNetworkRequest {
        network: network.id.clone(),
        allow_missing: false,
    };
    match adapter.netd.networks().remove_network(request).await {
        Ok(_) => Ok(answer::bare(StatusCode::NO_CONTENT)),
        Err(status) if crate::netd::reason(&status).as_deref() == Some("HAS_ENDPOINTS") => Err(
            in_use(&adapter.netd.network_with_endpoints(&network.id).await?),
        ),
        Err(status) if crate::netd::reason(&status).as_deref() == Some("CONFIGURATION_IN_USE") => {
            Err(Refusal::forbidden(format!(
                "error while removing network: configuration network {:?} is in use",
                network.name
            )))
        }
        Err(status) => Err(status.into()),
    }
}

fn in_use(network: &Network) -> Refusal {
    let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
    let mut holders: Vec<_> = network.endpoints.iter().collect();
    holders.sort_by(|a, b| a.sandbox_name.cmp(&b.sandbox_name));
    let holders: Vec<String> = holders
        .iter()
        .map(|e| format!("name:{:?} id:{:?}", e.sandbox_name, short(&e.id)))
        .collect();
    Refusal::forbidden(format!(
        "error while removing network: network {} has active endpoints ({})",
        network.name,
        holders.join(", ")
    ))
}
