//! What a network may ask for: its name, device and place, before anything is changed.

use super::state::State;
use crate::{
    error::{Error, Kind, Reason, Result},
    model::{self, NetworkRequest, PoolSpec},
};

/// An interface name of the kernel: 1 to 15 bytes, no slash, no space, not taken.
pub(super) fn check_device(state: &State, device: &str) -> Result<()> {
    if device.is_empty() {
        return Ok(());
    }
    model::check_name("device", device)?;
    if device.len() > 15 {
        return Err(Error::invalid(format!(
            "invalid device name {device:?}: longer than 15 characters"
        )));
    }
    if let Some(other) = state.network_with_device(device) {
        return Err(Error::conflict(format!(
            "conflicts with network {} ({}): networks have same bridge name {device}",
            other.id, other.name
        ))
        .because(Reason::DeviceInUse)
        .about("device", device)
        .about("holder", &other.name));
    }
    if state.observed.host.links.iter().any(|l| l.name == device) {
        return Err(Error::conflict(format!(
            "an interface named {device} exists already on the host"
        ))
        .because(Reason::InterfaceInUse)
        .about("interface", device)
        .hint("choose another com.docker.network.bridge.name"));
    }
    Ok(())
}

/// What a network that a user asks for may say.
pub(super) fn check(state: &State, request: &NetworkRequest) -> Result<()> {
    if model::PREDEFINED.contains(&request.name.as_str()) || request.name == "default" {
        return Err(Error::new(
            Kind::Forbidden,
            format!(
                "operation is not permitted on predefined {} network",
                request.name
            ),
        )
        .because(Reason::Predefined)
        .about("network", &request.name));
    }
    model::check_name("network", &request.name)?;
    if state.network_named(&request.name).is_some() {
        return Err(Error::new(
            Kind::Exists,
            format!("network with name {} already exists", request.name),
        ));
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
        .any(|p| p.subnet.is_empty() && *p != PoolSpec::default())
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
