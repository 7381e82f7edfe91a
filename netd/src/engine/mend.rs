//! Mending what others broke while the daemon runs: links that were deleted, map entries that are gone.

use std::{collections::BTreeSet, sync::Arc};

use super::Engine;
use crate::{
    driver::Network,
    error::{Error, Result},
    kernel::Role,
    model::Endpoint,
    observed::ObjectId,
};

/// What came of it, one sentence each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reconciled {
    /// What was mended.
    pub mended: Vec<String>,
    /// What could not be, and why.
    pub failed: Vec<String>,
}

impl Engine {
    /// Compares kernel and maps with what is desired and mends the difference. What cannot be mended is degraded, and the rest
    /// goes on.
    pub async fn reconcile(&self) -> Result<Reconciled> {
        self.refresh_host().await?;
        let (mut mended, mut failed) = self.mend_hooks().await?;
        self.dataplane.take_mended();
        mended.extend(self.mend_known_links().await?);
        self.predefine(false).await;
        let networks: Vec<Arc<Network>> = self.state().networks().values().cloned().collect();
        for network in networks {
            let _shared = self.network_locks.shared(&network.id).await;
            if !self.desired().networks().contains_key(&network.id) {
                continue;
            }
            match self.realize_network(&network).await {
                Ok(0) => {}
                Ok(missing) => mended.push(format!(
                    "gave the device of network {} its program or {missing} addresses anew",
                    network.name
                )),
                Err(e) => self.degrade(ObjectId::Network(network.id.clone()), &e.to_string()),
            }
        }
        let sandboxes: Vec<String> = self.state().sandboxes().keys().map(str::to_owned).collect();
        for id in sandboxes {
            let _alone = self.sandbox_locks.alone(&id).await;
            mended.extend(self.mend_sandbox(&id).await);
        }
        self.reserve_ports()?;
        let entries = self.dataplane.take_mended();
        if entries > 0 {
            mended.push(format!(
                "wrote the map entries of {entries} networks, endpoints or publications anew"
            ));
        }
        let state = self.state();
        for (object, degraded) in state.observed.degraded.iter() {
            // One that was removed meanwhile is nobody's any more.
            if state.has(object) {
                let ((kind, _), name) = (object.parts(), state.name_of(object));
                failed.push(format!("{kind} {name} stays degraded: {}", degraded.reason));
            }
        }
        Ok(Reconciled { mended, failed })
    }

    /// Hangs programs again that others took off the host's hooks, and pins again what they unpinned. Returns what was mended,
    /// and what could not be, which the health tells.
    async fn mend_hooks(&self) -> Result<(Vec<String>, Vec<String>)> {
        let (mended, failures) = self.dataplane.mend_hooks().await;
        for text in &mended {
            tracing::warn!("{text}");
        }
        if !failures.is_empty() || !self.failing_uplinks().is_empty() {
            // Uplinks are tried again.
            self.refresh_host().await?;
        }
        let mut failed: Vec<String> = failures.iter().map(ToString::to_string).collect();
        let uplinks = self.failing_uplinks().clone();
        failed.retain(|text| !uplinks.contains(text));
        let now = match failed.as_slice() {
            [] => Ok(()),
            failed => Err(failed.join("; ")),
        };
        self.hooks_health.send_if_modified(|health| {
            let new = *health != now;
            *health = now;
            new
        });
        // One interface that takes no program is warned of, and does not make the daemon unhealthy.
        failed.extend(uplinks);
        Ok((mended, failed))
    }

    /// The same without being asked.
    pub(super) async fn sweep_hooks(&self) -> Result<()> {
        #[cfg(feature = "failpoints")]
        if crate::failpoints::reach("sweep-hooks").is_err() {
            let failing = !self.failing_uplinks().is_empty();
            return if failing {
                self.refresh_host().await
            } else {
                Ok(())
            };
        }
        self.mend_hooks().await.map(drop)
    }

    /// Links that should be there and are not are made anew, those that should not be are removed.
    pub(super) async fn mend_known_links(&self) -> Result<Vec<String>> {
        let mut mended = Vec::new();
        // What is made from now on need not be there yet when the links are listed.
        let before = self.state();
        let known: BTreeSet<u32> = before.observed.own_interfaces().collect();
        let mut there = BTreeSet::new();
        for link in self.context.netlink.find_links(&self.instance.name).await? {
            let now = self.state();
            let wanted = match link.role {
                Role::Endpoint => now.endpoints().contains_key(&link.id),
                Role::Network | Role::Peer => now.networks().contains_key(&link.id),
            };
            let quarantined = self.is_quarantined(&link.id);
            if wanted || quarantined {
                there.insert(link.ifindex);
            } else if self.context.reaper.remove(link.ifindex).await.is_ok() {
                mended.push(format!("removed the left-over interface {}", link.name));
            }
        }
        let lost: BTreeSet<u32> = known.difference(&there).copied().collect();
        mended.extend(self.mend_links(&lost).await);
        Ok(mended)
    }

    pub(super) fn is_quarantined(&self, id: &str) -> bool {
        let observed = self.context.observations.now();
        let mut records = observed.degraded.keys();
        records.any(|object| matches!(object, ObjectId::Record(key) if key.ends_with(id)))
    }

    /// Everything of one sandbox, whose lock is held. Returns what was mended.
    async fn mend_sandbox(&self, id: &str) -> Vec<String> {
        let mut mended = Vec::new();
        let Some(sandbox) = self.desired().sandboxes().get(id).cloned() else {
            return mended;
        };
        if !sandbox.running() {
            match self.write_files(id, false) {
                Ok(true) => mended.push(format!("wrote the files of sandbox {id} anew")),
                Ok(false) => {}
                Err(e) => self.degrade(ObjectId::Sandbox(id.to_owned()), &e.to_string()),
            }
            return mended;
        }
        let endpoints: Vec<Arc<Endpoint>> = self.state().endpoints_of(id).cloned().collect();
        let whole = async {
            if !self.context.observations.now().running.contains_key(id) {
                self.open_sandbox(&sandbox).await?;
                mended.push(format!(
                    "opened the namespace of sandbox {} again",
                    sandbox.name
                ));
            }
            if self.mend_namespace(&sandbox).await? {
                mended.push(format!(
                    "gave the namespace of sandbox {} its name anew",
                    sandbox.name
                ));
            }
            for endpoint in &endpoints {
                match self.realize_endpoint(endpoint, true).await {
                    Ok(0) => {}
                    Ok(missing) => mended.push(format!(
                        "gave interface {} of endpoint {} its program, or {missing} addresses and routes, anew",
                        endpoint.interface, endpoint.id
                    )),
                    Err(e) => {
                        // The endpoint's fault, not the sandbox's; the rest is mended.
                        self.degrade_endpoint(endpoint, &e);
                    }
                }
            }
            self.refresh_publications(id).await?;
            self.refresh_routes(id).await?;
            if self.mend_resolver(id).await? {
                mended.push(format!("made the way to the resolver of sandbox {id} anew"));
            }
            if self.write_files(id, false)? {
                mended.push(format!("wrote the files of sandbox {id} anew"));
            }
            Ok(())
        };
        let done: std::result::Result<(), Error> = whole.await;
        match done {
            Ok(()) => self.recover(&ObjectId::Sandbox(id.to_owned())),
            Err(e) => self.degrade(ObjectId::Sandbox(id.to_owned()), &e.to_string()),
        }
        mended
    }

    async fn mend_one_network(&self, network: &Network) -> Result<()> {
        self.realize_network(network).await?;
        // Endpoints know their gateway by its interface.
        for endpoint in self.state().endpoints_on(&network.id) {
            network
                .driver()
                .tell_endpoint(&self.context, network.record(), endpoint)?;
        }
        if network.mtu.is_some() || network.device.is_empty() {
            return Ok(());
        }
        let state = self.state();
        let endpoints = state.endpoints_on(&network.id);
        let endpoints: Vec<Endpoint> = endpoints.map(|e| Endpoint::clone(e)).collect();
        let mtu = state.observed.host.egress_mtu();
        let (driver, record) = (network.driver(), network.record());
        driver.set_mtu(&self.context, record, &endpoints, mtu).await
    }

    /// Tries what is degraded once more, with everything that hangs on it.
    pub(super) async fn mend_degraded(&self) {
        let observed = self.context.observations.now();
        if observed.degraded.is_empty() {
            return;
        }
        self.predefine(false).await;
        for object in observed.degraded.keys() {
            match object {
                ObjectId::Network(id) => self.mend_degraded_network(id, object).await,
                ObjectId::Sandbox(id) => {
                    let _alone = self.sandbox_locks.alone(id).await;
                    let sandbox = self.desired().sandboxes().get(id).cloned();
                    if sandbox.is_none_or(|s| !s.running()) {
                        self.forget_degraded(object);
                    }
                    self.mend_sandbox(id).await;
                }
                ObjectId::Endpoint(id) => {
                    let endpoint = self.desired().endpoints().get(id).cloned();
                    let Some(endpoint) = endpoint else {
                        self.forget_degraded(object);
                        continue;
                    };
                    let _alone = self.sandbox_locks.alone(&endpoint.sandbox).await;
                    self.mend_sandbox(&endpoint.sandbox).await;
                }
                ObjectId::Record(_) => {}
            }
        }
    }

    async fn mend_degraded_network(&self, id: &str, object: &ObjectId) {
        {
            let _alone = self.network_locks.alone(id).await;
            let network = self.desired().networks().get(id).cloned();
            let Some(network) = network else {
                self.forget_degraded(object);
                return;
            };
            if let Err(e) = self.mend_one_network(&network).await {
                return self.degrade(object.clone(), &e.to_string());
            }
        }
        // Endpoints that could not be made without it have no marks of their own.
        let state = self.state();
        let waiting = state.endpoints_on(id);
        let waiting = waiting.filter(|e| !state.observed.links.contains_key(&e.id));
        let sandboxes: BTreeSet<&str> = waiting.map(|e| e.sandbox.as_str()).collect();
        for sandbox in sandboxes {
            let _alone = self.sandbox_locks.alone(sandbox).await;
            self.mend_sandbox(sandbox).await;
        }
    }

    /// Makes links anew that were deleted behind netd's back. Returns what was made.
    pub(super) async fn mend_links(&self, lost: &BTreeSet<u32>) -> Vec<String> {
        let mut mended = Vec::new();
        let state = self.state();
        let devices = state.observed.devices.iter();
        let gone = devices.filter(|(_, d)| d.both().iter().any(|i| lost.contains(i)));
        let networks: Vec<Arc<Network>> = gone
            .filter_map(|(id, _)| state.networks().get(id).cloned())
            .collect();
        for network in networks {
            match self.mend_network(&network, lost).await {
                Ok(true) => {
                    mended.push(format!("made the device of network {} anew", network.name))
                }
                Ok(false) => {}
                Err(e) => self.degrade(ObjectId::Network(network.id.clone()), &e.to_string()),
            }
        }
        let links = state
            .observed
            .links
            .iter()
            .filter(|(_, i)| lost.contains(i));
        let endpoints: Vec<Arc<Endpoint>> = links
            .filter_map(|(id, _)| state.endpoints().get(id).cloned())
            .collect();
        for endpoint in endpoints {
            match self.mend_endpoint(&endpoint, lost).await {
                Ok(true) => mended.push(format!(
                    "made interface {} of endpoint {} anew",
                    endpoint.interface, endpoint.id
                )),
                Ok(false) => {}
                Err(e) => self.degrade_endpoint(&endpoint, &e),
            }
        }
        for text in &mended {
            self.warn(format!("an interface of netd's was deleted: {text}"));
        }
        mended
    }

    async fn mend_network(&self, network: &Network, lost: &BTreeSet<u32>) -> Result<bool> {
        let _alone = self.network_locks.alone(&network.id).await;
        let gone = self.context.observations.note(|o| {
            // Else it was removed or mended meanwhile.
            let gone = o
                .devices
                .get(&network.id)
                .is_some_and(|d| d.both().iter().any(|i| lost.contains(i)));
            if gone {
                o.devices.remove(&network.id);
            }
            gone
        });
        if !gone {
            return Ok(false);
        }
        self.context.netlink.delete_by_name(&network.device).await?;
        self.realize_network(network).await?;
        // Endpoints know their gateway by its interface.
        for endpoint in self.state().endpoints_on(&network.id) {
            network
                .driver()
                .tell_endpoint(&self.context, network.record(), endpoint)?;
        }
        Ok(true)
    }

    async fn mend_endpoint(&self, endpoint: &Endpoint, lost: &BTreeSet<u32>) -> Result<bool> {
        let _alone = self.sandbox_locks.alone(&endpoint.sandbox).await;
        let gone = self.context.observations.note(|o| {
            let gone = o.links.get(&endpoint.id).is_some_and(|i| lost.contains(i));
            if gone {
                o.links.remove(&endpoint.id);
            }
            gone
        });
        if !gone {
            return Ok(false);
        }
        self.realize_endpoint(endpoint, true).await?;
        self.refresh_publications(&endpoint.sandbox).await?;
        self.refresh_routes(&endpoint.sandbox).await?;
        Ok(true)
    }
}
