//! Networks, uplinks and the host's addresses in the maps.

use std::collections::BTreeSet;

use aya::maps::lpm_trie;
use ipnetwork::IpNetwork;
use netd_common::{
    abi::{HostAddress, MemberKey, Network, SubnetData, TrustedKey, Uplink, network_flags},
    addr::{Addr, link_local_of},
};

use super::{Tables, put, refused};
use crate::{
    dataplane::{HostAddressSpec, NetworkSpec, UplinkSpec},
    error::Result,
};

/// What stands in the maps for a network.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownNetwork {
    /// Interface indices, in the order of `MEMBERS`.
    pub members: Vec<u32>,
    /// Keys of `SUBNETS`: prefix length and data.
    pub subnets: Vec<(u32, SubnetData)>,
    /// Keys of `HOST_ADDRESSES`.
    pub addresses: Vec<Addr>,
    /// Keys of `TRUSTED`.
    pub trusted: Vec<u32>,
    /// Key of `GATEWAYS`.
    pub peer: u32,
}

/// Prefix length and data of a subnet's key.
pub fn subnet_key(net: &IpNetwork) -> (u32, SubnetData) {
    let (extra, network) = match net {
        IpNetwork::V4(n) => (96, Addr::from(n.network())),
        IpNetwork::V6(n) => (0, Addr::from(n.network())),
    };
    (extra + u32::from(net.prefix()), network.v6_bytes())
}

impl Tables {
    pub(super) fn read_networks(&mut self) {
        let found: Vec<(u32, u32)> = self
            .networks
            .iter()
            .filter_map(std::result::Result::ok)
            .map(|(number, value)| (number, value.members))
            .collect();
        for (network, count) in found {
            let read = |index| self.members.get(&MemberKey { network, index }, 0).ok();
            let members = (0..count).filter_map(read).collect();
            self.known_networks.entry(network).or_default().members = members;
        }
        for (key, number) in self.subnets.iter().filter_map(std::result::Result::ok) {
            let known = self.known_networks.entry(number).or_default();
            known.subnets.push((key.prefix_len(), key.data()));
        }
        for (peer, number) in self.gateways.iter().filter_map(std::result::Result::ok) {
            self.known_networks.entry(number).or_default().peer = peer;
        }
        for (addr, value) in self
            .host_addresses
            .iter()
            .filter_map(std::result::Result::ok)
        {
            if value.network != 0 {
                let known = self.known_networks.entry(value.network).or_default();
                known.addresses.push(addr);
            }
        }
        for key in self.trusted.keys().filter_map(std::result::Result::ok) {
            let known = self.known_networks.entry(key.network).or_default();
            known.trusted.push(key.ifindex);
        }
    }

    /// Writes a network.
    pub fn set_network(&mut self, spec: &NetworkSpec) -> Result<()> {
        let number = spec.number;
        let known = self.known_networks.entry(number).or_default();
        let members = known.members.clone();
        let mut value = Network {
            flags: spec.flags,
            gateway_ifindex: spec.gateway_ifindex,
            members: members.len() as u32,
            gateway_link_local: link_local_of(spec.gateway_mac),
            ..Network::default()
        };
        let mut changed = false;
        for gateway in &spec.gateways {
            let addr = Addr::from(gateway.ip());
            match gateway {
                IpNetwork::V4(net) => {
                    value.gateway_v4 = addr;
                    // A /31 has no broadcast address (RFC 3021).
                    if net.prefix() < 31 {
                        value.broadcast_v4 = net.broadcast().into();
                    }
                }
                IpNetwork::V6(_) => value.gateway_v6 = addr,
            }
            let (bits, data) = subnet_key(gateway);
            if !known.subnets.contains(&(bits, data)) {
                known.subnets.push((bits, data));
            }
            let key = lpm_trie::Key::new(bits, data);
            if self.subnets.get(&key, 0).ok() != Some(number) {
                self.subnets
                    .insert(&key, number, 0)
                    .map_err(|e| refused("SUBNETS", &e))?;
                changed = true;
            }
        }
        for address in &spec.host_addresses {
            let addr = Addr::from(*address);
            if !known.addresses.contains(&addr) {
                known.addresses.push(addr);
            }
            if self.own_addresses.contains(&addr.v6_bytes()) {
                continue;
            }
            let value = HostAddress {
                network: number,
                flags: spec.flags & network_flags::INTERNAL,
            };
            changed |= put(&mut self.host_addresses, "HOST_ADDRESSES", &addr, value)?;
        }
        if known.peer != spec.peer_ifindex {
            let _ = self.gateways.remove(&known.peer);
            known.peer = spec.peer_ifindex;
        }
        changed |= put(&mut self.networks, "NETWORKS", &number, value)?;
        changed |= put(&mut self.gateways, "GATEWAYS", &spec.peer_ifindex, number)?;
        for (index, ifindex) in members.into_iter().enumerate() {
            let key = MemberKey {
                network: number,
                index: index as u32,
            };
            changed |= put(&mut self.members, "MEMBERS", &key, ifindex)?;
        }
        self.set_trusted(number, &spec.trusted)?;
        self.mended += u64::from(changed);
        Ok(())
    }

    /// Makes exactly these the uplinks that a network trusts.
    pub fn set_trusted(&mut self, network: u32, wanted: &[u32]) -> Result<()> {
        let known = self.known_networks.entry(network).or_default();
        for ifindex in wanted.iter().copied() {
            let key = TrustedKey { network, ifindex };
            put(&mut self.trusted, "TRUSTED", &key, 1)?;
        }
        for ifindex in known.trusted.iter().copied() {
            if !wanted.contains(&ifindex) {
                let _ = self.trusted.remove(&TrustedKey { network, ifindex });
            }
        }
        known.trusted = wanted.to_vec();
        Ok(())
    }

    /// Removes a network.
    pub fn remove_network(&mut self, number: u32) {
        let Some(known) = self.known_networks.remove(&number) else {
            return;
        };
        // What is gone already is as good as removed.
        let _ = self.gateways.remove(&known.peer);
        for (bits, data) in known.subnets {
            let _ = self.subnets.remove(&lpm_trie::Key::new(bits, data));
        }
        for addr in known.addresses {
            if !self.own_addresses.contains(&addr.v6_bytes()) {
                let _ = self.host_addresses.remove(&addr);
            }
        }
        for ifindex in known.trusted {
            let key = TrustedKey {
                network: number,
                ifindex,
            };
            let _ = self.trusted.remove(&key);
        }
        for index in 0..known.members.len() as u32 {
            let _ = self.members.remove(&MemberKey {
                network: number,
                index,
            });
        }
        let _ = self.networks.remove(&number);
    }

    /// Writes an uplink.
    pub fn set_uplink(&mut self, spec: &UplinkSpec) -> Result<()> {
        let value = Uplink {
            mtu: spec.mtu,
            ethernet: u32::from(spec.ethernet),
            ipv4: spec.ipv4.map(Addr::from).unwrap_or_default(),
            ipv6: spec.ipv6.map(Addr::from).unwrap_or_default(),
        };
        put(&mut self.uplinks, "UPLINKS", &spec.ifindex, value).map(drop)
    }

    /// Indices of the uplinks written.
    pub fn uplinks(&self) -> Vec<u32> {
        self.uplinks
            .keys()
            .filter_map(std::result::Result::ok)
            .collect()
    }

    /// Removes an uplink.
    pub fn remove_uplink(&mut self, ifindex: u32) {
        let _ = self.uplinks.remove(&ifindex);
    }

    /// Makes exactly these the host's addresses, beside the gateway addresses of networks.
    pub fn set_host_addresses(&mut self, wanted: &[HostAddressSpec]) -> Result<()> {
        let mut keep = BTreeSet::new();
        let own = wanted.iter().filter(|spec| spec.network == 0);
        self.own_addresses = own.map(|spec| Addr::from(spec.addr).v6_bytes()).collect();
        let foreign = |spec: &&HostAddressSpec| {
            spec.network == 0
                || !self
                    .own_addresses
                    .contains(&Addr::from(spec.addr).v6_bytes())
        };
        for spec in wanted.iter().filter(foreign) {
            let addr = Addr::from(spec.addr);
            let flags = if spec.internal {
                network_flags::INTERNAL
            } else {
                0
            };
            let value = HostAddress {
                network: spec.network,
                flags,
            };
            put(&mut self.host_addresses, "HOST_ADDRESSES", &addr, value)?;
            keep.insert(addr.v6_bytes());
        }
        for known in self.known_networks.values() {
            keep.extend(known.addresses.iter().map(|a| a.v6_bytes()));
        }
        let there: Vec<Addr> = self
            .host_addresses
            .keys()
            .filter_map(std::result::Result::ok)
            .collect();
        for addr in there {
            if !keep.contains(&addr.v6_bytes()) {
                let _ = self.host_addresses.remove(&addr);
            }
        }
        Ok(())
    }

    pub(super) fn join(&mut self, network: u32, ifindex: u32) -> Result<()> {
        let list = &mut self.known_networks.entry(network).or_default().members;
        if list.contains(&ifindex) {
            return Ok(());
        }
        let index = list.len() as u32;
        list.push(ifindex);
        let key = MemberKey { network, index };
        put(&mut self.members, "MEMBERS", &key, ifindex)?;
        self.set_member_count(network, index + 1)
    }

    /// The last member takes the place of the one that leaves.
    pub(super) fn leave(&mut self, network: u32, ifindex: u32) -> Result<()> {
        let Some(known) = self.known_networks.get_mut(&network) else {
            return Ok(());
        };
        let list = &mut known.members;
        let Some(index) = list.iter().position(|i| *i == ifindex) else {
            return Ok(());
        };
        list.swap_remove(index);
        let count = list.len() as u32;
        let moved = list.get(index).copied();
        if let Some(moved) = moved {
            let key = MemberKey {
                network,
                index: index as u32,
            };
            put(&mut self.members, "MEMBERS", &key, moved)?;
        }
        self.set_member_count(network, count)?;
        let _ = self.members.remove(&MemberKey {
            network,
            index: count,
        });
        Ok(())
    }

    fn set_member_count(&mut self, network: u32, members: u32) -> Result<()> {
        let Ok(mut value) = self.networks.get(&network, 0) else {
            return Ok(());
        };
        value.members = members;
        put(&mut self.networks, "NETWORKS", &network, value).map(drop)
    }
}
