//! Publications in the maps.

use std::{collections::BTreeSet, net::IpAddr};

use aya::maps::lpm_trie;
use netd_common::{
    abi::{Home, HomeKey, PUBLICATION_PREFIX, Publication, PublicationData},
    addr::{Addr, Be16},
};

use super::{Tables, put, refused};
use crate::{
    dataplane::{EndpointPublications, HomeSpec, PublicationSpec, blocks::blocks},
    error::Result,
};

type Key = lpm_trie::Key<PublicationData>;

/// An order over keys.
fn sortable(key: &Key) -> (u32, [u8; 16], u8, u16) {
    let data = key.data();
    (
        key.prefix_len(),
        data.addr.v6_bytes(),
        data.protocol,
        data.port.get(),
    )
}

impl Tables {
    /// What an endpoint has published.
    pub fn publications_of(&self, endpoint: u32) -> &[PublicationSpec] {
        self.published.get(&endpoint).map_or(&[], Vec::as_slice)
    }

    /// Makes exactly these the publications of an endpoint; returns those that went.
    pub fn set_publications(
        &mut self,
        publications: &EndpointPublications,
    ) -> Result<Vec<PublicationSpec>> {
        let endpoint = publications.endpoint;
        let wanted = &*publications.specs;
        let mut changed = self.set_homes(endpoint, &publications.homes)?;
        let old = self
            .published
            .insert(endpoint, wanted.to_vec())
            .unwrap_or_default();
        let mut kept = BTreeSet::new();
        for (key, value) in wanted.iter().flat_map(entries) {
            kept.insert(sortable(&key));
            if self.publications.get(&key, 0).ok() != Some(value) {
                self.publications
                    .insert(&key, value, 0)
                    .map_err(|e| refused("PUBLICATIONS", &e))?;
                changed = true;
            }
        }
        self.mended += u64::from(changed);
        let gone: Vec<PublicationSpec> = old
            .into_iter()
            .filter(|spec| !wanted.contains(spec))
            .collect();
        for (key, _) in gone.iter().flat_map(entries) {
            if !kept.contains(&sortable(&key)) {
                let _ = self.publications.remove(&key);
            }
        }
        self.mark_published(endpoint, publications.is_home || !wanted.is_empty())?;
        Ok(gone)
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

    /// Removes what no endpoint has published.
    pub(super) fn retain_publications(&mut self) {
        let wanted: BTreeSet<_> = self
            .published
            .values()
            .flatten()
            .flat_map(entries)
            .map(|(key, _)| sortable(&key))
            .collect();
        let stale: Vec<Key> = self
            .publications
            .iter()
            .filter_map(std::result::Result::ok)
            .map(|(key, _)| key)
            .filter(|key| !wanted.contains(&sortable(key)))
            .collect();
        for key in stale {
            let _ = self.publications.remove(&key);
        }
    }

    /// Entries of the trie.
    pub(super) fn published_blocks(&self) -> usize {
        self.published.values().flatten().flat_map(entries).count()
    }
}

/// The trie's entries of a publication. Each block's first port leads to the first port of the whole range, so that
/// the program needs no more than the difference.
fn entries(spec: &PublicationSpec) -> impl Iterator<Item = (Key, Publication)> + use<> {
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
