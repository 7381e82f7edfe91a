//! Entries of others, in real maps. Needs root.

use netd_common::{
    abi::{PUBLICATION_PREFIX, network_flags},
    addr::{Be16, Mac},
};

use super::*;
use crate::dataplane::{EndpointPublications, EndpointSpec, PublicationSpec};

/// Maps of their own, empty.
fn tables() -> Tables {
    const ENTRIES: u32 = 64;
    // A trie takes its memory as it grows (BPF_F_NO_PREALLOC).
    const GROWS: u32 = 1;
    let hash = "root";
    Tables {
        devices: HashMap::create(ENTRIES, 0).expect(hash),
        networks: HashMap::create(ENTRIES, 0).expect(hash),
        gateways: HashMap::create(ENTRIES, 0).expect(hash),
        addresses: HashMap::create(ENTRIES, 0).expect(hash),
        subnets: lpm_trie::LpmTrie::create(ENTRIES, GROWS).expect(hash),
        members: HashMap::create(ENTRIES, 0).expect(hash),
        uplinks: HashMap::create(ENTRIES, 0).expect(hash),
        trusted: HashMap::create(ENTRIES, 0).expect(hash),
        host_addresses: HashMap::create(ENTRIES, 0).expect(hash),
        publications: lpm_trie::LpmTrie::create(ENTRIES, GROWS).expect(hash),
        homes: HashMap::create(ENTRIES, 0).expect(hash),
        counters: PerCpuArray::create(ENTRIES, 0).expect(hash),
        drops: PerCpuHashMap::create(ENTRIES, 0).expect(hash),
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
    }
}

/// Endpoint's number, interface and last byte of its address.
fn endpoint(number: u32, ifindex: u32, last: u8) -> EndpointSpec {
    EndpointSpec {
        number,
        network: 1,
        flags: network_flags::MASQUERADE_V4,
        ifindex,
        mtu: 1500,
        mac: Mac::default(),
        addresses: vec![[10, 1, 0, last].into()],
        link_local: Vec::new(),
        gateway_ifindex: 2,
        gateway_mac: Mac::default(),
    }
}

fn published(endpoint: u32, ports: &[(u16, u16)]) -> EndpointPublications {
    let spec = |range: &(u16, u16)| PublicationSpec {
        host: [0, 0, 0, 0].into(),
        protocol: 6,
        host_ports: *range,
        network: 1,
        endpoint,
        target: [10, 1, 0, endpoint as u8].into(),
        target_port: range.0,
    };
    EndpointPublications {
        endpoint,
        specs: ports.iter().map(spec).collect(),
        ..EndpointPublications::default()
    }
}

/// The endpoint that a port of the host leads to.
fn leads_to(tables: &Tables, port: u16) -> Option<u32> {
    let data = PublicationData {
        addr: Addr::from(std::net::Ipv4Addr::UNSPECIFIED),
        protocol: 6,
        pad: 0,
        port: Be16::new(port),
    };
    let key = lpm_trie::Key::new(PUBLICATION_PREFIX + 16, data);
    tables.publications.get(&key, 0).ok().map(|p| p.endpoint)
}

/// A port changes hands before its old holder is cleaned: what is the new one's by then stays, whichever way the old one goes.
#[test]
fn b03_a_port_that_changed_hands_stays_with_the_new_holder() {
    for end in ["unpublish", "remove", "retain"] {
        let mut tables = tables();
        tables.set_endpoint(&endpoint(3, 13, 3)).unwrap();
        tables.set_endpoint(&endpoint(4, 14, 4)).unwrap();
        // One alone, and a range of which the new holder has a part.
        tables
            .set_publications(&published(3, &[(8080, 8080), (9000, 9015)]))
            .unwrap();
        assert_eq!(leads_to(&tables, 9004), Some(3));
        tables
            .set_publications(&published(4, &[(8080, 8080), (9004, 9007)]))
            .unwrap();
        match end {
            "unpublish" => drop(tables.set_publications(&published(3, &[])).unwrap()),
            "remove" => tables.remove_endpoint(3),
            _ => {
                let desired = DesiredState {
                    networks: BTreeSet::from([1]),
                    endpoints: BTreeSet::from([4]),
                };
                tables.retain(&desired);
            }
        }
        for (port, holder) in [
            (8080, Some(4)),
            (9004, Some(4)),
            (9007, Some(4)),
            // The rest of the range went with its holder.
            (9003, None),
            (9008, None),
        ] {
            assert_eq!(leads_to(&tables, port), holder, "{port} after {end}");
        }
        // The new holder takes its own away.
        tables.set_publications(&published(4, &[])).unwrap();
        assert_eq!(leads_to(&tables, 8080), None);
        assert_eq!(tables.publications.iter().count(), 0, "left over");
    }
}

/// An address and an interface's number that another endpoint has by now are not taken from it, neither when the old one goes nor
/// when it moves.
#[test]
fn b03_addresses_and_interfaces_of_others_stay() {
    for end in ["remove", "move"] {
        let mut tables = tables();
        tables.set_endpoint(&endpoint(3, 13, 3)).unwrap();
        tables.set_endpoint(&endpoint(4, 13, 3)).unwrap();
        match end {
            "remove" => tables.remove_endpoint(3),
            _ => tables.set_endpoint(&endpoint(3, 15, 5)).unwrap(),
        }
        let device = tables.devices.get(&13, 0).map(|d| d.endpoint);
        assert_eq!(device.ok(), Some(4), "after {end}");
        let addr = Addr::from(std::net::Ipv4Addr::new(10, 1, 0, 3));
        let target = tables.addresses.get(&AddressKey { network: 1, addr }, 0);
        assert_eq!(target.ok().map(|t| t.endpoint), Some(4), "after {end}");
    }
}
