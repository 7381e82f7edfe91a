//! The maps that the daemon writes. What stands in them is remembered, so that no request walks a map.

mod endpoints;
mod networks;
mod publications;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData, PerCpuArray, PerCpuHashMap, lpm_trie},
};
use netd_common::{
    abi::{
        AddressKey, Counters, Device, DropCount, DropKey, Home, HomeKey, HostAddress, MemberKey,
        Network, Publication, PublicationData, SubnetData, Target, TrustedKey, Uplink,
    },
    addr::Addr,
};

use super::{DesiredState, MapRow, affected::Withdrawn, counters, object};
use crate::error::{Error, Kind, Result};
use endpoints::KnownEndpoint;
use networks::KnownNetwork;
pub(super) use networks::subnet_key;
use publications::Entries;

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
    trusted: HashMap<MapData, TrustedKey, u32>,
    host_addresses: HashMap<MapData, Addr, HostAddress>,
    /// The host's own of these; a network whose gateway is one neither has it nor takes it along when it goes.
    own_addresses: BTreeSet<[u8; 16]>,
    publications: Publications,
    homes: HashMap<MapData, HomeKey, Home>,
    pub(super) counters: PerCpuArray<MapData, Counters>,
    pub(super) drops: PerCpuHashMap<MapData, DropKey, DropCount>,
    known_networks: BTreeMap<u32, KnownNetwork>,
    known_endpoints: BTreeMap<u32, KnownEndpoint>,
    /// Slots of `COUNTERS` that no endpoint uses, below `next_slot`.
    free_slots: BTreeSet<u32>,
    /// Slots of endpoints that are gone, by their numbers, while flows may still count there.
    resting_slots: BTreeMap<u32, u32>,
    next_slot: u32,
    /// Networks of each endpoint's entries of `HOMES`.
    known_homes: BTreeMap<u32, Vec<u32>>,
    /// What each endpoint has published.
    published: BTreeMap<u32, Entries>,
    /// Endpoints whose publications were read from the map and not yet written.
    unconfirmed: BTreeSet<u32>,
    /// Something was withdrawn since somebody asked.
    pub(super) withdrawn: bool,
    /// Writes that found something else than what should have stood there.
    pub(super) mended: u64,
}

/// The map said no.
fn refused(map: &str, e: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Exhausted, format!("writing map {map}: {e}"))
        .hint("if it is full, raise [limits] in the configuration file")
}

/// Writes where something else stands. Says whether it had to.
fn put<K: Pod, V: Pod + PartialEq>(
    map: &mut HashMap<MapData, K, V>,
    name: &str,
    key: &K,
    value: V,
) -> Result<bool> {
    if map.get(key, 0).is_ok_and(|there| there == value) {
        return Ok(false);
    }
    map.insert(key, value, 0).map_err(|e| refused(name, &e))?;
    Ok(true)
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
            trusted: object::take(o, "TRUSTED")?,
            host_addresses: object::take(o, "HOST_ADDRESSES")?,
            publications: object::take(o, "PUBLICATIONS")?,
            homes: object::take(o, "HOMES")?,
            counters: object::take(o, "COUNTERS")?,
            drops: object::take(o, "DROPS")?,
            own_addresses: BTreeSet::new(),
            known_networks: BTreeMap::new(),
            known_endpoints: BTreeMap::new(),
            free_slots: BTreeSet::new(),
            resting_slots: BTreeMap::new(),
            next_slot: 1,
            known_homes: BTreeMap::new(),
            published: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            withdrawn: false,
            mended: 0,
        };
        tables.read_networks();
        tables.read_endpoints();
        tables.read_homes();
        tables.read_publications();
        Ok(tables)
    }

    /// Removes what is not desired; returns the endpoints that went, and what leads to those that stay no more.
    pub fn retain(&mut self, desired: &DesiredState) -> (Vec<u32>, Vec<Withdrawn>) {
        let gone: Vec<u32> = self
            .known_endpoints
            .keys()
            .filter(|n| !desired.endpoints.contains(n))
            .copied()
            .collect();
        for number in &gone {
            self.remove_endpoint(*number);
        }
        let networks: Vec<u32> = self
            .known_networks
            .keys()
            .filter(|n| !desired.networks.contains(n))
            .copied()
            .collect();
        for number in networks {
            self.remove_network(number);
        }
        (gone, self.retain_publications())
    }

    /// How full the maps are.
    pub fn usage(&self) -> Vec<MapRow> {
        let known = self.known_endpoints.values();
        let addresses = known.clone().map(|k| k.addresses.len());
        vec![
            counters::usage("DEVICES", known.filter(|k| k.ifindex != 0).count()),
            counters::usage("NETWORKS", self.known_networks.len()),
            counters::usage("ADDRESSES", addresses.sum()),
            counters::usage("PUBLICATIONS", self.published_blocks()),
        ]
    }
}
