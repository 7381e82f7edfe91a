//! Connecting sandboxes to networks and disconnecting them.

use std::{collections::BTreeMap, collections::BTreeSet, net::IpAddr};

use ipnetwork::IpNetwork;

use super::{Engine, Model};
use crate::{
    error::{Error, Kind, Result},
    ipam,
    kernel::sandbox,
    model::{self, Endpoint, Network, Sandbox},
    store::Change,
};

/// Docker's other way to choose an endpoint's Ethernet address.
const MAC_OPTION: &str = "com.docker.network.endpoint.macaddress";

/// An endpoint asked for.
#[derive(Clone, Debug, Default)]
#[allow(
    missing_docs,
    reason = "the fields of Docker's request, as in network.proto"
)]
pub struct EndpointRequest {
    pub network: String,
    pub sandbox: String,
    pub ipv4: String,
    pub ipv6: String,
    pub mac: String,
    pub aliases: Vec<String>,
    pub driver_options: BTreeMap<String, String>,
    pub priority: i32,
}

impl Engine {
    /// Connects a sandbox to a network.
    pub async fn connect(&self, request: EndpointRequest) -> Result<Endpoint> {
        let mut model = self.model().await;
        self.connect_in(&mut model, request).await
    }

    pub(super) async fn connect_in(
        &self,
        model: &mut Model,
        request: EndpointRequest,
    ) -> Result<Endpoint> {
        let network = model.network(&request.network)?.clone();
        let sandbox = model.sandbox(&request.sandbox)?.clone();
        check(model, &network, &sandbox)?;
        let before = network.clone();
        let mut changes = Vec::new();
        let (network, endpoint) = plan(model, network, &sandbox, &request, &mut changes)?;
        changes.push(Change::put("network", &network.id, &network)?);
        changes.push(Change::put("endpoint", &endpoint.id, &endpoint)?);
        self.commit(&changes)?;
        model.networks.insert(network.id.clone(), network.clone());
        model
            .endpoints
            .insert(endpoint.id.clone(), endpoint.clone());
        if let Err(e) = self.realize_endpoint(model, &endpoint).await {
            self.unrealize_endpoint(model, &endpoint).await;
            model.endpoints.remove(&endpoint.id);
            model.networks.insert(before.id.clone(), before.clone());
            self.commit(&[
                Change::delete("endpoint", &endpoint.id),
                Change::put("network", &before.id, &before)?,
            ])?;
            return Err(e);
        }
        let attributes = [
            ("name", &*network.name),
            ("type", &*network.driver),
            ("container", &*sandbox.id),
        ];
        self.emit("network", "connect", &network.id, &attributes);
        Ok(endpoint)
    }

    /// Disconnects a sandbox from a network. Returns the endpoint's id.
    pub async fn disconnect(&self, network: &str, sandbox: &str) -> Result<String> {
        let mut model = self.model().await;
        let network = model.network(network)?.clone();
        let sandbox = model.sandbox(sandbox)?.clone();
        if network.driver == "host" {
            return Err(Error::invalid(
                "container cannot be disconnected from host network or connected to host network",
            ));
        }
        let found = model
            .endpoints_of(&sandbox.id)
            .find(|e| e.network == network.id)
            .cloned();
        let endpoint = found.ok_or_else(|| {
            Error::new(
                Kind::Conflict,
                format!(
                    "container {} is not connected to network {}",
                    sandbox.name, network.name
                ),
            )
        })?;
        self.commit(&[Change::delete("endpoint", &endpoint.id)])?;
        model.endpoints.remove(&endpoint.id);
        self.unrealize_endpoint(&mut model, &endpoint).await;
        self.refresh_sandbox(&mut model, &sandbox.id)?;
        let attributes = [
            ("name", &*network.name),
            ("type", &*network.driver),
            ("container", &*sandbox.id),
        ];
        self.emit("network", "disconnect", &network.id, &attributes);
        Ok(endpoint.id)
    }
}

fn check(model: &Model, network: &Network, sandbox: &Sandbox) -> Result<()> {
    if network.driver == "host" || sandbox.host {
        return Err(Error::invalid(
            "container cannot be disconnected from host network or connected to host network",
        ));
    }
    let mut others = model
        .endpoints_of(&sandbox.id)
        .filter_map(|e| model.networks.get(&e.network));
    if others.any(|n| n.id == network.id) {
        return Err(Error::conflict(format!(
            "endpoint with name {} already exists in network {}",
            sandbox.name, network.name
        )));
    }
    let mut others = model
        .endpoints_of(&sandbox.id)
        .filter_map(|e| model.networks.get(&e.network));
    if others.any(|n| n.driver == "null")
        || (network.driver == "null" && model.endpoints_of(&sandbox.id).count() > 0)
    {
        return Err(Error::invalid(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ));
    }
    Ok(())
}

fn plan(
    model: &mut Model,
    mut network: Network,
    sandbox: &Sandbox,
    request: &EndpointRequest,
    changes: &mut Vec<Change>,
) -> Result<(Network, Endpoint)> {
    let used: BTreeSet<IpAddr> = model
        .endpoints
        .values()
        .filter(|e| e.network == network.id)
        .flat_map(|e| e.addresses().into_iter().map(|a| a.ip()))
        .collect();
    let wanted_mac = match request.driver_options.get(MAC_OPTION) {
        Some(option) if request.mac.is_empty() => option,
        _ => &request.mac,
    };
    let mut endpoint = Endpoint {
        id: model::new_id(),
        number: Engine::take_number(model, changes)?,
        network: network.id.clone(),
        sandbox: sandbox.id.clone(),
        interface: String::new(),
        mac: mac(model, &network, wanted_mac)?,
        ipv4: None,
        ipv6: None,
        aliases: request.aliases.clone(),
        driver_options: request.driver_options.clone(),
        priority: request.priority,
    };
    let predefined = network.predefined();
    if predefined && !(request.ipv4.is_empty() && request.ipv6.is_empty()) {
        return Err(Error::invalid(
            "user specified IP address is supported on user defined networks only",
        ));
    }
    let name = format!("{} ({})", network.name, network.id);
    for (v4, wanted) in [(true, &request.ipv4), (false, &request.ipv6)] {
        let pool = network.pools.iter_mut().find(|p| p.subnet.is_ipv4() == v4);
        let address = match (pool, wanted.is_empty()) {
            (None, true) => continue,
            (None, false) => {
                return Err(Error::invalid(format!(
                    "Invalid address {wanted}: It does not belong to any of this network's subnets"
                )));
            }
            (Some(pool), true) => {
                let found = ipam::allocate(pool, &used).ok_or_else(|| {
                    let family = if v4 { "IPv4" } else { "IPv6" };
                    let text = format!(
                        "no available {family} addresses on this network's address pools: {name}"
                    );
                    Error::new(Kind::Exhausted, text)
                        .hint("disconnect a sandbox or make a larger network")
                })?;
                pool.cursor = Some(found);
                IpNetwork::new(found, pool.subnet.prefix())
            }
            (Some(pool), false) => {
                IpNetwork::new(fixed(pool, wanted, v4, &used)?, pool.subnet.prefix())
            }
        };
        let address = address.map_err(|e| Error::internal("an address", e))?;
        if v4 {
            endpoint.ipv4 = Some(address);
        } else {
            endpoint.ipv6 = Some(address);
        }
    }
    if network.driver == "bridge" {
        endpoint.interface = interface(model, sandbox)?;
    }
    Ok((network, endpoint))
}

/// An address that the user chose.
fn fixed(pool: &model::Pool, wanted: &str, v4: bool, used: &BTreeSet<IpAddr>) -> Result<IpAddr> {
    let family = if v4 { "IPv4" } else { "IPv6" };
    let address: IpAddr = wanted
        .parse()
        .map_err(|_| Error::invalid(format!("Invalid {family} address: {wanted}")))?;
    if !pool.chosen {
        return Err(Error::invalid(
            "user specified IP address is supported only when connecting to networks with user configured subnets",
        )
        .hint("create the network with --subnet"));
    }
    if !pool.subnet.contains(address) {
        return Err(Error::invalid(format!(
            "Invalid address {address}: It does not belong to any of this network's subnets"
        ))
        .hint(format!("the subnet is {}", pool.subnet)));
    }
    let reserved = !ipam::is_usable(&pool.subnet, address) || address == pool.gateway;
    if reserved || pool.aux.values().any(|a| *a == address) {
        return Err(
            Error::conflict(format!("Address already in use: {address} is reserved"))
                .hint("gateway, auxiliary, network and broadcast addresses are never given out"),
        );
    }
    if used.contains(&address) {
        return Err(Error::conflict(format!(
            "Address already in use: {address}"
        )));
    }
    Ok(address)
}

fn mac(model: &Model, network: &Network, wanted: &str) -> Result<[u8; 6]> {
    let used = |mac: &[u8; 6]| {
        network.mac == *mac
            || model
                .endpoints
                .values()
                .any(|e| e.network == network.id && e.mac == *mac)
    };
    if wanted.is_empty() {
        loop {
            let mac = model::new_mac();
            if !used(&mac) {
                return Ok(mac);
            }
        }
    }
    let bytes: Option<Vec<u8>> = wanted
        .split([':', '-'])
        .map(|p| u8::from_str_radix(p, 16).ok())
        .collect();
    let mac: [u8; 6] = bytes
        .and_then(|b| b.try_into().ok())
        .filter(|m: &[u8; 6]| m[0] & 1 == 0 && *m != [0; 6])
        .ok_or_else(|| {
            Error::invalid(format!("invalid MAC address: {wanted}"))
                .hint("a unicast one, as 02:42:ac:11:00:02")
        })?;
    if used(&mac) {
        return Err(Error::conflict(format!(
            "MAC address {wanted} is already in use on network {}",
            network.name
        )));
    }
    Ok(mac)
}

/// The first free ethN.
fn interface(model: &Model, sandbox: &Sandbox) -> Result<String> {
    let there = match model.running.get(&sandbox.id) {
        Some(netns) => sandbox::interfaces(netns)?,
        None => Vec::new(),
    };
    let taken = |name: &str| {
        there.iter().any(|n| n == name)
            || model.endpoints_of(&sandbox.id).any(|e| e.interface == name)
    };
    (0..10_000)
        .map(|n| format!("eth{n}"))
        .find(|name| !taken(name))
        .ok_or_else(|| Error::internal("naming an interface", "all of eth0 to eth9999 are taken"))
}
