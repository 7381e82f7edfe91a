//! From a network asked for to the network as it will be, but for its subnets: every default filled in.

use std::collections::BTreeMap;

use super::{desired::Desired, pools::chosen_pool};
use crate::{
    error::{Error, Result},
    model::{self, NetworkRequest, Pool, PoolSpec},
};

/// The record that a request makes. Its driver fills in the rest.
pub(super) fn plan_network(request: &NetworkRequest, number: u32) -> model::Network {
    let request = request.clone();
    model::Network {
        id: model::new_id(),
        number,
        name: request.name,
        created: model::now(),
        driver: request.driver,
        scope: if request.scope.is_empty() {
            "local".into()
        } else {
            request.scope
        },
        enable_ipv4: request.enable_ipv4,
        enable_ipv6: request.enable_ipv6,
        internal: request.internal,
        attachable: request.attachable,
        ingress: request.ingress,
        options: request.options,
        labels: request.labels,
        ipam_driver: request.ipam_driver,
        ipam_options: request.ipam_options,
        pools: Vec::new(),
        requested_pools: request.pools,
        device: String::new(),
        mac: model::mac::random(),
        mtu: None,
        config_only: request.config_only,
        config_from: request.config_from,
        request_id: request.request_id,
        extra: model::Extra::new(),
    }
}

/// The subnets that a user chose.
pub(super) fn chosen_pools(request: &NetworkRequest) -> Result<Vec<Pool>> {
    let wanted = request.pools.iter().filter(|p| !p.subnet.is_empty());
    wanted.map(chosen_pool).collect()
}

/// Takes over what the network `config_from` lends. A request that says more than its own name and place is refused,
/// as Docker does.
pub(super) fn borrow(desired: &Desired, request: &mut NetworkRequest) -> Result<()> {
    let wanted = &request.config_from;
    let lender = desired
        .networks()
        .values()
        .find(|n| n.config_only && (n.name == *wanted || n.id == *wanted))
        .ok_or_else(|| {
            Error::not_found(format!("configuration network {wanted:?} does not exist"))
                .hint("create it first with --config-only")
        })?;
    let own = !request.options.is_empty()
        || !request.labels.is_empty()
        || !request.ipam_options.is_empty()
        || request.enable_ipv6
        || request.pools.iter().any(|p| *p != PoolSpec::default());
    if own {
        return Err(Error::conflict(
            "user specified configurations are not supported if the network depends on a configuration network",
        )
        .hint("give options, labels and subnets to the configuration network"));
    }
    request.config_from.clone_from(&lender.name);
    request.options.clone_from(&lender.options);
    request.labels.clone_from(&lender.labels);
    request.ipam_driver.clone_from(&lender.ipam_driver);
    request.ipam_options.clone_from(&lender.ipam_options);
    request.enable_ipv4 = lender.enable_ipv4;
    request.enable_ipv6 = lender.enable_ipv6;
    request.pools = lender.pools.iter().map(as_request).collect();
    Ok(())
}

fn as_request(pool: &Pool) -> PoolSpec {
    let aux = pool.aux.iter().map(|(k, a)| (k.clone(), a.to_string()));
    PoolSpec {
        subnet: pool.subnet.to_string(),
        ip_range: pool.ip_range.map(|r| r.to_string()).unwrap_or_default(),
        gateway: pool.gateway.to_string(),
        aux: aux.collect::<BTreeMap<_, _>>(),
    }
}
