//! From a network asked for to the network as it will be: every default filled in. Nothing is touched but the model's
//! counters.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use super::{
    Engine, Model,
    checks::{automatic, check_device, chosen_pool, name_holders, random_ula},
    networks::{NetworkRequest, PoolRequest},
};
use crate::{
    error::{Error, Result},
    ipam,
    model::{self, GatewayMode, Network, Options, Pool},
    store::Change,
};

impl Engine {
    /// The network that a request makes.
    pub(super) fn plan_network(
        &self,
        model: &mut Model,
        mut request: NetworkRequest,
        changes: &mut Vec<Change>,
    ) -> Result<Network> {
        if !request.config_from.is_empty() {
            borrow(model, &mut request)?;
        }
        let options = Options::parse(&request.options)?;
        check_modes(&options, &request)?;
        let bridge = request.driver == "bridge";
        let pools = match (bridge, request.config_only) {
            (true, false) => self.pools(model, &request, changes)?,
            (_, true) => lent_pools(&request)?,
            (false, false) => Vec::new(),
        };
        let id = model::new_id();
        let device = match options.device {
            _ if !bridge || request.config_only => String::new(),
            Some(name) => name,
            None if request.name == "bridge" => "netd0".into(),
            None => format!("br-{}", &id[..12]),
        };
        check_device(model, &device)?;
        let number = model.take_number()?;
        changes.push(Change::put("meta", "number", &model.next_number)?);
        Ok(Network {
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
            pools,
            device,
            mac: model::new_mac(),
            mtu: options.mtu,
            config_only: request.config_only,
            config_from: request.config_from,
            id,
        })
    }

    fn pools(
        &self,
        model: &mut Model,
        request: &NetworkRequest,
        changes: &mut Vec<Change>,
    ) -> Result<Vec<Pool>> {
        let mut pools: Vec<Pool> = Vec::new();
        for wanted in request.pools.iter().filter(|p| !p.subnet.is_empty()) {
            let pool = chosen_pool(wanted)?;
            check_overlap(model, &pool)?;
            let same_family = |p: &Pool| p.subnet.is_ipv4() == pool.subnet.is_ipv4();
            if pools.iter().any(same_family) {
                return Err(Error::conflict(
                    "bridge driver doesn't support multiple subnets of one family",
                ));
            }
            pools.push(pool);
        }
        // What the host can reach already must not disappear behind a container network.
        let mut taken: Vec<IpNetwork> = model
            .networks
            .values()
            .filter(|n| !n.config_only)
            .flat_map(|n| n.pools.iter().map(|p| p.subnet))
            .collect();
        taken.extend(model.host.routes.iter().map(|(net, _)| *net));
        taken.extend(model.host.addresses.iter().map(|a| a.net));
        taken.extend(model.host.resolvers.iter().map(|r| IpNetwork::from(*r)));
        if request.enable_ipv4 && !pools.iter().any(|p| p.subnet.is_ipv4()) {
            let chosen =
                ipam::choose_v4(&self.config.pools, &taken).map_err(|e| name_holders(model, e))?;
            pools.insert(0, automatic(chosen));
        }
        if request.enable_ipv6 && !pools.iter().any(|p| p.subnet.is_ipv6()) {
            let ula = match model.ula {
                Some(ula) => ula,
                None => {
                    let ula = random_ula()?;
                    changes.push(Change::put("meta", "ula", &ula)?);
                    model.ula = Some(ula);
                    ula
                }
            };
            pools.push(automatic(ipam::choose_v6(ula, &taken)?));
        }
        if !request.enable_ipv4 && !request.enable_ipv6 {
            return Err(Error::invalid("the network would have no addresses")
                .hint("allow IPv4 or give --ipv6"));
        }
        Ok(pools)
    }
}

fn check_overlap(model: &Model, pool: &Pool) -> Result<()> {
    let overlaps = |n: &&Network| {
        let mut pools = n.pools.iter();
        !n.config_only && pools.any(|p| ipam::overlap(&p.subnet, &pool.subnet))
    };
    match model.networks.values().find(overlaps) {
        None => Ok(()),
        Some(holder) => Err(
            Error::conflict("Pool overlaps with other one on this address space")
                .hint(format!("{} overlaps network {}", pool.subnet, holder.name)),
        ),
    }
}

fn check_modes(options: &Options, request: &NetworkRequest) -> Result<()> {
    let isolated = [options.mode_v4, options.mode_v6].contains(&GatewayMode::Isolated);
    if isolated && !request.internal && !request.config_only {
        return Err(Error::invalid(
            "gateway mode 'isolated' can only be used for an internal network",
        )
        .hint("add --internal"));
    }
    Ok(())
}

/// The subnets of a network that only lends its configuration: checked, but nobody holds them.
fn lent_pools(request: &NetworkRequest) -> Result<Vec<Pool>> {
    let wanted = request.pools.iter().filter(|p| !p.subnet.is_empty());
    wanted.map(chosen_pool).collect()
}

/// Takes over what the network `config_from` lends. A request that says more than its own name and place is refused,
/// as Docker does.
fn borrow(model: &Model, request: &mut NetworkRequest) -> Result<()> {
    let wanted = &request.config_from;
    let lender = model
        .networks
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
        || request.pools.iter().any(|p| *p != PoolRequest::default());
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

fn as_request(pool: &Pool) -> PoolRequest {
    let aux = pool.aux.iter().map(|(k, a)| (k.clone(), a.to_string()));
    PoolRequest {
        subnet: pool.subnet.to_string(),
        ip_range: pool.ip_range.map(|r| r.to_string()).unwrap_or_default(),
        gateway: pool.gateway.to_string(),
        aux: aux.collect::<BTreeMap<_, _>>(),
    }
}
