//! Endpoints: as they are asked for, and as they are.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{Extra, check::Checks};
use crate::error::Result;

/// An endpoint asked for; texts are as the user gave them, empty ones mean automatic.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
#[allow(
    missing_docs,
    reason = "the fields of Docker's request, as in network.proto"
)]
pub struct EndpointSpec {
    pub network: String,
    pub ipv4: String,
    pub ipv6: String,
    pub mac: String,
    pub aliases: Vec<String>,
    pub links: Vec<String>,
    pub link_local: Vec<String>,
    pub driver_options: BTreeMap<String, String>,
    pub priority: i32,
    pub interface: String,
}

/// An interface of a sandbox on a network.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its number in the data plane of this host, never used again; stored apart.
    #[serde(skip)]
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
    /// `target:alias`, private to the sandbox.
    #[serde(default)]
    pub links: Vec<String>,
    /// Additional link-local addresses.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// The request that made it, if it named itself.
    #[serde(default)]
    pub request_id: String,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Endpoint {
    /// Name of the veth's host end.
    pub fn host_interface(&self) -> String {
        if self.interface.is_empty() {
            String::new()
        } else {
            format!("nd-{}", super::short(&self.id))
        }
    }

    /// The address of a family.
    pub fn address(&self, v4: bool) -> Option<IpAddr> {
        if v4 { self.ipv4 } else { self.ipv6 }.map(|net| net.ip())
    }

    /// Judges a record that comes from outside, field by field.
    pub fn check(&self) -> Result<()> {
        let mut checks = Checks::of(format!("endpoint {}", self.id));
        checks.id("id", &self.id)?;
        checks.id("network", &self.network)?;
        checks.id("sandbox", &self.sandbox)?;
        if !self.interface.is_empty() {
            checks.interface("interface", &self.interface)?;
        }
        checks.that(self.mac[0] & 1 == 0, "mac", "not a unicast address")?;
        checks.that(
            self.ipv4.is_none_or(|a| a.is_ipv4()),
            "ipv4",
            "of the other family",
        )?;
        checks.that(
            self.ipv6.is_none_or(|a| a.is_ipv6()),
            "ipv6",
            "of the other family",
        )?;
        checks.names("aliases", &self.aliases)
    }

    /// Its addresses with their prefix lengths.
    pub fn addresses(&self) -> Vec<IpNetwork> {
        self.ipv4.into_iter().chain(self.ipv6).collect()
    }
}
