//! What a start finds and takes over: addresses that are held, links and namespaces. What nobody wants is removed, as far as netd
//! can have made it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::Path,
};

use super::{Engine, load::Loaded, namespaces::identify_later};
use crate::{
    directories,
    error::{Kind, Result},
    kernel::{Netns, Role, Watch},
    model::{Origin, ProcessId, Run, Sandbox},
    observed::{Device, ObjectId},
};

/// What a start finds of a sandbox's namespace.
enum Found {
    Open(Netns),
    /// Others made it, and it is not what the sandbox was given any more: why, and the way out.
    Gone(String),
}

fn why_gone(sandbox: &Sandbox, source: &Path, process: Option<&ProcessId>) -> String {
    let (name, shown) = (&sandbox.name, source.display());
    match process {
        Some(process) => format!(
            "process {}, which it was started for, has ended; start it for another one: netctl sandbox start --pid PID {name}",
            process.pid
        ),
        None => {
            let why = match source.symlink_metadata() {
                Err(e) if e.kind() == ErrorKind::NotFound => "is gone",
                Err(_) => "cannot be looked at",
                Ok(_) => "leads to another namespace, or none",
            };
            format!(
                "{shown}, by which its namespace was given, {why}; start it with the one that it has now: netctl sandbox start \
                --netns PATH {name}"
            )
        }
    }
}

impl Engine {
    /// The address managers learn what is held.
    pub(super) fn adopt_addresses(&self, loaded: &Loaded) {
        let desired = &loaded.desired;
        for network in desired.networks().values().filter(|n| !n.config_only) {
            let Ok(manager) = self.ipam.manager(&network.ipam_driver) else {
                let reason = format!("its IPAM driver {} is not there", network.ipam_driver);
                self.degrade(ObjectId::Network(network.id.clone()), &reason);
                continue;
            };
            let cursors = loaded.cursors.get(&network.id).copied();
            manager.adopt_network(network.record(), cursors.unwrap_or_default());
            for endpoint in desired.endpoints_on(&network.id) {
                for address in endpoint.addresses() {
                    manager.adopt_address(&network.id, address.ip());
                }
            }
        }
    }

    /// Finds the links that are there and removes those that nobody wants.
    pub(super) async fn adopt_links(&self, loaded: &Loaded) -> Result<()> {
        let mut peers = BTreeMap::new();
        let mut devices = BTreeMap::new();
        let mut unwanted = Vec::new();
        let state = self.state();
        for link in self.context.netlink.find_links(&self.instance.name).await? {
            match link.role {
                // Whose record cannot be read now may be read by the next version.
                _ if loaded.quarantined_ids.contains(&link.id) => {}
                Role::Network if state.networks().contains_key(&link.id) => {
                    devices.insert(link.id, link.ifindex);
                }
                Role::Peer if state.networks().contains_key(&link.id) => {
                    peers.insert(link.id, link.ifindex);
                }
                Role::Endpoint if state.endpoints().contains_key(&link.id) => {
                    self.context.observations.note(|o| {
                        o.links.insert(&link.id, link.ifindex);
                    });
                }
                _ => unwanted.push((link.ifindex, link.name)),
            }
        }
        for (id, ifindex) in devices {
            match peers.get(&id) {
                Some(&peer) => self.context.observations.note(|o| {
                    o.devices.insert(&id, Device { ifindex, peer });
                }),
                None => unwanted.push((ifindex, id)),
            }
        }
        let removals = unwanted.iter().map(|(i, _)| self.context.reaper.remove(*i));
        for (removed, (_, name)) in futures::future::join_all(removals)
            .await
            .iter()
            .zip(&unwanted)
        {
            match removed {
                Ok(()) => self.warn(format!("removed the left-over interface {name}")),
                Err(e) => self.warn(format!("removing the left-over interface {name}: {e}")),
            }
        }
        self.remove_unmarked().await;
        Ok(())
    }

    /// A link is marked as netd's after it is made. One of a known name without a mark was being made when the daemon
    /// was killed.
    async fn remove_unmarked(&self) {
        let state = self.state();
        let endpoints = state.endpoints().values();
        let endpoints = endpoints.filter(|e| !state.observed.links.contains_key(&e.id));
        let networks = state.networks().values();
        let networks = networks.filter(|n| !state.observed.devices.contains_key(&n.id));
        let names = endpoints
            .map(|e| e.host_interface())
            .chain(networks.map(|n| n.peer_device()))
            .filter(|name| !name.is_empty());
        for name in names {
            if let Err(e) = self.context.netlink.delete_by_name(&name).await {
                self.warn(format!("removing the left-over interface {name}: {e}"));
            }
        }
    }

    /// Opens the sandboxes' namespaces. Those that netd made are made anew if they are gone (after a reboot); whoever
    /// else's namespace is gone, or is another one now, has stopped. Returns the sandboxes whose namespace is new.
    pub(super) async fn adopt_namespaces(&self, loaded: &Loaded) -> BTreeSet<String> {
        let mut fresh = BTreeSet::new();
        let sandboxes = loaded.desired.sandboxes().values();
        for sandbox in sandboxes {
            let Some(run) = &sandbox.run else {
                continue;
            };
            match self.adopt_namespace(sandbox, run, &mut fresh).await {
                Ok(Found::Open(netns)) => self.note_running(&sandbox.id, netns),
                Ok(Found::Gone(text)) => {
                    self.warn(format!("sandbox {} has stopped: {text}", sandbox.name));
                    if let Err(e) = self.stop_locked(&sandbox.id).await {
                        self.degrade(ObjectId::Sandbox(sandbox.id.clone()), &e.to_string());
                    }
                }
                Err(e) => self.degrade(ObjectId::Sandbox(sandbox.id.clone()), &e.to_string()),
            }
        }
        let running = self.context.observations.now().running;
        identify_later(running.values().cloned().collect());
        self.remove_stray_namespaces(loaded);
        fresh
    }

    async fn adopt_namespace(
        &self,
        sandbox: &Sandbox,
        run: &Run,
        fresh: &mut BTreeSet<String>,
    ) -> Result<Found> {
        match &run.origin {
            Origin::Foreign {
                source,
                identity,
                process,
            } => {
                // netd's own name keeps the namespace: whether it is still meant is seen where it came from.
                let meant = match process {
                    Some(process) => Watch::open_same(process, identity)?.is_some(),
                    None => matches!(Netns::open_same(source, identity), Ok(Some(_))),
                };
                let found = match meant {
                    true => self.find_foreign(run, source, identity).await?,
                    false => None,
                };
                Ok(match found {
                    Some(netns) => Found::Open(netns),
                    None => Found::Gone(why_gone(sandbox, source, process.as_ref())),
                })
            }
            Origin::Made | Origin::Host => {
                let host = Netns::current()?.inode()?;
                let open = match Netns::open(&run.netns) {
                    Ok(netns) => Some(netns),
                    Err(e) if matches!(e.kind, Kind::NotFound | Kind::Invalid) => None,
                    // It may be there, and in use.
                    Err(e) => return Err(e),
                };
                // After a reboot the name may be anything's.
                if let Some(netns) = open
                    && (netns.inode()? == host) == sandbox.host()
                {
                    return Ok(Found::Open(netns));
                }
                fresh.insert(sandbox.id.clone());
                self.remake(sandbox, run).await.map(Found::Open)
            }
        }
    }

    /// Namespaces that netd made for sandboxes that have stopped or gone meanwhile.
    fn remove_stray_namespaces(&self, loaded: &Loaded) {
        let directory = directories::namespaces(&self.instance.run);
        let desired = self.desired().clone();
        let name = |run: &Run| Some(run.netns.file_name()?.to_str()?.to_owned());
        let sandboxes = || desired.sandboxes().values();
        let wanted: BTreeSet<String> = sandboxes().filter_map(|s| name(s.run.as_ref()?)).collect();
        // One of a sandbox that was being made when the daemon was killed is known by the mark that it is unfinished.
        let known = |text: &str| {
            let stored =
                desired.sandbox_named(text).is_some() || desired.sandboxes().contains_key(text);
            stored || loaded.namespaces.contains(text)
        };
        for done in directories::clean_namespaces(&directory, known, |text| wanted.contains(text)) {
            self.warn(done.to_string());
        }
    }

    async fn remake(&self, sandbox: &Sandbox, run: &Run) -> Result<Netns> {
        Netns::remove(&run.netns)?;
        self.warn(format!(
            "made the namespace of sandbox {} anew",
            sandbox.name
        ));
        if sandbox.host() {
            let host = Netns::current()?;
            host.link(&run.netns)?;
            return Ok(host);
        }
        let netns = Netns::create_async(&run.netns).await?;
        Ok(netns)
    }
}
