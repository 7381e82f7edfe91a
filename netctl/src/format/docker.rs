//! A network as Docker's CLI shows it: the objects of `inspect` and the rows of `ls`. Knows no daemon and no flags.

use std::{cmp::Ordering, collections::HashMap};

use netd_proto::v1::{Endpoint, IpamPool, Network};
use serde_json::{Map, Value, json};

use super::time;

/// Networks that exist from the first start.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// The fields of a row of `ls` and their heads.
pub const COLUMNS: [(&str, &str); 9] = [
    ("CreatedAt", "CREATED AT"),
    ("Driver", "DRIVER"),
    ("ID", "NETWORK ID"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("Name", "NAME"),
    ("Scope", "SCOPE"),
];

/// The first twelve digits of an id.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// An id as lists show it.
pub fn listed_id(id: &str, no_trunc: bool) -> String {
    if no_trunc { id } else { short(id) }.to_owned()
}

/// An object of `network inspect`, fields in Docker's order.
pub fn inspect(network: &Network) -> Value {
    let ipam = network.ipam.clone().unwrap_or_default();
    // Docker echoes what was asked for: its CLI always sends an object, the daemon's own networks have none.
    let options = if ipam.options.is_empty() && PREDEFINED.contains(&network.name.as_str()) {
        Value::Null
    } else {
        map(&ipam.options)
    };
    let mut object = json!({
        "Name": network.name,
        "Id": network.id,
        "Created": time::rfc3339(network.created.as_ref()),
        "Scope": network.scope,
        "Driver": network.driver,
        "EnableIPv4": network.enable_ipv4,
        "EnableIPv6": network.enable_ipv6,
        "IPAM": {
            "Driver": ipam.driver,
            "Options": options,
            "Config": ipam.pools.iter().map(pool).collect::<Vec<_>>(),
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": network.ingress,
        "ConfigFrom": { "Network": network.config_from },
        "ConfigOnly": network.config_only,
        "Containers": containers(&network.endpoints),
        "Options": map(&network.options),
        "Labels": map(&network.labels),
    });
    // Docker has no such field: it is there only when there is something to say.
    if let (Some(fields), false) = (object.as_object_mut(), network.degraded.is_empty()) {
        fields.insert("Degraded".to_owned(), network.degraded.clone().into());
    }
    object
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

/// Sorted by key, as Go prints maps.
pub fn map(fields: &HashMap<String, String>) -> Value {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort();
    let pairs = sorted
        .into_iter()
        .map(|(key, value)| (key.clone(), value.clone().into()));
    Value::Object(pairs.collect())
}

/// A row of `network ls`: every field a text, as Docker's templates see them.
pub fn row(network: &Network, no_trunc: bool) -> Value {
    let id = listed_id(&network.id, no_trunc);
    let mut labels: Vec<String> = network
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.sort();
    json!({
        "CreatedAt": time::go(network.created.as_ref()),
        "Driver": network.driver,
        "ID": id,
        "IPv4": network.enable_ipv4.to_string(),
        "IPv6": network.enable_ipv6.to_string(),
        "Internal": network.internal.to_string(),
        "Labels": labels.join(","),
        "Name": network.name,
        "Scope": network.scope,
    })
}

/// The order of `ls`: by name, numbers in it by value.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (x, y) = (digits(a), digits(b));
        if x > 0 && y > 0 {
            let (left, right) = (&a[..x], &b[..y]);
            let (p, q) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
            let order = p.len().cmp(&q.len()).then_with(|| p.cmp(q));
            match order.then_with(|| x.cmp(&y)) {
                Ordering::Equal => (a, b) = (&a[x..], &b[y..]),
                order => return order,
            }
            continue;
        }
        let (mut left, mut right) = (a.chars(), b.chars());
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (p, q) if p == q => (a, b) = (left.as_str(), right.as_str()),
            (p, q) => return p.cmp(&q),
        }
    }
}

/// Length in bytes of the digits that the text starts with.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
#[path = "docker_tests.rs"]
mod tests;
