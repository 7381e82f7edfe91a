//! What records that cannot be used have: as much of it as can be read is nobody else's until they are removed. Their containers may
//! still run, and the next version may be able to use them.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use super::{Engine, desired::Desired, locked, port_index::PortIndex, quarantine::Quarantined};
use crate::ipam;

/// What is withheld, each with its holder as messages name it; subnets and addresses are with the address managers.
#[derive(Clone, Debug, Default)]
pub(super) struct Withheld {
    pub ports: PortIndex,
    /// Ethernet addresses, with the network's id.
    macs: BTreeMap<(String, [u8; 6]), String>,
}

impl Withheld {
    /// Who has an Ethernet address of a network.
    pub fn holder_of(&self, network: &str, mac: [u8; 6]) -> Option<&str> {
        let holder = self.macs.get(&(network.to_owned(), mac));
        holder.map(String::as_str)
    }

    /// The Ethernet addresses of a network that are withheld.
    pub fn macs_of(&self, network: &str) -> Vec<[u8; 6]> {
        let all = self.macs.keys();
        let own = all.filter(|(n, _)| n == network);
        own.map(|(_, mac)| *mac).collect()
    }
}

/// Everything that these records have.
fn withheld(records: &[Quarantined], desired: &Desired) -> (Withheld, ipam::Withheld) {
    let mut withheld = Withheld::default();
    let mut addresses = ipam::Withheld::default();
    for record in records {
        let holder = record.describe();
        let [network, _] = &record.owners;
        let has = &record.belongings;
        let subnets = has.subnets.iter();
        addresses
            .subnets
            .extend(subnets.map(|net| (*net, holder.clone())));
        for address in &has.addresses {
            if desired.networks().contains_key(network) {
                let held = (network.clone(), address.ip(), holder.clone());
                addresses.addresses.push(held);
            } else if let Ok(subnet) = IpNetwork::new(address.network(), address.prefix()) {
                // All that is known of a network whose own record says nothing.
                addresses.subnets.push((subnet, holder.clone()));
            }
        }
        if let Some(mac) = has.mac {
            withheld.macs.insert((network.clone(), mac), holder.clone());
        }
        for port in &has.ports {
            withheld.ports.insert(&holder, port);
        }
    }
    (withheld, addresses)
}

impl Engine {
    /// Withholds what the records that cannot be used have now.
    pub(super) fn withhold(&self) {
        let records = locked(&self.quarantined).clone();
        let (own, addresses) = withheld(&records, &self.desired().clone());
        self.ipam.withhold(&addresses);
        *locked(&self.withheld) = own;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::belongings::Belongings, store::Key};

    #[test]
    fn b18_each_thing_of_a_record_is_read_by_itself() {
        let value = serde_json::json!({
            "ipv4": "10.1.0.2/24", "ipv6": 7, "mac": [2, 0, 0, 0, 0, 1],
            "pools": [{"subnet": "10.9.0.0/16"}, {"subnet": "x"}, {"subnet": "0.0.0.0/0"}, 7],
            "ports": [
                {"host_ip": null, "host": [80, 81], "target": [80, 81], "protocol": 6},
                {"host_ip": null, "host": [9, 8], "target": [9, 8], "protocol": 6},
                {"host_ip": null, "host": [0, 0], "target": [9, 9], "protocol": 6},
                "80:80",
            ],
        });
        let has = Belongings::of(&value);
        let nets = |texts: &[&str]| -> Vec<IpNetwork> {
            texts.iter().map(|t| t.parse().unwrap()).collect()
        };
        assert_eq!(has.addresses, nets(&["10.1.0.2/24"]));
        assert_eq!(has.subnets, nets(&["10.9.0.0/16"]));
        assert_eq!((has.mac, has.ports.len()), (Some([2, 0, 0, 0, 0, 1]), 1));
        let record = Quarantined {
            key: Key::shared("endpoint", "e"),
            name: String::new(),
            owners: ["gone".into(), "s".into()],
            belongings: has,
        };
        let (own, addresses) = withheld(&[record], &Desired::default());
        let subnets: Vec<IpNetwork> = addresses.subnets.iter().map(|(net, _)| *net).collect();
        assert_eq!(subnets, nets(&["10.9.0.0/16", "10.1.0.0/24"]));
        let holder = own.holder_of("gone", [2, 0, 0, 0, 0, 1]).unwrap();
        assert_eq!(
            holder,
            "endpoint e of sandbox s, whose record cannot be used"
        );
        assert!(own.holder_of("other", [2, 0, 0, 0, 0, 1]).is_none());
        // Nothing of this is anything.
        let none = Belongings::of(&serde_json::json!([1, "2"]));
        assert!(none.addresses.is_empty() && none.ports.is_empty() && none.mac.is_none());
    }
}
