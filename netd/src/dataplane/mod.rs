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
mod loopback;
pub mod object;
pub mod run;
mod settings;
mod spec;
pub mod sweep;
mod tables;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use aya::Ebpf;
use netd_common::abi::{Flow, FlowKey, Settings};

use crate::{
    config::{Config, Instance},
    error::{Error, Result},
    kernel::{
        Netns,
        filters::{Filter, Side},
    },
};
use affected::{Withdrawn, is_meant};
pub use counters::{DropRow, MapRow, ProgramRow, StatsRow};
use drops::DropFeed;
pub use drops::{DropWatch, RefusedPacket};
pub use flows::{FlowFilter, FlowReader, FlowRow, Place, monotonic};
use settings::SettingsMap;
pub use spec::{
    EndpointPublications, EndpointSpec, HomeSpec, HostAddressSpec, NetworkSpec, PublicationSpec,
    UplinkSpec,
};
use sweep::{FlowTables, SweepReport};
use tables::Tables;

/// Everything that may stand in the maps.
#[derive(Clone, Debug, Default)]
pub struct DesiredState {
    /// Numbers of networks.
    pub networks: BTreeSet<u32>,
    /// Numbers of endpoints.
    pub endpoints: BTreeSet<u32>,
}

/// The data plane of one instance.
pub struct Dataplane {
    state: Mutex<State>,
    flows: Mutex<FlowTables>,
    reader: FlowReader,
    settings: Arc<Mutex<SettingsMap>>,
    refused: Arc<DropFeed>,
    /// Endpoints that were removed and whose flows were not.
    gone: Mutex<BTreeSet<u32>>,
    links: PathBuf,
    own_maps: attach::OwnMaps,
    cgroup: PathBuf,
    sizes: Vec<(&'static str, u32)>,
}

struct State {
    object: Ebpf,
    tables: Tables,
    uplinks: Vec<UplinkSpec>,
    /// Whether the program of the loopback device hangs; unknown at first.
    loopback: Option<bool>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock was held has left maps in a state that reconcile mends; it is no reason for another.
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Dataplane {
    /// Loads the programs, adopts the pinned maps and links, hangs the cgroup hooks.
    pub fn open(instance: &Instance, config: &Config) -> Result<Self> {
        let cgroup = match &instance.cgroup {
            Some(path) => path.clone(),
            None => attach::root_cgroup()?,
        };
        attach::check_cgroup(&cgroup)?;
        let pins = object::pin_directory(instance);
        let first = !pins.exists();
        Self::open_in(instance, config, cgroup).inspect_err(|_| {
            // What stays of a failed start would hold the next one to its sizes.
            if first && let Err(e) = fs::remove_dir_all(&pins) {
                tracing::warn!("removing {}: {e}", pins.display());
            }
            // Other versions' pins may be beside it.
            let _ = fs::remove_dir(instance.pin_root());
        })
    }

    fn open_in(instance: &Instance, config: &Config, cgroup: PathBuf) -> Result<Self> {
        let mut object = object::load(instance, config)?;
        let settings = SettingsMap::write(&mut object, config)?;
        settings::write_exempt(&mut object, &config.nat.exempt)?;
        let settings = Arc::new(Mutex::new(settings));
        let pins = object::pin_directory(instance);
        let reader = FlowReader::open(&pins)?;
        let refused = DropFeed::take(&mut object, &pins, Arc::clone(&settings))?;
        let flows = FlowTables::take(&mut object)?;
        let tables = Tables::take(&mut object)?;
        let links = pins.join("links");
        attach::cgroup(&mut object, &cgroup, &links)?;
        let state = Mutex::new(State {
            object,
            tables,
            uplinks: Vec::new(),
            loopback: None,
        });
        Ok(Self {
            state,
            flows: Mutex::new(flows),
            reader,
            settings,
            refused,
            gone: Mutex::default(),
            links,
            own_maps: attach::OwnMaps::read(&instance.pin_root()),
            cgroup,
            sizes: object::sizes(config),
        })
    }

    /// Hangs `from_container` on a veth's host end. It denies everything while the maps know nothing of it.
    /// Says whether it had to be.
    pub fn attach_endpoint(&self, ifindex: u32) -> Result<bool> {
        self.attach_own("from_container", ifindex)
    }

    /// Hangs `from_host` on the inner end of a network's device pair.
    /// Says whether it had to be.
    pub fn attach_gateway(&self, ifindex: u32) -> Result<bool> {
        self.attach_own("from_host", ifindex)
    }

    fn attach_own(&self, program: &str, ifindex: u32) -> Result<bool> {
        let object = &mut locked(&self.state).object;
        attach::filter(object, program, ifindex, Side::Ingress, attach::is(program))
    }

    /// Leads questions to 127.0.0.11:53 to the resolver's sockets, in a sandbox' namespace. Says whether nothing did.
    pub fn attach_resolver(&self, netns: &Netns) -> Result<bool> {
        netns.run(|| attach::resolver(&mut locked(&self.state).object))
    }

    /// Undoes it, in a namespace that lives on.
    pub fn detach_resolver(netns: &Netns) -> Result<()> {
        netns.run(attach::no_resolver)
    }

    /// Makes exactly these the uplinks. What fails for one is no matter for the others, and is tried again with the next
    /// call; returns what failed. A packet leaves by an uplink only when its program hangs, which sees the answers.
    pub fn set_uplinks(&self, wanted: &[UplinkSpec]) -> Vec<Error> {
        let mut state = locked(&self.state);
        let state = &mut *state;
        let mut failures = Vec::new();
        let mut done: Vec<UplinkSpec> = Vec::new();
        for uplink in wanted {
            let same =
                |u: &UplinkSpec| u.ifindex == uplink.ifindex && u.ethernet == uplink.ethernet;
            let hung = if state.uplinks.iter().any(same) {
                Ok(())
            } else {
                let program = attach::UPLINK_PROGRAMS[usize::from(!uplink.ethernet)];
                let pin = self.uplink_pin(uplink.ifindex);
                let own = |filter: &Filter| self.own_maps.own(filter);
                attach::uplink(&mut state.object, program, uplink.ifindex, &pin, own)
            };
            match hung.and_then(|()| state.tables.set_uplink(uplink)) {
                Ok(()) => done.push(uplink.clone()),
                // One that went meanwhile is no uplink.
                Err(_) if attach::name_of(uplink.ifindex).is_err() => {}
                Err(e) => failures.push(e),
            }
        }
        for ifindex in state.tables.uplinks() {
            if !done.iter().any(|u| u.ifindex == ifindex) {
                state.tables.remove_uplink(ifindex);
                let own = |filter: &Filter| self.own_maps.own(filter);
                attach::no_uplink(ifindex, &self.uplink_pin(ifindex), own);
            }
        }
        state.uplinks = done;
        failures
    }

    fn uplink_pin(&self, ifindex: u32) -> PathBuf {
        self.links.join(format!("uplink-{ifindex}"))
    }

    /// Makes exactly these the host's addresses.
    pub fn set_host_addresses(&self, wanted: &[HostAddressSpec]) -> Result<()> {
        locked(&self.state).tables.set_host_addresses(wanted)
    }

    /// Writes a network.
    pub fn set_network(&self, spec: &NetworkSpec) -> Result<()> {
        locked(&self.state).tables.set_network(spec)
    }

    /// Removes a network.
    pub fn remove_network(&self, number: u32) {
        locked(&self.state).tables.remove_network(number);
    }

    /// Writes an endpoint.
    pub fn set_endpoint(&self, spec: &EndpointSpec) -> Result<()> {
        locked(&self.state).tables.set_endpoint(spec)
    }

    /// Removes an endpoint. Its number is never used again, so its flows lead nowhere; they go with the next
    /// [`Dataplane::forget_gone`].
    pub fn remove_endpoint(&self, number: u32) {
        let mut state = locked(&self.state);
        state.tables.remove_endpoint(number);
        // Taking the program away cannot fail.
        let _ = self.follow_publications(&mut state);
        drop(state);
        locked(&self.gone).insert(number);
    }

    /// Ends the flows of endpoints that are gone, all in one walk; then their slots are free for others.
    pub fn forget_gone(&self) -> Result<()> {
        let gone = std::mem::take(&mut *locked(&self.gone));
        if gone.is_empty() {
            return Ok(());
        }
        let slots = locked(&self.state).tables.slots_of_gone(&gone);
        let done = locked(&self.flows).forget_endpoints(&gone, &slots);
        if done.is_err() {
            locked(&self.gone).extend(gone);
        } else {
            locked(&self.state).tables.free_slots_of(&gone);
        }
        done
    }

    /// Makes exactly these the uplinks that a network trusts.
    pub fn set_trusted(&self, network: u32, uplinks: &[u32]) -> Result<()> {
        locked(&self.state).tables.set_trusted(network, uplinks)
    }

    /// How many writes since the last call found something else in the maps than what should have stood there.
    pub fn take_mended(&self) -> u64 {
        std::mem::take(&mut locked(&self.state).tables.mended)
    }

    /// Makes exactly these the publications of an endpoint.
    pub fn set_publications(&self, publications: &EndpointPublications) -> Result<()> {
        let gone = {
            let mut state = locked(&self.state);
            let gone = state.tables.set_publications(publications)?;
            self.follow_publications(&mut state)?;
            gone
        };
        self.end_withdrawn(&gone)
    }

    /// Ends the flows that began by publications which are there no more.
    fn end_withdrawn(&self, gone: &[Withdrawn]) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        let meant = |key: &FlowKey, flow: &Flow| gone.iter().any(|w| is_meant(key, flow, w));
        locked(&self.flows).end_where(meant).map(drop)
    }

    /// Has the programs look up again the routes that flows remember: something of the host's has changed.
    pub fn bump_generation(&self) -> Result<()> {
        let next = |s: &mut Settings| s.generation = s.generation.wrapping_add(1);
        locked(&self.settings).change(next)
    }

    /// Removes from the maps whatever is not desired.
    pub fn retain(&self, desired: &DesiredState) -> Result<()> {
        let (gone, withdrawn) = {
            let mut state = locked(&self.state);
            let retained = state.tables.retain(desired);
            self.follow_publications(&mut state)?;
            retained
        };
        locked(&self.gone).extend(gone);
        self.end_withdrawn(&withdrawn)
    }

    /// Ends the flows that are over.
    pub fn sweep(&self) -> Result<SweepReport> {
        locked(&self.flows).sweep(monotonic())
    }

    /// Drops by endpoint and reason.
    pub fn drops(&self) -> Result<Vec<DropRow>> {
        counters::drops(&locked(&self.state).tables)
    }

    /// Packets and bytes by endpoint.
    pub fn stats(&self) -> Result<Vec<StatsRow>> {
        counters::stats(&locked(&self.state).tables)
    }

    /// The programs that hang on hooks.
    pub fn programs(&self) -> Result<Vec<ProgramRow>> {
        let state = locked(&self.state);
        let hook = |ifindex| {
            if self.uplink_pin(ifindex).exists() {
                "tcx"
            } else {
                "clsact"
            }
        };
        let mut rows = counters::programs(&state.object, &state.tables, &self.cgroup, hook)?;
        rows.extend(self.loopback_row(&state));
        Ok(rows)
    }

    /// How full the maps are; walks none of them.
    pub fn maps(&self) -> Vec<MapRow> {
        let mut rows = locked(&self.state).tables.usage();
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
    pub fn purge(instance: &Instance) -> Result<()> {
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
        for link in &links {
            attach::no_filter(link.index(), Side::Ingress, |filter| own.own(filter));
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
