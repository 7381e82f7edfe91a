//! What the operator sets: command line and configuration file.

mod listen;
mod nat;
mod source;

use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::Deserialize;

pub use listen::{Client, Listen, Tls, TlsFiles};
pub use nat::{Lifetimes, Nat, nanoseconds};
pub use source::{DEFAULT, Source};

/// Where an instance lives. Several instances on one host are kept apart by name, state and run directory.
#[derive(Clone, Debug)]
pub struct Instance {
    /// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 32 characters: part of the pin path.
    pub name: String,
    /// Holds `netd.redb`.
    pub state: PathBuf,
    /// Holds `netd.sock`, `netns/` and `files/`.
    pub run: PathBuf,
    /// cgroup v2 directory that the host hooks hang on; `None`: the root of the mounted hierarchy.
    pub cgroup: Option<PathBuf>,
}

impl Instance {
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
}

/// The resolver of the sandboxes.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// How long others may keep an answer about a sandbox, seconds.
    pub ttl: u32,
    /// The file that names the host's resolvers, resolv.conf(5); followed as it changes.
    pub resolv_conf: PathBuf,
    /// How long one server is waited for before the next is asked, milliseconds.
    pub timeout_ms: u64,
    /// Questions of one sandbox that are with servers at a time; further ones wait.
    pub in_flight: u32,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            ttl: 5,
            resolv_conf: "/etc/resolv.conf".into(),
            timeout_ms: 2000,
            in_flight: 256,
        }
    }
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
    pub fn check(&self) -> crate::error::Result<()> {
        use crate::error::Error;
        self.nat.check()?;
        self.listen.check()?;
        listen::check_access(&self.access)?;
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
        let dns = &self.dns;
        for (key, value) in [
            ("timeout_ms", dns.timeout_ms),
            ("in_flight", dns.in_flight.into()),
        ] {
            if value == 0 {
                return Err(Error::invalid(format!(
                    "dns: with {key} = 0 no name of others would ever be found"
                ))
                .hint("1 or more"));
            }
        }
        Ok(())
    }
}
