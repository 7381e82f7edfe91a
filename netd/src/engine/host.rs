//! Following the host: uplinks, addresses and routes come, go and change.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use ipnetwork::IpNetwork;
use tokio::sync::mpsc;

use super::{Engine, Model};
use crate::{
    dataplane::{HostAddressSpec, UplinkSpec},
    error::{Error, Result},
    ipam,
    kernel::{
        host::{self, Changes, HostLink, HostState},
        sandbox as namespace,
    },
    model::{Endpoint, Network},
};

/// How often silent flows are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// How often the flows of endpoints that are gone are removed, if there are such.
const FORGET: Duration = Duration::from_millis(200);

impl Model {
    /// Whether a link is netd's own, of whatever instance, or about to be: its alias is set after it is made.
    fn owns(&self, link: &HostLink) -> bool {
        link.alias.starts_with("netd:") || self.owns_name(&link.name)
    }

    fn owns_name(&self, name: &str) -> bool {
        let network =
            |n: &Network| n.device == name || name.strip_prefix("np-") == Some(&n.id[..12]);
        let endpoint = || {
            let id = name.strip_prefix("nd-").unwrap_or("-");
            let mut behind = self.endpoints().range(id.to_owned()..);
            !id.is_empty()
                && behind
                    .next()
                    .is_some_and(|(found, _)| found.starts_with(id))
        };
        endpoint() || (!name.is_empty() && self.networks.values().any(network))
    }

    fn uplinks(&self, state: &HostState) -> Vec<UplinkSpec> {
        let foreign = |l: &&HostLink| !l.loopback && !l.port && !self.owns(l);
        let spec = |l: &HostLink| {
            let of = |v4: bool| {
                let mut own = state
                    .addresses
                    .iter()
                    .filter(|a| a.ifindex == l.ifindex && a.global);
                own.find(|a| a.net.is_ipv4() == v4).map(|a| a.net.ip())
            };
            UplinkSpec {
                ifindex: l.ifindex,
                mtu: l.mtu,
                ethernet: l.ethernet,
                ipv4: of(true).and_then(|a| if let IpAddr::V4(a) = a { Some(a) } else { None }),
                ipv6: of(false).and_then(|a| if let IpAddr::V6(a) = a { Some(a) } else { None }),
            }
        };
        state.links.iter().filter(foreign).map(spec).collect()
    }

    fn host_addresses(&self, state: &HostState) -> Vec<HostAddressSpec> {
        let devices: std::collections::BTreeMap<u32, &String> = self
            .devices
            .iter()
            .map(|(id, (ifindex, _))| (*ifindex, id))
            .collect();
        let spec = |a: &host::HostAddr| {
            let owner = devices.get(&a.ifindex);
            let network = owner.and_then(|id| self.networks.get(*id));
            HostAddressSpec {
                addr: a.net.ip(),
                network: network.map_or(0, |n| n.number),
                internal: network.is_some_and(|n| n.internal),
            }
        };
        let addresses = state.addresses.iter();
        addresses
            .filter(|a| !a.net.ip().is_loopback())
            .map(spec)
            .collect()
    }

    /// Where routes of the host would be in the way.
    fn subnets(&self) -> Vec<IpNetwork> {
        let pools = self.networks.values().flat_map(|n| &n.pools);
        pools.map(|p| p.subnet).collect()
    }

    /// Destinations of the host that are not netd's: routes and addresses of uplinks.
    fn foreign_destinations(&self, state: &HostState) -> BTreeSet<IpNetwork> {
        let own: BTreeSet<u32> = self.devices.values().map(|(ifindex, _)| *ifindex).collect();
        let addresses = state.addresses.iter().filter(|a| !own.contains(&a.ifindex));
        let nets = addresses.filter(|a| !a.net.ip().is_loopback());
        let nets = nets.filter_map(|a| IpNetwork::new(a.net.network(), a.net.prefix()).ok());
        let routes = state.routes.iter().filter(|(_, oif)| !own.contains(oif));
        nets.chain(routes.map(|(net, _)| *net)).collect()
    }
}

impl Engine {
    /// Reads the host's configuration and tells the data plane. Uplinks are all interfaces that are neither netd's nor
    /// ports of others.
    pub(super) async fn refresh_host(&self) -> Result<()> {
        let _alone = self.host_lock.lock().await;
        let resolv_conf = &self.config.dns.resolv_conf;
        let subnets = self.read().subnets();
        self.netlink.mind(subnets).await?;
        let state = self.netlink.host_state(resolv_conf).await?;
        let (uplinks, addresses, trusted, before) = {
            let mut model = self.write();
            let uplinks = model.uplinks(&state);
            let addresses = model.host_addresses(&state);
            let before = std::mem::replace(&mut model.host, state);
            let trusted: Vec<(u32, Vec<u32>)> = model
                .networks
                .values()
                .filter(|n| !n.options().trusted.is_empty())
                .map(|n| (n.number, model.trusted(n)))
                .collect();
            (uplinks, addresses, trusted, before)
        };
        self.dataplane.set_host_addresses(&addresses)?;
        self.report_uplinks(&self.dataplane.set_uplinks(&uplinks).await);
        for (network, ifindices) in trusted {
            self.dataplane.set_trusted(network, &ifindices)?;
        }
        // Of a route, only destination and interface are read: whatever happened may concern any flow.
        self.dataplane.bump_generation()?;
        self.report_overlaps(&before);
        let mtu = self.read().host.egress_mtu();
        if mtu != before.egress_mtu() && !before.links.is_empty() {
            self.follow_mtu(mtu).await;
        }
        Ok(())
    }

    /// Warns of uplinks that begin to fail. All else works; they are tried again with every sweep.
    fn report_uplinks(&self, failures: &[Error]) {
        let now: BTreeSet<String> = failures.iter().map(ToString::to_string).collect();
        let before = std::mem::replace(&mut *self.failing_uplinks(), now.clone());
        for text in now.difference(&before) {
            self.warn(format!(
                "{text}; containers do not reach the outside by it, nor it them, until a new attempt succeeds"
            ));
        }
        for text in before.difference(&now) {
            tracing::info!("over: {text}");
        }
    }

    fn failing_uplinks(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.failing_uplinks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Warns when something new of the host, such as a VPN, lies over a network's subnet.
    fn report_overlaps(&self, before: &HostState) {
        let found: Vec<(String, String, String)> = {
            let model = self.read();
            let known = model.foreign_destinations(before);
            let now = model.foreign_destinations(&model.host);
            let mut found = Vec::new();
            for new in now.difference(&known).filter(|n| n.prefix() > 0) {
                for network in model.networks.values().filter(|n| !n.device.is_empty()) {
                    let mut pools = network.pools.iter();
                    if let Some(pool) = pools.find(|p| ipam::overlap(&p.subnet, new)) {
                        let text = format!(
                            "the host's route or address {new} overlaps subnet {} of network {}; one of the two is unreachable",
                            pool.subnet, network.name
                        );
                        found.push((network.id.clone(), network.name.clone(), text));
                    }
                }
            }
            found
        };
        for (id, name, text) in found {
            let attributes = [("name", &*name), ("message", &*text)];
            self.emit("network", "warning", &id, &attributes);
            self.warn(text);
        }
    }

    /// Networks without an MTU of their own take the one of the way out.
    async fn follow_mtu(&self, mtu: u32) {
        let networks: Vec<Network> = {
            let model = self.read();
            let follows = |n: &&Network| n.mtu.is_none() && !n.device.is_empty();
            model.networks.values().filter(follows).cloned().collect()
        };
        for network in networks {
            if let Err(e) = self.set_mtu(&network, mtu).await {
                tracing::warn!("setting the MTU of network {} to {mtu}: {e}", network.name);
            }
        }
        tracing::info!("networks follow the MTU of the way out: {mtu}");
    }

    async fn set_mtu(&self, network: &Network, mtu: u32) -> Result<()> {
        let (device, links) = {
            let model = self.read();
            let links: Vec<(Endpoint, u32)> = model
                .endpoints_on(&network.id)
                .filter_map(|e| Some((e.clone(), *model.links.get(&e.id)?)))
                .collect();
            (model.devices.get(&network.id).copied(), links)
        };
        if let Some((ifindex, peer)) = device {
            self.netlink.set_mtu(peer, mtu).await?;
            self.netlink.set_mtu(ifindex, mtu).await?;
        }
        for (endpoint, ifindex) in links {
            let netns = self.read().running.get(&endpoint.sandbox).cloned();
            self.netlink.set_mtu(ifindex, mtu).await?;
            if let Some(netns) = netns {
                namespace::set_mtu(&netns, endpoint.interface.clone(), mtu).await?;
            }
            self.tell_endpoint(&endpoint, ifindex)?;
        }
        Ok(())
    }

    /// Keeps following, and sweeping, until the runtime ends.
    pub(super) fn follow(self: &Arc<Self>, mut changes: mpsc::Receiver<Changes>) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(changes) = changes.recv().await {
                engine.follow_changes(&changes).await;
            }
        });
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(SWEEP);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let dataplane = Arc::clone(&engine.dataplane);
                match tokio::task::spawn_blocking(move || dataplane.sweep()).await {
                    Ok(Ok(report)) => tracing::trace!(?report, "swept"),
                    Ok(Err(e)) => tracing::warn!("sweeping flows: {e}"),
                    Err(e) => tracing::error!("sweeping flows: {e}"),
                }
                if let Err(e) = engine.follow_switches() {
                    tracing::warn!("switches of the networks' devices: {e}");
                }
                if let Err(e) = engine.follow_reserved_ports() {
                    tracing::warn!("reserved ports: {e}");
                }
                if let Err(e) = engine.report_overload() {
                    tracing::warn!("looking for limits that were met: {e}");
                }
                let again = !engine.failing_uplinks().is_empty();
                if again && let Err(e) = engine.refresh_host().await {
                    tracing::warn!("trying uplinks again: {e}");
                }
            }
        });
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(FORGET);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let dataplane = Arc::clone(&engine.dataplane);
                match tokio::task::spawn_blocking(move || dataplane.forget_gone()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => {
                        tracing::warn!("ending the flows of endpoints that are gone: {e}")
                    }
                    Err(e) => tracing::error!("ending the flows of endpoints that are gone: {e}"),
                }
            }
        });
    }

    async fn follow_changes(self: &Arc<Self>, changes: &Changes) {
        let (foreign, lost) = {
            let mut model = self.write();
            let mut own: BTreeSet<u32> = model.links.values().copied().collect();
            own.extend(model.devices.values().flat_map(|(a, b)| [*a, *b]));
            let lost: BTreeSet<u32> = changes.removed.intersection(&own).copied().collect();
            own.extend(&model.retired);
            model.retired.retain(|i| !changes.removed.contains(i));
            // A link that came and went, or that netd removed, changes nothing for the host.
            let known = |i: &u32| {
                let mut links = model.host.links.iter();
                links.any(|l| l.ifindex == *i && !l.alias.starts_with("netd:"))
            };
            let mut others = changes.touched.difference(&own);
            // One that netd is just making is known by its name.
            let ours = |i: &u32| {
                let name = nix::net::if_::if_indextoname(*i);
                name.is_ok_and(|n| model.owns_name(&n.to_string_lossy()))
            };
            let foreign = others.any(|i| known(i) || !(changes.removed.contains(i) || ours(i)));
            (foreign, lost)
        };
        if !lost.is_empty() {
            self.mend_links(&lost).await;
        }
        if foreign && let Err(e) = self.refresh_host().await {
            tracing::warn!("following the host's interfaces: {e}");
        }
    }
}
