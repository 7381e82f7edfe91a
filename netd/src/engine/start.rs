//! Starting: read what is desired, look at what is there, mend the difference. One object that cannot be mended is degraded;
//! the rest lives.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::ErrorKind,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU16, AtomicU32},
    },
};

use ipnetwork::Ipv6Network;
use tokio::sync::watch;

use super::{
    Engine,
    commit::{owe_unwritten, unfinished_key},
    load::{Loaded, load, setting},
    locks::Locks,
    log::{Generation, Log},
    reserved::{self, Kept},
};
use crate::{
    config::{Config, Instance},
    dataplane::{Dataplane, DesiredState},
    directories,
    dns::Resolver,
    driver::{Context, Driver, Network},
    error::{Error, Result},
    ipam::Ipam,
    kernel::{Netlink, Reaper},
    model::{Endpoint, NetworkRequest},
    observed::{ObjectId, Observations},
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
        let ula = match setting(snapshot, &Key::host("setting", "ula")) {
            Some(ula) => ula,
            None => {
                let ula = random_ula()?;
                writes.push(put("ula", Record::of("the ULA prefix", &ula)?));
                ula
            }
        };
        let generation =
            setting(snapshot, &Key::host("setting", "generation")).unwrap_or(0_u32) + 1;
        writes.push(put(
            "generation",
            Record::of("the generation", &generation)?,
        ));
        let key = reserved::key();
        let (kept, write) = Kept::read(setting(snapshot, &key))?;
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
        // A host whose disk is full needs the networks of what runs on it all the same.
        let number = host_settings.generation;
        let pending = store.commit(host_settings.writes.clone());
        let generation = match owe_unwritten(&*store, pending, host_settings.writes).await {
            true => Generation::Written(number),
            false => Generation::Unwritten(number),
        };
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
        let engine = Arc::new_cyclic(|myself| Self {
            instance,
            ipam: Ipam::new(config.pools.clone(), host_settings.ula, observations),
            config,
            store,
            dataplane,
            context,
            resolver,
            desired: Mutex::new(loaded.desired.clone()),
            log: Log::new(generation),
            leaving: Mutex::default(),
            leaving_names: Mutex::default(),
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
            hooks_health: watch::Sender::new(Ok(())),
            quarantined: Mutex::new(loaded.quarantined_records.clone()),
            withheld: Mutex::default(),
            watching: Mutex::default(),
            myself: Weak::clone(myself),
        });
        engine.adopt_addresses(&loaded);
        engine.withhold();
        for (key, reason) in &loaded.quarantined {
            let text = format!("not used: {reason}");
            engine.degrade(ObjectId::Record(key.clone()), &text);
        }
        engine.adopt_links(&loaded).await?;
        let fresh = engine.adopt_namespaces(&loaded).await;
        engine.refresh_host().await?;
        engine.predefine(true).await;
        // Thousands of sockets and files beside thousands of links.
        let (names, new) = (Arc::clone(&engine), fresh.clone());
        let names = tokio::spawn(async move {
            names.open_resolvers().await;
            tokio::task::spawn_blocking(move || names.restore_files(&new)).await
        });
        let incomplete: BTreeSet<String> = loaded.unfinished.union(&fresh).cloned().collect();
        engine.realize_all(incomplete, &loaded).await?;
        names
            .await
            .and_then(|restored| restored)
            .map_err(|e| Error::internal("opening the resolvers and writing the files", e))?;
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

    /// Adds the networks that always exist and do not yet. One that cannot be is degraded, and tried again. `starting`: they are
    /// made with all the others.
    pub(super) async fn predefine(&self, starting: bool) {
        for (name, driver) in Driver::predefined() {
            let mark = ObjectId::Record(format!("network {name}"));
            if self.desired().network_named(name).is_some() {
                self.forget_degraded(&mark);
                continue;
            }
            let request = NetworkRequest {
                name: name.into(),
                driver: driver.into(),
                enable_ipv4: true,
                ipam_driver: "default".into(),
                ..NetworkRequest::default()
            };
            match self.predefine_one(&request, starting).await {
                Ok(()) => drop(self.forget_degraded(&mark)),
                Err(e) => self.degrade(mark, &format!("it cannot be made: {e}")),
            }
        }
    }

    async fn predefine_one(&self, request: &NetworkRequest, starting: bool) -> Result<()> {
        let network = self.plan(&self.state(), request).await?;
        let added = if starting {
            self.write_network(network.clone()).await
        } else {
            self.add_network(network.clone()).await
        };
        if added.is_err() {
            self.release_pools(&network).await;
        }
        added
    }

    async fn write_network(&self, network: Network) -> Result<()> {
        let ((), decided) = self.decide(|transaction| {
            transaction.setting(self.numbers_taken()?);
            transaction.put_network(network);
            Ok(())
        })?;
        self.only_write(decided).await
    }

    /// Everything that is desired. What has its link and was complete when the last daemon ended gets only its program
    /// and map entries; the rest is made.
    async fn realize_all(&self, mut incomplete: BTreeSet<String>, loaded: &Loaded) -> Result<()> {
        let state = self.state();
        // What is new is configured inside by this start, or by the next one.
        let unlinked = state.endpoints().values().filter(|e| {
            let observed = &state.observed;
            observed.running.contains_key(&e.sandbox) && !observed.links.contains_key(&e.id)
        });
        incomplete.extend(unlinked.map(|e| e.sandbox.clone()));
        let unmarked = directories::unmarked(&self.instance.run);
        if unmarked.exists() {
            incomplete.extend(state.observed.running.keys().map(str::to_owned));
        }
        let marked = self.mark_unfinished(&incomplete).await?;
        // Nothing that stands there is opened: it is as good.
        if !marked
            && let Err(e) = File::create_new(&unmarked)
            && e.kind() != ErrorKind::AlreadyExists
        {
            self.warn(format!(
                "{}: {e}; if netd is killed before it is ready, netctl system reconcile mends what is left half made",
                unmarked.display()
            ));
        }
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
                self.degrade_endpoint(endpoint, &e);
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
                self.degrade(ObjectId::Sandbox(id.to_owned()), &e.to_string());
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
            let endpoints = now
                .endpoints_of(id)
                .map(|e| ObjectId::Endpoint(e.id.clone()));
            [ObjectId::Network(id.clone()), ObjectId::Sandbox(id.clone())]
                .into_iter()
                .chain(endpoints)
                .any(|object| now.why_degraded(&object).is_some())
        };
        let marks = loaded.unfinished.union(&incomplete);
        let marks = marks.filter(|id| !degraded(id));
        let marks = marks.map(|id| Write::remove(unfinished_key(id)));
        let marks = marks.collect();
        match marked {
            true => {
                drop(self.store.commit(marks));
                // Mostly it is not there.
                let _ = fs::remove_file(&unmarked);
            }
            // Behind the marks that are still to be written.
            false => self.store.insist(marks),
        }
        Ok(())
    }
}
