//! Publications in the maps.

use std::{collections::BTreeMap, net::IpAddr};

use aya::maps::lpm_trie;
use netd_common::{
    abi::{Home, HomeKey, PUBLICATION_PREFIX, Publication, PublicationData},
    addr::{Addr, Be16},
    publication,
};

use super::{Tables, put, refused};
use crate::{
    dataplane::{
        EndpointPublications, HomeSpec, PublicationSpec, affected::Withdrawn, blocks::blocks,
    },
    error::Result,
};

type Key = lpm_trie::Key<PublicationData>;

/// Where an entry stands in the trie, with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    addr: [u8; 16],
    protocol: u8,
    port: u16,
    /// Of the port's 16 bits, how many say which block it is.
    bits: u32,
}

impl Place {
    fn key(&self) -> Key {
        let data = PublicationData {
            addr: Addr::from_v6_bytes(self.addr),
            protocol: self.protocol,
            pad: 0,
            port: Be16::new(self.port),
        };
        lpm_trie::Key::new(PUBLICATION_PREFIX + self.bits, data)
    }

    /// Whether the entry says how an endpoint's own port is published, not where a published one leads.
    fn is_own(&self, endpoint: u32) -> bool {
        [true, false]
            .map(|v4| Addr::own_ports(endpoint, v4).v6_bytes())
            .contains(&self.addr)
    }

    /// The last port of the block.
    fn last(&self) -> u16 {
        self.port | u16::MAX.checked_shr(self.bits).unwrap_or(0)
    }
}

/// Entries that stand in the trie.
pub(super) type Entries = BTreeMap<Place, Publication>;

impl Tables {
    /// What the last daemon wrote.
    pub(super) fn read_publications(&mut self) {
        for (key, value) in self.publications.iter().filter_map(std::result::Result::ok) {
            let (bits, data) = (key.prefix_len(), key.data());
            let place = Place {
                addr: data.addr.v6_bytes(),
                protocol: data.protocol,
                port: data.port.get(),
                bits: bits.saturating_sub(PUBLICATION_PREFIX),
            };
            let entries = self.published.entry(value.endpoint).or_default();
            entries.insert(place, value);
        }
        self.unconfirmed = self.published.keys().copied().collect();
    }

    /// Makes exactly these the publications of an endpoint; returns what leads there no more.
    pub fn set_publications(
        &mut self,
        publications: &EndpointPublications,
    ) -> Result<Vec<Withdrawn>> {
        let endpoint = publications.endpoint;
        let targets = self.targets_of(endpoint);
        let mut changed = self.set_homes(endpoint, &publications.homes)?;
        let mut wanted: Entries = publications.specs.iter().flat_map(entries).collect();
        wanted.extend(own_ports(&publications.specs));
        let old = match wanted.is_empty() {
            true => self.published.remove(&endpoint),
            false => self.published.insert(endpoint, wanted.clone()),
        };
        let old = old.unwrap_or_default();
        self.unconfirmed.remove(&endpoint);
        let mut gone = Vec::new();
        for (place, value) in &wanted {
            let key = place.key();
            // The trie answers with a wider block where there is none of this very size.
            let there = self.publications.get(&key, 0).ok();
            if there == Some(*value) && old.get(place) == there.as_ref() {
                continue;
            }
            self.publications
                .insert(&key, value, 0)
                .map_err(|e| refused("PUBLICATIONS", &e))?;
            changed = true;
            if let Some(other) = there.filter(|t| t.endpoint != endpoint && !place.is_own(endpoint))
            {
                gone.push(withdrawn(place, &other, self.targets_of(other.endpoint)));
            }
        }
        self.mended += u64::from(changed);
        for (place, value) in old {
            if wanted.get(&place) == Some(&value) {
                continue;
            }
            if !place.is_own(endpoint) {
                gone.push(withdrawn(&place, &value, targets.clone()));
            }
            let key = place.key();
            // Another endpoint may have it by now.
            let own = self.publications.get(&key, 0).is_ok_and(|v| v == value);
            if own && !wanted.contains_key(&place) {
                let _ = self.publications.remove(&key);
            }
        }
        self.withdrawn |= !gone.is_empty();
        self.mark_published(endpoint, publications.is_home || !wanted.is_empty())?;
        Ok(gone)
    }

    /// Where a process of the host is led that asks for this port, as [`netd_common::socket::resolve`] finds it.
    pub fn leads(&self, addr: Addr, protocol: u8, port: Be16) -> Option<(Addr, Be16)> {
        let v4 = addr.is_v4();
        let (own, all) = if v4 {
            (Addr::LOCALHOST_V4, Addr::UNSPECIFIED_V4)
        } else {
            (Addr::LOCALHOST_V6, Addr::UNSPECIFIED)
        };
        let addr = if addr.is_unspecified() { own } else { addr };
        let at = |addr| {
            let data = PublicationData {
                addr,
                protocol,
                pad: 0,
                port,
            };
            let key = lpm_trie::Key::new(PUBLICATION_PREFIX + 16, data);
            self.publications.get(&key, 0).ok()
        };
        let alone = addr.is_loopback() && addr != own;
        let found = at(addr).or_else(|| at(all).filter(|_| !alone))?;
        Some((found.addr, publication::target_port(&found, port)))
    }

    /// Endpoints that the publications of this one may lead to.
    fn targets_of(&self, endpoint: u32) -> Vec<u32> {
        let networks = self.known_homes.get(&endpoint).into_iter().flatten();
        let home = |network: &u32| {
            let key = HomeKey {
                endpoint,
                network: *network,
            };
            self.homes.get(&key, 0).ok().map(|home| home.endpoint)
        };
        networks.filter_map(home).chain([endpoint]).collect()
    }

    fn set_homes(&mut self, endpoint: u32, wanted: &[HomeSpec]) -> Result<bool> {
        let mut changed = false;
        let key = |network| HomeKey { endpoint, network };
        for spec in wanted {
            let mut value = Home {
                endpoint: spec.endpoint,
                ..Home::default()
            };
            for address in &spec.addresses {
                match address {
                    IpAddr::V4(a) => value.ipv4 = (*a).into(),
                    IpAddr::V6(a) => value.ipv6 = (*a).into(),
                }
            }
            changed |= put(&mut self.homes, "HOMES", &key(spec.network), value)?;
        }
        let networks: Vec<u32> = wanted.iter().map(|spec| spec.network).collect();
        let old = if networks.is_empty() {
            self.known_homes.remove(&endpoint)
        } else {
            self.known_homes.insert(endpoint, networks.clone())
        };
        for network in old.unwrap_or_default() {
            if !networks.contains(&network) {
                let _ = self.homes.remove(&key(network));
            }
        }
        Ok(changed)
    }

    pub(super) fn read_homes(&mut self) {
        for key in self.homes.keys().filter_map(std::result::Result::ok) {
            let networks = self.known_homes.entry(key.endpoint).or_default();
            networks.push(key.network);
        }
    }

    /// Removes what no endpoint has published since the start; returns what it was.
    pub(super) fn retain_publications(&mut self) -> Vec<Withdrawn> {
        let stale = std::mem::take(&mut self.unconfirmed);
        let none = |endpoint| EndpointPublications {
            endpoint,
            ..EndpointPublications::default()
        };
        let removed = stale.into_iter().map(|endpoint| {
            let gone = self.set_publications(&none(endpoint));
            gone.unwrap_or_default()
        });
        removed.flatten().collect()
    }

    /// Whether there is an entry of the trie.
    pub fn any_published(&self) -> bool {
        !self.published.is_empty()
    }

    /// Entries of the trie.
    pub fn published_blocks(&self) -> usize {
        self.published.values().map(BTreeMap::len).sum()
    }
}

fn withdrawn(place: &Place, value: &Publication, targets: Vec<u32>) -> Withdrawn {
    let shift = place.port.wrapping_sub(value.first_port);
    Withdrawn {
        addr: Addr::from_v6_bytes(place.addr),
        protocol: place.protocol,
        ports: (place.port, place.last()),
        target_port: value.target_port.wrapping_add(shift),
        targets,
    }
}

/// The trie's entries that lead back: from an endpoint's own ports to the host's that they are published as. A port that
/// is published several times is known by the first one.
fn own_ports(specs: &[PublicationSpec]) -> Vec<(Place, Publication)> {
    let mut found = Vec::new();
    let mut taken: Vec<(u8, bool, u16, u16)> = Vec::new();
    for spec in specs {
        let v4 = spec.target.is_ipv4();
        // At its own address it is known by its own port, and by what is bound to loopback nowhere outside.
        let same = spec.host.is_ipv4() == v4;
        if !same || spec.host == spec.target || spec.host.is_loopback() {
            continue;
        }
        let first = spec.target_port;
        let last = first.saturating_add(spec.host_ports.1 - spec.host_ports.0);
        let value = Publication {
            network: spec.network,
            endpoint: spec.endpoint,
            addr: spec.host.into(),
            first_port: first,
            target_port: spec.host_ports.0,
        };
        let addr = Addr::own_ports(spec.endpoint, v4);
        let others = taken.iter().filter(|t| t.0 == spec.protocol && t.1 == v4);
        for (first, last) in without((first, last), others.map(|t| (t.2, t.3))) {
            found.extend(places(addr, spec.protocol, (first, last)).map(|place| (place, value)));
        }
        taken.push((spec.protocol, v4, first, last));
    }
    found
}

/// What is left of a range when others are taken out of it.
fn without(range: (u16, u16), others: impl Iterator<Item = (u16, u16)>) -> Vec<(u16, u16)> {
    let mut left = vec![range];
    for (first, last) in others {
        let cut = |(a, b): (u16, u16)| {
            let below = (a < first).then(|| (a, b.min(first.saturating_sub(1))));
            let above = (b > last).then(|| (a.max(last.saturating_add(1)), b));
            below.into_iter().chain(above)
        };
        left = left.into_iter().flat_map(cut).collect();
    }
    left
}

/// The trie's entries of a publication. Each block's first port leads to the first port of the whole range, so that
/// the program needs no more than the difference.
fn entries(spec: &PublicationSpec) -> impl Iterator<Item = (Place, Publication)> + use<> {
    let value = Publication {
        network: spec.network,
        endpoint: spec.endpoint,
        addr: spec.target.into(),
        first_port: spec.host_ports.0,
        target_port: spec.target_port,
    };
    places(spec.host.into(), spec.protocol, spec.host_ports).map(move |place| (place, value))
}

/// The blocks of a range.
fn places(
    addr: Addr,
    protocol: u8,
    (first, last): (u16, u16),
) -> impl Iterator<Item = Place> + use<> {
    let place = move |(port, bits)| Place {
        addr: addr.v6_bytes(),
        protocol,
        port,
        bits,
    };
    blocks(first, last).into_iter().map(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(host: &str, host_ports: (u16, u16), target_port: u16) -> PublicationSpec {
        PublicationSpec {
            host: host.parse().unwrap(),
            protocol: 17,
            host_ports,
            network: 1,
            endpoint: 7,
            target: "10.1.0.2".parse().unwrap(),
            target_port,
        }
    }

    /// The host port that a port of the endpoint is known by, as the program finds it: by the longest prefix.
    fn known_as(entries: &[(Place, Publication)], port: u16) -> Option<u16> {
        let hits = entries
            .iter()
            .filter(|(p, _)| (p.port..=p.last()).contains(&port));
        let (_, found) = hits.max_by_key(|(p, _)| p.bits)?;
        Some(found.target_port + (port - found.first_port))
    }

    #[test]
    fn an_own_port_is_known_by_its_first_publication() {
        let all = "0.0.0.0";
        let specs = [
            spec(all, (5000, 5009), 7000),
            spec(all, (9000, 9000), 7005),
            spec("198.51.100.1", (6000, 6019), 6995),
        ];
        let entries = own_ports(&specs);
        assert!(entries.iter().all(|(place, _)| place.is_own(7)));
        for (port, host) in [(7000, 5000), (7005, 5005), (6995, 6000), (7010, 6015)] {
            assert_eq!(known_as(&entries, port), Some(host), "{port}");
        }
        assert_eq!(known_as(&entries, 7015), None);
        // Nobody outside knows it by these.
        let hidden = [
            spec("127.0.0.1", (80, 80), 80),
            spec("10.1.0.2", (80, 80), 80),
            spec("::", (80, 80), 80),
        ];
        assert!(own_ports(&hidden).is_empty());
        let whole = [spec(all, (1, 65535), 1)];
        assert_eq!(known_as(&own_ports(&whole), 65535), Some(65535));
    }
}
