//! The maps that the daemon writes, and the numbers of the slots that endpoints count in.

// tidy: long: every map has its one writer here; they change together under one lock.
use std::collections::{BTreeMap, BTreeSet};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, PerCpuArray, PerCpuHashMap, PerCpuValues, lpm_trie},
};
use netd_common::{
    abi::{
        AddressKey, Counters, Device, DropCount, DropKey, HostAddress, MemberKey, Network,
        PUBLICATION_PREFIX, Publication, PublicationData, SubnetData, Target, Uplink,
        network_flags,
    },
    addr::{Addr, Be16, link_local_of},
};

use super::{
    DesiredState, EndpointSpec, HostAddressSpec, MapRow, NetworkSpec, PublicationSpec, UplinkSpec,
    blocks::blocks, counters, object,
};
use crate::error::{Error, Kind, Result};

type Subnets = lpm_trie::LpmTrie<MapData, SubnetData, u32>;
type Publications = lpm_trie::LpmTrie<MapData, PublicationData, Publication>;

/// The maps, and what the daemon must remember of them.
pub struct Tables {
    pub(super) devices: HashMap<MapData, u32, Device>,
    networks: HashMap<MapData, u32, Network>,
    gateways: HashMap<MapData, u32, u32>,
    addresses: HashMap<MapData, AddressKey, Target>,
    subnets: Subnets,
    members: HashMap<MapData, MemberKey, u32>,
    pub(super) uplinks: HashMap<MapData, u32, Uplink>,
    host_addresses: HashMap<MapData, Addr, HostAddress>,
    publications: Publications,
    pub(super) counters: PerCpuArray<MapData, Counters>,
    pub(super) drops: PerCpuHashMap<MapData, DropKey, DropCount>,
    /// Members of each network, in the order of `MEMBERS`.
    joined: BTreeMap<u32, Vec<u32>>,
    /// What each endpoint has published.
    published: BTreeMap<u32, Vec<PublicationSpec>>,
}

/// The map said no.
fn refused(map: &str, e: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Exhausted, format!("writing map {map}: {e}"))
        .hint("if it is full, raise [limits] in the configuration file")
}

impl Tables {
    /// Takes the maps out of the object and reads what is in them.
    pub fn take(o: &mut Ebpf) -> Result<Self> {
        let mut tables = Self {
            devices: object::take(o, "DEVICES")?,
            networks: object::take(o, "NETWORKS")?,
            gateways: object::take(o, "GATEWAYS")?,
            addresses: object::take(o, "ADDRESSES")?,
            subnets: object::take(o, "SUBNETS")?,
            members: object::take(o, "MEMBERS")?,
            uplinks: object::take(o, "UPLINKS")?,
            host_addresses: object::take(o, "HOST_ADDRESSES")?,
            publications: object::take(o, "PUBLICATIONS")?,
            counters: object::take(o, "COUNTERS")?,
            drops: object::take(o, "DROPS")?,
            joined: BTreeMap::new(),
            published: BTreeMap::new(),
        };
        let numbers: Vec<(u32, u32)> = tables
            .networks
            .iter()
            .filter_map(std::result::Result::ok)
            .map(|(n, v)| (n, v.members))
            .collect();
        for (number, members) in numbers {
            let read = |index| {
                tables
                    .members
                    .get(
                        &MemberKey {
                            network: number,
                            index,
                        },
                        0,
                    )
                    .ok()
            };
            let list = (0..members).filter_map(read).collect();
            tables.joined.insert(number, list);
        }
        Ok(tables)
    }

    /// Writes an uplink.
    pub fn set_uplink(&mut self, spec: &UplinkSpec) -> Result<()> {
        let value = Uplink {
            mtu: spec.mtu,
            ethernet: u32::from(spec.ethernet),
            ipv4: spec.ipv4.map(Addr::from).unwrap_or_default(),
            ipv6: spec.ipv6.map(Addr::from).unwrap_or_default(),
        };
        self.uplinks
            .insert(spec.ifindex, value, 0)
            .map_err(|e| refused("UPLINKS", &e))
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

    /// Makes exactly these the host's addresses.
    pub fn set_host_addresses(&mut self, wanted: &[HostAddressSpec]) -> Result<()> {
        let mut keep = Vec::with_capacity(wanted.len());
        for spec in wanted {
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
            self.host_addresses
                .insert(addr, value, 0)
                .map_err(|e| refused("HOST_ADDRESSES", &e))?;
            keep.push(addr);
        }
        let there: Vec<Addr> = self
            .host_addresses
            .keys()
            .filter_map(std::result::Result::ok)
            .collect();
        for addr in there {
            if !keep.contains(&addr) {
                let _ = self.host_addresses.remove(&addr);
            }
        }
        Ok(())
    }

    /// Writes a network.
    pub fn set_network(&mut self, spec: &NetworkSpec) -> Result<()> {
        let mut value = Network {
            flags: spec.flags,
            gateway_ifindex: spec.gateway_ifindex,
            members: self.joined.entry(spec.number).or_default().len() as u32,
            gateway_link_local: link_local_of(spec.gateway_mac),
            ..Network::default()
        };
        for gateway in &spec.gateways {
            let addr = Addr::from(gateway.ip());
            let (bits, network) = match gateway {
                ipnetwork::IpNetwork::V4(net) => {
                    value.gateway_v4 = addr;
                    // A /31 has no broadcast address (RFC 3021).
                    if net.prefix() < 31 {
                        value.broadcast_v4 = net.broadcast().into();
                    }
                    (96 + u32::from(net.prefix()), Addr::from(net.network()))
                }
                ipnetwork::IpNetwork::V6(net) => {
                    value.gateway_v6 = addr;
                    (u32::from(net.prefix()), Addr::from(net.network()))
                }
            };
            let key = lpm_trie::Key::new(bits, network.v6_bytes());
            self.subnets
                .insert(&key, spec.number, 0)
                .map_err(|e| refused("SUBNETS", &e))?;
        }
        self.networks
            .insert(spec.number, value, 0)
            .map_err(|e| refused("NETWORKS", &e))?;
        self.gateways
            .insert(spec.peer_ifindex, spec.number, 0)
            .map_err(|e| refused("GATEWAYS", &e))
    }

    /// Removes a network.
    pub fn remove_network(&mut self, number: u32) {
        let gateways: Vec<u32> = self
            .gateways
            .iter()
            .filter_map(std::result::Result::ok)
            .filter(|(_, n)| *n == number)
            .map(|(i, _)| i)
            .collect();
        for ifindex in gateways {
            let _ = self.gateways.remove(&ifindex);
        }
        let subnets: Vec<_> = self
            .subnets
            .iter()
            .filter_map(std::result::Result::ok)
            .filter(|(_, n)| *n == number)
            .map(|(k, _)| k)
            .collect();
        for key in subnets {
            let _ = self.subnets.remove(&key);
        }
        for index in 0..self.joined.remove(&number).unwrap_or_default().len() as u32 {
            let _ = self.members.remove(&MemberKey {
                network: number,
                index,
            });
        }
        let _ = self.networks.remove(&number);
    }

    fn device_of(&self, endpoint: u32) -> Option<(u32, Device)> {
        self.devices
            .iter()
            .filter_map(std::result::Result::ok)
            .find(|(_, d)| d.endpoint == endpoint)
    }

    /// A slot of `COUNTERS` that no endpoint uses, emptied.
    fn free_slot(&mut self) -> Result<u32> {
        let used: BTreeSet<u32> = self
            .devices
            .iter()
            .filter_map(std::result::Result::ok)
            .map(|(_, d)| d.slot)
            .collect();
        let slot = (1..self.counters.len())
            .find(|s| !used.contains(s))
            .ok_or_else(|| {
                Error::new(Kind::Exhausted, "no room for another endpoint")
                    .hint("raise limits.endpoints in the configuration")
            })?;
        let cpus = aya::util::nr_cpus().map_err(|(what, e)| Error::internal(what, e))?;
        let zero = PerCpuValues::try_from(vec![Counters::default(); cpus])
            .map_err(|e| Error::internal("counting processors", e))?;
        self.counters
            .set(slot, zero, 0)
            .map_err(|e| refused("COUNTERS", &e))?;
        let old: Vec<DropKey> = self
            .drops
            .keys()
            .filter_map(std::result::Result::ok)
            .filter(|k| k.slot == slot)
            .collect();
        for key in old {
            let _ = self.drops.remove(&key);
        }
        Ok(slot)
    }

    /// Writes an endpoint: its device last, since only then the program lets anything of it pass.
    pub fn set_endpoint(&mut self, spec: &EndpointSpec) -> Result<()> {
        let old = self.device_of(spec.number);
        let slot = match old {
            Some((_, device)) => device.slot,
            None => self.free_slot()?,
        };
        let mut device = Device {
            endpoint: spec.number,
            network: spec.network,
            slot,
            flags: spec.flags,
            gateway_ifindex: spec.gateway_ifindex,
            mtu: spec.mtu,
            mac: spec.mac,
            gateway_mac: spec.gateway_mac,
            ..Device::default()
        };
        if self
            .published
            .get(&spec.number)
            .is_some_and(|p| !p.is_empty())
        {
            device.flags |= network_flags::PUBLISHED;
        }
        let target = Target {
            ifindex: spec.ifindex,
            endpoint: spec.number,
            slot,
            mtu: spec.mtu,
            mac: spec.mac,
            gateway_mac: spec.gateway_mac,
        };
        let mut held: Vec<Addr> = spec.addresses.iter().copied().map(Addr::from).collect();
        for addr in &held {
            if addr.is_v4() {
                device.ipv4 = *addr;
            } else {
                device.ipv6 = *addr;
                device.link_local = link_local_of(spec.mac);
            }
        }
        if !device.link_local.is_unspecified() {
            held.push(device.link_local);
        }
        for addr in held {
            let key = AddressKey {
                network: spec.network,
                addr,
            };
            self.addresses
                .insert(key, target, 0)
                .map_err(|e| refused("ADDRESSES", &e))?;
        }
        if let Some((ifindex, _)) = old
            && ifindex != spec.ifindex
        {
            self.leave(spec.network, ifindex)?;
            let _ = self.devices.remove(&ifindex);
        }
        self.join(spec.network, spec.ifindex)?;
        self.devices
            .insert(spec.ifindex, device, 0)
            .map_err(|e| refused("DEVICES", &e))
    }

    /// Removes an endpoint.
    pub fn remove_endpoint(&mut self, number: u32) {
        let _ = self.set_publications(number, &[]);
        self.published.remove(&number);
        if let Some((ifindex, device)) = self.device_of(number) {
            let _ = self.devices.remove(&ifindex);
            let _ = self.leave(device.network, ifindex);
        }
        let held: Vec<AddressKey> = self
            .addresses
            .iter()
            .filter_map(std::result::Result::ok)
            .filter(|(_, t)| t.endpoint == number)
            .map(|(k, _)| k)
            .collect();
        for key in held {
            let _ = self.addresses.remove(&key);
        }
    }

    fn join(&mut self, network: u32, ifindex: u32) -> Result<()> {
        let list = self.joined.entry(network).or_default();
        if list.contains(&ifindex) {
            return Ok(());
        }
        let index = list.len() as u32;
        list.push(ifindex);
        self.members
            .insert(MemberKey { network, index }, ifindex, 0)
            .map_err(|e| refused("MEMBERS", &e))?;
        self.set_member_count(network, index + 1)
    }

    /// The last member takes the place of the one that leaves.
    fn leave(&mut self, network: u32, ifindex: u32) -> Result<()> {
        let Some(list) = self.joined.get_mut(&network) else {
            return Ok(());
        };
        let Some(index) = list.iter().position(|i| *i == ifindex) else {
            return Ok(());
        };
        list.swap_remove(index);
        let count = list.len() as u32;
        if let Some(moved) = list.get(index).copied() {
            let key = MemberKey {
                network,
                index: index as u32,
            };
            self.members
                .insert(key, moved, 0)
                .map_err(|e| refused("MEMBERS", &e))?;
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
        self.networks
            .insert(network, value, 0)
            .map_err(|e| refused("NETWORKS", &e))
    }

    /// Makes exactly these the publications of an endpoint; returns those that went.
    pub fn set_publications(
        &mut self,
        endpoint: u32,
        wanted: &[PublicationSpec],
    ) -> Result<Vec<PublicationSpec>> {
        let old = self
            .published
            .insert(endpoint, wanted.to_vec())
            .unwrap_or_default();
        for spec in wanted {
            for (key, value) in entries(spec) {
                self.publications
                    .insert(&key, value, 0)
                    .map_err(|e| refused("PUBLICATIONS", &e))?;
            }
        }
        let gone: Vec<PublicationSpec> = old
            .into_iter()
            .filter(|spec| !wanted.contains(spec))
            .collect();
        let kept: Vec<_> = wanted
            .iter()
            .flat_map(entries)
            .map(|(k, _)| (k.prefix_len(), k.data()))
            .collect();
        for (key, _) in gone.iter().flat_map(entries) {
            if !kept.contains(&(key.prefix_len(), key.data())) {
                let _ = self.publications.remove(&key);
            }
        }
        if let Some((ifindex, mut device)) = self.device_of(endpoint) {
            device.flags &= !network_flags::PUBLISHED;
            if !wanted.is_empty() {
                device.flags |= network_flags::PUBLISHED;
            }
            self.devices
                .insert(ifindex, device, 0)
                .map_err(|e| refused("DEVICES", &e))?;
        }
        Ok(gone)
    }

    /// Removes what is not desired; returns the endpoints that went. Publications are written anew after a start.
    pub fn retain(&mut self, desired: &DesiredState) -> Vec<u32> {
        let endpoints: BTreeSet<u32> = self
            .devices
            .iter()
            .filter_map(std::result::Result::ok)
            .map(|(_, d)| d.endpoint)
            .collect();
        let gone: Vec<u32> = endpoints.difference(&desired.endpoints).copied().collect();
        for number in &gone {
            self.remove_endpoint(*number);
        }
        let networks: Vec<u32> = self
            .networks
            .keys()
            .filter_map(std::result::Result::ok)
            .collect();
        for number in networks
            .into_iter()
            .filter(|n| !desired.networks.contains(n))
        {
            self.remove_network(number);
        }
        let wanted: Vec<_> = self
            .published
            .values()
            .flatten()
            .flat_map(entries)
            .map(|(k, _)| (k.prefix_len(), k.data()))
            .collect();
        let stale: Vec<_> = self
            .publications
            .iter()
            .filter_map(std::result::Result::ok)
            .map(|(k, _)| k)
            .filter(|k| !wanted.contains(&(k.prefix_len(), k.data())))
            .collect();
        for key in stale {
            let _ = self.publications.remove(&key);
        }
        gone
    }

    /// How full the maps are.
    pub fn usage(&self) -> Vec<MapRow> {
        vec![
            counters::usage("DEVICES", self.devices.keys().count()),
            counters::usage("NETWORKS", self.networks.keys().count()),
            counters::usage("ADDRESSES", self.addresses.keys().count()),
            counters::usage("PUBLICATIONS", self.publications.iter().count()),
        ]
    }
}

/// The trie's entries of a publication. Each block's first port leads to the first port of the whole range, so that
/// the program needs no more than the difference.
fn entries(
    spec: &PublicationSpec,
) -> impl Iterator<Item = (lpm_trie::Key<PublicationData>, Publication)> {
    let value = Publication {
        network: spec.network,
        endpoint: spec.endpoint,
        addr: spec.target.into(),
        first_port: spec.host_ports.0,
        target_port: spec.target_port,
    };
    let (addr, protocol) = (Addr::from(spec.host), spec.protocol);
    blocks(spec.host_ports.0, spec.host_ports.1)
        .into_iter()
        .map(move |(port, bits)| {
            let data = PublicationData {
                addr,
                protocol,
                pad: 0,
                port: Be16::new(port),
            };
            (lpm_trie::Key::new(PUBLICATION_PREFIX + bits, data), value)
        })
}
