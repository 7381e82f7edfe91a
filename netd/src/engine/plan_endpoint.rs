//! From an endpoint asked for to the endpoint as it will be: Ethernet address, interface name; its addresses are requested from
//! the network's address manager.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::desired::Desired;
use crate::{
    driver::Network,
    error::{Error, Reason, Result},
    ipam,
    model::{self, Attachment, Endpoint, EndpointSpec, Pool, Sandbox, mac},
};

/// Docker's other way to choose an endpoint's Ethernet address.
const MAC_OPTION: &str = "com.docker.network.endpoint.macaddress";
/// Docker's way to choose an interface's name (Docker Engine 28).
const NAME_OPTION: &str = "com.docker.network.endpoint.ifname";

/// What an endpoint was given before it is planned.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// Its addresses, held for it.
    pub addresses: Vec<IpAddr>,
    /// Its number in the data plane.
    pub number: u32,
    /// Ethernet addresses that must not be chosen for it, beside those of the network's endpoints.
    pub macs: Vec<[u8; 6]>,
    /// Names of interfaces that are in the namespace already.
    pub foreign: Vec<String>,
}

/// The endpoint that an attachment makes.
pub(super) fn plan_endpoint(
    desired: &Desired,
    network: &Network,
    sandbox: &Sandbox,
    attachment: &Attachment,
    given: &Given,
) -> Result<Endpoint> {
    let spec = &attachment.spec;
    let interface = match network.driver().interface_prefix() {
        Some(prefix) => choose_interface(desired, prefix, sandbox, spec, &given.foreign)?,
        None => String::new(),
    };
    let address = |v4: bool| {
        let found = given.addresses.iter().find(|a| a.is_ipv4() == v4);
        let pool = network.pool(v4);
        found
            .zip(pool)
            .and_then(|(a, p)| IpNetwork::new(*a, p.subnet.prefix()).ok())
    };
    Ok(Endpoint {
        id: model::new_id(),
        number: given.number,
        network: network.id.clone(),
        sandbox: sandbox.id.clone(),
        interface,
        mac: choose_mac(desired, network, attachment, &given.macs)?,
        ipv4: address(true),
        ipv6: address(false),
        aliases: spec.aliases.clone(),
        driver_options: spec.driver_options.clone(),
        priority: spec.priority,
        links: spec.links.clone(),
        link_local: link_local(spec)?,
        request_id: attachment.request_id.clone(),
        extra: model::Extra::new(),
    })
}

fn choose_mac(
    desired: &Desired,
    network: &Network,
    attachment: &Attachment,
    held: &[[u8; 6]],
) -> Result<[u8; 6]> {
    let used = |mac: &[u8; 6]| {
        let there = desired.on_network(&network.id);
        network.mac == *mac || there.is_some_and(|o| o.macs.contains(mac))
    };
    if let Some(mac) = chosen_mac(&attachment.spec)? {
        if used(&mac) {
            return Err(mac_in_use(network, mac, ""));
        }
        return Ok(mac);
    }
    let free = |mac: &[u8; 6]| !used(mac) && !held.contains(mac);
    if let Some(last) = attachment.last_mac.filter(free) {
        return Ok(last);
    }
    loop {
        let mac = mac::random();
        if free(&mac) {
            return Ok(mac);
        }
    }
}

/// `by`: who has it, as ` by somebody`, if that is known.
pub(super) fn mac_in_use(network: &Network, mac: [u8; 6], by: &str) -> Error {
    let text = mac::text(mac);
    Error::conflict(format!(
        "MAC address {text} is already in use on network {}{by}",
        network.name
    ))
    .because(Reason::MacInUse)
    .about("address", text)
    .about("network", &network.name)
    .hint("choose another one, or none for a new one")
}

/// The name asked for, or the network's prefix and the first free number.
fn choose_interface(
    desired: &Desired,
    prefix: &str,
    sandbox: &Sandbox,
    spec: &EndpointSpec,
    foreign: &[String],
) -> Result<String> {
    let own: Vec<&str> = desired
        .endpoints_of(&sandbox.id)
        .map(|e| &*e.interface)
        .collect();
    let taken = |name: &str| own.contains(&name) || foreign.iter().any(|n| n == name);
    if let Some(name) = chosen_interface(spec)? {
        if taken(name) {
            return Err(Error::conflict(format!(
                "sandbox {} has an interface {name} already",
                sandbox.name
            ))
            .because(Reason::InterfaceInUse)
            .about("interface", name));
        }
        return Ok(name.to_owned());
    }
    (0..10_000)
        .map(|n| format!("{prefix}{n}"))
        .find(|name| !taken(name))
        .ok_or_else(|| Error::internal("naming an interface", "ten thousand names are taken"))
}

/// The address of a family that the user chose, if one was chosen.
pub(super) fn chosen_address(
    network: &Network,
    spec: &EndpointSpec,
    v4: bool,
) -> Result<Option<IpAddr>> {
    let wanted = if v4 { &spec.ipv4 } else { &spec.ipv6 };
    if wanted.is_empty() {
        return Ok(None);
    }
    match network.pool(v4) {
        Some(pool) => fixed(network, pool, wanted, v4).map(Some),
        None => Err(Error::invalid(format!(
            "Invalid address {wanted}: It does not belong to any of this network's subnets"
        ))
        .because(Reason::AddressOutOfRange)
        .about("address", wanted)
        .about("network", &network.name)
        .hint(format!(
            "network {} has no subnet of that family",
            network.name
        ))),
    }
}

pub(super) fn chosen_mac(spec: &EndpointSpec) -> Result<Option<[u8; 6]>> {
    let option = spec.driver_options.get(MAC_OPTION);
    let wanted = match (spec.mac.as_str(), option) {
        ("", None) => return Ok(None),
        ("", Some(text)) => text,
        (text, _) => text,
    };
    mac::parse(wanted).map(Some).ok_or_else(|| {
        Error::invalid(format!("invalid MAC address: {wanted}"))
            .hint("a unicast one, as 02:42:ac:11:00:02")
    })
}

pub(super) fn chosen_interface(spec: &EndpointSpec) -> Result<Option<&str>> {
    let option = spec.driver_options.get(NAME_OPTION);
    let wanted = match (spec.interface.as_str(), option) {
        ("", None) => return Ok(None),
        ("", Some(text)) => text.as_str(),
        (text, _) => text,
    };
    model::check_name("interface", wanted)?;
    if wanted.len() > 15 || wanted == "lo" {
        return Err(Error::invalid(format!("invalid interface name {wanted:?}"))
            .hint("at most 15 characters, and not lo"));
    }
    Ok(Some(wanted))
}

pub(super) fn link_local(spec: &EndpointSpec) -> Result<Vec<IpAddr>> {
    let parse = |text: &String| {
        let address: Option<IpAddr> = text.parse().ok();
        let right = |a: &IpAddr| match a {
            IpAddr::V4(a) => a.is_link_local(),
            IpAddr::V6(a) => a.is_unicast_link_local(),
        };
        address.filter(right).ok_or_else(|| {
            Error::invalid(format!("invalid link-local address: {text}"))
                .hint("one of 169.254.0.0/16 or fe80::/10")
        })
    };
    spec.link_local.iter().map(parse).collect()
}

/// An address that the user chose.
fn fixed(network: &Network, pool: &Pool, wanted: &str, v4: bool) -> Result<IpAddr> {
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
        .because(Reason::AddressOutOfRange)
        .about("address", address)
        .about("network", &network.name)
        .hint(format!("the subnet is {}", pool.subnet)));
    }
    if ipam::is_reserved(pool, address) {
        return Err(
            Error::conflict(format!("Address already in use: {address} is reserved"))
                .because(Reason::AddressInUse)
                .about("address", address)
                .about("network", &network.name)
                .hint("gateway, auxiliary, network and broadcast addresses are never given out"),
        );
    }
    Ok(address)
}
