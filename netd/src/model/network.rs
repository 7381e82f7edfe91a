//! Networks.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{Extra, check::Checks};
use crate::error::Result;

/// A subnet asked for, as the user gave it; empty texts mean automatic.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct PoolSpec {
    /// CIDR, or empty.
    pub subnet: String,
    /// CIDR, or empty.
    pub ip_range: String,
    /// Address, or empty.
    pub gateway: String,
    /// Names and addresses.
    pub aux: BTreeMap<String, String>,
}

/// A network asked for.
#[derive(Clone, Debug, Default)]
#[allow(
    missing_docs,
    reason = "the fields of Docker's request, as in network.proto"
)]
pub struct NetworkRequest {
    pub name: String,
    pub driver: String,
    pub scope: String,
    pub enable_ipv4: bool,
    pub enable_ipv6: bool,
    pub internal: bool,
    pub attachable: bool,
    pub ingress: bool,
    pub config_only: bool,
    pub config_from: String,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub ipam_driver: String,
    pub ipam_options: BTreeMap<String, String>,
    pub pools: Vec<PoolSpec>,
    /// The client's name of this request: the same one again finds what the first made.
    pub request_id: String,
}

/// A subnet of a network.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Pool {
    /// The subnet; the address part is that of the network.
    pub subnet: IpNetwork,
    /// Where dynamic addresses come from, if not from the whole subnet.
    pub ip_range: Option<IpNetwork>,
    /// Address of the host on the network.
    pub gateway: IpAddr,
    /// Names of addresses that are never given out.
    pub aux: BTreeMap<String, IpAddr>,
    /// Whether the user chose the subnet (only then may an endpoint's address be chosen).
    pub chosen: bool,
}

/// A network.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its number in the data plane of this host, never used again; stored apart.
    #[serde(skip)]
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: u64,
    /// Name of its driver.
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
    /// The subnets that were asked for.
    #[serde(default)]
    pub requested_pools: Vec<PoolSpec>,
    /// The device in the host that carries the gateway addresses; empty without one.
    pub device: String,
    /// That device's Ethernet address.
    pub mac: [u8; 6],
    /// Bytes, as chosen; `None`: the smallest of the egress routes, followed.
    pub mtu: Option<u32>,
    /// It only lends its configuration to others.
    #[serde(default)]
    pub config_only: bool,
    /// Name of the network whose configuration it has, or empty.
    #[serde(default)]
    pub config_from: String,
    /// The request that made it, if it named itself.
    #[serde(default)]
    pub request_id: String,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Networks that exist from the first start.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

impl Network {
    /// Whether it exists from the first start and cannot be removed.
    pub fn predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// The pool of a family, if the network has that family: a subnet of another one is kept but not used.
    pub fn pool(&self, v4: bool) -> Option<&Pool> {
        let enabled = if v4 {
            self.enable_ipv4
        } else {
            self.enable_ipv6
        };
        let mut pools = self.pools.iter();
        pools.find(|p| enabled && p.subnet.is_ipv4() == v4)
    }

    /// Gateway addresses with their subnets' prefix lengths.
    pub fn gateways(&self) -> impl Iterator<Item = IpNetwork> {
        let pools = [true, false].into_iter().filter_map(|v4| self.pool(v4));
        pools.filter_map(|p| IpNetwork::new(p.gateway, p.subnet.prefix()).ok())
    }

    /// Name of the inner end of its device's pair.
    pub fn peer_device(&self) -> String {
        format!("np-{}", super::short(&self.id))
    }

    /// Judges a record that comes from outside, field by field; its driver's options are the driver's to judge.
    pub fn check(&self) -> Result<()> {
        let mut checks = Checks::of(format!("network {}", self.id));
        checks.id("id", &self.id)?;
        checks.name("name", &self.name)?;
        if !self.device.is_empty() {
            checks.interface("device", &self.device)?;
        }
        checks.that(self.mac[0] & 1 == 0, "mac", "not a unicast address")?;
        for pool in &self.pools {
            let inside = pool.subnet.contains(pool.gateway)
                && pool.aux.values().all(|a| pool.subnet.contains(*a));
            checks.that(inside, "pools", "an address outside its subnet")?;
            checks.that(pool.subnet.prefix() > 0, "pools", "a subnet of everything")?;
        }
        Ok(())
    }
}
