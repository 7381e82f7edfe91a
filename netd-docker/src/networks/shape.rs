//! Networks as Docker's API shows them.

use std::collections::HashMap;

use ipnetwork::IpNetwork;
use netd_proto::v1::{Endpoint, Ipam, IpamPool, Network};
use serde_json::{Map, Value, json};

use crate::{http::Version, time};

/// Networks of every host.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// Among netd's IPAM options: the client gave a list of them that was empty.
pub const EMPTY: &str = "io.netd.docker.no-options";

/// Where a network is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Among others.
    List,
    /// Alone.
    Inspect,
}

/// An object of `GET /networks` and `GET /networks/{id}`, fields in Docker's order.
pub fn network(network: &Network, version: Version, place: Place) -> Value {
    let mut object = json!({
        "Name": network.name,
        "Id": network.id,
        "Created": time::rfc3339(network.created.as_ref()),
        "Scope": network.scope,
        "Driver": driver(network),
        "EnableIPv4": network.enable_ipv4,
        "EnableIPv6": network.enable_ipv6,
        "IPAM": ipam(network),
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": network.ingress,
        "ConfigFrom": { "Network": network.config_from },
        "ConfigOnly": network.config_only,
        "Containers": {},
        "Options": map(&network.options),
        "Labels": map(&network.labels),
    });
    let Some(fields) = object.as_object_mut() else {
        return object;
    };
    match place {
        // Old clients find the containers in lists, too; the newest lists have no such key.
        Place::List if version.since(52) => drop(fields.shift_remove("Containers")),
        Place::List if version.since(28) => {}
        _ => drop(fields.insert("Containers".to_owned(), containers(&network.endpoints))),
    }
    if place == Place::Inspect && version.since(52) {
        fields.insert("Status".to_owned(), status(network));
    }
    // Docker has no such field: it is there only when there is something to say.
    if !network.degraded.is_empty() {
        fields.insert("Degraded".to_owned(), network.degraded.clone().into());
    }
    object
}

/// A network that only lends its configuration has no driver.
pub fn driver(network: &Network) -> &str {
    match network.config_only {
        true => "null",
        false => &network.driver,
    }
}

/// Docker shows pools as they were asked for; what was chosen is shown where nothing was asked for.
fn ipam(network: &Network) -> Value {
    let none = Ipam::default();
    let asked = network.ipam_requested.as_ref().unwrap_or(&none);
    let chosen = network.ipam.as_ref().unwrap_or(&none);
    let mut pools: Vec<&IpamPool> = asked
        .pools
        .iter()
        .filter(|p| !p.subnet.is_empty())
        .collect();
    let ours = |pool: &&IpamPool| {
        !asked
            .pools
            .iter()
            .any(|a| same_subnet(&a.subnet, &pool.subnet))
    };
    pools.extend(chosen.pools.iter().filter(ours));
    let driver = if chosen.driver.is_empty() {
        "default"
    } else {
        &chosen.driver
    };
    let mut options = chosen.options.clone();
    let empty = options.remove(EMPTY).is_some();
    let options = match options.is_empty() && !empty {
        true => Value::Null,
        false => map(&options),
    };
    json!({
        "Driver": driver,
        "Options": options,
        // What has no addresses at all has no list of pools either.
        "Config": match network.driver.as_str() {
            "host" | "null" if !network.config_only => Value::Null,
            _ => pools.into_iter().map(pool).collect(),
        },
    })
}

fn same_subnet(a: &str, b: &str) -> bool {
    let network = |text: &str| {
        let parsed: IpNetwork = text.parse().ok()?;
        Some((parsed.network(), parsed.prefix()))
    };
    a == b || (network(a).is_some() && network(a) == network(b))
}

/// Empty fields are left out.
fn pool(pool: &IpamPool) -> Value {
    let mut fields = Map::new();
    for (key, value) in [
        ("Subnet", &pool.subnet),
        ("IPRange", &pool.ip_range),
        ("Gateway", &pool.gateway),
    ] {
        if !value.is_empty() {
            fields.insert(key.to_owned(), value.clone().into());
        }
    }
    if !pool.aux_addresses.is_empty() {
        fields.insert("AuxiliaryAddresses".to_owned(), map(&pool.aux_addresses));
    }
    Value::Object(fields)
}

fn containers(endpoints: &[Endpoint]) -> Value {
    let mut sorted: Vec<&Endpoint> = endpoints.iter().collect();
    sorted.sort_by(|a, b| a.sandbox_id.cmp(&b.sandbox_id));
    let fields = sorted.into_iter().map(|endpoint| {
        let value = json!({
            "Name": endpoint.sandbox_name,
            "EndpointID": endpoint.id,
            "MacAddress": endpoint.mac_address,
            "IPv4Address": endpoint.ipv4_address,
            "IPv6Address": endpoint.ipv6_address,
        });
        (endpoint.sandbox_id.clone(), value)
    });
    Value::Object(fields.collect())
}

/// How full the subnets are (API 1.52): with what is never handed out, the network's and broadcast address and the gateway.
fn status(network: &Network) -> Value {
    let mut subnets = Map::new();
    for pool in network.ipam.iter().flat_map(|ipam| &ipam.pools) {
        let Ok(subnet) = pool.subnet.parse::<IpNetwork>() else {
            continue;
        };
        let range = pool.ip_range.parse().unwrap_or(subnet);
        let held = |text: &String| {
            let address = text.split('/').next().and_then(|a| a.parse().ok());
            address.is_some_and(|address: std::net::IpAddr| subnet.contains(address))
        };
        let taken = network
            .endpoints
            .iter()
            .flat_map(|e| [&e.ipv4_address, &e.ipv6_address])
            .filter(|text| held(text))
            .count();
        let reserved = usize::from(!pool.gateway.is_empty()) + pool.aux_addresses.len();
        let edges = match subnet {
            IpNetwork::V4(v4) if v4.prefix() < 31 => 2,
            IpNetwork::V4(_) => 0,
            IpNetwork::V6(_) => 1,
        };
        let used = (taken + reserved + edges) as u64;
        let size = match range {
            IpNetwork::V4(v4) => 1_u128 << (32 - u32::from(v4.prefix())),
            IpNetwork::V6(v6) => 1_u128
                .checked_shl(128 - u32::from(v6.prefix()))
                .unwrap_or(u128::MAX),
        };
        let free = size.saturating_sub(used.into());
        let free = u64::try_from(free).unwrap_or(u64::MAX);
        subnets.insert(
            pool.subnet.clone(),
            json!({ "IPsInUse": used, "DynamicIPsAvailable": free }),
        );
    }
    json!({ "IPAM": { "Subnets": subnets } })
}

/// Sorted by key, as Go prints maps.
pub fn map(fields: &HashMap<String, String>) -> Value {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort();
    let pairs = sorted
        .into_iter()
        .map(|(key, value)| (key.clone(), value.clone().into()));
    Value::Object(pairs.collect())
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
