//! A container's networks as Docker's API shows them, from netd's sandbox.

use std::collections::BTreeSet;

use netd_proto::v1::{Endpoint, EndpointSpec, Sandbox, sandbox::State};
use serde_json::{Map, Value, json};

use super::ports::{self, Port};
use crate::{
    http::Version,
    networks::{
        endpoint::INTERFACE,
        shape::{PREDEFINED, map},
    },
};

/// Label of netd's sandboxes that keeps `HostConfig.NetworkMode` as it was asked for.
pub const MODE: &str = "io.netd.docker.network-mode";
/// How the labels begin that are the socket's own.
pub const OWN: &str = "io.netd.docker.";
/// Label of netd's sandboxes that names the engine whose container it is.
pub const ENGINE: &str = "io.netd.docker.engine";

/// Where a container's networks are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Among others: what was asked for is left out.
    List,
    /// Alone.
    Inspect,
}

/// Whether its networks are up.
pub fn running(sandbox: &Sandbox) -> bool {
    sandbox.state() == State::Running
}

/// Whether it runs and is on a network: else it has no ports.
pub fn connected(sandbox: &Sandbox) -> bool {
    running(sandbox) && !sandbox.endpoints.is_empty()
}

/// `NetworkSettings.Networks`: by name, of all networks that it is on, or will be when it starts.
pub fn networks(
    sandbox: &Sandbox,
    ids: &dyn Fn(&str) -> String,
    version: Version,
    place: Place,
) -> Value {
    let mut sorted: Vec<&EndpointSpec> = sandbox.attachments.iter().collect();
    sorted.sort_by(|a, b| a.network.cmp(&b.network));
    let fields = sorted.into_iter().map(|asked| {
        let mut endpoints = sandbox.endpoints.iter();
        let there = endpoints.find(|e| e.network_name == asked.network && running(sandbox));
        let shown = settings(sandbox, asked, there, ids, version, place);
        (asked.network.clone(), shown)
    });
    Value::Object(fields.collect())
}

/// Containers that never started know their networks by name only.
pub fn never_started(networks: Option<&mut Value>) {
    for settings in networks
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        if let Some(id) = settings.1.get_mut("NetworkID") {
            *id = "".into();
        }
    }
}

fn settings(
    sandbox: &Sandbox,
    asked: &EndpointSpec,
    there: Option<&Endpoint>,
    ids: &dyn Fn(&str) -> String,
    version: Version,
    place: Place,
) -> Value {
    let none = Endpoint::default();
    let endpoint = there.unwrap_or(&none);
    let inspected = place == Place::Inspect;
    let (v4, v4_length) = address(&endpoint.ipv4_address);
    let (v6, v6_length) = address(&endpoint.ipv6_address);
    let user = !PREDEFINED.contains(&asked.network.as_str());
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put(
        "IPAMConfig",
        ipam(asked).filter(|_| inspected).unwrap_or_default(),
    );
    put(
        "Links",
        list(links(asked)).filter(|_| inspected).unwrap_or_default(),
    );
    let aliases = list(aliases(sandbox, asked, there, version));
    put("Aliases", aliases.filter(|_| inspected).unwrap_or_default());
    let mac = if there.is_some() {
        &endpoint.mac_address
    } else {
        &asked.mac_address
    };
    put("MacAddress", mac.clone().into());
    let mut options = asked.driver_options.clone();
    if !asked.interface_name.is_empty() {
        options.insert(INTERFACE.to_owned(), asked.interface_name.clone());
    }
    let options = match options.is_empty() || !inspected {
        true => Value::Null,
        false => map(&options),
    };
    put("DriverOpts", options);
    if version.since(48) {
        put("GwPriority", asked.gateway_priority.into());
    }
    let network_id = match there {
        Some(endpoint) => endpoint.network_id.clone(),
        None => ids(&asked.network),
    };
    put("NetworkID", network_id.into());
    put("EndpointID", endpoint.id.clone().into());
    put("Gateway", endpoint.ipv4_gateway.clone().into());
    put("IPAddress", v4.into());
    put("IPPrefixLen", v4_length.into());
    put("IPv6Gateway", endpoint.ipv6_gateway.clone().into());
    put("GlobalIPv6Address", v6.into());
    put("GlobalIPv6PrefixLen", v6_length.into());
    if version.since(44) {
        let known = inspected && user && there.is_some();
        let names = list(dns_names(sandbox, asked)).filter(|_| known);
        put("DNSNames", names.unwrap_or_default());
    }
    Value::Object(fields)
}

/// Address and prefix length of a CIDR; none: empty and 0.
fn address(text: &str) -> (&str, u8) {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    (address, length.parse().unwrap_or_default())
}

fn list(texts: Vec<String>) -> Option<Value> {
    (!texts.is_empty()).then(|| texts.into())
}

fn ipam(asked: &EndpointSpec) -> Option<Value> {
    let mut fields = Map::new();
    for (key, text) in [
        ("IPv4Address", &asked.ipv4_address),
        ("IPv6Address", &asked.ipv6_address),
    ] {
        if !text.is_empty() {
            fields.insert(key.to_owned(), text.clone().into());
        }
    }
    if !asked.link_local_addresses.is_empty() {
        let texts = asked.link_local_addresses.clone();
        fields.insert("LinkLocalIPs".to_owned(), texts.into());
    }
    (!fields.is_empty()).then_some(Value::Object(fields))
}

fn links(asked: &EndpointSpec) -> Vec<String> {
    // Links on the default bridge are the container's own, as Docker has it.
    if PREDEFINED.contains(&asked.network.as_str()) {
        return Vec::new();
    }
    let text = |link: &netd_proto::v1::Link| match link.alias.as_str() {
        "" => link.target.clone(),
        alias => format!("{}:{alias}", link.target),
    };
    asked.links.iter().map(text).collect()
}

fn short(id: &str) -> String {
    id.get(..12).unwrap_or(id).to_owned()
}

/// What was asked for; below API 1.45 with the names that every container has.
fn aliases(
    sandbox: &Sandbox,
    asked: &EndpointSpec,
    there: Option<&Endpoint>,
    version: Version,
) -> Vec<String> {
    let mut names = asked.aliases.clone();
    let user = !PREDEFINED.contains(&asked.network.as_str());
    if user && there.is_some() && !version.since(45) {
        for name in [short(&sandbox.id), sandbox.hostname.clone()] {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// All names that the resolver answers for it on the network.
fn dns_names(sandbox: &Sandbox, asked: &EndpointSpec) -> Vec<String> {
    let mut names = vec![sandbox.name.clone()];
    let others = asked.aliases.iter().cloned();
    for name in others.chain([short(&sandbox.id), sandbox.hostname.clone()]) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Fills `NetworkSettings` of an inspected container: the keys that the engine gave it, with netd's values.
pub fn fill(
    shown: &mut Map<String, Value>,
    sandbox: &Sandbox,
    exposed: &BTreeSet<Port>,
    ids: &dyn Fn(&str) -> String,
    version: Version,
) {
    let up = running(sandbox);
    let ports = if connected(sandbox) {
        ports::inspected(&sandbox.publications, exposed)
    } else {
        json!({})
    };
    let networks = networks(sandbox, ids, version, Place::Inspect);
    // Up to API 1.51 the default network's values stand at the top, too.
    let default = networks.get("bridge").cloned().unwrap_or_default();
    let text = |value: String| Value::from(if up { value } else { String::new() });
    for (key, value) in [
        ("SandboxID", text(sandbox.id.clone())),
        ("SandboxKey", text(sandbox.netns_path.clone())),
        ("Ports", ports),
    ] {
        shown.insert(key.to_owned(), value);
    }
    for key in [
        "EndpointID",
        "Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "MacAddress",
    ] {
        let Some(place) = shown.get_mut(key) else {
            continue;
        };
        let empty = if key.ends_with("Len") {
            0.into()
        } else {
            "".into()
        };
        let value = default.get(key).cloned().filter(|_| up);
        *place = value.unwrap_or(empty);
    }
    shown.insert("Networks".to_owned(), networks);
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
