//! Starting: read what is desired, look at what is there, mend the difference.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
};

use tokio::sync::broadcast;

use super::{Engine, Model, NetworkRequest, locks::Locks, reserved::Kept};
use crate::{
    config::{Config, Instance},
    dataplane::{Dataplane, DesiredState},
    dns::Resolver,
    error::{Error, Result},
    kernel::{Netlink, Netns, Reaper, Role, sandbox as namespace},
    model::{Endpoint, Network, Sandbox},
    store::{Change, Store},
};

/// Events that a slow listener may lag behind.
const EVENT_BACKLOG: usize = 8192;

impl Engine {
    /// Opens the store, reconciles kernel and data plane with it, and begins to follow the host.
    pub async fn start(
        instance: Instance,
        config: Config,
        store: Store,
        dataplane: Arc<Dataplane>,
        netlink: Netlink,
    ) -> Result<Arc<Self>> {
        let mut model = read(&store)?;
        let files = instance.run.join("files");
        model.files = std::path::absolute(&files).unwrap_or(files);
        let dirty: BTreeSet<String> = store.keys("dirty")?.into_iter().collect();
        let kept = Kept::read(&store).await?;
        // Before the first look at the host, so that no change falls between.
        let changes = netlink.follow_host(config.pools.iter().map(|p| p.base).collect())?;
        let reaper = Reaper::start(netlink.clone());
        let resolver = Resolver::new(&instance.run, config.dns.clone())?;
        let engine = Arc::new(Self {
            instance,
            config,
            store,
            dataplane,
            netlink,
            reaper,
            resolver,
            model: RwLock::new(model),
            sandbox_locks: Locks::default(),
            network_locks: Locks::default(),
            host_lock: tokio::sync::Mutex::default(),
            reserving: Mutex::new(kept),
            filter_seen: Mutex::default(),
            writing: Mutex::default(),
            events: broadcast::channel(EVENT_BACKLOG).0,
            warnings: Mutex::default(),
            overload: Mutex::default(),
            failing_uplinks: Mutex::default(),
        });
        engine.adopt_links().await?;
        let fresh = engine.adopt_namespaces().await?;
        engine.refresh_host().await?;
        engine.predefine().await?;
        // Thousands of sockets and files beside thousands of links.
        let (names, new) = (Arc::clone(&engine), fresh.clone());
        let names = tokio::task::spawn_blocking(move || {
            names.open_resolvers();
            names.restore_files(&new);
        });
        engine.realize_all(&dirty, &fresh).await?;
        names
            .await
            .map_err(|e| Error::internal("opening the resolvers", e))?;
        engine.reserve_ports()?;
        engine.follow(changes);
        Ok(engine)
    }

    /// Finds the links that are there and removes those that nobody wants.
    async fn adopt_links(&self) -> Result<()> {
        let mut peers = BTreeMap::new();
        let mut devices = BTreeMap::new();
        let mut unwanted = Vec::new();
        {
            let found = self.netlink.find_links(&self.instance.name).await?;
            let mut model = self.write();
            for link in found {
                match link.role {
                    Role::Network if model.networks.contains_key(&link.id) => {
                        devices.insert(link.id, link.ifindex);
                    }
                    Role::Peer if model.networks.contains_key(&link.id) => {
                        peers.insert(link.id, link.ifindex);
                    }
                    Role::Endpoint if model.endpoints().contains_key(&link.id) => {
                        model.links.insert(link.id, link.ifindex);
                    }
                    _ => unwanted.push((link.ifindex, link.name)),
                }
            }
            for (id, ifindex) in devices {
                match peers.get(&id) {
                    Some(peer) => {
                        model.devices.insert(id, (ifindex, *peer));
                    }
                    None => unwanted.push((ifindex, id)),
                }
            }
        }
        let removals = unwanted.iter().map(|(i, _)| self.reaper.remove(*i));
        futures::future::try_join_all(removals).await?;
        for (_, name) in unwanted {
            self.warn(format!("removed the left-over interface {name}"));
        }
        self.remove_unmarked().await
    }

    /// A link is marked as netd's after it is made. One of a known name without a mark was being made when the daemon
    /// was killed.
    async fn remove_unmarked(&self) -> Result<()> {
        let names: Vec<String> = {
            let model = self.read();
            let endpoints = model.endpoints().values();
            let endpoints = endpoints.filter(|e| !model.links.contains_key(&e.id));
            let networks = model.networks.values();
            let networks = networks.filter(|n| !model.devices.contains_key(&n.id));
            endpoints
                .map(Endpoint::host_interface)
                .chain(networks.map(|n| format!("np-{}", &n.id[..12])))
                .filter(|name| !name.is_empty())
                .collect()
        };
        for name in names {
            self.netlink.delete_by_name(&name).await?;
        }
        Ok(())
    }

    /// Opens the sandboxes' namespaces. Those that netd made are made anew if they are gone (after a reboot); whoever
    /// else's namespace is gone has stopped. Returns the sandboxes whose namespace is new.
    async fn adopt_namespaces(&self) -> Result<BTreeSet<String>> {
        let mut fresh = BTreeSet::new();
        let sandboxes: Vec<Sandbox> = self.read().sandboxes.values().cloned().collect();
        for sandbox in sandboxes {
            let Some(path) = &sandbox.netns else {
                continue;
            };
            let netns = match Netns::open(path) {
                Ok(netns) => netns,
                Err(_) if sandbox.owned => {
                    fresh.insert(sandbox.id.clone());
                    self.remake(&sandbox, path).await?
                }
                Err(e) => {
                    self.warn(format!("sandbox {} has stopped: {e}", sandbox.name));
                    self.mark_stopped(&sandbox).await?;
                    continue;
                }
            };
            self.write().running.insert(sandbox.id, netns);
        }
        self.remove_stray_namespaces()?;
        Ok(fresh)
    }

    /// Namespaces that netd made for sandboxes that have stopped or gone meanwhile.
    fn remove_stray_namespaces(&self) -> Result<()> {
        let directory = self.instance.run.join("netns");
        let wanted: BTreeSet<PathBuf> = {
            let model = self.read();
            let paths = model.sandboxes.values().filter_map(|s| s.netns.clone());
            paths.collect()
        };
        // Nothing was ever made there.
        let Ok(found) = std::fs::read_dir(&directory) else {
            return Ok(());
        };
        for path in found.flatten().map(|entry| entry.path()) {
            if !wanted.contains(&path) {
                Netns::remove(&path)?;
                self.warn(format!(
                    "removed the left-over namespace {}",
                    path.display()
                ));
            }
        }
        Ok(())
    }

    async fn remake(&self, sandbox: &Sandbox, path: &std::path::Path) -> Result<Netns> {
        Netns::remove(path)?;
        self.warn(format!(
            "made the namespace of sandbox {} anew",
            sandbox.name
        ));
        if sandbox.host {
            let host = Netns::current()?;
            host.link(path)?;
            return Ok(host);
        }
        let netns = Netns::create(path)?;
        namespace::set_loopback_up(&netns).await?;
        Ok(netns)
    }

    /// The record of a sandbox whose namespace went without netd: its endpoints are gone, what it was asked to be stays.
    async fn mark_stopped(&self, sandbox: &Sandbox) -> Result<()> {
        let (gone, pending) = {
            let mut model = self.write();
            let gone: Vec<Endpoint> = model.endpoints_of(&sandbox.id).cloned().collect();
            let after = model.stopped(sandbox);
            let mut changes = vec![Change::put("sandbox", &sandbox.id, &after)?];
            for endpoint in &gone {
                changes.push(Change::delete("endpoint", &endpoint.id));
            }
            model.sandboxes.insert(sandbox.id.clone(), after);
            (gone, self.store.submit(changes))
        };
        pending.written().await?;
        for endpoint in &gone {
            self.unrealize_endpoint(endpoint).await;
        }
        Ok(())
    }

    /// Makes the networks that always exist.
    async fn predefine(&self) -> Result<()> {
        for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null")] {
            let pending = {
                let mut model = self.write();
                if model.networks.values().any(|n| n.name == name) {
                    continue;
                }
                let mut changes = Vec::new();
                let request = NetworkRequest {
                    name: name.into(),
                    driver: driver.into(),
                    enable_ipv4: true,
                    ipam_driver: "default".into(),
                    ..NetworkRequest::default()
                };
                let network = self.plan_network(&mut model, request, &mut changes)?;
                changes.push(Change::put("network", &network.id, &network)?);
                model.networks.insert(network.id.clone(), network);
                self.store.submit(changes)
            };
            pending.written().await?;
        }
        Ok(())
    }

    /// Everything that is desired. What has its link and was complete when the last daemon ended gets only its program
    /// and map entries; the rest is made.
    async fn realize_all(&self, dirty: &BTreeSet<String>, fresh: &BTreeSet<String>) -> Result<()> {
        let (networks, mut endpoints): (Vec<Network>, Vec<Endpoint>) = {
            let model = self.read();
            let networks = model.networks.values().cloned().collect();
            (networks, model.endpoints().values().cloned().collect())
        };
        for network in &networks {
            self.realize_network(network).await?;
        }
        endpoints.sort_by_key(|e| e.number);
        let mut incomplete: BTreeSet<String> = dirty.union(fresh).cloned().collect();
        for endpoint in &endpoints {
            let linked = self.read().links.contains_key(&endpoint.id);
            let inside = !linked || incomplete.contains(&endpoint.sandbox);
            if let Err(e) = self.realize_endpoint(endpoint, inside).await {
                self.warn(format!("endpoint {}: {e}", endpoint.id));
                continue;
            }
            if inside {
                incomplete.insert(endpoint.sandbox.clone());
            }
        }
        let sandboxes: Vec<String> = self.read().running.keys().cloned().collect();
        for id in &sandboxes {
            self.refresh_publications(id).await?;
            if incomplete.contains(id) {
                self.refresh_routes(id).await?;
                self.clean(id);
            }
        }
        self.dataplane
            .retain(&DesiredState {
                networks: networks.iter().map(|n| n.number).collect(),
                endpoints: self.read().endpoints().values().map(|e| e.number).collect(),
            })
            .await?;
        self.dataplane.take_mended();
        Ok(())
    }
}

fn read(store: &Store) -> Result<Model> {
    let mut model = Model::default();
    for network in store.list::<Network>("network")? {
        model.networks.insert(network.id.clone(), network);
    }
    for sandbox in store.list::<Sandbox>("sandbox")? {
        model.sandboxes.insert(sandbox.id.clone(), sandbox);
    }
    model.next_number = store.get("meta/number")?.unwrap_or(1);
    model.ula = store.get("meta/ula")?;
    let mut endpoints = store.list::<Endpoint>("endpoint")?;
    // Numbers grow: this is the order in which they were connected.
    endpoints.sort_by_key(|e| e.number);
    for endpoint in endpoints {
        model.insert_endpoint(endpoint);
    }
    Ok(model)
}
