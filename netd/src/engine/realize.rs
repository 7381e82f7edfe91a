//! From what is desired to what drivers are asked to do. The lock of the network or the sandbox is held.

use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::{
    Engine,
    change::{Change, Object},
    state::State,
};
use crate::{
    driver::{EndpointWork, Network},
    error::{Error, Reason, Result},
    kernel::{
        sandbox::{self as namespace, RouteSpec, SourceRoute},
        sysctl,
    },
    model::Endpoint,
    observed::ObjectId,
};

/// First routing table of single endpoints; their numbers follow.
const TABLES: u32 = 1 << 24;

impl State {
    /// Where a sandbox's packets leave it. `several`: also when it is on one network only, its rules are looked at.
    pub(super) fn routes(&self, sandbox: &str, several: bool) -> RouteSpec {
        let via = |e: &Endpoint, v4| self.networks().get(&e.network)?.route_via(v4);
        let default = |v4| {
            let endpoint = self.gateway_endpoint(sandbox, v4)?;
            Some((via(endpoint, v4)?, endpoint.interface.clone()))
        };
        let mut sources = Vec::new();
        if self.endpoints_of(sandbox).nth(1).is_some() {
            for endpoint in self.endpoints_of(sandbox) {
                for net in endpoint.addresses() {
                    if let Some(gateway) = via(endpoint, net.is_ipv4()) {
                        let others = self.endpoints_of(sandbox).filter(|o| o.id != endpoint.id);
                        let others = others.flat_map(|o| o.addresses());
                        let others = others.filter(|o| o.is_ipv4() == net.is_ipv4());
                        let whole = |o: IpNetwork| IpNetwork::new(o.network(), o.prefix()).ok();
                        sources.push(SourceRoute {
                            source: net.ip(),
                            table: TABLES + endpoint.number,
                            gateway,
                            interface: endpoint.interface.clone(),
                            others: others.filter_map(whole).collect(),
                        });
                    }
                }
            }
        }
        RouteSpec {
            defaults: [true, false].into_iter().filter_map(default).collect(),
            sources: (several || !sources.is_empty()).then_some(sources),
        }
    }
}

/// What an endpoint lacks that is its network's or its sandbox's.
fn missing(state: &State, endpoint: &Endpoint, what: &str) -> Error {
    let name = state.name_of(&ObjectId::Endpoint(endpoint.id.clone()));
    Error::internal(
        format!("endpoint {name}"),
        format!("its {what} is not there"),
    )
    .because(Reason::Degraded)
    .about("object", &endpoint.id)
}

/// An endpoint's network: as it is, or as changes that remove both knew it.
fn network_of(state: &State, changes: &[Change], endpoint: &Endpoint) -> Option<Arc<Network>> {
    let known = state.networks().get(&endpoint.network).cloned();
    known.or_else(|| {
        changes.iter().find_map(|change| match change.object() {
            Some(Object::Network(n)) if n.id == endpoint.network => Some(Arc::clone(n)),
            _ => None,
        })
    })
}

impl Engine {
    /// Sets the devices' switches anew where somebody has set those of all devices: looks at one network's.
    pub(super) fn follow_switches(&self) -> Result<()> {
        let filter = sysctl::reverse_path_filter()?;
        let state = self.state();
        let there = |n: &&Arc<Network>| state.observed.devices.contains_key(&n.id);
        // One with IPv6, if there is any, stands for all.
        let has_v6 = |n: &&Arc<Network>| n.host_gateways().iter().any(|a| a.is_ipv6());
        let Some(first) = state.networks().values().filter(there).max_by_key(has_v6) else {
            return Ok(());
        };
        let seen = *super::locked(&self.filter_seen) == filter;
        if first.driver().set_switches(first.record())? == 0 && seen {
            return Ok(());
        }
        for network in state.networks().values().filter(there) {
            // One that is being removed has none.
            if let Err(e) = network.driver().set_switches(network.record()) {
                tracing::debug!("switches of network {}: {e}", network.name);
            }
        }
        *super::locked(&self.filter_seen) = filter;
        Ok(())
    }

    /// Makes or adopts an endpoint. `inside`: the sandbox's side is to be configured, too. Says how many things were missing.
    pub(super) async fn realize_endpoint(
        &self,
        endpoint: &Endpoint,
        inside: bool,
    ) -> Result<usize> {
        let state = self.state();
        let Some(netns) = state.observed.running.get(&endpoint.sandbox) else {
            return Err(missing(&state, endpoint, "sandbox's namespace"));
        };
        let network = state.networks().get(&endpoint.network);
        let network = network.ok_or_else(|| missing(&state, endpoint, "network"))?;
        let work = EndpointWork {
            network: network.record(),
            endpoint,
            netns,
            routes: state.routes(&endpoint.sandbox, false),
            inside,
        };
        let driver = network.driver();
        let made = driver.realize_endpoint(&self.context, work).await?;
        self.recover(&ObjectId::Endpoint(endpoint.id.clone()));
        Ok(made)
    }

    /// What of an endpoint is not as it should be; changes nothing.
    pub(super) async fn observe_endpoint(&self, endpoint: &Endpoint) -> Result<Vec<String>> {
        let state = self.state();
        let Some(netns) = state.observed.running.get(&endpoint.sandbox) else {
            return Ok(vec!["the sandbox's namespace is not open".into()]);
        };
        let Some(network) = state.networks().get(&endpoint.network) else {
            return Ok(vec!["its network is gone".into()]);
        };
        let work = EndpointWork {
            network: network.record(),
            endpoint,
            netns,
            routes: state.routes(&endpoint.sandbox, false),
            inside: true,
        };
        network.driver().observe_endpoint(&self.context, work).await
    }

    /// Takes an endpoint away that is not desired any more: first what the data plane knows, so that its program denies to the
    /// last, then the link.
    pub(super) async fn unrealize_endpoint(
        &self,
        endpoint: &Endpoint,
        changes: &[Change],
    ) -> Result<()> {
        let state = self.state();
        let network = network_of(&state, changes, endpoint);
        let network = network.ok_or_else(|| missing(&state, endpoint, "network"))?;
        network
            .driver()
            .withdraw_endpoint(&self.context, endpoint)
            .await;
        self.publish_names(&endpoint.sandbox);
        self.refresh_publications(&endpoint.sandbox).await?;
        network
            .driver()
            .unrealize_endpoint(&self.context, endpoint)
            .await
    }

    /// Default routes and rules follow the networks that a sandbox is on.
    pub(super) async fn refresh_routes(&self, sandbox: &str) -> Result<()> {
        let state = self.state();
        let host = state.sandboxes().get(sandbox).is_none_or(|s| s.host());
        match state.observed.running.get(sandbox) {
            Some(netns) if !host => {
                let routes = state.routes(sandbox, true);
                namespace::configure(netns, None, routes).await.map(drop)
            }
            _ => Ok(()),
        }
    }
}
