//! What a record has that cannot be used as a whole: as much of it as can be read.

use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::Deserialize as _;
use serde_json::Value;

use crate::model::PortBinding;

/// What one record tells of what it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Belongings {
    /// Of a network.
    pub subnets: Vec<IpNetwork>,
    /// Of an endpoint, its addresses, each with the prefix length of its subnet.
    pub addresses: Vec<IpNetwork>,
    /// Of an endpoint.
    pub mac: Option<[u8; 6]>,
    /// Of a sandbox, its published ports.
    pub ports: Vec<PortBinding>,
    /// Of a sandbox, netd's own name of its namespace, if it does not lie.
    pub netns: Option<PathBuf>,
}

impl Belongings {
    /// Whatever can be read in a record's value, each thing by itself.
    pub fn of(value: &Value) -> Self {
        let net = |value: Option<&Value>| value?.as_str()?.parse::<IpNetwork>().ok();
        // One that holds everything would leave nothing to anybody.
        let narrow = |net: &IpNetwork| net.prefix() > 0;
        let all = |field: &str| value.get(field).and_then(Value::as_array);
        let pools = all("pools").into_iter().flatten();
        let addresses = ["ipv4", "ipv6"].map(|field| net(value.get(field)));
        let ports = all("ports").into_iter().flatten();
        let ports = ports.filter_map(|port| PortBinding::deserialize(port).ok());
        let mac = value.get("mac");
        Self {
            subnets: pools
                .filter_map(|pool| net(pool.get("subnet")))
                .filter(narrow)
                .collect(),
            addresses: addresses.into_iter().flatten().filter(narrow).collect(),
            netns: value
                .get("run")
                .and_then(|run| run.get("netns")?.as_str())
                .map(PathBuf::from),
            mac: mac.and_then(|mac| <[u8; 6]>::deserialize(mac).ok()),
            ports: ports
                .filter(|port| port.check().is_ok() && port.host.0 > 0)
                .collect(),
        }
    }
}
