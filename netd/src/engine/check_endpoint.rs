//! What an endpoint may ask for, and whom a network may stand beside in a sandbox, before anything is changed.

use super::{
    desired::Desired,
    plan_endpoint::{chosen_address, chosen_interface, chosen_mac, link_local},
};
use crate::{
    driver::{Company, Network},
    error::{Error, Reason, Result},
    model::{self, EndpointSpec, Sandbox, is_host_name},
};

const HOST: &str =
    "container cannot be disconnected from host network or connected to host network";
const NONE: &str = "container cannot be connected to multiple networks with one of the networks in private (none) mode";
const HOST_ALONE: &str = "the host network stands alone: no other network, no namespace of its own";

fn alone(network: &Network, text: &str) -> Error {
    Error::invalid(text)
        .because(Reason::StandsAlone)
        .about("network", &network.name)
}

/// The host network was asked for with a namespace of its own.
pub(super) fn host_has_its_own(network: &Network) -> Error {
    alone(network, HOST_ALONE)
}

/// A sandbox cannot leave its host network.
pub(super) fn check_leaving(network: &Network) -> Result<()> {
    match network.driver().company() {
        Company::Host => Err(alone(network, HOST)),
        Company::Others | Company::Nobody => Ok(()),
    }
}

/// Whether the networks that a new sandbox asks for may stand beside each other.
pub(super) fn check_company<'a>(networks: impl Iterator<Item = &'a Network> + Clone) -> Result<()> {
    if networks.clone().nth(1).is_none() {
        return Ok(());
    }
    for network in networks {
        match network.driver().company() {
            Company::Others => {}
            Company::Nobody => return Err(alone(network, NONE)),
            Company::Host => return Err(alone(network, HOST_ALONE)),
        }
    }
    Ok(())
}

/// Whether a sandbox that exists may be connected to one more network.
pub(super) fn check_connection(
    desired: &Desired,
    network: &Network,
    sandbox: &Sandbox,
    spec: &EndpointSpec,
) -> Result<()> {
    let company = network.driver().company();
    if company == Company::Host || sandbox.host() {
        return Err(alone(network, HOST));
    }
    check_spec(network, spec)?;
    let connected = desired
        .endpoints_of(&sandbox.id)
        .any(|e| e.network == network.id);
    let attached = !sandbox.running()
        && sandbox
            .attachments
            .iter()
            .any(|a| a.spec.network == network.name);
    if connected || attached {
        return Err(Error::conflict(format!(
            "endpoint with name {} already exists in network {}",
            sandbox.name, network.name
        ))
        .because(Reason::AlreadyConnected)
        .about("sandbox", &sandbox.name)
        .about("network", &network.name));
    }
    let attachments = sandbox.attachments.iter();
    let others: Vec<&Network> = if sandbox.running() {
        let endpoints = desired.endpoints_of(&sandbox.id);
        endpoints
            .filter_map(|e| desired.networks().get(&e.network))
            .map(|n| &**n)
            .collect()
    } else {
        attachments
            .filter_map(|a| desired.network_named(&a.spec.network))
            .map(|n| &**n)
            .collect()
    };
    for other in &others {
        match other.driver().company() {
            Company::Others => {}
            Company::Nobody => return Err(alone(other, NONE)),
            Company::Host => return Err(alone(other, HOST)),
        }
    }
    if company == Company::Nobody && !others.is_empty() {
        return Err(alone(network, NONE));
    }
    Ok(())
}

/// Everything of an endpoint that can be judged without knowing what is in use.
pub(super) fn check_spec(network: &Network, spec: &EndpointSpec) -> Result<()> {
    if network.config_only {
        return Err(Error::conflict(format!(
            "cannot create endpoint on configuration-only network {}",
            network.name
        ))
        .hint("create a network with --config-from it"));
    }
    network.driver().check_endpoint(network.record(), spec)?;
    for v4 in [true, false] {
        chosen_address(network, spec, v4)?;
    }
    if let Some(alias) = spec.aliases.iter().find(|a| !is_host_name(a)) {
        return Err(Error::invalid(format!("invalid alias {alias:?}"))
            .hint("letters, digits, dots, dashes and underscores, at most 253"));
    }
    chosen_mac(spec)?;
    chosen_interface(spec)?;
    link_local(spec)?;
    for link in &spec.links {
        let (target, alias) = link.split_once(':').unwrap_or((link, ""));
        let whole = !link.ends_with(':') && model::check_name("sandbox", target).is_ok();
        if !whole || !(alias.is_empty() || is_host_name(alias)) {
            return Err(Error::invalid(format!("invalid link {link:?}"))
                .hint("TARGET or TARGET:ALIAS, the alias of letters, digits, dots, dashes and underscores"));
        }
    }
    Ok(())
}
