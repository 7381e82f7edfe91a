//! What a network may ask for: its name, driver, device and pools, before anything is changed.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;

use super::{
    Model,
    networks::{NetworkRequest, PoolRequest},
    plan_endpoint::check_request,
};
use crate::{
    error::{Error, Kind, Result},
    ipam,
    model::{self, Attachment, EndpointRequest, Network, Pool, Sandbox},
};

/// Who holds the pools when none is left.
pub(super) fn name_holders(model: &Model, e: Error) -> Error {
    let held = |n: &Network| {
        let subnets: Vec<String> = n.pools.iter().map(|p| p.subnet.to_string()).collect();
        format!("{} {}", n.name, subnets.join(" "))
    };
    let mut holders: Vec<String> = model
        .networks
        .values()
        .filter(|n| !n.pools.is_empty())
        .map(held)
        .collect();
    holders.sort();
    let more = holders.len().saturating_sub(16);
    holders.truncate(16);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Error::new(
        e.kind,
        format!("{}; networks hold {}{rest}", e.message, holders.join(", ")),
    )
    .hint(e.hint.unwrap_or_default())
}

pub(super) fn random_ula() -> Result<ipnetwork::Ipv6Network> {
    use rand::RngExt as _;
    let global: u64 = rand::rng().random();
    // fd00::/8 and 40 random bits (RFC 4193, 3.2).
    let base = 0xfd_u128 << 120 | u128::from(global & 0xff_ffff_ffff) << 80;
    ipnetwork::Ipv6Network::new(base.into(), 48)
        .map_err(|e| Error::internal("making a ULA prefix", e))
}

pub(super) fn automatic(subnet: IpNetwork) -> Pool {
    Pool {
        gateway: ipam::first_usable(&subnet),
        subnet,
        ip_range: None,
        aux: BTreeMap::new(),
        cursor: None,
        chosen: false,
    }
}

/// A subnet that endpoints can have: unicast, for more than the host itself, and with room for a gateway and one more.
fn check_subnet(subnet: &IpNetwork) -> Result<()> {
    let first = subnet.network();
    let reserved = match first {
        IpAddr::V4(a) => {
            a.is_loopback() || a.is_multicast() || a.octets()[0] == 0 || a.octets()[0] >= 240
        }
        IpAddr::V6(a) => {
            a.is_loopback()
                || a.is_multicast()
                || a.is_unspecified()
                || a.is_unicast_link_local()
                || a.to_ipv4_mapped().is_some()
        }
    };
    if reserved || subnet.prefix() == 0 {
        return Err(Error::invalid(format!(
            "Invalid subnet {subnet} : its addresses are reserved for other uses"
        ))
        .hint("take one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or fd00::/8"));
    }
    if subnet.prefix() == if subnet.is_ipv4() { 32 } else { 128 } {
        return Err(Error::invalid(format!(
            "failed to allocate gateway (): No available addresses on this pool: {subnet}"
        ))
        .hint("a gateway and an endpoint need two addresses"));
    }
    Ok(())
}

pub(super) fn chosen_pool(wanted: &PoolRequest) -> Result<Pool> {
    let bad = |text: &str| {
        Error::invalid(format!(
            "Invalid subnet {text} : invalid CIDR address: {text}"
        ))
    };
    if !wanted.subnet.contains('/') {
        return Err(bad(&wanted.subnet));
    }
    let given: IpNetwork = wanted.subnet.parse().map_err(|_| bad(&wanted.subnet))?;
    let subnet =
        IpNetwork::new(given.network(), given.prefix()).map_err(|_| bad(&wanted.subnet))?;
    check_subnet(&subnet)?;
    let ip_range = if wanted.ip_range.is_empty() {
        None
    } else {
        let range: IpNetwork = wanted.ip_range.parse().map_err(|_| bad(&wanted.ip_range))?;
        if !ipam::overlap(&subnet, &range) || range.prefix() < subnet.prefix() {
            return Err(Error::invalid(format!(
                "the ip-range {range} is not within the subnet {subnet}"
            )));
        }
        Some(range)
    };
    let gateway = if wanted.gateway.is_empty() {
        ipam::first_usable(&subnet)
    } else {
        let text = &wanted.gateway;
        text.parse().map_err(|_| {
            Error::invalid(format!(
                "invalid gateway address {text} in Ipam configuration"
            ))
        })?
    };
    if !ipam::is_usable(&subnet, gateway) {
        return Err(Error::invalid(format!(
            "failed to allocate gateway ({gateway}): Requested address is out of range"
        ))
        .hint(format!("it must be an address of {subnet}")));
    }
    let mut aux = BTreeMap::new();
    for (name, text) in &wanted.aux {
        let address: IpAddr = text.parse().map_err(|_| {
            Error::invalid(format!(
                "auxiliary address {name}: {text} is not an address"
            ))
        })?;
        if !subnet.contains(address) {
            return Err(Error::conflict(format!(
                "auxiliary address: ({name}:{address}) must belong to the master pool: {subnet}"
            )));
        }
        if address == gateway || aux.values().any(|a| *a == address) {
            return Err(Error::conflict(format!(
                "failed to allocate secondary ip address ({name}:{address}): Address already in use"
            )));
        }
        aux.insert(name.clone(), address);
    }
    Ok(Pool {
        subnet,
        ip_range,
        gateway,
        aux,
        cursor: None,
        chosen: true,
    })
}

/// An interface name of the kernel: 1 to 15 bytes, no slash, no space, not taken.
pub(super) fn check_device(model: &Model, device: &str) -> Result<()> {
    if device.is_empty() {
        return Ok(());
    }
    model::check_name("device", device)?;
    if device.len() > 15 {
        return Err(Error::invalid(format!(
            "invalid device name {device:?}: longer than 15 characters"
        )));
    }
    if let Some(other) = model.networks.values().find(|n| n.device == device) {
        return Err(Error::conflict(format!(
            "conflicts with network {} ({}): networks have same bridge name {device}",
            other.id, other.name
        )));
    }
    if model.host.links.iter().any(|l| l.name == device) {
        return Err(Error::conflict(format!(
            "an interface named {device} exists already on the host"
        ))
        .hint("choose another com.docker.network.bridge.name"));
    }
    Ok(())
}

pub(super) fn check(model: &Model, request: &NetworkRequest) -> Result<()> {
    if model::PREDEFINED.contains(&request.name.as_str()) || request.name == "default" {
        return Err(Error::new(
            Kind::Forbidden,
            format!(
                "operation is not permitted on predefined {} network",
                request.name
            ),
        ));
    }
    model::check_name("network", &request.name)?;
    if model.networks.values().any(|n| n.name == request.name) {
        return Err(Error::new(
            Kind::Exists,
            format!("network with name {} already exists", request.name),
        ));
    }
    match request.driver.as_str() {
        "bridge" => {}
        "host" => {
            return Err(Error::new(
                Kind::Forbidden,
                "only one instance of \"host\" network is allowed",
            ));
        }
        "null" => {
            return Err(Error::new(
                Kind::Forbidden,
                "only one instance of \"null\" network is allowed",
            ));
        }
        other => {
            return Err(Error::not_found(format!("plugin {other:?} not found"))
                .hint("the drivers are bridge, host and null"));
        }
    }
    if !matches!(request.ipam_driver.as_str(), "default" | "") {
        return Err(
            Error::not_found(format!("plugin {:?} not found", request.ipam_driver))
                .hint("the IPAM driver is default"),
        );
    }
    if request.config_only && !request.config_from.is_empty() {
        return Err(
            Error::invalid("a network cannot both lend its configuration and borrow one")
                .hint("--config-only or --config-from, not both"),
        );
    }
    if request.config_only
        && (request.internal
            || request.ingress
            || request.attachable
            || !matches!(request.scope.as_str(), "" | "local"))
    {
        return Err(Error::new(
            Kind::Forbidden,
            "configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported",
        )
        .hint("give them to the networks that are made from it"));
    }
    if request
        .pools
        .iter()
        .any(|p| p.subnet.is_empty() && *p != PoolRequest::default())
    {
        return Err(Error::invalid(
            "ipv4 pool is empty: a gateway, range or auxiliary address needs its subnet",
        )
        .hint("give the subnet, too"));
    }
    match request.scope.as_str() {
        "" | "local" | "swarm" | "global" => {}
        other => {
            return Err(
                Error::invalid(format!("invalid scope {other:?}")).hint("local, swarm or global")
            );
        }
    }
    if request.ingress && request.scope != "swarm" {
        return Err(
            Error::conflict("Ingress network can only be global scope network")
                .hint("--scope swarm"),
        );
    }
    if matches!(request.scope.as_str(), "swarm" | "global") {
        return Err(Error::conflict(
            "cannot create a swarm scoped network when swarm is not active",
        ));
    }
    Ok(())
}

/// Whether a sandbox may be connected to a network at all.
pub(super) fn check_endpoint(
    model: &Model,
    network: &Network,
    sandbox: &Sandbox,
    request: &EndpointRequest,
) -> Result<()> {
    let starting = |n: &Network| {
        let mut own = model.endpoints_of(&sandbox.id);
        n.driver == "host" && sandbox.host && own.next().is_none()
    };
    if starting(network) {
        return Ok(());
    }
    if network.driver == "host" || sandbox.host {
        return Err(Error::invalid(
            "container cannot be disconnected from host network or connected to host network",
        ));
    }
    check_lone_request(network, request)?;
    let there = model
        .endpoints_of(&sandbox.id)
        .any(|e| e.network == network.id);
    let stopped = sandbox.netns.is_none();
    let waiting = |a: &Attachment| stopped && a.request.network == network.name;
    if there || sandbox.attachments.iter().any(waiting) {
        return Err(Error::conflict(format!(
            "endpoint with name {} already exists in network {}",
            sandbox.name, network.name
        )));
    }
    let host = |a: &Attachment| {
        model
            .network(&a.request.network)
            .is_ok_and(|n| n.driver == "host")
    };
    if stopped && sandbox.attachments.iter().any(host) {
        return Err(Error::invalid(
            "container cannot be disconnected from host network or connected to host network",
        ));
    }
    let others: Vec<&Network> = if stopped {
        let attached = sandbox.attachments.iter();
        attached
            .filter_map(|a| model.network(&a.request.network).ok())
            .collect()
    } else {
        let endpoints = model.endpoints_of(&sandbox.id);
        endpoints
            .filter_map(|e| model.networks.get(&e.network))
            .collect()
    };
    if others.iter().any(|n| n.driver == "null") || (network.driver == "null" && !others.is_empty())
    {
        return Err(Error::invalid(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ));
    }
    Ok(())
}

/// Whether a network can be asked for at all, before its sandbox is there.
pub(super) fn check_lone_request(network: &Network, request: &EndpointRequest) -> Result<()> {
    if network.config_only {
        return Err(Error::conflict(format!(
            "cannot create endpoint on configuration-only network {}",
            network.name
        ))
        .hint("create a network with --config-from it"));
    }
    check_request(network, request)
}
