//! Sandboxes and what is published for them.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{EndpointSpec, Extra, check::Checks};
use crate::error::{Error, Result};

/// Ports of the host that lead to a sandbox; ranges are of one length.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct PortBinding {
    /// `None`: all addresses.
    pub host_ip: Option<IpAddr>,
    /// First and last host port; 0 until they are chosen.
    pub host: (u16, u16),
    /// First and last of those that they are chosen from; `None`: the host's ephemeral ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<(u16, u16)>,
    /// First and last port of the sandbox.
    pub target: (u16, u16),
    /// IP protocol number.
    pub protocol: u8,
}

/// As `docker port` writes it.
impl fmt::Display for PortBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            None => {}
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
        }
        let range = |(a, b): (u16, u16)| {
            if a == b {
                a.to_string()
            } else {
                format!("{a}-{b}")
            }
        };
        let protocol = match self.protocol {
            6 => "tcp",
            17 => "udp",
            _ => "sctp",
        };
        let host = self.within.filter(|_| self.host.0 == 0);
        let host = host.unwrap_or(self.host);
        write!(f, "{}:{}/{protocol}", range(host), range(self.target))
    }
}

impl PortBinding {
    /// What can be judged of a binding by itself.
    pub fn check(&self) -> Result<()> {
        let (host, target) = (self.host, self.target);
        if target.0 == 0 || target.1 < target.0 {
            return Err(Error::invalid(format!("invalid port range of {self}"))
                .hint("ports are 1 to 65535"));
        }
        if let Some((first, last)) = self.within
            && (first == 0 || last < first || last - first < target.1 - target.0)
        {
            return Err(
                Error::invalid(format!("the host ports of {self} are too few"))
                    .hint("name as many host ports as ports of the sandbox, or more"),
            );
        }
        if host.0 != 0 && (host.1 < host.0 || host.1 - host.0 != target.1 - target.0) {
            return Err(Error::invalid(format!(
                "the ranges of {self} are of different length"
            )));
        }
        if self.protocol == 132 && host.0 != 0 && host.0 != target.0 {
            return Err(
                Error::invalid(format!("SCTP port {self} cannot be changed on its way"))
                    .hint("publish it under its own number: SCTP's checksum covers the port"),
            );
        }
        Ok(())
    }

    /// Whether a binding that is there is one that is meant. Host port 0 and host address `None` match any.
    pub fn is_meant_by(&self, wanted: &Self) -> bool {
        self.protocol == wanted.protocol
            && self.target == wanted.target
            && (wanted.host.0 == 0 || self.host == wanted.host)
            && (self.within == wanted.within || wanted.within.is_none_or(|w| lies_in(self.host, w)))
            && (wanted.host_ip.is_none() || self.host_ip == wanted.host_ip)
    }

    /// Whether both want the same port of the same address.
    pub fn conflicts(&self, other: &Self) -> bool {
        let addresses = match (self.host_ip, other.host_ip) {
            (Some(a), Some(b)) => {
                a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
            }
            _ => true,
        };
        addresses
            && self.protocol == other.protocol
            && self.host.0 <= other.host.1
            && other.host.0 <= self.host.1
    }
}

/// Whether a range is part of another one.
fn lies_in((first, last): (u16, u16), outer: (u16, u16)) -> bool {
    outer.0 <= first && last <= outer.1
}

/// Which network namespace: two that are equal are the same one. SO_NETNS_COOKIE (Linux 5.14) counts the namespaces of one boot,
/// /proc/sys/kernel/random/boot_id tells boots apart.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The kernel's number of the namespace.
    pub cookie: u64,
    /// The boot in which it counts.
    pub boot_id: [u8; 16],
}

/// What tells a process from those that had or will have its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number, as the daemon sees it.
    pub pid: u32,
    /// When it started, clock ticks since the system did.
    pub started: u64,
}

/// Where the namespace of a sandbox that runs comes from.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// netd made it, and makes it anew after a reboot.
    Made,
    /// It is the host's own.
    Host,
    /// It was there.
    Foreign {
        /// By which path it was given; it may be another namespace's by now.
        source: PathBuf,
        /// Which one it was.
        identity: Identity,
        /// The process that it was given by: the sandbox stops with it.
        process: Option<ProcessId>,
    },
}

/// What a sandbox has while it runs.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Run {
    /// netd's own name of the namespace, `RUN/netns/<name>`.
    pub netns: PathBuf,
    /// Where the namespace comes from.
    pub origin: Origin,
}

/// A network namespace with a name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Sandbox {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: u64,
    /// As given, or the first 12 digits of the id.
    pub hostname: String,
    /// Labels as given.
    pub labels: BTreeMap<String, String>,
    /// What it has while it runs; `None`: it is stopped.
    pub run: Option<Run>,
    /// What is published for it now; nothing while it is stopped.
    pub ports: Vec<PortBinding>,
    /// What was asked to be published (host port 0: chosen at each start).
    #[serde(default)]
    pub wanted_ports: Vec<PortBinding>,
    /// The networks it was asked to be on, in order; kept while it is stopped.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Ports that its software listens on.
    #[serde(default)]
    pub exposed: Vec<PortBinding>,
    /// How names are looked up in it.
    #[serde(default)]
    pub names: NameOptions,
    /// The request that made it, if it named itself.
    #[serde(default)]
    pub request_id: String,
    /// The request that started it, if it named itself.
    #[serde(default)]
    pub start_id: String,
    /// The last requests that published ports and named themselves, with what they gave.
    #[serde(default)]
    pub publish_ids: Vec<(String, Vec<PortBinding>)>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Sandbox {
    /// Whether it has, or shall have, a namespace.
    pub fn running(&self) -> bool {
        self.run.is_some()
    }

    /// Whether netd made its namespace, or it is the host's: nobody else's is left behind.
    pub fn owned(&self) -> bool {
        let origin = self.run.as_ref().map(|r| &r.origin);
        matches!(origin, Some(Origin::Made | Origin::Host))
    }

    /// Whether its namespace is the host's own.
    pub fn host(&self) -> bool {
        self.run.as_ref().is_some_and(|r| r.origin == Origin::Host)
    }

    /// Judges a record that comes from outside, field by field. `names`: the directory of netd's own names of namespaces.
    pub fn check(&self, names: &std::path::Path) -> Result<()> {
        let mut checks = Checks::of(format!("sandbox {}", self.id));
        checks.id("id", &self.id)?;
        checks.name("name", &self.name)?;
        super::check_names(&self.hostname, &self.names)?;
        for binding in self.ports.iter().chain(&self.wanted_ports) {
            binding.check()?;
        }
        if let Some(run) = &self.run {
            // What is unmounted and removed is netd's own name, whatever the record says.
            let own = names.join(&self.name);
            let moved = run.netns.parent() == Some(names)
                && run
                    .netns
                    .file_name()
                    .and_then(|n| n.to_str())
                    .is_some_and(|n| super::check_name("namespace", n).is_ok());
            checks.that(
                run.netns == own || moved,
                "run.netns",
                "not a name of netd's own",
            )?;
        }
        Ok(())
    }
}

/// How names are looked up in a sandbox.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct NameOptions {
    /// Empty: none.
    pub domainname: String,
    /// Name servers to ask from the sandbox's namespace; empty: the host's.
    pub servers: Vec<IpAddr>,
    /// Search domains; empty: the host's; a single `.`: none.
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
    /// Lines of /etc/hosts; without an address: that of the host as the sandbox sees it.
    pub hosts: Vec<(String, Option<IpAddr>)>,
}

/// A network that a sandbox is, or shall be, connected to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Attachment {
    /// What was asked for. The network is bound by name, so that one made anew takes the old one's place.
    pub spec: EndpointSpec,
    /// Addresses of the last run, taken again where they are free.
    pub last_ips: Vec<IpAddr>,
    /// Ethernet address of the last run.
    pub last_mac: Option<[u8; 6]>,
    /// The request that asked for it, if it named itself.
    #[serde(default)]
    pub request_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_conflict_when_both_want_one_port() {
        let b = |ip: Option<&str>, first, last| PortBinding {
            host_ip: ip.map(|i| i.parse().unwrap()),
            host: (first, last),
            within: None,
            target: (1, 1),
            protocol: 6,
        };
        assert!(b(None, 80, 90).conflicts(&b(Some("10.0.0.1"), 85, 85)));
        assert!(!b(Some("10.0.0.2"), 80, 80).conflicts(&b(Some("10.0.0.1"), 80, 80)));
        assert!(!b(Some("0.0.0.0"), 80, 80).conflicts(&b(Some("::1"), 80, 80)));
        assert!(!b(None, 80, 80).conflicts(&b(None, 81, 81)));
    }
}
