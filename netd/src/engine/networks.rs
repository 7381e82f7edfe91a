//! Creating, removing and pruning networks.

use std::collections::BTreeMap;

use super::{Engine, Model, checks::check};
use crate::{
    error::{Error, Kind, Result},
    model::Network,
    store::Change,
};

/// A subnet asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// Which unused networks go.
#[derive(Clone, Debug, Default)]
pub struct PruneRequest {
    /// Only older ones; nanoseconds since 1970.
    pub created_before: Option<u64>,
    /// `key` or `key=value`: all of them.
    pub labels: Vec<String>,
    /// `key` or `key=value`: none of them.
    pub excluded_labels: Vec<String>,
}

impl PruneRequest {
    fn takes(&self, network: &Network) -> bool {
        let has = |filter: &String| match filter.split_once('=') {
            Some((key, value)) => network.labels.get(key).is_some_and(|v| v == value),
            None => network.labels.contains_key(filter),
        };
        !network.predefined()
            && self.created_before.is_none_or(|t| network.created < t)
            && self.labels.iter().all(has)
            && !self.excluded_labels.iter().any(has)
    }
}

impl Engine {
    /// Creates a network and its device.
    pub async fn create_network(&self, request: NetworkRequest) -> Result<Network> {
        let (network, _alone, pending) = {
            let mut model = self.write();
            check(&model, &request)?;
            let mut changes = Vec::new();
            let network = self.plan_network(&mut model, request, &mut changes)?;
            changes.push(Change::put("network", &network.id, &network)?);
            model.networks.insert(network.id.clone(), network.clone());
            let alone = self.network_locks.new_object(&network.id);
            (network, alone, self.store.submit(changes))
        };
        let made = async {
            pending.written().await?;
            fail::fail_point!("network-stored");
            self.realize_network(&network).await.map(drop)
        };
        if let Err(e) = made.await {
            self.take_down_network(&network).await;
            return Err(e);
        }
        let attributes = [("name", &*network.name), ("type", &*network.driver)];
        self.emit("network", "create", &network.id, &attributes);
        Ok(network)
    }

    /// Removes a network that nobody uses. Returns its id.
    pub async fn remove_network(&self, wanted: &str) -> Result<String> {
        let id = self.read().network(wanted)?.id.clone();
        let _alone = self.network_locks.alone(&id).await;
        let network = {
            let model = self.read();
            let network = model.network(&id).map_err(|mut e| {
                e.message = format!("network {wanted} not found");
                e
            })?;
            check_removal(&model, network)?;
            network.clone()
        };
        self.take_down_network(&network).await;
        let attributes = [("name", &*network.name), ("type", &*network.driver)];
        self.emit("network", "destroy", &network.id, &attributes);
        Ok(network.id)
    }

    /// Removes networks that nobody uses. Returns their names.
    pub async fn prune_networks(&self, request: &PruneRequest) -> Result<Vec<String>> {
        let mut wanted: Vec<(u64, String, String)> = self
            .read()
            .networks
            .values()
            .filter(|n| request.takes(n))
            .map(|n| (n.created, n.id.clone(), n.name.clone()))
            .collect();
        wanted.sort();
        let mut removed = Vec::new();
        // Networks that lend their configuration go after those that have it.
        for lender in [false, true] {
            for (_, id, name) in &wanted {
                let is_lender = self.read().networks.get(id).is_some_and(|n| n.config_only);
                if is_lender != lender || removed.contains(name) {
                    continue;
                }
                match self.remove_network(id).await {
                    Ok(_) => removed.push(name.clone()),
                    // In use, or gone meanwhile.
                    Err(e) if matches!(e.kind, Kind::Conflict | Kind::NotFound) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        self.emit("network", "prune", "", &[("reclaimed", "0")]);
        Ok(removed)
    }

    /// Removes whatever there is of a network: from the disk first, so that no start makes it again.
    async fn take_down_network(&self, network: &Network) {
        let gone = vec![Change::delete("network", &network.id)];
        self.commit_or_log(gone, "removing a network from the store")
            .await;
        fail::fail_point!("network-deleted");
        self.unrealize_network(network).await;
        self.write().networks.remove(&network.id);
        self.network_locks.forget(&network.id);
    }
}

fn check_removal(model: &Model, network: &Network) -> Result<()> {
    if network.predefined() {
        return Err(Error::new(
            Kind::Forbidden,
            format!(
                "{} is a pre-defined network and cannot be removed",
                network.name
            ),
        ));
    }
    let borrowers: Vec<&str> = model
        .networks
        .values()
        .filter(|n| network.config_only && n.config_from == network.name)
        .map(|n| n.name.as_str())
        .collect();
    if !borrowers.is_empty() {
        return Err(Error::conflict(format!(
            "error while removing network: configuration network {:?} is in use by {}",
            network.name,
            borrowers.join(", ")
        ))
        .hint("remove those networks first"));
    }
    let users: Vec<&str> = model
        .endpoints_on(&network.id)
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
    Ok(())
}
