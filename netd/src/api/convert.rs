//! From the engine's objects to the API's messages.

use std::path::PathBuf;

use netd_proto::v1;
use prost_types::Timestamp;

use crate::{
    driver::Network,
    engine::{Connected, FilePaths, View},
    error::{Error, Result},
    model::{Attachment, Endpoint, Origin, PoolSpec, PortBinding, Sandbox, mac},
    observed::{Degraded, ObjectId},
};

/// From nanoseconds since 1970.
pub fn timestamp(nanoseconds: u64) -> Timestamp {
    Timestamp {
        seconds: (nanoseconds / 1_000_000_000) as i64,
        nanos: (nanoseconds % 1_000_000_000) as i32,
    }
}

/// How much of a network is told: in a list less than alone.
pub fn is_full(view: v1::NetworkView, usual: v1::NetworkView) -> bool {
    let view = match view {
        v1::NetworkView::Unspecified => usual,
        view => view,
    };
    view == v1::NetworkView::Full
}

/// A network, `full`: with its endpoints.
pub fn network(model: &View, n: &Network, full: bool) -> v1::Network {
    let object = ObjectId::Network(n.id.clone());
    let endpoints = || {
        let all = model.endpoints_on(&n.id).map(|e| &**e);
        all.filter(|e| model.observed.running.contains_key(&e.sandbox))
    };
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
        endpoints: if full {
            endpoints().map(|e| endpoint(model, e)).collect()
        } else {
            Vec::new()
        },
        endpoint_count: u32::try_from(endpoints().count()).unwrap_or(u32::MAX),
        device: n.device.clone(),
        mtu: if n.device.is_empty() { 0 } else { model.mtu(n) },
        ipam_requested: Some(v1::Ipam {
            driver: n.ipam_driver.clone(),
            options: n.ipam_options.clone().into_iter().collect(),
            pools: n.requested_pools.iter().map(requested_pool).collect(),
        }),
        degraded: degraded(model, &object),
        revision: model.revision_of(&object),
    }
}

fn requested_pool(p: &PoolSpec) -> v1::IpamPool {
    v1::IpamPool {
        subnet: p.subnet.clone(),
        ip_range: p.ip_range.clone(),
        gateway: p.gateway.clone(),
        aux_addresses: p.aux.clone().into_iter().collect(),
    }
}

/// Why an object is not as it is desired.
fn degraded(model: &View, object: &ObjectId) -> Vec<String> {
    model.degraded(object).into_iter().collect()
}

/// Everything that is not as it is desired.
pub fn degraded_objects(model: &View) -> Vec<v1::DegradedObject> {
    let all = model.observed.degraded.iter();
    let one = |(object, degraded): (&ObjectId, &Degraded)| {
        let (kind, id) = match object {
            ObjectId::Network(id) => (v1::ObjectType::Network, id),
            ObjectId::Sandbox(id) => (v1::ObjectType::Sandbox, id),
            ObjectId::Endpoint(id) => (v1::ObjectType::Endpoint, id),
            ObjectId::Record(key) => (v1::ObjectType::Unspecified, key),
        };
        v1::DegradedObject {
            r#type: kind.into(),
            id: id.clone(),
            name: model.name_of(object),
            reasons: vec![degraded.reason.clone()],
        }
    };
    all.map(one).collect()
}

/// The endpoint that a stopped sandbox will have on a network, by their ids.
pub fn waiting(model: &View, network: &str, sandbox: &str) -> Result<v1::Endpoint> {
    let (network, sandbox) = (model.network(network)?, model.sandbox(sandbox)?);
    let mut attachments = sandbox.attachments.iter();
    let found = attachments.find(|a| a.spec.network == network.name);
    let found = found.ok_or_else(|| {
        Error::not_found(format!(
            "sandbox {} has no endpoint on network {}",
            sandbox.name, network.name
        ))
    })?;
    let waiting = Connected::AtStart(Box::new(Sandbox::clone(sandbox)), Box::new(found.clone()));
    Ok(connected(model, &waiting))
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
            mac::text(e.mac)
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
        links: links(&e.links),
        link_local_addresses: e.link_local.iter().map(ToString::to_string).collect(),
        degraded: degraded(model, &ObjectId::Endpoint(e.id.clone())),
        revision: model.revision_of(&ObjectId::Endpoint(e.id.clone())),
    }
}

/// `target:alias`, as they are stored.
fn links(stored: &[String]) -> Vec<v1::Link> {
    let link = |text: &String| {
        let (target, alias) = text.split_once(':').unwrap_or((text, text));
        v1::Link {
            target: target.to_owned(),
            alias: alias.to_owned(),
        }
    };
    stored.iter().map(link).collect()
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
                links: links(&r.links),
                link_local_addresses: r.link_local.clone(),
                driver_options: r.driver_options.clone().into_iter().collect(),
                gateway_priority: r.priority,
                interface_name: r.interface.clone(),
                ..v1::Endpoint::default()
            }
        }
    }
}

fn attachment(a: &Attachment) -> v1::EndpointSpec {
    let r = a.spec.clone();
    v1::EndpointSpec {
        network: r.network,
        ipv4_address: r.ipv4,
        ipv6_address: r.ipv6,
        mac_address: r.mac,
        aliases: r.aliases,
        driver_options: r.driver_options.into_iter().collect(),
        gateway_priority: r.priority,
        links: links(&r.links),
        link_local_addresses: r.link_local,
        interface_name: r.interface,
    }
}

fn count((first, last): (u16, u16)) -> u32 {
    u32::from(last.saturating_sub(first)) + 1
}

fn port_spec(b: &PortBinding) -> v1::PortSpec {
    v1::PortSpec {
        host_ip: b.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        host_port: match b.within {
            Some((first, _)) if b.host.0 == 0 => Some(first.into()),
            _ => (b.host.0 != 0).then(|| b.host.0.into()),
        },
        port: b.target.0.into(),
        count: count(b.target),
        protocol: b.protocol.into(),
        // Of chosen ones it is told which.
        host_port_last: b
            .within
            .filter(|_| b.host.0 == 0)
            .map(|(_, last)| last.into()),
    }
}

fn exposed(b: &PortBinding) -> v1::ExposedPort {
    v1::ExposedPort {
        port: b.target.0.into(),
        count: count(b.target),
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
        netns_cookie: cookie(model, s),
        owned: s.owned(),
        state: state(model, s).into(),
        endpoints: model
            .endpoints_of(&s.id)
            .map(|e| endpoint(model, e))
            .collect(),
        publications: bindings(s)
            .iter()
            .map(|b| publication(model, s, b))
            .collect(),
        attachments: s.attachments.iter().map(attachment).collect(),
        exposed: s.exposed.iter().map(exposed).collect(),
        names: Some(super::names::message(&s.names)),
        resolv_conf_path: path(|f| &f.resolv_conf),
        hosts_path: path(|f| &f.hosts),
        hostname_path: path(|f| &f.hostname),
        pid: match s.run.as_ref().map(|r| &r.origin) {
            Some(Origin::Foreign {
                process: Some(process),
                ..
            }) => process.pid,
            _ => 0,
        },
        degraded: degraded(model, &ObjectId::Sandbox(s.id.clone())),
        revision: model.revision_of(&ObjectId::Sandbox(s.id.clone())),
    }
}

/// What the kernel calls a sandbox's namespace; 0: nothing.
fn cookie(model: &View, s: &Sandbox) -> u64 {
    let netns = model.observed.running.get(&s.id);
    let identity = netns.and_then(|netns| netns.identity().ok());
    identity.map_or(0, |identity| identity.cookie)
}

/// A namespace that went away by itself leaves a sandbox that neither runs nor is stopped.
pub fn state(model: &View, s: &Sandbox) -> v1::sandbox::State {
    match (model.observed.running.contains_key(&s.id), &s.run) {
        (true, _) => v1::sandbox::State::Running,
        (false, None) => v1::sandbox::State::Stopped,
        (false, Some(_)) => v1::sandbox::State::Gone,
    }
}

/// Of a stopped sandbox those that it will ask for.
pub fn bindings(s: &Sandbox) -> &[PortBinding] {
    if s.running() {
        &s.ports
    } else {
        &s.wanted_ports
    }
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
