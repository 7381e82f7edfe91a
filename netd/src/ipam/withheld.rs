//! Subnets and addresses of records that cannot be used: the next version may be able to, so nobody else is given any of them.

use std::{collections::BTreeSet, net::IpAddr};

use ipnetwork::IpNetwork;

use super::addresses::overlap;

/// What is withheld, each with the record that has it, as messages name it. These may overlap, unlike what networks hold.
#[derive(Clone, Debug, Default)]
pub struct Withheld {
    /// Subnets.
    pub subnets: Vec<(IpNetwork, String)>,
    /// Ids of networks, and addresses on these.
    pub addresses: Vec<(String, IpAddr, String)>,
}

impl Withheld {
    /// Who has a subnet that overlaps this one.
    pub(super) fn holder(&self, net: &IpNetwork) -> Option<&str> {
        let mut subnets = self.subnets.iter();
        let found = subnets.find(|(subnet, _)| overlap(subnet, net));
        found.map(|(_, holder)| holder.as_str())
    }

    /// Who has an address of a network.
    pub(super) fn holder_of(&self, network: &str, address: IpAddr) -> Option<&str> {
        let mut addresses = self.addresses.iter();
        let found = addresses.find(|(n, a, _)| n == network && *a == address);
        found.map(|(.., holder)| holder.as_str())
    }

    /// A network's addresses that are withheld.
    pub(super) fn of(&self, network: &str) -> BTreeSet<IpAddr> {
        let addresses = self.addresses.iter();
        let own = addresses.filter(|(n, ..)| n == network);
        own.map(|(_, address, _)| *address).collect()
    }
}
