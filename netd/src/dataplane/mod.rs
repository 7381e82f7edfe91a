//! The eBPF data plane as the engine sees it: load or adopt, attach, and keep the maps.
//!
//! It must not know names, requests or the store; it is told numbers, addresses and interface indices.

mod affected;
pub mod attach;
mod batch;
pub mod blocks;
mod counters;
mod drops;
mod flows;
mod hooks;
mod host_sockets;
mod link;
pub mod object;
mod observe;
mod pins;
mod programs;
pub mod run;
mod settings;
mod spec;
pub mod sweep;
mod tables;
mod withdrawals;

use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use aya::programs::ProgramFd;
use netd_common::abi::{Flow, FlowKey, Settings};

use crate::{
    config::{Config, Instance},
    directories::Name,
    error::{Error, Result},
    kernel::{
        Netlink, Netns,
        filters::{Hanging, Side},
        rtnl, sandbox as namespace,
    },
};
use affected::{Withdrawn, is_meant};
use counters::CounterReader;
pub use counters::{DropRow, MapRow, StatsRow};
use drops::DropFeed;
pub use drops::{DropWatch, RefusedPacket};
pub use flows::{FlowFilter, FlowReader, FlowRow, Place, monotonic};
use host_sockets::HostSockets;
pub use observe::ProgramRow;
use pins::Pins;
use settings::SettingsMap;
pub use spec::{
    EndpointPublications, EndpointSpec, HomeSpec, HostAddressSpec, NetworkSpec, PublicationSpec,
    UplinkSpec,
};
use sweep::{FlowTables, SweepReport};
use tables::Tables;
use withdrawals::Withdrawals;

/// Everything that may stand in the maps.
#[derive(Clone, Debug, Default)]
pub struct DesiredState {
    /// Numbers of networks.
    pub networks: BTreeSet<u32>,
    /// Numbers of endpoints.
    pub endpoints: BTreeSet<u32>,
}

/// The data plane of one instance. None of its locks but that of the hooks is held while the kernel's configuration is worked
/// on, or a table of flows or counters is read.
pub struct Dataplane {
    tables: Arc<Mutex<Tables>>,
    hooks: hooks::Shared,
    own: attach::Own,
    netlink: Netlink,
    flows: Arc<Mutex<FlowTables>>,
    reader: FlowReader,
    counters: CounterReader,
    settings: Arc<Mutex<SettingsMap>>,
    refused: Arc<DropFeed>,
    withdrawals: Withdrawals,
    host_sockets: Arc<Mutex<HostSockets>>,
    /// Endpoints that were removed and whose flows were not.
    gone: Mutex<BTreeSet<u32>>,
    sizes: Vec<(&'static str, u32)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock was held has left maps in a state that reconcile mends; it is no reason for another.
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Dataplane {
    /// Loads the programs, adopts the pinned maps and links, hangs the cgroup hooks. `name`: the instance's, which is held. Must be
    /// called within a runtime.
    pub fn open(instance: &Instance, config: &Config, name: Arc<Name>) -> Result<Self> {
        let cgroup = match &instance.cgroup {
            Some(path) => path.clone(),
            None => attach::root_cgroup()?,
        };
        attach::check_cgroup(&cgroup)?;
        let pins = object::pin_directory(instance);
        let first = !pins.exists();
        Self::open_in(instance, config, cgroup, name).inspect_err(|_| {
            // What stays of a failed start would hold the next one to its sizes.
            if first && let Err(e) = fs::remove_dir_all(&pins) {
                tracing::warn!("removing {}: {e}", pins.display());
            }
            // Other versions' pins may be beside it.
            let _ = fs::remove_dir(instance.pin_root());
        })
    }

    fn open_in(
        instance: &Instance,
        config: &Config,
        cgroup: PathBuf,
        name: Arc<Name>,
    ) -> Result<Self> {
        let mut object = object::load(instance, config)?;
        let settings = SettingsMap::write(&mut object, config)?;
        settings::write_exempt(&mut object, &config.nat.exempt)?;
        let settings = Arc::new(Mutex::new(settings));
        let pins = object::pin_directory(instance);
        let reader = FlowReader::open(&pins)?;
        let counters = CounterReader::open(&pins)?;
        let refused = DropFeed::take(&mut object, &pins, Arc::clone(&settings))?;
        let flows = FlowTables::take(&mut object)?;
        let tables = Tables::take(&mut object)?;
        let host_sockets = HostSockets::take(&mut object)?;
        let own = attach::Own::of(&mut object)?;
        let netlink = Netlink::new()?;
        let own_maps = attach::OwnMaps::read(&instance.pin_root());
        let pins = Pins::open(instance, name)?;
        let mut hooks = hooks::Hooks::new(object, cgroup, own_maps, pins, netlink.clone());
        hooks.hang_cgroup()?;
        Ok(Self {
            tables: Arc::new(Mutex::new(tables)),
            hooks: Arc::new(tokio::sync::Mutex::new(hooks)),
            own,
            netlink,
            flows: Arc::new(Mutex::new(flows)),
            reader,
            counters,
            settings,
            refused,
            withdrawals: Withdrawals::default(),
            host_sockets: Arc::new(Mutex::new(host_sockets)),
            gone: Mutex::default(),
            sizes: object::sizes(config),
        })
    }

    /// Hangs `from_container` on a veth's host end. It denies everything while the maps know nothing of it.
    /// `again`: it is likely to hang there. Says whether it had to be.
    pub async fn attach_endpoint(&self, ifindex: u32, again: bool) -> Result<bool> {
        let program = &self.own.container;
        self.attach_own(programs::CONTAINER_PROGRAM, program, ifindex, again)
            .await
    }

    /// Hangs `from_host` on the inner end of a network's device pair.
    /// `again`: it is likely to hang there. Says whether it had to be.
    pub async fn attach_gateway(&self, ifindex: u32, again: bool) -> Result<bool> {
        let program = &self.own.gateway;
        self.attach_own(programs::GATEWAY_PROGRAM, program, ifindex, again)
            .await
    }

    async fn attach_own(
        &self,
        name: &str,
        program: &ProgramFd,
        ifindex: u32,
        again: bool,
    ) -> Result<bool> {
        let _turn = rtnl::turn().await;
        let hanging = Hanging {
            name,
            fd: program.as_fd(),
            again,
        };
        self.netlink
            .hang(hanging, ifindex, Side::Ingress, attach::is(name))
            .await
    }

    /// Leads questions to 127.0.0.11:53 to the resolver's sockets, in a sandbox's namespace. Says whether nothing did. It is taken
    /// away again by [`namespace::leave`].
    pub async fn attach_resolver(&self, netns: &Netns) -> Result<bool> {
        namespace::lead_to_resolver(netns, self.own.resolver.as_fd()).await
    }

    /// Makes exactly these the host's addresses.
    pub fn set_host_addresses(&self, wanted: &[HostAddressSpec]) -> Result<()> {
        locked(&self.tables).set_host_addresses(wanted)
    }

    /// Writes a network.
    pub fn set_network(&self, spec: &NetworkSpec) -> Result<()> {
        locked(&self.tables).set_network(spec)
    }

    /// Removes a network.
    pub fn remove_network(&self, number: u32) {
        locked(&self.tables).remove_network(number);
    }

    /// Writes an endpoint.
    pub fn set_endpoint(&self, spec: &EndpointSpec) -> Result<()> {
        locked(&self.tables).set_endpoint(spec)
    }

    /// Removes an endpoint. Its number is never used again, so its flows lead nowhere; they go with the next
    /// [`Dataplane::forget_gone`].
    ///
    /// The host's sockets that were led to it have ended when this returns: its address may be another's soon.
    pub async fn remove_endpoint(&self, number: u32) {
        let withdrawn = {
            let mut tables = locked(&self.tables);
            tables.remove_endpoint(number);
            tables.withdrawn
        };
        locked(&self.gone).insert(number);
        // Taking the program away cannot fail.
        let _ = self.follow_publications().await;
        if withdrawn {
            let (sockets, tables) = (Arc::clone(&self.host_sockets), Arc::clone(&self.tables));
            let ended = tokio::task::spawn_blocking(move || end_host_sockets(&sockets, &tables));
            if let Err(e) = ended.await {
                tracing::error!("ending sockets of the host's processes: {e}");
            }
        }
    }

    /// Ends the flows of endpoints that are gone, all in one walk; then their slots are free for others.
    pub fn forget_gone(&self) -> Result<()> {
        let gone = std::mem::take(&mut *locked(&self.gone));
        if gone.is_empty() {
            return Ok(());
        }
        let slots = locked(&self.tables).slots_of_gone(&gone);
        let done = locked(&self.flows).forget_endpoints(&gone, &slots);
        if done.is_err() {
            locked(&self.gone).extend(gone);
        } else {
            locked(&self.tables).free_slots_of(&gone);
        }
        done
    }

    /// Makes exactly these the uplinks that a network trusts.
    pub fn set_trusted(&self, network: u32, uplinks: &[u32]) -> Result<()> {
        locked(&self.tables).set_trusted(network, uplinks)
    }

    /// How many writes since the last call found something else in the maps than what should have stood there.
    pub fn take_mended(&self) -> u64 {
        std::mem::take(&mut locked(&self.tables).mended)
    }

    /// Ends connected sockets of the host's processes that were led to where nothing leads them any more, if anything was
    /// withdrawn since the last time.
    pub fn end_host_sockets(&self) {
        end_host_sockets(&self.host_sockets, &self.tables);
    }

    /// Makes exactly these the publications of an endpoint. Returns when the flows of those withdrawn have ended, and the host's
    /// sockets that were led by them.
    pub async fn set_publications(&self, publications: &EndpointPublications) -> Result<()> {
        let gone = locked(&self.tables).set_publications(publications)?;
        if !gone.is_empty() {
            crate::failpoint!("publications-withdrawn");
        }
        let followed = self.follow_publications().await;
        self.end_withdrawn(gone).await.and(followed)
    }

    /// Ends the flows that began by publications which are there no more.
    async fn end_withdrawn(&self, gone: Vec<Withdrawn>) -> Result<()> {
        let flows = Arc::clone(&self.flows);
        let sockets = Arc::clone(&self.host_sockets);
        let tables = Arc::clone(&self.tables);
        let walk = move |gone: &[Withdrawn]| {
            let meant = |key: &FlowKey, flow: &Flow| gone.iter().any(|w| is_meant(key, flow, w));
            let ended = locked(&flows).end_where(meant).map(drop);
            locked(&sockets).follow(true, &tables);
            ended
        };
        self.withdrawals.end(gone, walk).await
    }

    /// Has the programs look up again the routes that flows remember: something of the host's has changed.
    pub fn bump_generation(&self) -> Result<()> {
        let next = |s: &mut Settings| s.generation = s.generation.wrapping_add(1);
        locked(&self.settings).change(next)
    }

    /// Removes from the maps whatever is not desired.
    pub async fn retain(&self, desired: &DesiredState) -> Result<()> {
        let (gone, withdrawn) = {
            let mut tables = locked(&self.tables);
            // The last daemon may have died before it had ended all.
            tables.withdrawn = true;
            tables.retain(desired)
        };
        locked(&self.gone).extend(gone);
        let followed = self.follow_publications().await;
        self.end_withdrawn(withdrawn).await.and(followed)
    }

    /// Ends the flows that are over.
    pub fn sweep(&self) -> Result<SweepReport> {
        locked(&self.flows).sweep(monotonic())
    }

    /// How full the maps are; walks none of them.
    pub fn maps(&self) -> Vec<MapRow> {
        let mut rows = locked(&self.tables).usage();
        if let Ok(totals) = self.totals() {
            rows.push(counters::usage("FLOWS", totals.flows as usize));
            rows.push(counters::usage("MAPPINGS", totals.mappings as usize));
        }
        for row in &mut rows {
            row.capacity = self.capacity(row.name);
        }
        rows
    }

    /// Entries that a map has room for.
    pub fn capacity(&self, name: &str) -> u64 {
        let mut sizes = self.sizes.iter();
        sizes
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, n)| u64::from(*n))
    }

    /// Unpins everything of an instance, of every version: links first, so that nothing runs on half the maps.
    pub async fn purge(instance: &Instance, netlink: &Netlink) -> Result<()> {
        let root = instance.pin_root();
        let versions = match fs::read_dir(&root) {
            Ok(found) => found,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::internal(format!("reading {}", root.display()), e)),
        };
        let remove = |path: &Path| match fs::remove_dir_all(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::internal(format!("removing {}", path.display()), e))
            }
            _ => Ok(()),
        };
        let own = attach::OwnMaps::read(&root);
        let links = nix::net::if_::if_nameindex()
            .map_err(|e| Error::internal("listing the interfaces", e))?;
        let _turn = rtnl::turn().await;
        for link in &links {
            netlink
                .unhang(link.index(), Side::Ingress, |filter| own.own(filter))
                .await?;
        }
        for version in versions.flatten() {
            remove(&version.path().join("links"))?;
        }
        remove(&root)?;
        // The common directory goes with the last instance.
        let _ = root.parent().map(fs::remove_dir);
        Ok(())
    }
}

fn end_host_sockets(sockets: &Mutex<HostSockets>, tables: &Mutex<Tables>) {
    // Before the mark is taken: who finds none waits for him who took it.
    let mut sockets = locked(sockets);
    let withdrawn = std::mem::take(&mut locked(tables).withdrawn);
    sockets.follow(withdrawn, tables);
}
