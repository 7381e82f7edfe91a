//! The eBPF data plane as the engine sees it: load or adopt, attach, and keep the maps.
//!
//! It must not know names, requests or the store; it is told numbers, addresses and interface indices.

pub mod attach;
pub mod blocks;
mod counters;
pub mod object;
mod spec;
pub mod sweep;
mod tables;

use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use aya::{Ebpf, maps::Array, programs::TcAttachType};
use netd_common::abi::Settings;

use crate::{
    config::{Config, Instance},
    error::{Error, Kind, Result},
    kernel::Netns,
};
pub use counters::{DropRow, MapRow, ProgramRow, StatsRow};
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
    /// Endpoints that were removed and whose flows were not.
    gone: Mutex<BTreeSet<u32>>,
    links: PathBuf,
    cgroup: PathBuf,
    sizes: Vec<(&'static str, u32)>,
}

struct State {
    object: Ebpf,
    tables: Tables,
    uplinks: Vec<UplinkSpec>,
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
        let mut object = object::load(instance, config)?;
        let mut settings: Array<_, Settings> = object::take(&mut object, "SETTINGS")?;
        let value = Settings {
            host_netns_cookie: netns_cookie()?,
            pool_first: config.nat.first_port,
            pool_last: config.nat.last_port,
            fib_source: u32::from(kernel_at_least(6, 7)),
            flows_per_endpoint: config.flows_per_endpoint(),
            ports_per_endpoint: config.ports_per_endpoint(),
        };
        settings
            .set(0, value, 0)
            .map_err(|e| Error::internal("writing map SETTINGS", e))?;
        let flows = FlowTables {
            flows: object::take(&mut object, "FLOWS")?,
            mappings: object::take(&mut object, "MAPPINGS")?,
            ports: object::take(&mut object, "OUTSIDE_PORTS")?,
        };
        let tables = Tables::take(&mut object)?;
        let links = object::pin_directory(instance).join("links");
        let cgroup = match &instance.cgroup {
            Some(path) => path.clone(),
            None => root_cgroup()?,
        };
        attach::cgroup(&mut object, &cgroup, &links)?;
        let state = Mutex::new(State {
            object,
            tables,
            uplinks: Vec::new(),
        });
        Ok(Self {
            state,
            flows: Mutex::new(flows),
            gone: Mutex::default(),
            links,
            cgroup,
            sizes: object::sizes(config),
        })
    }

    /// Hangs `from_container` on a veth's host end. It denies everything while the maps know nothing of it.
    /// Says whether it had to be.
    pub fn attach_endpoint(&self, ifindex: u32) -> Result<bool> {
        let hook = TcAttachType::Ingress;
        attach::filter(
            &mut locked(&self.state).object,
            "from_container",
            ifindex,
            hook,
        )
    }

    /// Hangs `from_host` on the inner end of a network's device pair.
    /// Says whether it had to be.
    pub fn attach_gateway(&self, ifindex: u32) -> Result<bool> {
        let hook = TcAttachType::Ingress;
        attach::filter(&mut locked(&self.state).object, "from_host", ifindex, hook)
    }

    /// Leads questions to 127.0.0.11:53 to the resolver's sockets, in a sandbox' namespace. Says whether nothing did.
    pub fn attach_resolver(&self, netns: &Netns) -> Result<bool> {
        netns.run(|| attach::resolver(&mut locked(&self.state).object))
    }

    /// Undoes it, in a namespace that lives on.
    pub fn detach_resolver(netns: &Netns) -> Result<()> {
        netns.run(attach::no_resolver)
    }

    /// Makes exactly these the uplinks.
    pub fn set_uplinks(&self, wanted: &[UplinkSpec]) -> Result<()> {
        let mut state = locked(&self.state);
        let state = &mut *state;
        for uplink in wanted {
            state.tables.set_uplink(uplink)?;
            let known = state
                .uplinks
                .iter()
                .any(|u| u.ifindex == uplink.ifindex && u.ethernet == uplink.ethernet);
            if !known {
                let program = if uplink.ethernet {
                    "from_uplink"
                } else {
                    "from_uplink_l3"
                };
                attach::uplink(
                    &mut state.object,
                    program,
                    uplink.ifindex,
                    &self.uplink_pin(uplink.ifindex),
                )?;
            }
        }
        for ifindex in state.tables.uplinks() {
            if !wanted.iter().any(|u| u.ifindex == ifindex) {
                state.tables.remove_uplink(ifindex);
                let _ = fs::remove_file(self.uplink_pin(ifindex));
            }
        }
        state.uplinks = wanted.to_vec();
        Ok(())
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
        locked(&self.state).tables.remove_endpoint(number);
        locked(&self.gone).insert(number);
    }

    /// Removes the flows and mappings of endpoints that are gone, all in one walk.
    pub fn forget_gone(&self) {
        let gone = std::mem::take(&mut *locked(&self.gone));
        if !gone.is_empty() {
            locked(&self.flows).forget_endpoints(&gone);
        }
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
        let endpoint = publications.endpoint;
        let wanted = &*publications.specs;
        let (before, gone) = {
            let mut state = locked(&self.state);
            let before = state.tables.publications_of(endpoint).to_vec();
            (before, state.tables.set_publications(publications)?)
        };
        if before == wanted {
            return Ok(());
        }
        let hits =
            |spec: &PublicationSpec, addr: netd_common::addr::Addr, port: u16, protocol: u8| {
                protocol == spec.protocol
                    && (spec.host_ports.0..=spec.host_ports.1).contains(&port)
                    && (spec.host.is_unspecified()
                        || netd_common::addr::Addr::from(spec.host) == addr)
            };
        // Flows that began before a change go where the change says with their next packet.
        locked(&self.flows).forget(|key, flow| {
            let home = publications.homes.iter().any(|h| h.endpoint == flow.target);
            let other =
                |spec: &PublicationSpec| flow.target != 0 && flow.target != spec.endpoint && !home;
            wanted
                .iter()
                .any(|s| hits(s, key.dst, key.dport.get(), key.protocol) && other(s))
                || gone.iter().any(|s| {
                    hits(s, key.dst, key.dport.get(), key.protocol)
                        || hits(s, flow.src, flow.sport.get(), key.protocol)
                })
        });
        Ok(())
    }

    /// Removes from the maps whatever is not desired.
    pub fn retain(&self, desired: &DesiredState) {
        let gone = locked(&self.state).tables.retain(desired);
        locked(&self.gone).extend(gone);
    }

    /// Ends silent flows.
    pub fn sweep(&self) -> Result<SweepReport> {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .map_err(|e| Error::internal("reading the clock", e))?;
        let now = now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64;
        let report = locked(&self.flows).sweep(now)?;
        locked(&self.state).tables.set_usage(&report.usage)?;
        Ok(report)
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
        counters::programs(&state.object, &state.tables, &self.cgroup)
    }

    /// How full the maps are.
    pub fn maps(&self) -> Vec<MapRow> {
        let mut rows = locked(&self.state).tables.usage();
        let flows = locked(&self.flows);
        rows.push(counters::usage("FLOWS", flows.flows.keys().count()));
        rows.push(counters::usage("MAPPINGS", flows.mappings.keys().count()));
        for row in &mut rows {
            row.capacity = self
                .sizes
                .iter()
                .find(|(name, _)| *name == row.name)
                .map_or(0, |(_, n)| u64::from(*n));
        }
        rows
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
        for version in versions.flatten() {
            remove(&version.path().join("links"))?;
        }
        remove(&root)?;
        // The common directory goes with the last instance.
        let _ = root.parent().map(fs::remove_dir);
        Ok(())
    }
}

/// Cookie of the calling thread's network namespace.
fn netns_cookie() -> Result<u64> {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0))
        .or_else(|_| std::net::UdpSocket::bind(("0.0.0.0", 0)))
        .map_err(|e| Error::internal("opening a socket", e))?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SO_NETNS_COOKIE, Linux 5.14.
    const SO_NETNS_COOKIE: libc::c_int = 71;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `cookie`.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        let e = std::io::Error::last_os_error();
        return Err(
            Error::new(Kind::Unsupported, format!("reading SO_NETNS_COOKIE: {e}"))
                .hint("needs Linux 5.14"),
        );
    }
    Ok(cookie)
}

fn kernel_at_least(major: u32, minor: u32) -> bool {
    let Ok(uname) = nix::sys::utsname::uname() else {
        return false;
    };
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Root of the mounted cgroup v2 hierarchy.
fn root_cgroup() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")
        .map_err(|e| Error::internal("/proc/self/mounts", e))?;
    let found = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (path, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    found.ok_or_else(|| {
        Error::new(Kind::Unsupported, "no cgroup v2 hierarchy is mounted").hint(
            "mount one (mount -t cgroup2 none /sys/fs/cgroup) or name a directory with --cgroup",
        )
    })
}
