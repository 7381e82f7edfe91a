//! Networks.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{GatewayMode, Options};

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
    /// Bytes, as chosen; `None`: the smallest of the egress routes, followed.
    pub mtu: Option<u32>,
    /// It only lends its configuration to others.
    #[serde(default)]
    pub config_only: bool,
    /// Name of the network whose configuration it has, or empty.
    #[serde(default)]
    pub config_from: String,
}

/// Networks that exist from the first start.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

impl Network {
    /// Whether it exists from the first start and cannot be removed.
    pub fn predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// Whether it is the bridge that exists from the first start, where names are not resolved.
    pub fn default_bridge(&self) -> bool {
        self.predefined() && self.driver == "bridge"
    }

    /// Its driver options; they were checked when it was made.
    pub fn options(&self) -> Options {
        Options::parse(&self.options).unwrap_or_default()
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

    /// Of these, the ones that the host itself holds.
    pub fn host_gateways(&self) -> impl Iterator<Item = IpNetwork> {
        let options = self.options();
        self.gateways().filter(move |net| {
            options.mode(net.is_ipv4()) != GatewayMode::Isolated
                && !(net.is_ipv4() && options.inhibit_ipv4)
        })
    }

    /// Gateway address that endpoints use, unless nothing of that family leaves the network.
    pub fn route_via(&self, v4: bool) -> Option<IpAddr> {
        let isolated = self.options().mode(v4) == GatewayMode::Isolated;
        let pool = self.pool(v4)?;
        (!self.internal && !isolated).then_some(pool.gateway)
    }
}
