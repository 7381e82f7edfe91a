//! Creating and removing networks.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;

use super::{
    Engine, Model,
    checks::{automatic, check, check_device, chosen_pool, name_holders, random_ula},
};
use crate::{
    error::{Error, Kind, Result},
    ipam,
    model::{self, Network, Pool},
    store::Change,
};

/// A subnet asked for.
#[derive(Clone, Debug, Default)]
pub struct PoolRequest {
    /// CIDR, or empty.
    pub subnet: String,
    /// CIDR, or empty.
    pub ip_range: String,
    /// Address, or empty.
    pub gateway: String,
    /// Names and addresses.
    pub aux: BTreeMap<String, String>,
}

/// A network asked for.
#[derive(Clone, Debug, Default)]
#[allow(
    missing_docs,
    reason = "the fields of Docker's request, as in network.proto"
)]
pub struct NetworkRequest {
    pub name: String,
    pub driver: String,
    pub scope: String,
    pub enable_ipv4: bool,
    pub enable_ipv6: bool,
    pub internal: bool,
    pub attachable: bool,
    pub ingress: bool,
    pub config_only: bool,
    pub config_from: String,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub ipam_driver: String,
    pub ipam_options: BTreeMap<String, String>,
    pub pools: Vec<PoolRequest>,
}

const MTU_OPTIONS: [&str; 2] = ["com.docker.network.driver.mtu", "com.docker.network.mtu"];
const NAME_OPTION: &str = "com.docker.network.bridge.name";
pub(super) const ICC_OPTION: &str = "com.docker.network.bridge.enable_icc";
pub(super) const MASQUERADE_OPTION: &str = "com.docker.network.bridge.enable_ip_masquerade";
pub(super) const BINDING_OPTION: &str = "com.docker.network.bridge.host_binding_ipv4";

impl Engine {
    /// Creates a network and its device.
    pub async fn create_network(&self, request: NetworkRequest) -> Result<Network> {
        let mut model = self.model().await;
        check(&model, &request)?;
        let mut changes = Vec::new();
        let network = self.plan_network(&mut model, request, &mut changes)?;
        changes.push(Change::put("network", &network.id, &network)?);
        self.commit(&changes)?;
        model.networks.insert(network.id.clone(), network.clone());
        if let Err(e) = self.realize_network(&mut model, &network).await {
            self.unrealize_network(&mut model, &network).await;
            model.networks.remove(&network.id);
            self.commit(&[Change::delete("network", &network.id)])?;
            return Err(e);
        }
        self.emit(
            "network",
            "create",
            &network.id,
            &[("name", &network.name), ("type", &network.driver)],
        );
        Ok(network)
    }

    /// Removes a network that nobody uses. Returns its id.
    pub async fn remove_network(&self, wanted: &str) -> Result<String> {
        let mut model = self.model().await;
        let network = model.network(wanted)?.clone();
        if network.predefined() {
            return Err(Error::new(
                Kind::Forbidden,
                format!(
                    "{} is a pre-defined network and cannot be removed",
                    network.name
                ),
            ));
        }
        let users: Vec<&str> = model
            .endpoints
            .values()
            .filter(|e| e.network == network.id)
            .filter_map(|e| model.sandboxes.get(&e.sandbox))
            .map(|s| s.name.as_str())
            .collect();
        if !users.is_empty() {
            return Err(Error::conflict(format!(
                "error while removing network: network {} id {} has active endpoints ({})",
                network.name,
                network.id,
                users.join(", ")
            ))
            .hint("disconnect them first"));
        }
        self.commit(&[Change::delete("network", &network.id)])?;
        model.networks.remove(&network.id);
        self.unrealize_network(&mut model, &network).await;
        self.emit(
            "network",
            "destroy",
            &network.id,
            &[("name", &network.name), ("type", &network.driver)],
        );
        Ok(network.id)
    }

    /// The network that a request makes, with every default filled in.
    pub(super) fn plan_network(
        &self,
        model: &mut Model,
        request: NetworkRequest,
        changes: &mut Vec<Change>,
    ) -> Result<Network> {
        let pools = if request.driver == "bridge" {
            self.pools(model, &request, changes)?
        } else {
            Vec::new()
        };
        let id = model::new_id();
        let mut device = request
            .options
            .get(NAME_OPTION)
            .cloned()
            .unwrap_or_default();
        if request.driver == "bridge" && device.is_empty() {
            device = if request.name == "bridge" {
                "netd0".into()
            } else {
                format!("br-{}", &id[..12])
            };
        }
        if request.driver != "bridge" {
            device.clear();
        }
        check_device(model, &device)?;
        let mtu = self.mtu(model, &request.options)?;
        let network = Network {
            number: Self::take_number(model, changes)?,
            name: request.name,
            created: model::now(),
            driver: request.driver,
            scope: if request.scope.is_empty() {
                "local".into()
            } else {
                request.scope
            },
            enable_ipv4: pools.iter().any(|p| p.subnet.is_ipv4()),
            enable_ipv6: pools.iter().any(|p| p.subnet.is_ipv6()),
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
            mtu,
            id,
        };
        network.flag(ICC_OPTION, true)?;
        network.flag(MASQUERADE_OPTION, true)?;
        if let Some(text) = network.options.get(BINDING_OPTION)
            && text.parse::<IpAddr>().is_err()
        {
            return Err(Error::invalid(format!(
                "failed to parse {BINDING_OPTION} value: {text} (not an address)"
            )));
        }
        Ok(network)
    }

    fn mtu(&self, model: &Model, options: &BTreeMap<String, String>) -> Result<u32> {
        for key in MTU_OPTIONS {
            let Some(text) = options.get(key) else {
                continue;
            };
            let mtu: i64 = text.parse().map_err(|_| {
                Error::invalid(format!(
                    "failed to parse {key} value: {text} (not a number)"
                ))
            })?;
            return match u32::try_from(mtu) {
                Ok(mtu @ 68..=65535) => Ok(mtu),
                _ => Err(Error::invalid(format!("invalid MTU number: {mtu}")).hint("68 to 65535")),
            };
        }
        let uplinks = model
            .host
            .links
            .iter()
            .filter(|l| l.up && !l.loopback && l.alias.is_empty());
        Ok(uplinks.map(|l| l.mtu).min().unwrap_or(1500).max(1280))
    }

    fn pools(
        &self,
        model: &mut Model,
        request: &NetworkRequest,
        changes: &mut Vec<Change>,
    ) -> Result<Vec<Pool>> {
        let networks: Vec<IpNetwork> = model
            .networks
            .values()
            .flat_map(|n| n.pools.iter().map(|p| p.subnet))
            .collect();
        let mut pools: Vec<Pool> = Vec::new();
        for wanted in request.pools.iter().filter(|p| !p.subnet.is_empty()) {
            let pool = chosen_pool(wanted)?;
            if networks.iter().any(|n| ipam::overlap(n, &pool.subnet)) {
                let holder = model
                    .networks
                    .values()
                    .find(|n| {
                        n.pools
                            .iter()
                            .any(|p| ipam::overlap(&p.subnet, &pool.subnet))
                    })
                    .map_or("", |n| n.name.as_str());
                return Err(
                    Error::conflict("Pool overlaps with other one on this address space")
                        .hint(format!("{} overlaps network {holder}", pool.subnet)),
                );
            }
            if pools
                .iter()
                .any(|p| p.subnet.is_ipv4() == pool.subnet.is_ipv4())
            {
                return Err(Error::conflict(
                    "bridge driver doesn't support multiple subnets of one family",
                ));
            }
            pools.push(pool);
        }
        // What the host can reach already must not disappear behind a container network.
        let mut taken = networks;
        taken.extend(model.host.routes.iter().copied());
        taken.extend(model.host.addresses.iter().map(|a| a.net));
        taken.extend(model.host.resolvers.iter().map(|r| IpNetwork::from(*r)));
        if request.enable_ipv4 && !pools.iter().any(|p| p.subnet.is_ipv4()) {
            pools.insert(
                0,
                automatic(
                    ipam::choose_v4(&self.config.pools, &taken)
                        .map_err(|e| name_holders(model, e))?,
                ),
            );
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
        if pools.is_empty() {
            return Err(Error::invalid("the network would have no addresses")
                .hint("allow IPv4 or give --ipv6"));
        }
        Ok(pools)
    }
}
