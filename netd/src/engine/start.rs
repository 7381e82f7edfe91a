//! Starting: read what is desired, look at what is there, mend the difference. One object that cannot be mended is degraded;
//! the rest lives.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU32},
    },
};

use ipnetwork::Ipv6Network;

use super::{
    Engine,
    commit::unfinished_key,
    load::{Loaded, load, setting},
    locks::Locks,
    log::Log,
    reserved::{self, Kept},
};
use crate::{
    config::{Config, Instance},
    dataplane::{Dataplane, DesiredState},
    directories,
    dns::Resolver,
    driver::{Context, Driver},
    error::{Error, Result},
    ipam::Ipam,
    kernel::{Netlink, Netns, Reaper, Role, Watch, sandbox as namespace},
    model::{Endpoint, NetworkRequest, Origin, Run, Sandbox},
    observed::{Device, ObjectId, Observations},
    store::{Key, Record, Snapshot, Store, Write},
};

/// A random prefix of the host's own: fd00::/8 and 40 random bits (RFC 4193, 3.2).
fn random_ula() -> Result<Ipv6Network> {
    use rand::RngExt as _;
    let global: u64 = rand::rng().random();
    let base = 0xfd_u128 << 120 | u128::from(global & 0xff_ffff_ffff) << 80;
    Ipv6Network::new(base.into(), 48).map_err(|e| Error::internal("making a ULA prefix", e))
}

/// What a host keeps from its first start on, read or made; and what of it is to be written.
struct HostSettings {
    ula: Ipv6Network,
    /// Counts the starts of the state directory.
    generation: u32,
    kept: Kept,
    writes: Vec<Write>,
}

impl HostSettings {
    fn read(snapshot: &Snapshot) -> Result<Self> {
        let mut writes = Vec::new();
        let put = |id, record| Write::put(Key::host("setting", id), record);
        let ula = match setting(snapshot, "setting", "ula") {
            Some(ula) => ula,
            None => {
                let ula = random_ula()?;
                writes.push(put("ula", Record::of("the ULA prefix", &ula)?));
                ula
            }
        };
        let generation = setting(snapshot, "setting", "generation").unwrap_or(0_u32) + 1;
        writes.push(put(
            "generation",
            Record::of("the generation", &generation)?,
        ));
        let key = reserved::key();
        let (kept, write) = Kept::read(setting(snapshot, &key.kind, &key.id))?;
        writes.extend(write);
        Ok(Self {
            ula,
            generation,
            kept,
            writes,
        })
    }
}

impl Engine {
    /// Opens what is stored, reconciles kernel and data plane with it, and begins to follow the host.
    pub async fn start(
        instance: Instance,
        config: Config,
        store: Arc<dyn Store>,
        dataplane: Arc<Dataplane>,
        netlink: Netlink,
    ) -> Result<Arc<Self>> {
        let snapshot = store.snapshot()?;
        let loaded = load(&snapshot, &directories::namespaces(&instance.run));
        let host_settings = HostSettings::read(&snapshot)?;
        store.commit(host_settings.writes).written().await?;
        // Before the first look at the host, so that no change falls between.
        let changes = netlink.follow_host(config.pools.iter().map(|p| p.base).collect())?;
        let observations = Observations::default();
        let context = Context {
            instance: instance.name.clone(),
            reaper: Reaper::start(netlink.clone()),
            netlink,
            dataplane: Arc::clone(&dataplane),
            observations: observations.clone(),
        };
        let resolver = Resolver::new(&instance.run, config.dns.clone())?;
        let engine = Arc::new(Self {
            instance,
            ipam: Ipam::new(config.pools.clone(), host_settings.ula, observations),
            config,
            store,
            dataplane,
            context,
            resolver,
            desired: Mutex::new(loaded.desired.clone()),
            log: Log::new(host_settings.generation),
            leaving: Mutex::default(),
            next_number: AtomicU32::new(loaded.next_number),
            next_port: AtomicU16::new(0),
            sandbox_locks: Locks::default(),
            network_locks: Locks::default(),
            host_lock: tokio::sync::Mutex::default(),
            reserving: Mutex::new(host_settings.kept),
            filter_seen: Mutex::default(),
            writing: Mutex::default(),
            warnings: Mutex::default(),
            overload: Mutex::default(),
            failing_uplinks: Mutex::default(),
        });
        engine.adopt_addresses(&loaded);
        for (key, reason) in &loaded.quarantined {
            engine.warn(format!("record {key} is not used: {reason}"));
            engine.degrade(ObjectId::Record(key.clone()), reason);
        }
        engine.adopt_links(&loaded).await?;
        let fresh = engine.adopt_namespaces(&loaded).await;
        engine.refresh_host().await?;
        engine.predefine().await;
        // Thousands of sockets and files beside thousands of links.
        let (names, new) = (Arc::clone(&engine), fresh.clone());
        let names = tokio::task::spawn_blocking(move || {
            names.open_resolvers();
            names.restore_files(&new);
        });
        let incomplete: BTreeSet<String> = loaded.unfinished.union(&fresh).cloned().collect();
        engine.realize_all(incomplete, &loaded).await?;
        names
            .await
            .map_err(|e| Error::internal("opening the resolvers", e))?;
        if let Err(e) = engine.reserve_ports() {
            engine.warn(format!("reserved ports: {e}"));
        }
        engine.log.begin(engine.desired().clone());
        for sandbox in engine.state().sandboxes().values() {
            engine.watch_process(sandbox);
        }
        engine.follow(changes);
        Ok(engine)
    }

    /// The address managers learn what is held.
    fn adopt_addresses(&self, loaded: &Loaded) {
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
    async fn adopt_links(&self, loaded: &Loaded) -> Result<()> {
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
                        o.links.insert(link.id, link.ifindex);
                    });
                }
                _ => unwanted.push((link.ifindex, link.name)),
            }
        }
        for (id, ifindex) in devices {
            match peers.get(&id) {
                Some(&peer) => self.context.observations.note(|o| {
                    o.devices.insert(id, Device { ifindex, peer });
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
    async fn adopt_namespaces(&self, loaded: &Loaded) -> BTreeSet<String> {
        let mut fresh = BTreeSet::new();
        let sandboxes = loaded.desired.sandboxes().values();
        for sandbox in sandboxes {
            let Some(run) = &sandbox.run else {
                continue;
            };
            match self.adopt_namespace(sandbox, run, &mut fresh).await {
                Ok(Some(netns)) => self.note_running(&sandbox.id, netns),
                Ok(None) => {
                    let text = "its namespace is gone, or another one has its path";
                    self.warn(format!("sandbox {} has stopped: {text}", sandbox.name));
                    if let Err(e) = self.stop_locked(&sandbox.id).await {
                        self.degrade(ObjectId::Sandbox(sandbox.id.clone()), &e.to_string());
                    }
                }
                Err(e) => self.degrade(ObjectId::Sandbox(sandbox.id.clone()), &e.to_string()),
            }
        }
        self.remove_stray_namespaces(loaded);
        fresh
    }

    async fn adopt_namespace(
        &self,
        sandbox: &Sandbox,
        run: &Run,
        fresh: &mut BTreeSet<String>,
    ) -> Result<Option<Netns>> {
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
                if !meant {
                    return Ok(None);
                }
                self.find_foreign(run, source, identity).await
            }
            Origin::Made | Origin::Host => {
                let host = Netns::current()?.inode()?;
                match Netns::open(&run.netns) {
                    // After a reboot the name may be anything's.
                    Ok(netns) if (netns.inode()? == host) == sandbox.host() => Ok(Some(netns)),
                    _ => {
                        fresh.insert(sandbox.id.clone());
                        self.remake(sandbox, run).await.map(Some)
                    }
                }
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
        namespace::set_loopback_up(&netns).await?;
        Ok(netns)
    }

    /// Makes the networks that always exist.
    async fn predefine(&self) {
        for (name, driver) in Driver::predefined() {
            if self.desired().network_named(name).is_some() {
                continue;
            }
            let request = NetworkRequest {
                name: name.into(),
                driver: driver.into(),
                enable_ipv4: true,
                ipam_driver: "default".into(),
                ..NetworkRequest::default()
            };
            if let Err(e) = self.predefine_one(&request).await {
                self.warn(format!(
                    "the network {name} cannot be made: {e}; the next start tries again"
                ));
            }
        }
    }

    async fn predefine_one(&self, request: &NetworkRequest) -> Result<()> {
        let network = self.plan(&self.state(), request).await?;
        let ((), decided) = self.decide(|transaction| {
            transaction.setting(self.numbers_taken()?);
            transaction.put_network(network);
            Ok(())
        })?;
        // Made with all the others.
        self.only_write(decided).await
    }

    /// Everything that is desired. What has its link and was complete when the last daemon ended gets only its program
    /// and map entries; the rest is made.
    async fn realize_all(&self, mut incomplete: BTreeSet<String>, loaded: &Loaded) -> Result<()> {
        let state = self.state();
        for network in state.networks().values() {
            if let Err(e) = self.realize_network(network).await {
                self.degrade(ObjectId::Network(network.id.clone()), &e.to_string());
            }
        }
        let mut endpoints: Vec<&Arc<Endpoint>> = state.endpoints().values().collect();
        endpoints.sort_by_key(|e| e.number);
        for endpoint in endpoints {
            if !self
                .context
                .observations
                .now()
                .running
                .contains_key(&endpoint.sandbox)
            {
                continue;
            }
            let linked = self
                .context
                .observations
                .now()
                .links
                .contains_key(&endpoint.id);
            let inside = !linked || incomplete.contains(&endpoint.sandbox);
            if let Err(e) = self.realize_endpoint(endpoint, inside).await {
                self.degrade(ObjectId::Endpoint(endpoint.id.clone()), &e.to_string());
                continue;
            }
            if inside {
                incomplete.insert(endpoint.sandbox.clone());
            }
        }
        for id in state.observed.running.keys() {
            let followed = async {
                self.refresh_publications(id).await?;
                if incomplete.contains(id) {
                    self.refresh_routes(id).await?;
                }
                Ok::<(), Error>(())
            };
            if let Err(e) = followed.await {
                self.degrade(ObjectId::Sandbox(id.clone()), &e.to_string());
            }
        }
        let now = self.state();
        let wanted = DesiredState {
            networks: now.networks().values().map(|n| n.number).collect(),
            endpoints: now.endpoints().values().map(|e| e.number).collect(),
        };
        self.dataplane.retain(&wanted).await?;
        self.dataplane.take_mended();
        // What is degraded keeps its mark; marks of what is gone go.
        let degraded = |id: &String| {
            let degraded = &now.observed.degraded;
            [ObjectId::Network(id.clone()), ObjectId::Sandbox(id.clone())]
                .iter()
                .any(|object| degraded.contains_key(object))
        };
        let marks = loaded.unfinished.iter().filter(|id| !degraded(id));
        let marks = marks.map(|id| Write::remove(unfinished_key(id)));
        drop(self.store.commit(marks.collect()));
        Ok(())
    }
}
