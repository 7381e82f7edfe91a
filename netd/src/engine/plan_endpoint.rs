//! From an endpoint asked for to the endpoint as it will be: addresses, Ethernet address, interface name.

use std::{collections::BTreeSet, net::IpAddr};

use ipnetwork::IpNetwork;

use super::Model;
use crate::{
    error::{Error, Kind, Result},
    ipam,
    model::{self, Attachment, Endpoint, EndpointRequest, Network, Pool, Sandbox},
    store::Change,
};

/// Docker's other way to choose an endpoint's Ethernet address.
const MAC_OPTION: &str = "com.docker.network.endpoint.macaddress";
/// Docker's way to choose an interface's name (Docker Engine 28).
const NAME_OPTION: &str = "com.docker.network.endpoint.ifname";

impl Model {
    /// The endpoint that an attachment makes. `foreign`: names of interfaces that are in the namespace already.
    pub(super) fn plan_endpoint(
        &mut self,
        network: &Network,
        sandbox: &Sandbox,
        attachment: &Attachment,
        foreign: &[String],
        changes: &mut Vec<Change>,
    ) -> Result<Endpoint> {
        let request = &attachment.request;
        let mut network = network.clone();
        let mac = self.choose_mac(&network, attachment)?;
        let interface = if network.driver == "bridge" {
            self.choose_interface(&network, sandbox, request, foreign)?
        } else {
            String::new()
        };
        let (ipv4, ipv6) = self.choose_addresses(&mut network, attachment)?;
        let endpoint = Endpoint {
            id: model::new_id(),
            number: self.take_number()?,
            network: network.id.clone(),
            sandbox: sandbox.id.clone(),
            interface,
            mac,
            ipv4,
            ipv6,
            aliases: request.aliases.clone(),
            driver_options: request.driver_options.clone(),
            priority: request.priority,
            links: request.links.clone(),
            link_local: link_local(request)?,
        };
        changes.push(Change::put("meta", "number", &self.next_number)?);
        changes.push(Change::put("network", &network.id, &network)?);
        self.networks.insert(network.id.clone(), network);
        Ok(endpoint)
    }

    fn choose_addresses(
        &self,
        network: &mut Network,
        attachment: &Attachment,
    ) -> Result<(Option<IpNetwork>, Option<IpNetwork>)> {
        let empty = BTreeSet::new();
        let used = self
            .on_network(&network.id)
            .map_or(&empty, |o| &o.addresses);
        let name = format!("{} ({})", network.name, network.id);
        let mut chosen = [None, None];
        for (slot, v4) in chosen.iter_mut().zip([true, false]) {
            let wanted = wanted(&attachment.request, v4);
            if network.pool(v4).is_none() {
                continue;
            }
            let Some(pool) = network.pools.iter_mut().find(|p| p.subnet.is_ipv4() == v4) else {
                continue;
            };
            let address = if wanted.is_empty() {
                let again = attachment.last_ips.iter().copied().find(|a| {
                    pool.subnet.contains(*a) && !used.contains(a) && !ipam::is_reserved(pool, *a)
                });
                let found = again.or_else(|| ipam::allocate(pool, used)).ok_or_else(|| {
                    let family = if v4 { "IPv4" } else { "IPv6" };
                    let text = format!(
                        "no available {family} addresses on this network's address pools: {name}"
                    );
                    Error::new(Kind::Exhausted, text)
                        .hint("disconnect a sandbox or make a larger network")
                })?;
                if again.is_none() {
                    pool.cursor = Some(found);
                }
                found
            } else {
                let address = fixed(pool, wanted, v4)?;
                if used.contains(&address) {
                    return Err(
                        Error::conflict(format!("Address already in use: {address}"))
                            .hint("choose another one, or none for an automatic one"),
                    );
                }
                address
            };
            let net = IpNetwork::new(address, pool.subnet.prefix());
            *slot = Some(net.map_err(|e| Error::internal("an address", e))?);
        }
        let [v4, v6] = chosen;
        Ok((v4, v6))
    }

    fn choose_mac(&self, network: &Network, attachment: &Attachment) -> Result<[u8; 6]> {
        let request = &attachment.request;
        let used = |mac: &[u8; 6]| {
            let there = self.on_network(&network.id);
            network.mac == *mac || there.is_some_and(|o| o.macs.contains(mac))
        };
        if let Some(mac) = chosen_mac(request)? {
            if used(&mac) {
                let text = mac.map(|b| format!("{b:02x}")).join(":");
                return Err(Error::conflict(format!(
                    "MAC address {text} is already in use on network {}",
                    network.name
                )));
            }
            return Ok(mac);
        }
        if let Some(last) = attachment.last_mac.filter(|m| !used(m)) {
            return Ok(last);
        }
        loop {
            let mac = model::new_mac();
            if !used(&mac) {
                return Ok(mac);
            }
        }
    }

    /// The name asked for, or the network's prefix and the first free number.
    fn choose_interface(
        &self,
        network: &Network,
        sandbox: &Sandbox,
        request: &EndpointRequest,
        foreign: &[String],
    ) -> Result<String> {
        let own: Vec<&str> = self
            .endpoints_of(&sandbox.id)
            .map(|e| &*e.interface)
            .collect();
        let taken = |name: &str| own.contains(&name) || foreign.iter().any(|n| n == name);
        if let Some(name) = chosen_interface(request)? {
            if taken(name) {
                return Err(Error::conflict(format!(
                    "sandbox {} has an interface {name} already",
                    sandbox.name
                )));
            }
            return Ok(name.to_owned());
        }
        let prefix = network.options().interface_prefix;
        (0..10_000)
            .map(|n| format!("{prefix}{n}"))
            .find(|name| !taken(name))
            .ok_or_else(|| Error::internal("naming an interface", "ten thousand names are taken"))
    }
}

fn wanted(request: &EndpointRequest, v4: bool) -> &str {
    if v4 { &request.ipv4 } else { &request.ipv6 }
}

/// Everything of a request that can be judged without knowing what is in use.
pub(super) fn check_request(network: &Network, request: &EndpointRequest) -> Result<()> {
    if network.predefined() && !(request.ipv4.is_empty() && request.ipv6.is_empty()) {
        return Err(Error::invalid(
            "user specified IP address is supported on user defined networks only",
        ));
    }
    if network.predefined() && !request.aliases.is_empty() {
        return Err(Error::invalid(
            "network-scoped alias is supported only for containers in user defined networks",
        )
        .hint("create a network of your own"));
    }
    for v4 in [true, false] {
        let wanted = wanted(request, v4);
        if wanted.is_empty() {
            continue;
        }
        match network.pool(v4) {
            Some(pool) => drop(fixed(pool, wanted, v4)?),
            None => {
                return Err(Error::invalid(format!(
                    "Invalid address {wanted}: It does not belong to any of this network's subnets"
                ))
                .hint(format!(
                    "network {} has no subnet of that family",
                    network.name
                )));
            }
        }
    }
    if let Some(alias) = request.aliases.iter().find(|a| !is_host_name(a)) {
        return Err(Error::invalid(format!("invalid alias {alias:?}"))
            .hint("letters, digits, dots, dashes and underscores, at most 253"));
    }
    chosen_mac(request)?;
    chosen_interface(request)?;
    link_local(request)?;
    for link in &request.links {
        let (target, alias) = link.split_once(':').unwrap_or((link, ""));
        let whole = !link.ends_with(':') && model::check_name("sandbox", target).is_ok();
        if !whole || !(alias.is_empty() || is_host_name(alias)) {
            return Err(Error::invalid(format!("invalid link {link:?}"))
                .hint("TARGET or TARGET:ALIAS, the alias of letters, digits, dots, dashes and underscores"));
        }
    }
    Ok(())
}

/// Whether a text can be asked for by DNS as a name (RFC 1123, 2.1, and the underscores of services).
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |l: &str| {
        let right = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        !l.is_empty() && l.len() <= 63 && l.chars().all(right)
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn chosen_mac(request: &EndpointRequest) -> Result<Option<[u8; 6]>> {
    let option = request.driver_options.get(MAC_OPTION);
    let wanted = match (request.mac.as_str(), option) {
        ("", None) => return Ok(None),
        ("", Some(text)) => text,
        (text, _) => text,
    };
    let bytes: Option<Vec<u8>> = wanted
        .split([':', '-'])
        .map(|p| u8::from_str_radix(p, 16).ok().filter(|_| p.len() <= 2))
        .collect();
    bytes
        .and_then(|b| b.try_into().ok())
        .filter(|m: &[u8; 6]| m[0] & 1 == 0 && *m != [0; 6])
        .map(Some)
        .ok_or_else(|| {
            Error::invalid(format!("invalid MAC address: {wanted}"))
                .hint("a unicast one, as 02:42:ac:11:00:02")
        })
}

fn chosen_interface(request: &EndpointRequest) -> Result<Option<&str>> {
    let option = request.driver_options.get(NAME_OPTION);
    let wanted = match (request.interface.as_str(), option) {
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

fn link_local(request: &EndpointRequest) -> Result<Vec<IpAddr>> {
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
    request.link_local.iter().map(parse).collect()
}

/// An address that the user chose.
fn fixed(pool: &Pool, wanted: &str, v4: bool) -> Result<IpAddr> {
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
    if ipam::is_reserved(pool, address) {
        return Err(
            Error::conflict(format!("Address already in use: {address} is reserved"))
                .hint("gateway, auxiliary, network and broadcast addresses are never given out"),
        );
    }
    Ok(address)
}
