//! Mending what others broke while the daemon runs: links that were deleted, map entries that are gone.

use std::collections::BTreeSet;

use super::Engine;
use crate::{
    error::Result,
    kernel::Role,
    model::{Endpoint, Network},
};

impl Engine {
    /// Compares kernel and maps with the desired state and mends the difference. Returns what was mended.
    pub async fn reconcile(&self) -> Result<Vec<String>> {
        let mut mended = Vec::new();
        self.refresh_host().await?;
        self.dataplane.take_mended();
        // What is made from now on need not be there yet when the links are listed.
        let known: BTreeSet<u32> = {
            let model = self.read();
            let devices = model.devices.values().flat_map(|(a, b)| [*a, *b]);
            model.links.values().copied().chain(devices).collect()
        };
        let mut there = BTreeSet::new();
        for link in self.netlink.find_links(&self.instance.name).await? {
            let wanted = {
                let model = self.read();
                match link.role {
                    Role::Endpoint => model.endpoints().contains_key(&link.id),
                    Role::Network | Role::Peer => model.networks.contains_key(&link.id),
                }
            };
            if wanted {
                there.insert(link.ifindex);
            } else if self.reaper.remove(link.ifindex).await.is_ok() {
                mended.push(format!("removed the left-over interface {}", link.name));
            }
        }
        let lost: BTreeSet<u32> = known.difference(&there).copied().collect();
        mended.extend(self.mend_links(&lost).await);
        let networks: Vec<Network> = self.read().networks.values().cloned().collect();
        for network in networks {
            let _shared = self.network_locks.shared(&network.id).await;
            if self.read().networks.contains_key(&network.id) {
                let missing = self.realize_network(&network).await?;
                if missing > 0 {
                    mended.push(format!(
                        "gave the device of network {} its program or {missing} addresses anew",
                        network.name
                    ));
                }
            }
        }
        let sandboxes: Vec<String> = self.read().running.keys().cloned().collect();
        for id in sandboxes {
            let _alone = self.sandbox_locks.alone(&id).await;
            let endpoints: Vec<Endpoint> = self.read().endpoints_of(&id).cloned().collect();
            for endpoint in endpoints {
                let missing = self.realize_endpoint(&endpoint, true).await?;
                if missing > 0 {
                    mended.push(format!(
                        "gave interface {} of endpoint {} its program, or {missing} addresses and routes, anew",
                        endpoint.interface, endpoint.id
                    ));
                }
            }
            self.refresh_publications(&id).await?;
            self.refresh_routes(&id).await?;
            if self.mend_resolver(&id).await? {
                mended.push(format!("made the way to the resolver of sandbox {id} anew"));
            }
            if self.write_files(&id, false)? {
                mended.push(format!("wrote the files of sandbox {id} anew"));
            }
        }
        mended.extend(self.mend_hooks().await);
        self.reserve_ports()?;
        let entries = self.dataplane.take_mended();
        if entries > 0 {
            mended.push(format!(
                "wrote the map entries of {entries} networks, endpoints or publications anew"
            ));
        }
        Ok(mended)
    }

    /// Hangs programs again that others took off the host's hooks. Returns what was hung.
    async fn mend_hooks(&self) -> Vec<String> {
        let (mended, failures) = self.dataplane.mend_links().await;
        failures.iter().for_each(|e| self.warn(e.to_string()));
        mended
    }

    /// Makes links anew that were deleted behind netd's back. Returns what was made.
    pub(super) async fn mend_links(&self, lost: &BTreeSet<u32>) -> Vec<String> {
        let mut mended = Vec::new();
        let networks: Vec<Network> = {
            let model = self.read();
            let gone = |id: &&String| {
                let device = model.devices.get(*id);
                device.is_some_and(|(a, b)| lost.contains(a) || lost.contains(b))
            };
            let ids = model.devices.keys().filter(gone);
            ids.filter_map(|id| model.networks.get(id))
                .cloned()
                .collect()
        };
        for network in networks {
            match self.mend_network(&network, lost).await {
                Ok(true) => {
                    mended.push(format!("made the device of network {} anew", network.name))
                }
                Ok(false) => {}
                Err(e) => self.warn(format!(
                    "making the device of network {} anew: {e}",
                    network.name
                )),
            }
        }
        let endpoints: Vec<Endpoint> = {
            let model = self.read();
            let gone = model.links.iter().filter(|(_, i)| lost.contains(i));
            gone.filter_map(|(id, _)| model.endpoints().get(id))
                .cloned()
                .collect()
        };
        for endpoint in endpoints {
            match self.mend_endpoint(&endpoint, lost).await {
                Ok(true) => mended.push(format!(
                    "made interface {} of endpoint {} anew",
                    endpoint.interface, endpoint.id
                )),
                Ok(false) => {}
                Err(e) => self.warn(format!("making endpoint {} anew: {e}", endpoint.id)),
            }
        }
        for text in &mended {
            self.warn(format!("an interface of netd's was deleted: {text}"));
        }
        mended
    }

    async fn mend_network(&self, network: &Network, lost: &BTreeSet<u32>) -> Result<bool> {
        let _alone = self.network_locks.alone(&network.id).await;
        {
            let mut model = self.write();
            let device = model.devices.get(&network.id).copied();
            match device {
                Some((a, b)) if lost.contains(&a) || lost.contains(&b) => {}
                // Removed or mended meanwhile.
                _ => return Ok(false),
            }
            model.devices.remove(&network.id);
        }
        self.netlink.delete_by_name(&network.device).await?;
        self.realize_network(network).await?;
        // Endpoints know their gateway by its interface.
        let endpoints: Vec<(Endpoint, u32)> = {
            let model = self.read();
            let linked = model.endpoints_on(&network.id);
            linked
                .filter_map(|e| Some((e.clone(), *model.links.get(&e.id)?)))
                .collect()
        };
        for (endpoint, ifindex) in endpoints {
            self.tell_endpoint(&endpoint, ifindex)?;
        }
        Ok(true)
    }

    async fn mend_endpoint(&self, endpoint: &Endpoint, lost: &BTreeSet<u32>) -> Result<bool> {
        let _alone = self.sandbox_locks.alone(&endpoint.sandbox).await;
        {
            let mut model = self.write();
            match model.links.get(&endpoint.id) {
                Some(ifindex) if lost.contains(ifindex) => {}
                _ => return Ok(false),
            }
            model.links.remove(&endpoint.id);
        }
        self.realize_endpoint(endpoint, true).await?;
        self.refresh_publications(&endpoint.sandbox).await?;
        self.refresh_routes(&endpoint.sandbox).await?;
        Ok(true)
    }
}
