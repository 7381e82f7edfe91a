//! What the operator sets: command line and configuration file.

mod dns;
mod docker;
mod listen;
mod nat;
mod source;

use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::Deserialize;

use crate::error::{Error, Result};

pub use dns::Dns;
pub use docker::Docker;
pub use listen::{Client, Listen, Role, Tls, TlsFiles};
pub use nat::{Lifetimes, Nat, nanoseconds};
pub use source::{DEFAULT, Source};

/// Where an instance lives. Several instances on one host are kept apart by name, state and run directory.
#[derive(Clone, Debug)]
pub struct Instance {
    /// `[a-zA-Z0-9][a-zA-Z0-9_-]*`, at most 32 characters: part of the pin path.
    pub name: String,
    /// Holds `netd.redb`.
    pub state: PathBuf,
    /// Holds `netd.sock`, `netns/` and `files/`.
    pub run: PathBuf,
    /// cgroup v2 directory that the host hooks hang on; `None`: the root of the mounted hierarchy.
    pub cgroup: Option<PathBuf>,
}

/// Of an instance that is given no other name.
const DEFAULT_NAME: &str = "default";

/// Bytes of a Unix socket's path, unix(7): `sun_path` without its final zero.
const SOCKET_PATH: usize = 107;

/// The longest name of a socket in the run directory.
const SOCKET_NAME: &str = "keeper.sock";

impl Instance {
    /// Where `name` lives, with the directories that follow its name where none are given: `/var/lib/netd` and
    /// `/run/netd`, or `/var/lib/netd@NAME` and `/run/netd@NAME`. Errors: [`Instance::check`].
    pub fn new(
        name: &str,
        state: Option<PathBuf>,
        run: Option<PathBuf>,
        cgroup: Option<PathBuf>,
    ) -> Result<Self> {
        let place = |given: Option<PathBuf>, root: &str| {
            let directory = if name == DEFAULT_NAME {
                format!("{root}/netd")
            } else {
                format!("{root}/netd@{name}")
            };
            let path = given.unwrap_or_else(|| directory.into());
            std::path::absolute(&path)
                .map_err(|e| Error::invalid(format!("the directory {:?}: {e}", path.display())))
        };
        let instance = Self {
            name: name.to_owned(),
            state: place(state, "/var/lib")?,
            run: place(run, "/run")?,
            cgroup,
        };
        instance.check()?;
        Ok(instance)
    }

    /// Refuses what could not work, before anything is made.
    pub fn check(&self) -> Result<()> {
        crate::model::check_name("instance", &self.name)?;
        // The name becomes a directory of bpffs, which knows no dots.
        if self.name.contains('.') {
            return Err(Error::invalid(format!(
                "the instance name {} has a dot, which bpffs refuses",
                self.name
            ))
            .hint("only [a-zA-Z0-9][a-zA-Z0-9_-]*"));
        }
        if self.name.len() > 32 {
            return Err(
                Error::invalid(format!("the instance name {} is too long", self.name))
                    .hint("at most 32"),
            );
        }
        let most = SOCKET_PATH - 1 - SOCKET_NAME.len();
        for (option, path, why) in [
            ("run", &self.run, "the path of a socket in it"),
            ("state", &self.state, "that of the run directory, too"),
        ] {
            let length = path.as_os_str().len();
            if length > most {
                return Err(Error::invalid(format!(
                    "--{option}: the path of {length} bytes is too long: {}",
                    path.display()
                ))
                .hint(format!("at most {most} bytes, the limit of {why}")));
            }
        }
        if self.run == self.state {
            return Err(Error::invalid(format!(
                "--run and --state are one directory: {}",
                self.run.display()
            ))
            .hint("give two: what is in the one goes with a reboot, what is in the other stays"));
        }
        Ok(())
    }

    /// `/sys/fs/bpf/netd/<instance>`; below it one directory for each ABI version.
    pub fn pin_root(&self) -> PathBuf {
        PathBuf::from("/sys/fs/bpf/netd").join(&self.name)
    }
}

/// The configuration file (TOML). Every field has a default.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Pools that automatic subnets are cut from, in order.
    pub pools: Vec<Pool>,
    /// Masquerading.
    pub nat: Nat,
    /// Sizes of the data plane's maps, entries.
    pub limits: Limits,
    /// The resolver.
    pub dns: Dns,
    /// Where the API is served, beside `RUN/netd.sock`.
    pub listen: Listen,
    /// Who may use the API over TCP.
    pub access: Vec<Client>,
    /// Docker's API.
    pub docker: Docker,
}

/// One base from which automatic subnets are cut.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// CIDR.
    pub base: IpNetwork,
    /// Prefix length of each network's subnet.
    pub size: u8,
}

/// Sizes of the data plane's maps, entries.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Entries of the flow table; a flow takes two.
    pub flows: u32,
    /// Of these, how many one endpoint may have; `None`: half.
    pub flows_per_endpoint: Option<u32>,
    /// Outside ports (all protocols together) that one endpoint may have; `None`: half as many as the pool has.
    pub ports_per_endpoint: Option<u32>,
    /// Endpoints.
    pub endpoints: u32,
    /// Networks.
    pub networks: u32,
    /// Blocks of published ports.
    pub publications: u32,
}

impl Default for Config {
    fn default() -> Self {
        let pool = |base: &str, size| Pool {
            base: base.parse().expect("a literal CIDR"),
            size,
        };
        Self {
            pools: vec![
                pool("172.17.0.0/16", 16),
                pool("172.18.0.0/15", 20),
                pool("172.20.0.0/14", 20),
                pool("172.24.0.0/13", 20),
                pool("192.168.0.0/16", 24),
                pool("10.128.0.0/9", 24),
            ],
            nat: Nat::default(),
            limits: Limits::default(),
            dns: Dns::default(),
            listen: Listen::default(),
            access: Vec::new(),
            docker: Docker::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 262_144,
            flows_per_endpoint: None,
            ports_per_endpoint: None,
            endpoints: 8_192,
            networks: 8_192,
            publications: 65_536,
        }
    }
}

/// The largest map that a limit may ask for, entries: the kernel takes its memory at once.
const MOST: u32 = 1 << 24;

impl Config {
    /// Entries of the flow table that one endpoint may have.
    pub fn flows_per_endpoint(&self) -> u32 {
        let limits = &self.limits;
        limits.flows_per_endpoint.unwrap_or(limits.flows / 2)
    }

    /// Outside ports that one endpoint may have.
    pub fn ports_per_endpoint(&self) -> u32 {
        let size = u32::from(self.nat.last_port.saturating_sub(self.nat.first_port)) + 1;
        self.limits.ports_per_endpoint.unwrap_or(size.div_ceil(2))
    }

    /// Refuses values that could not work.
    pub fn check(&self) -> Result<()> {
        self.nat.check()?;
        self.listen.check()?;
        listen::check_access(&self.access)?;
        self.docker.check()?;
        for pool in &self.pools {
            if !pool.base.is_ipv4() || pool.size < pool.base.prefix() || pool.size > 30 {
                return Err(Error::invalid(format!(
                    "pools: {} cannot be cut into /{}",
                    pool.base, pool.size
                ))
                .hint("an IPv4 base, and a size between the base's prefix length and 30"));
            }
        }
        let l = &self.limits;
        for (key, value, least) in [
            ("flows", l.flows, 2),
            ("flows_per_endpoint", self.flows_per_endpoint(), 1),
            ("ports_per_endpoint", self.ports_per_endpoint(), 1),
            ("endpoints", l.endpoints, 2),
            ("networks", l.networks, 2),
            ("publications", l.publications, 2),
        ] {
            if !(least..=MOST).contains(&value) {
                return Err(
                    Error::invalid(format!("limits: {key} = {value} is no limit"))
                        .hint(format!("{least} to {MOST}")),
                );
            }
        }
        if l.endpoints > 1 << 20 {
            return Err(
                Error::invalid(format!("limits: {} endpoints are too many", l.endpoints))
                    .hint("at most 1048576"),
            );
        }
        self.dns.check()
    }
}
