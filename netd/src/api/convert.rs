//! Between the engine's objects and the API's messages.

use std::{net::IpAddr, path::PathBuf, str::FromStr as _};

use netd_proto::v1;
use prost_types::Timestamp;

use crate::{
    engine::{Connected, FilePaths, PruneRequest, View},
    error::{Error, Result},
    driver::Network,
    model::{Attachment, Endpoint, EndpointSpec, NetworkRequest, PoolSpec, PortBinding, Sandbox},
};

/// From nanoseconds since 1970.
pub fn timestamp(nanoseconds: u64) -> Timestamp {
    Timestamp {
        seconds: (nanoseconds / 1_000_000_000) as i64,
        nanos: (nanoseconds % 1_000_000_000) as i32,
    }
}

fn mac(m: [u8; 6]) -> String {
    m.iter()
        .map(|b| format!("{b:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

pub fn network(model: &View, n: &Network) -> v1::Network {
    let running = |e: &&std::sync::Arc<Endpoint>| model.observed.running.contains_key(&e.sandbox);
    v1::Network {
        id: n.id.clone(),
        name: n.name.clone(),
        created: Some(timestamp(n.created)),
        driver: n.driver_name().to_owned(),
        scope: n.scope.clone(),
        enable_ipv4: n.enable_ipv4,
        enable_ipv6: n.enable_ipv6,
        ipam: Some(v1::Ipam {
            driver: if n.ipam_driver.is_empty() {
                "default".into()
            } else {
                n.ipam_driver.clone()
            },
            options: n.ipam_options.clone().into_iter().collect(),
            pools: n
                .pools
                .iter()
                .map(|p| v1::IpamPool {
                    subnet: p.subnet.to_string(),
                    ip_range: p.ip_range.map(|r| r.to_string()).unwrap_or_default(),
                    gateway: p.gateway.to_string(),
                    aux_addresses: p
                        .aux
                        .iter()
                        .map(|(k, a)| (k.clone(), a.to_string()))
                        .collect(),
                })
                .collect(),
        }),
        internal: n.internal,
        attachable: n.attachable,
        ingress: n.ingress,
        config_only: n.config_only,
        config_from: n.config_from.clone(),
        options: n.options.clone().into_iter().collect(),
        labels: n.labels.clone().into_iter().collect(),
        endpoints: model
            .endpoints_on(&n.id)
            .filter(running)
            .map(|e| endpoint(model, e))
            .collect(),
        device: n.device.clone(),
        mtu: if n.device.is_empty() { 0 } else { model.mtu(n) },
    }
}

pub fn endpoint(model: &View, e: &Endpoint) -> v1::Endpoint {
    let network = model.networks().get(&e.network);
    let gateway = |v4: bool| network?.route_via(v4).map(|a| a.to_string());
    let default = |v4: bool| {
        let holder = model.gateway_endpoint(&e.sandbox, v4);
        holder.is_some_and(|g| g.id == e.id)
    };
    v1::Endpoint {
        id: e.id.clone(),
        network_id: e.network.clone(),
        network_name: network.map(|n| n.name.clone()).unwrap_or_default(),
        sandbox_id: e.sandbox.clone(),
        sandbox_name: model
            .sandboxes()
            .get(&e.sandbox)
            .map(|s| s.name.clone())
            .unwrap_or_default(),
        interface_name: e.interface.clone(),
        host_interface: e.host_interface(),
        mac_address: if e.interface.is_empty() {
            String::new()
        } else {
            mac(e.mac)
        },
        ipv4_address: e.ipv4.map(|a| a.to_string()).unwrap_or_default(),
        ipv6_address: e.ipv6.map(|a| a.to_string()).unwrap_or_default(),
        ipv4_gateway: gateway(true).unwrap_or_default(),
        ipv6_gateway: gateway(false).unwrap_or_default(),
        aliases: e.aliases.clone(),
        driver_options: e.driver_options.clone().into_iter().collect(),
        gateway_priority: e.priority,
        default_route: default(true),
        default_route_v6: default(false),
        links: e.links.clone(),
        link_local_addresses: e.link_local.iter().map(ToString::to_string).collect(),
    }
}

/// What connecting gave; for a stopped sandbox what it will ask for.
pub fn connected(model: &View, made: &Connected) -> v1::Endpoint {
    match made {
        Connected::Now(e) => endpoint(model, e),
        Connected::AtStart(sandbox, attachment) => {
            let r = &attachment.spec;
            let network = model.network(&r.network).ok();
            v1::Endpoint {
                network_id: network.map(|n| n.id.clone()).unwrap_or_default(),
                network_name: r.network.clone(),
                sandbox_id: sandbox.id.clone(),
                sandbox_name: sandbox.name.clone(),
                mac_address: r.mac.clone(),
                ipv4_address: r.ipv4.clone(),
                ipv6_address: r.ipv6.clone(),
                aliases: r.aliases.clone(),
                links: r.links.clone(),
                link_local_addresses: r.link_local.clone(),
                driver_options: r.driver_options.clone().into_iter().collect(),
                gateway_priority: r.priority,
                interface_name: r.interface.clone(),
                ..v1::Endpoint::default()
            }
        }
    }
}

fn attachment(a: &Attachment) -> v1::ConnectRequest {
    let r = a.spec.clone();
    v1::ConnectRequest {
        network: r.network,
        sandbox: String::new(),
        ipv4_address: r.ipv4,
        ipv6_address: r.ipv6,
        mac_address: r.mac,
        aliases: r.aliases,
        driver_options: r.driver_options.into_iter().collect(),
        gateway_priority: r.priority,
        links: r.links,
        link_local_addresses: r.link_local,
        interface_name: r.interface,
    }
}

fn port_spec(b: &PortBinding) -> v1::PortSpec {
    v1::PortSpec {
        host_ip: b.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        host_port_first: b.host.0.into(),
        host_port_last: b.host.1.into(),
        port_first: b.target.0.into(),
        port_last: b.target.1.into(),
        protocol: b.protocol.into(),
    }
}

pub fn sandbox(model: &View, s: &Sandbox) -> v1::Sandbox {
    let files = model.files(s);
    let path = |path: fn(&FilePaths) -> &PathBuf| {
        let path = files.as_ref().map(|f| path(f).display().to_string());
        path.unwrap_or_default()
    };
    v1::Sandbox {
        id: s.id.clone(),
        name: s.name.clone(),
        created: Some(timestamp(s.created)),
        hostname: s.hostname.clone(),
        labels: s.labels.clone().into_iter().collect(),
        netns_path: s
            .run
            .as_ref()
            .map(|r| r.netns.display().to_string())
            .unwrap_or_default(),
        owned: s.owned(),
        running: model.observed.running.contains_key(&s.id),
        endpoints: model
            .endpoints_of(&s.id)
            .map(|e| endpoint(model, e))
            .collect(),
        publications: publications(model, s),
        attachments: s.attachments.iter().map(attachment).collect(),
        exposed: s.exposed.iter().map(port_spec).collect(),
        names: Some(super::names::message(&s.names)),
        resolv_conf_path: path(|f| &f.resolv_conf),
        hosts_path: path(|f| &f.hosts),
        hostname_path: path(|f| &f.hostname),
    }
}

/// Of a stopped sandbox those that it will ask for.
pub fn publications(model: &View, s: &Sandbox) -> Vec<v1::Publication> {
    let bindings = if s.running() {
        &s.ports
    } else {
        &s.wanted_ports
    };
    let one = |b| publication(model, s, b);
    bindings.iter().map(one).collect()
}

pub fn publication(model: &View, s: &Sandbox, b: &PortBinding) -> v1::Publication {
    let linked = |v4| {
        let holder = model.gateway_endpoint(&s.id, v4);
        holder.is_some_and(|e| model.observed.links.contains_key(&e.id))
    };
    v1::Publication {
        sandbox_id: s.id.clone(),
        sandbox_name: s.name.clone(),
        spec: Some(port_spec(b)),
        active: s.running() && (linked(true) || linked(false)),
    }
}

pub fn binding(spec: &v1::PortSpec) -> Result<PortBinding> {
    let port = |n: u32| {
        u16::try_from(n).map_err(|_| Error::invalid(format!("invalid port {n}")).hint("0 to 65535"))
    };
    let or = |n: u32, other: u32| if n == 0 { other } else { n };
    let host_ip = match spec.host_ip.as_str() {
        "" => None,
        text => Some(IpAddr::from_str(text).map_err(|_| {
            Error::invalid(format!("invalid host address {text:?} of a published port"))
        })?),
    };
    let protocol = match spec.protocol {
        0 | 6 => 6,
        17 => 17,
        132 => 132,
        other => {
            return Err(
                Error::invalid(format!("invalid protocol {other}")).hint("tcp, udp or sctp")
            );
        }
    };
    Ok(PortBinding {
        host_ip,
        host: (
            port(spec.host_port_first)?,
            port(or(spec.host_port_last, spec.host_port_first))?,
        ),
        target: (
            port(spec.port_first)?,
            port(or(spec.port_last, spec.port_first))?,
        ),
        protocol,
    })
}

pub fn endpoint_request(r: v1::ConnectRequest) -> EndpointSpec {
    EndpointSpec {
        network: r.network,
        ipv4: r.ipv4_address,
        ipv6: r.ipv6_address,
        mac: r.mac_address,
        aliases: r.aliases,
        driver_options: r.driver_options.into_iter().collect(),
        priority: r.gateway_priority,
        links: r.links,
        link_local: r.link_local_addresses,
        interface: r.interface_name,
    }
}

pub fn prune_request(r: v1::PruneNetworksRequest) -> PruneRequest {
    let nanoseconds = |t: Timestamp| {
        let seconds = u64::try_from(t.seconds).unwrap_or(0);
        let nanos = u64::try_from(t.nanos).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    };
    PruneRequest {
        created_before: r.created_before.map(nanoseconds),
        labels: r.labels,
        excluded_labels: r.excluded_labels,
    }
}

pub fn network_request(r: v1::CreateNetworkRequest) -> NetworkRequest {
    let ipam = r.ipam.unwrap_or_default();
    let pool = |p: v1::IpamPool| PoolSpec {
        subnet: p.subnet,
        ip_range: p.ip_range,
        gateway: p.gateway,
        aux: p.aux_addresses.into_iter().collect(),
    };
    NetworkRequest {
        name: r.name,
        driver: if r.driver.is_empty() {
            "bridge".into()
        } else {
            r.driver
        },
        scope: r.scope,
        enable_ipv4: r.enable_ipv4.unwrap_or(true),
        enable_ipv6: r.enable_ipv6,
        internal: r.internal,
        attachable: r.attachable,
        ingress: r.ingress,
        config_only: r.config_only,
        config_from: r.config_from,
        options: r.options.into_iter().collect(),
        labels: r.labels.into_iter().collect(),
        ipam_driver: ipam.driver,
        ipam_options: ipam.options.into_iter().collect(),
        pools: ipam.pools.into_iter().map(pool).collect(),
        request_id: String::new(),
    }
}

/// Both clocks at one moment: what the data plane notes is CLOCK_MONOTONIC, what people read is not.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub monotonic: u64,
    /// Nanoseconds since 1970.
    pub real: u64,
}

impl Clock {
    /// This moment.
    pub fn now() -> Self {
        Self {
            monotonic: crate::dataplane::monotonic(),
            real: crate::model::now(),
        }
    }

    /// When that was.
    pub fn timestamp(self, monotonic: u64) -> Timestamp {
        let ago = self.monotonic.saturating_sub(monotonic);
        timestamp(self.real.saturating_sub(ago))
    }

    /// How long ago that was; nothing if it is still to come.
    pub fn since(self, monotonic: u64) -> prost_types::Duration {
        duration(self.monotonic.saturating_sub(monotonic))
    }

    /// How long it is until then; nothing if it is over.
    pub fn until(self, monotonic: u64) -> prost_types::Duration {
        duration(monotonic.saturating_sub(self.monotonic))
    }
}

/// From nanoseconds.
fn duration(nanoseconds: u64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: (nanoseconds / 1_000_000_000) as i64,
        nanos: (nanoseconds % 1_000_000_000) as i32,
    }
}
