//! `POST /containers/create`, read and rewritten: the engine gets a container without networks and with netd's runtime, netd what
//! was asked for. Pure.

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode};
use netd_proto::v1::{ExtraHost, NameOptions, PortSpec, extra_host::Target};
use serde_json::{Value, json};

use super::ports;
use crate::{
    http::{Version, body::Object},
    networks::endpoint::{Wanted, link},
    refusal::{Refusal, Result},
};

/// The name that `netd docker setup` gives the runtime.
pub const RUNTIME: &str = "netd";
/// The annotation by which the runtime knows its containers; its value is the network mode.
pub const ANNOTATION: &str = "io.netd.network";

/// What was asked for of netd.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// `HostConfig.NetworkMode`, never empty.
    pub mode: String,
    /// Networks by the name or id that the client used, the mode's first.
    pub networks: Vec<(String, Wanted)>,
    /// Ports to publish.
    pub ports: Vec<PortSpec>,
    /// Whether to publish all exposed ports.
    pub publish_all: bool,
    /// How names are looked up in it.
    pub names: NameOptions,
    /// `HostConfig.Links`, as they came.
    pub links: Vec<String>,
}

/// A body that was read.
#[derive(Clone, PartialEq, Debug)]
pub enum Rewritten {
    /// Nothing of netd's: the host's network, none, or another container's. The body as it came.
    Untouched,
    /// For netd: what it shall do, and the body for the engine.
    Ours(Box<Asked>, Value),
}

/// Reads a body.
///
/// # Errors
/// 400 in Docker's words for what the engine could not judge any more.
pub fn rewrite(headers: &HeaderMap, bytes: &[u8], version: Version) -> Result<Rewritten> {
    let mut body = Object::parse(headers, bytes, "ContainerConfig")?;
    let host_config = body.take("HostConfig").unwrap_or_default();
    let mut host = Object::new(host_config, "HostConfig", "HostConfig")?;
    let mode = host.text("NetworkMode")?;
    let mode = match mode.as_str() {
        "" | "default" => "bridge".to_owned(),
        _ => mode,
    };
    if matches!(mode.as_str(), "none" | "host") || mode.starts_with("container:") {
        return Ok(Rewritten::Untouched);
    }
    // Whatever network it names, such a container has a loopback device alone: the engine leaves it so by itself.
    if keep(&mut body, "NetworkDisabled") == Some(Value::Bool(true)) {
        return Ok(Rewritten::Untouched);
    }
    let runtime = host.text("Runtime")?;
    if !matches!(
        runtime.as_str(),
        "" | "runc" | "io.containerd.runc.v2" | RUNTIME
    ) {
        return Err(Refusal::invalid(format!(
            "the runtime {runtime} cannot join netd's networks: leave it out, or use --network none or host"
        )));
    }
    let mut networking = match body.object("NetworkingConfig", "NetworkingConfig")? {
        Some(networking) => networking,
        None => Object::new(Value::Null, "NetworkingConfig", "")?,
    };
    let mac_address = body.text("MacAddress")?;
    if !mac_address.is_empty() {
        body.put("MacAddress", mac_address.clone());
    }
    let mut asked = Asked {
        networks: endpoints(
            networking.take("EndpointsConfig"),
            &mode,
            &mac_address,
            version,
        )?,
        ports: ports::specs(keep(&mut host, "PortBindings"))?,
        publish_all: host.boolean("PublishAllPorts")?.unwrap_or_default(),
        names: NameOptions {
            domainname: body.text("Domainname")?,
            dns: texts(&mut host, "Dns")?,
            dns_search: texts(&mut host, "DnsSearch")?,
            dns_options: texts(&mut host, "DnsOptions")?,
            extra_hosts: Vec::new(),
        },
        links: host.texts("Links")?,
        mode,
    };
    // What was taken out to be read goes back: the engine shows it.
    let extra_hosts = texts(&mut host, "ExtraHosts")?;
    asked.names.extra_hosts = extra_hosts
        .iter()
        .map(|text| extra_host(text))
        .collect::<Result<_>>()?;
    restore(&mut body, &mut host, &asked);
    legacy_links(&mut asked, &mut host)?;
    host.put("NetworkMode", "none");
    host.put("Runtime", RUNTIME);
    if version.since(43) {
        let mut annotations = host
            .object("Annotations", "Annotations")?
            .map_or_else(|| Object::new(Value::Null, "Annotations", ""), Ok)?;
        annotations.put(ANNOTATION, asked.mode.clone());
        host.put("Annotations", Value::from(annotations));
    }
    body.put("HostConfig", Value::from(host));
    Ok(Rewritten::Ours(Box::new(asked), body.into()))
}

/// A field as it is, left in its place.
fn keep(object: &mut Object, name: &str) -> Option<Value> {
    let value = object.take(name)?;
    object.put(name, value.clone());
    Some(value)
}

/// Texts of a list that is left in its place as it came, empty or not: the engine shows it so.
fn texts(object: &mut Object, name: &str) -> Result<Vec<String>> {
    let there = keep(object, name);
    let texts = object.texts(name)?;
    if let Some(there) = there {
        object.put(name, there);
    }
    Ok(texts)
}

fn restore(body: &mut Object, host: &mut Object, asked: &Asked) {
    let names = &asked.names;
    if !names.domainname.is_empty() {
        body.put("Domainname", names.domainname.clone());
    }
    if asked.publish_all {
        host.put("PublishAllPorts", true);
    }
}

/// Links of the container as a whole are the default network's, or those of the network that the mode names.
fn legacy_links(asked: &mut Asked, host: &mut Object) -> Result<()> {
    let links = asked.links.iter().map(|text| link(text));
    let links = links.collect::<Result<Vec<_>>>()?;
    let first = asked.networks.first_mut();
    match (asked.mode.as_str(), first) {
        ("bridge", Some((_, wanted))) => {
            wanted.spec.links.extend(links);
            // The engine knows them, too: it names the targets after them.
            if !asked.links.is_empty() {
                host.put("Links", asked.links.clone());
            }
        }
        (_, Some((_, wanted))) if wanted.spec.links.is_empty() => wanted.spec.links = links,
        _ => {}
    }
    Ok(())
}

fn endpoints(
    config: Option<Value>,
    mode: &str,
    mac_address: &str,
    version: Version,
) -> Result<Vec<(String, Wanted)>> {
    let config = Object::new(
        config.unwrap_or_default(),
        "EndpointsConfig",
        "NetworkingConfig.EndpointsConfig",
    )?;
    let mut by_name = BTreeMap::new();
    for (name, settings) in config.into_fields() {
        if settings.is_null() && version.since(44) && mode != name {
            return Err(Refusal::invalid(format!(
                "invalid config for network {name}: EndpointsConfig is nil"
            )));
        }
        let place = "NetworkingConfig.EndpointsConfig";
        let mut wanted = Wanted::read(settings, place).map_err(|e| about(&name, &e))?;
        if !version.since(44) {
            wanted.spec.mac_address = String::new();
        }
        if !version.since(48) {
            wanted.spec.gateway_priority = 0;
        }
        // Clients name the default network as they like.
        let name = if name == "default" {
            "bridge".to_owned()
        } else {
            name
        };
        by_name.insert(name, wanted);
    }
    if by_name.len() > 1 && !version.since(44) {
        let names: Vec<String> = by_name.into_keys().collect();
        return Err(Refusal::invalid(format!(
            "Container cannot be created with multiple network endpoints: {}",
            names.join(", ")
        )));
    }
    if by_name.is_empty() {
        by_name.insert(mode.to_owned(), Wanted::default());
    }
    // The mode's network leads; where the client named other networks only, the first of them does.
    let first = by_name.remove_entry(mode).or_else(|| by_name.pop_first());
    let mut all: Vec<_> = first.into_iter().chain(by_name).collect();
    if let Some((name, wanted)) = all.first_mut()
        && wanted.spec.mac_address.is_empty()
        && !mac_address.is_empty()
        && !version.since(52)
    {
        let settings = json!({ "MacAddress": mac_address });
        let read = Wanted::read(settings, "").map_err(|e| about(name, &e))?;
        wanted.spec.mac_address = read.spec.mac_address;
    }
    Ok(all)
}

/// Docker's words for what is wrong with one network of a new container.
pub fn about(network: &str, refusal: &Refusal) -> Refusal {
    let text = format!("invalid config for network {network}: {refusal}");
    Refusal::new(StatusCode::BAD_REQUEST, text)
}

/// `name:address` or `name=address`.
fn extra_host(text: &str) -> Result<ExtraHost> {
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    let (name, address) = parts
        .filter(|(name, address)| !name.is_empty() && !address.is_empty())
        .ok_or_else(|| Refusal::invalid(format!("bad format for add-host: {text:?}")))?;
    let target = if address == "host-gateway" {
        Target::HostGateway(true)
    } else {
        Target::Address(address.trim_matches(['[', ']']).to_owned())
    };
    Ok(ExtraHost {
        name: name.to_owned(),
        target: Some(target),
    })
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
