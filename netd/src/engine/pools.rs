//! Subnets that a user chose: read and judged.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;

use crate::{
    error::{Error, Result},
    ipam,
    model::{Pool, PoolSpec},
};

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

/// One subnet.
pub(super) fn chosen_pool(wanted: &PoolSpec) -> Result<Pool> {
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
        chosen: true,
    })
}
