//! Sandboxes and what is published for them.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::EndpointRequest;

/// Ports of the host that lead to a sandbox; ranges are of one length.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PortBinding {
    /// `None`: all addresses.
    pub host_ip: Option<IpAddr>,
    /// First and last host port.
    pub host: (u16, u16),
    /// First and last port of the sandbox.
    pub target: (u16, u16),
    /// IP protocol number.
    pub protocol: u8,
}

impl PortBinding {
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

/// A network namespace with a name.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
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
    /// Path to enter the namespace by; `None`: it is stopped.
    pub netns: Option<PathBuf>,
    /// netd made the namespace, and makes it anew after a reboot.
    pub owned: bool,
    /// It is the host's own namespace.
    pub host: bool,
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
}

/// How names are looked up in a sandbox.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct NameOptions {
    /// Empty: none.
    pub domainname: String,
    /// Name servers to ask from the sandbox' namespace; empty: the host's.
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
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// What was asked for. The network is bound by name, so that one made anew takes the old one's place.
    pub request: EndpointRequest,
    /// Addresses of the last run, taken again where they are free.
    pub last_ips: Vec<IpAddr>,
    /// Ethernet address of the last run.
    pub last_mac: Option<[u8; 6]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_conflict_when_both_want_one_port() {
        let b = |ip: Option<&str>, first, last| PortBinding {
            host_ip: ip.map(|i| i.parse().unwrap()),
            host: (first, last),
            target: (1, 1),
            protocol: 6,
        };
        assert!(b(None, 80, 90).conflicts(&b(Some("10.0.0.1"), 85, 85)));
        assert!(!b(Some("10.0.0.2"), 80, 80).conflicts(&b(Some("10.0.0.1"), 80, 80)));
        assert!(!b(Some("0.0.0.0"), 80, 80).conflicts(&b(Some("::1"), 80, 80)));
        assert!(!b(None, 80, 80).conflicts(&b(None, 81, 81)));
    }
}
