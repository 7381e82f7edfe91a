//! Following the host: uplinks, addresses and routes come, go and change.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use ipnetwork::IpNetwork;
use tokio::sync::mpsc;

use super::{Engine, locked, state::State};
use crate::{
    dataplane::{HostAddressSpec, UplinkSpec},
    driver::Network,
    error::{Error, Result},
    kernel::host::{self, Changes, HostLink, HostState},
    memory,
    model::Endpoint,
    observed::ObjectId,
};

/// How often silent flows are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// How often the flows of endpoints that are gone, and the host's sockets that were led there, are ended, if there are such.
const FORGET: Duration = Duration::from_millis(200);

impl State {
    /// Whether a link is netd's own, of whatever instance, or about to be: its alias is set after it is made.
    fn owns(&self, link: &HostLink) -> bool {
        link.alias.starts_with("netd:") || self.owns_name(&link.name)
    }

    fn owns_name(&self, name: &str) -> bool {
        let endpoint = name
            .strip_prefix("nd-")
            .is_some_and(|id| self.has_endpoint_beginning(id));
        let peer = name
            .strip_prefix("np-")
            .is_some_and(|id| self.has_network_beginning(id));
        endpoint || peer || (!name.is_empty() && self.network_with_device(name).is_some())
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

    /// `own`: how aliases of this instance's links begin.
    fn host_addresses(&self, state: &HostState, own: &str) -> Vec<HostAddressSpec> {
        let devices: std::collections::BTreeMap<u32, &str> = self
            .observed
            .devices
            .iter()
            .map(|(id, device)| (device.ifindex, id))
            .collect();
        let spec = |a: &host::HostAddr| {
            let owner = devices.get(&a.ifindex);
            let network = owner.and_then(|id| self.networks().get(id));
            HostAddressSpec {
                addr: a.net.ip(),
                network: network.map_or(0, |n| n.number),
                internal: network.is_some_and(|n| n.internal),
            }
        };
        // What a device carries that is just being made or removed is told with its network.
        let passing = |a: &host::HostAddr| {
            let link = state.links.get(a.ifindex);
            !devices.contains_key(&a.ifindex)
                && link.is_some_and(|l| l.alias.starts_with(own) || self.owns_name(&l.name))
        };
        let addresses = state.addresses.iter();
        addresses
            .filter(|a| !a.net.ip().is_loopback() && !passing(a))
            .map(spec)
            .collect()
    }

    /// Where routes of the host would be in the way.
    fn subnets(&self) -> Vec<IpNetwork> {
        let pools = self.networks().values().flat_map(|n| &n.pools);
        pools.map(|p| p.subnet).collect()
    }
}

impl Engine {
    /// Reads the host's configuration and tells the data plane. Uplinks are all interfaces that are neither netd's nor
    /// ports of others.
    pub(super) async fn refresh_host(&self) -> Result<()> {
        let _alone = self.host_lock.lock().await;
        let resolv_conf = &self.config.dns.resolv_conf;
        let subnets = self.state().subnets();
        self.context.netlink.mind(subnets).await?;
        let state = self.context.netlink.host_state(resolv_conf).await?;
        let now = Arc::new(state);
        let before = self
            .context
            .observations
            .note(|o| std::mem::replace(&mut o.host, Arc::clone(&now)));
        let state = self.state();
        // As `links::alias` makes them.
        let own = format!("netd:{}:", self.context.instance);
        let (uplinks, addresses) = (state.uplinks(&now), state.host_addresses(&now, &own));
        self.dataplane.set_host_addresses(&addresses)?;
        self.report_uplinks(&self.dataplane.set_uplinks(&uplinks).await);
        for network in state.networks().values() {
            network
                .driver()
                .follow_trusted(&self.context, network.record())?;
        }
        // Of a route, only destination and interface are read: whatever happened may concern any flow.
        self.dataplane.bump_generation()?;
        self.report_overlaps(&before);
        let mtu = now.egress_mtu();
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

    pub(super) fn failing_uplinks(&self) -> MutexGuard<'_, BTreeSet<String>> {
        locked(&self.failing_uplinks)
    }

    /// Networks without an MTU of their own take the one of the way out. One that fails is degraded, and tried again.
    async fn follow_mtu(&self, mtu: u32) {
        let state = self.state();
        let follows = |n: &&Arc<Network>| n.mtu.is_none() && !n.device.is_empty();
        for network in state.networks().values().filter(follows) {
            let endpoints: Vec<Endpoint> = self
                .state()
                .endpoints_on(&network.id)
                .map(|e| Endpoint::clone(e))
                .collect();
            let driver = network.driver();
            let set = driver.set_mtu(&self.context, network.record(), &endpoints, mtu);
            if let Err(e) = set.await {
                let text = format!("setting the MTU to {mtu}: {e}");
                self.degrade(ObjectId::Network(network.id.clone()), &text);
            }
        }
        tracing::info!("networks follow the MTU of the way out: {mtu}");
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
                engine.mend_degraded().await;
                if let Err(e) = engine.sweep_hooks().await {
                    tracing::warn!("trying uplinks again: {e}");
                }
            }
        });
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(FORGET);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            // A start leaves much as well.
            let mut trimmed = 0;
            loop {
                tick.tick().await;
                let burst = engine.log.revision() - trimmed > memory::BURST;
                if burst {
                    trimmed = engine.log.revision();
                }
                let dataplane = Arc::clone(&engine.dataplane);
                let forget = move || {
                    if burst {
                        memory::give_back();
                    }
                    dataplane.end_host_sockets();
                    dataplane.forget_gone()
                };
                match tokio::task::spawn_blocking(forget).await {
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
        let state = self.state();
        let observed = &state.observed;
        let removed = changes.removed.iter().copied();
        let lost: BTreeSet<u32> = removed.filter(|i| observed.is_own(*i)).collect();
        self.context.observations.note(|o| {
            for gone in &changes.removed {
                o.retired.remove(gone);
            }
        });
        // A link that came and went, or that netd removed, changes nothing for the host.
        let known = |i: &u32| {
            let mut links = state.observed.host.links.iter();
            links.any(|l| l.ifindex == *i && !l.alias.starts_with("netd:"))
        };
        let not_own = |i: &&u32| !observed.is_own(**i) && !observed.retired.contains(*i);
        let mut others = changes.touched.iter().filter(not_own);
        // One that netd is just making is known by its name.
        let ours = |i: &u32| {
            let name = nix::net::if_::if_indextoname(*i);
            name.is_ok_and(|n| state.owns_name(&n.to_string_lossy()))
        };
        let foreign = others.any(|i| known(i) || !(changes.removed.contains(i) || ours(i)));
        if changes.overrun {
            // Which of netd's own links went is not known.
            match self.mend_known_links().await {
                Ok(mended) => mended.iter().for_each(|text| tracing::warn!("{text}")),
                Err(e) => tracing::warn!("looking for lost interfaces: {e}"),
            }
        } else if !lost.is_empty() {
            self.mend_links(&lost).await;
        }
        if foreign && let Err(e) = self.refresh_host().await {
            tracing::warn!("following the host's interfaces: {e}");
        }
    }
}
