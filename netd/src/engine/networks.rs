//! Creating, removing and pruning networks.

use std::sync::Arc;

use super::{
    Engine,
    check_network::{check, check_device},
    desired::Desired,
    plan::{borrow, chosen_pools, plan_network},
    state::State,
};
use crate::{
    driver::Network,
    error::{Error, Kind, Reason, Result},
    ipam::PoolsRequest,
    model::NetworkRequest,
    observed::ObjectId,
};

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
    /// Creates a network and what it has in the host. The same request again finds what the first made.
    pub async fn create_network(&self, mut request: NetworkRequest) -> Result<Network> {
        while let Some(made) = made_before(&self.state(), &request)? {
            // The first request may still be at work, and fail.
            let _first = self.network_locks.shared(&made.id).await;
            if let Some(made) = made_before(&self.state(), &request)? {
                return Ok(made);
            }
        }
        let state = self.state();
        check(&state, &request)?;
        if !request.config_from.is_empty() {
            borrow(&state, &mut request)?;
        }
        let network = self.plan(&state, &request).await?;
        if let Err(e) = self.add_network(network.clone()).await {
            // Nobody holds them if the network was made and taken back.
            self.release_pools(&network).await;
            return Err(e);
        }
        let network = Arc::new(network);
        self.report_new_overlaps(&network).await;
        Ok(Arc::unwrap_or_clone(network))
    }

    /// The network that a request makes, with its subnets held.
    pub(super) async fn plan(&self, state: &State, request: &NetworkRequest) -> Result<Network> {
        let planned = Network::new(plan_network(request, self.take_number()?))?;
        let driver = planned.driver();
        if !planned.predefined() {
            planned.check_request(request)?;
        }
        let manager = self.ipam.manager(&request.ipam_driver)?;
        let chosen = chosen_pools(request)?;
        let mut record = planned.record().clone();
        if request.config_only {
            // Checked, but nobody holds them.
            record.pools = chosen;
            return Network::new(record);
        }
        driver.plan_network(&mut record);
        check_device(state, &record.device)?;
        if driver.addressed() {
            if !request.enable_ipv4 && !request.enable_ipv6 {
                return Err(Error::invalid("the network would have no addresses")
                    .hint("allow IPv4 or give --ipv6"));
            }
            if !chosen.is_empty() {
                driver.check_pools(&chosen)?;
            }
            let wanted = PoolsRequest {
                name: request.name.clone(),
                network: record.id.clone(),
                chosen,
                v4: request.enable_ipv4,
                v6: request.enable_ipv6,
            };
            record.pools = manager.request_pools(&wanted).await?;
            let mut checked = driver.check_pools(&record.pools);
            if checked.is_ok() && !planned.predefined() {
                checked = match Network::new(record.clone()) {
                    Ok(network) => self.check_surroundings(&network).await,
                    Err(e) => Err(e),
                };
            }
            if let Err(e) = checked {
                manager.release_pools(&record.id).await;
                return Err(e);
            }
        }
        Network::new(record)
    }

    /// Adds a network whose subnets are held.
    pub(super) async fn add_network(&self, network: Network) -> Result<()> {
        let _alone = self.network_locks.new_object(&network.id);
        let ((), decided) = self.decide(|transaction| {
            let desired = transaction.desired();
            let leaving = self.is_leaving(&format!("network {}", network.name));
            if leaving || desired.network_named(&network.name).is_some() {
                return Err(exists(&network.name));
            }
            if self.is_leaving(&format!("device {}", network.device)) {
                return Err(Error::conflict(format!(
                    "the device {} of another network is just being removed",
                    network.device
                ))
                .because(Reason::DeviceInUse)
                .about("device", &network.device)
                .hint("try again"));
            }
            if let Some(other) = desired.network_with_device(&network.device) {
                return Err(Error::conflict(format!(
                    "conflicts with network {} ({}): networks have same bridge name {}",
                    other.id, other.name, network.device
                ))
                .because(Reason::DeviceInUse)
                .about("device", &network.device)
                .about("holder", &other.name));
            }
            transaction.setting(self.numbers_taken()?);
            transaction.put_network(network.clone());
            Ok(())
        })?;
        self.carry_out(decided).await
    }

    pub(super) async fn release_pools(&self, network: &Network) {
        if let Ok(manager) = self.ipam.manager(&network.ipam_driver) {
            manager.release_pools(&network.id).await;
        }
    }

    /// Removes a network that nobody uses. Returns its id.
    pub async fn remove_network(&self, wanted: &str) -> Result<String> {
        let found = self.desired().network(wanted).map(|n| n.id.clone());
        let id = match found {
            Ok(id) => id,
            Err(e) => return self.discard("network", wanted, e).await,
        };
        let _alone = self.network_locks.alone(&id).await;
        let ((), decided) = self.decide(|transaction| {
            let desired = transaction.desired();
            let network = desired.network(&id).map_err(|mut e| {
                e.message = format!("network {wanted} not found");
                e
            })?;
            check_removal(desired, network)?;
            transaction.remove_network(&id);
            Ok(())
        })?;
        self.carry_out(decided).await?;
        self.discard_with("network", &id).await?;
        Ok(id)
    }

    /// Removes networks that nobody uses. Returns their names.
    pub async fn prune_networks(&self, request: &PruneRequest) -> Result<Vec<String>> {
        let state = self.state();
        let networks = state.networks().values();
        let mut wanted: Vec<(bool, u64, String, String)> = networks
            .filter(|n| request.takes(n))
            // Networks that lend their configuration go after those that have it.
            .map(|n| (n.config_only, n.created, n.id.clone(), n.name.clone()))
            .collect();
        wanted.sort();
        let mut removed = Vec::new();
        for (_, _, id, name) in wanted {
            match self.remove_network(&id).await {
                Ok(_) => removed.push(name),
                // In use, or gone meanwhile.
                Err(e) if matches!(e.kind, Kind::Conflict | Kind::NotFound) => {}
                Err(e) => return Err(e),
            }
        }
        self.tell(super::Event::new(
            "network",
            "prune",
            "",
            &[("reclaimed", "0")],
        ));
        Ok(removed)
    }

    /// Makes or adopts what a network has in the host. Says how much of it was missing. What fails degrades it.
    pub(super) async fn realize_network(&self, network: &Network) -> Result<usize> {
        let driver = network.driver();
        let done = driver
            .realize_network(&self.context, network.record())
            .await;
        match &done {
            Ok(_) => self.recover(&ObjectId::Network(network.id.clone())),
            Err(e) => tracing::debug!("network {}: {e}", network.name),
        }
        done
    }
}

fn exists(name: &str) -> Error {
    Error::new(
        Kind::Exists,
        format!("network with name {name} already exists"),
    )
    .hint("choose another name, or remove that one first")
}

/// What the same request made before.
fn made_before(state: &State, request: &NetworkRequest) -> Result<Option<Network>> {
    let there = state.network_named(&request.name);
    let Some(there) =
        there.filter(|n| !request.request_id.is_empty() && n.request_id == request.request_id)
    else {
        return Ok(None);
    };
    if there.driver_name() != request.driver || there.requested_pools != request.pools {
        return Err(Error::conflict(format!(
            "request {} made another network {}",
            request.request_id, there.name
        ))
        .because(Reason::RequestIdReused)
        .about("request_id", &request.request_id)
        .hint("give each request an id of its own"));
    }
    Ok(Some(Network::clone(there)))
}

fn check_removal(desired: &Desired, network: &Network) -> Result<()> {
    if network.predefined() {
        return Err(Error::new(
            Kind::Forbidden,
            format!(
                "{} is a pre-defined network and cannot be removed",
                network.name
            ),
        )
        .because(Reason::Predefined)
        .about("network", &network.name));
    }
    let borrowers: Vec<&str> = desired
        .networks()
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
        .because(Reason::ConfigurationInUse)
        .about("network", &network.name)
        .about("holders", borrowers.join(", "))
        .hint("remove those networks first"));
    }
    let users: Vec<&str> = desired
        .endpoints_on(&network.id)
        .filter_map(|e| desired.sandboxes().get(&e.sandbox))
        .map(|s| s.name.as_str())
        .collect();
    if !users.is_empty() {
        return Err(Error::conflict(format!(
            "error while removing network: network {} id {} has active endpoints ({})",
            network.name,
            network.id,
            users.join(", ")
        ))
        .because(Reason::HasEndpoints)
        .about("network", &network.name)
        .about("holders", users.join(", "))
        .hint("disconnect them first"));
    }
    Ok(())
}
