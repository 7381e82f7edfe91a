//! The objects of the container network model as they are stored. Pure: no I/O.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use ipnetwork::IpNetwork;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A subnet of a network.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The subnet; the address part is that of the network.
    pub subnet: IpNetwork,
    /// Where dynamic addresses come from, if not from the whole subnet.
    pub ip_range: Option<IpNetwork>,
    /// Address of the host on the network.
    pub gateway: IpAddr,
    /// Names of addresses that are never given out.
    pub aux: BTreeMap<String, IpAddr>,
    /// The address given out last: the search for a free one goes on behind it.
    pub cursor: Option<IpAddr>,
    /// Whether the user chose the subnet (only then may an endpoint's address be chosen).
    pub chosen: bool,
}

/// A network.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its number in the data plane, never used again.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: u64,
    /// bridge, host or null.
    pub driver: String,
    /// local, swarm or global.
    pub scope: String,
    /// Endpoints get IPv4 addresses.
    pub enable_ipv4: bool,
    /// Endpoints get IPv6 addresses.
    pub enable_ipv6: bool,
    /// Nothing leaves and nothing enters.
    pub internal: bool,
    /// Kept for swarm.
    pub attachable: bool,
    /// Kept for swarm.
    pub ingress: bool,
    /// Driver options as given.
    pub options: BTreeMap<String, String>,
    /// Labels as given.
    pub labels: BTreeMap<String, String>,
    /// default or null.
    pub ipam_driver: String,
    /// As given.
    pub ipam_options: BTreeMap<String, String>,
    /// Its subnets, at most one of each family.
    pub pools: Vec<Pool>,
    /// The device in the host that carries the gateway addresses; empty without one.
    pub device: String,
    /// That device's Ethernet address.
    pub mac: [u8; 6],
    /// Bytes.
    pub mtu: u32,
}

/// Networks that exist from the first start.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

impl Network {
    /// Whether it exists from the first start and cannot be removed.
    pub fn predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// A boolean driver option; the given value when it is not set.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(text) = self.options.get(key) else {
            return Ok(default);
        };
        // What Go's strconv.ParseBool takes, as Docker does.
        match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(Error::invalid(format!(
                "failed to parse {key} value: {text} (neither true nor false)"
            ))),
        }
    }
}

/// An interface of a sandbox on a network.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its number in the data plane, never used again.
    pub number: u32,
    /// Id of its network.
    pub network: String,
    /// Id of its sandbox.
    pub sandbox: String,
    /// eth0, eth1, …; empty on host and none.
    pub interface: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Address with the subnet's prefix length.
    pub ipv4: Option<IpNetwork>,
    /// Address with the subnet's prefix length.
    pub ipv6: Option<IpNetwork>,
    /// Names on the network.
    pub aliases: Vec<String>,
    /// As given.
    pub driver_options: BTreeMap<String, String>,
    /// The highest one's gateway is the default route.
    pub priority: i32,
}

impl Endpoint {
    /// Name of the veth's host end.
    pub fn host_interface(&self) -> String {
        if self.interface.is_empty() {
            String::new()
        } else {
            format!("nd-{}", &self.id[..12])
        }
    }

    /// Its addresses with their prefix lengths.
    pub fn addresses(&self) -> Vec<IpNetwork> {
        self.ipv4.into_iter().chain(self.ipv6).collect()
    }
}

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
    /// Path to enter the namespace by.
    pub netns: PathBuf,
    /// netd made the namespace, and makes it anew after a reboot.
    pub owned: bool,
    /// It is the host's own namespace.
    pub host: bool,
    /// What is published for it.
    pub ports: Vec<PortBinding>,
}

/// 64 random hexadecimal digits, of which the first 12 hold a letter: they must not look like a number.
pub fn new_id() -> String {
    loop {
        let bytes: [u8; 32] = rand::rng().random();
        let id: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        if id[..12].contains(|c: char| c.is_ascii_alphabetic()) {
            return id;
        }
    }
}

/// A random locally administered unicast Ethernet address.
pub fn new_mac() -> [u8; 6] {
    let mut mac: [u8; 6] = rand::rng().random();
    mac[0] = mac[0] & 0xfc | 0x02;
    mac
}

/// Now, nanoseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64)
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 128 bytes: names become paths and interface aliases.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if first && rest && name.len() <= 128 {
        Ok(())
    } else {
        Err(Error::invalid(format!("invalid {what} name {name:?}"))
            .hint("only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, at most 128 characters"))
    }
}

/// Finds by name, full id or unique id prefix, in this order.
pub fn find<'a, T>(
    what: &str,
    wanted: &str,
    all: impl Iterator<Item = &'a T> + Clone,
    id: impl Fn(&T) -> &str,
    name: impl Fn(&T) -> &str,
) -> Result<&'a T> {
    if wanted.is_empty() {
        return Err(Error::invalid(format!(
            "invalid {what} name or ID supplied: \"\""
        )));
    }
    if let Some(found) = all
        .clone()
        .find(|t| id(t) == wanted)
        .or_else(|| all.clone().find(|t| name(t) == wanted))
    {
        return Ok(found);
    }
    let mut matches = all.filter(|t| id(t).starts_with(wanted));
    match (matches.next(), matches.count()) {
        (Some(found), 0) => Ok(found),
        (Some(_), more) => Err(Error::invalid(format!(
            "{what} {wanted} is ambiguous ({} matches found based on ID prefix)",
            more + 1
        ))
        .hint("give more digits")),
        (None, _) => Err(Error::not_found(format!("{what} {wanted} not found"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for bad in ["", ".", "..", "-x", "a/b", "../x", "a b", "ü", "a:b"] {
            assert!(check_name("network", bad).is_err(), "{bad}");
        }
        for good in ["a", "web-1", "my_net.2", "9"] {
            assert!(check_name("network", good).is_ok(), "{good}");
        }
    }

    #[test]
    fn n04_lookup_prefers_ids_and_names_to_prefixes() {
        let all = [("aa11", "x"), ("aa22", "aa"), ("bb33", "y")];
        let by = |w: &str| find("network", w, all.iter(), |t| t.0, |t| t.1).map(|t| t.0);
        assert_eq!(by("aa").unwrap(), "aa22");
        assert_eq!(by("b").unwrap(), "bb33");
        assert!(by("aa1").is_ok() && by("zz").unwrap_err().message.contains("not found"));
        assert!(by("a").unwrap_err().message.contains("ambiguous"));
    }

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
