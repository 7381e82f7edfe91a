//! From the API's requests to the engine's. Refuses what the messages can say and the engine's objects cannot hold, naming the
//! field; everything else is the engine's to check.

use std::net::IpAddr;

use netd_proto::v1::{self, namespace::Source};
use prost_types::Timestamp;

use super::names;
use crate::{
    engine::{NamespaceRequest, PruneRequest, SandboxRequest},
    error::{Error, Result},
    model::{EndpointSpec, NetworkRequest, PoolSpec, PortBinding},
};

/// An error of one field.
fn wrong(field: &str, message: String, hint: &str) -> Error {
    Error::invalid(message).hint(hint).about("field", field)
}

/// Ports in a row: the first and the last.
fn row(field: &str, what: &str, first: u32, count: u32) -> Result<(u16, u16)> {
    let last = first.checked_add(count.max(1) - 1);
    let port = |n: u32| u16::try_from(n).ok().filter(|n| *n != 0);
    match (port(first), last.and_then(port)) {
        (Some(first), Some(last)) => Ok((first, last)),
        (Some(_), None) => {
            let text = format!("invalid {what}: {count} ports from {first} on");
            Err(wrong(field, text, "1 to 65535"))
        }
        (None, _) => Err(wrong(
            field,
            format!("invalid {what} {first}"),
            "1 to 65535",
        )),
    }
}

fn protocol(field: &str, number: i32) -> Result<u8> {
    match number {
        0 | 6 => Ok(6),
        17 => Ok(17),
        132 => Ok(132),
        other => Err(wrong(
            &format!("{field}.protocol"),
            format!("invalid protocol {other}"),
            "tcp, udp or sctp",
        )),
    }
}

/// Host ports to choose from.
fn choice(field: &str, first: u32, last: u32) -> Result<(u16, u16)> {
    let field = format!("{field}.host_port_last");
    let count = last.checked_sub(first).filter(|_| first > 0);
    match count {
        Some(more) => row(&field, "host port", first, more.saturating_add(1)),
        None => Err(wrong(
            &field,
            format!("invalid range of host ports {first}-{last}"),
            "ports are 1 to 65535, and the first is the lowest",
        )),
    }
}

fn binding(field: &str, spec: &v1::PortSpec) -> Result<PortBinding> {
    let host_ip = match spec.host_ip.as_str() {
        "" => None,
        text => Some(text.parse::<IpAddr>().map_err(|_| {
            let message = format!("invalid host address {text:?} of a published port");
            wrong(
                &format!("{field}.host_ip"),
                message,
                "an IPv4 or IPv6 address, or nothing for all",
            )
        })?),
    };
    let (host_port, within) = match (spec.host_port, spec.host_port_last) {
        (first, None) => (first, None),
        (Some(first), Some(last)) if first == last => (Some(first), None),
        (Some(first), Some(last)) => (None, Some(choice(field, first, last)?)),
        (None, Some(last)) => {
            let message = format!("invalid last host port {last} without a first one");
            let field = format!("{field}.host_port_last");
            return Err(wrong(&field, message, "name the first one, or none"));
        }
    };
    let host = match host_port {
        None => (0, 0),
        Some(0) => {
            let message = "invalid host port 0".to_owned();
            return Err(wrong(
                &format!("{field}.host_port"),
                message,
                "leave it out, and one is chosen",
            ));
        }
        Some(first) => row(
            &format!("{field}.host_port"),
            "host port",
            first,
            spec.count,
        )?,
    };
    Ok(PortBinding {
        host_ip,
        host,
        within,
        target: row(&format!("{field}.port"), "port", spec.port, spec.count)?,
        protocol: protocol(field, spec.protocol)?,
    })
}

/// Publications asked for, in the field of that name.
pub fn bindings(field: &str, specs: &[v1::PortSpec]) -> Result<Vec<PortBinding>> {
    let numbered = specs.iter().enumerate();
    numbered
        .map(|(at, spec)| binding(&format!("{field}[{at}]"), spec))
        .collect()
}

/// Ports that software listens on.
pub fn exposed(ports: &[v1::ExposedPort]) -> Result<Vec<PortBinding>> {
    let one = |(at, port): (usize, &v1::ExposedPort)| {
        let field = format!("exposed[{at}]");
        Ok(PortBinding {
            host_ip: None,
            host: (0, 0),
            within: None,
            target: row(&format!("{field}.port"), "port", port.port, port.count)?,
            protocol: protocol(&field, port.protocol)?,
        })
    };
    ports.iter().enumerate().map(one).collect()
}

/// How a sandbox is to be on a network.
pub fn endpoint(field: &str, spec: v1::EndpointSpec) -> Result<EndpointSpec> {
    let link = |(at, link): (usize, v1::Link)| {
        let field = format!("{field}.links[{at}]");
        let alias = match link.alias.as_str() {
            "" => &link.target,
            alias => alias,
        };
        if link.target.is_empty() || link.target.contains(':') || alias.contains(':') {
            let message = format!("invalid link to {:?} as {alias:?}", link.target);
            return Err(wrong(
                &field,
                message,
                "the name of a sandbox, and a name for it",
            ));
        }
        Ok(format!("{}:{alias}", link.target))
    };
    let links = spec.links.into_iter().enumerate();
    Ok(EndpointSpec {
        network: spec.network,
        ipv4: spec.ipv4_address,
        ipv6: spec.ipv6_address,
        mac: spec.mac_address,
        aliases: spec.aliases,
        driver_options: spec.driver_options.into_iter().collect(),
        priority: spec.gateway_priority,
        links: links.map(link).collect::<Result<_>>()?,
        link_local: spec.link_local_addresses,
        interface: spec.interface_name,
    })
}

/// Where the namespace comes from.
pub fn namespace(asked: Option<v1::Namespace>) -> NamespaceRequest {
    match asked.and_then(|n| n.source) {
        None => NamespaceRequest::New,
        Some(Source::Path(path)) => NamespaceRequest::Path(path.into()),
        Some(Source::Pid(pid)) => NamespaceRequest::Process(pid),
    }
}

/// A sandbox asked for.
pub fn sandbox(request: v1::CreateSandboxRequest) -> Result<SandboxRequest> {
    let endpoints = request.endpoints.into_iter().enumerate();
    Ok(SandboxRequest {
        name: request.name,
        namespace: namespace(request.namespace),
        stopped: request.stopped,
        hostname: request.hostname,
        labels: request.labels.into_iter().collect(),
        ports: bindings("ports", &request.ports)?,
        exposed: exposed(&request.exposed)?,
        publish_all: request.publish_all,
        allow_missing_networks: request.allow_missing_networks,
        networks: endpoints
            .map(|(at, spec)| endpoint(&format!("endpoints[{at}]"), spec))
            .collect::<Result<_>>()?,
        names: names::options("names", request.names.unwrap_or_default())?,
        id: request.id,
        request_id: request.request_id,
    })
}

/// Which networks are to go.
pub fn prune(request: v1::PruneNetworksRequest) -> PruneRequest {
    let nanoseconds = |t: Timestamp| {
        let seconds = u64::try_from(t.seconds).unwrap_or(0);
        let nanos = u64::try_from(t.nanos).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    };
    let text = |label: v1::LabelSelector| match label.value {
        Some(value) => format!("{}={value}", label.key),
        None => label.key,
    };
    PruneRequest {
        created_before: request.created_before.map(nanoseconds),
        labels: request.labels.into_iter().map(text).collect(),
        excluded_labels: request.excluded_labels.into_iter().map(text).collect(),
    }
}

/// A network asked for.
pub fn network(request: v1::CreateNetworkRequest) -> Result<NetworkRequest> {
    let ipam = request.ipam.unwrap_or_default();
    let pool = |p: v1::IpamPool| PoolSpec {
        subnet: p.subnet,
        ip_range: p.ip_range,
        gateway: p.gateway,
        aux: p.aux_addresses.into_iter().collect(),
    };
    Ok(NetworkRequest {
        name: request.name,
        driver: match request.driver.as_str() {
            "" => "bridge".into(),
            _ => request.driver,
        },
        scope: request.scope,
        enable_ipv4: request.enable_ipv4.unwrap_or(true),
        enable_ipv6: request.enable_ipv6,
        internal: request.internal,
        attachable: request.attachable,
        ingress: request.ingress,
        config_only: request.config_only,
        config_from: request.config_from,
        options: request.options.into_iter().collect(),
        labels: request.labels.into_iter().collect(),
        ipam_driver: ipam.driver,
        ipam_options: ipam.options.into_iter().collect(),
        pools: ipam.pools.into_iter().map(pool).collect(),
        request_id: request.request_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(host_port: Option<u32>, port: u32, count: u32) -> v1::PortSpec {
        v1::PortSpec {
            host_port,
            port,
            count,
            ..Default::default()
        }
    }

    #[test]
    fn c01_ports_in_a_row() {
        let one = |s: v1::PortSpec| bindings("specs", &[s]).map(|all| all[0].clone());
        let b = one(spec(None, 80, 0)).unwrap();
        assert_eq!((b.host, b.target, b.protocol), ((0, 0), (80, 80), 6));
        let b = one(spec(Some(8080), 80, 3)).unwrap();
        assert_eq!((b.host, b.target), ((8080, 8082), (80, 82)));
        let b = one(spec(None, 1, 65_535)).unwrap();
        assert_eq!(b.target, (1, 65_535));
        let of = |first, last| v1::PortSpec {
            host_port_last: Some(last),
            ..spec(first, 80, 1)
        };
        let b = one(of(Some(9000), 9010)).unwrap();
        assert_eq!((b.host, b.within), ((0, 0), Some((9000, 9010))));
        assert_eq!(b.to_string(), "9000-9010:80/tcp");
        let b = one(of(Some(9000), 9000)).unwrap();
        assert_eq!((b.host, b.within), ((9000, 9000), None));
        for bad in [
            of(None, 9000),
            of(Some(0), 9000),
            of(Some(9000), 8999),
            of(Some(1), 65_536),
        ] {
            let error = one(bad).unwrap_err();
            assert_eq!(error.about["field"], "specs[0].host_port_last", "{error}");
        }
        for (bad, field) in [
            (spec(None, 0, 1), "specs[0].port"),
            (spec(None, 65_536, 1), "specs[0].port"),
            (spec(None, 2, 65_535), "specs[0].port"),
            (spec(None, u32::MAX, u32::MAX), "specs[0].port"),
            (spec(Some(0), 80, 1), "specs[0].host_port"),
            (spec(Some(65_535), 80, 2), "specs[0].host_port"),
        ] {
            let error = one(bad).unwrap_err();
            assert_eq!(error.about["field"], field, "{error}");
        }
    }

    #[test]
    fn s02_links_hold_names_only() {
        let with = |target: &str, alias: &str| {
            let link = v1::Link {
                target: target.into(),
                alias: alias.into(),
            };
            let spec = v1::EndpointSpec {
                links: vec![link],
                ..Default::default()
            };
            endpoint("spec", spec)
        };
        assert_eq!(with("db", "store").unwrap().links, ["db:store"]);
        assert_eq!(with("db", "").unwrap().links, ["db:db"]);
        for (target, alias) in [("", "a"), ("a:b", ""), ("a", "b:c")] {
            let error = with(target, alias).unwrap_err();
            assert_eq!(error.about["field"], "spec.links[0]");
        }
    }
}
