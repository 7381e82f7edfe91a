//! Endpoints: as they are asked for, and as they are.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// An endpoint asked for; texts are as the user gave them, empty ones mean automatic.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the fields of Docker's request, as in network.proto"
)]
pub struct EndpointRequest {
    pub network: String,
    pub sandbox: String,
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
    /// `target:alias`, private to the sandbox.
    #[serde(default)]
    pub links: Vec<String>,
    /// Additional link-local addresses.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
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
