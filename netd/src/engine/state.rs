//! The desired state in memory, with the indices that keep a request's cost from growing with the number of objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use crate::{
    error::{Error, Kind, Result},
    kernel::{Netns, host::HostState},
    model::{self, Endpoint, Network, Sandbox},
};

/// What stands on one network.
#[derive(Clone, Debug, Default)]
pub struct Occupancy {
    /// Ids of its endpoints.
    pub endpoints: BTreeSet<String>,
    /// Their addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Their Ethernet addresses.
    pub macs: BTreeSet<[u8; 6]>,
}

/// The desired state in memory; the store holds the same.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// By id.
    pub networks: BTreeMap<String, Network>,
    /// By id.
    pub sandboxes: BTreeMap<String, Sandbox>,
    /// The next number of a network or an endpoint.
    pub next_number: u32,
    /// The host's random /48 (RFC 4193).
    pub ula: Option<ipnetwork::Ipv6Network>,
    /// What runs: the namespaces of the sandboxes that are there, by sandbox id.
    pub running: BTreeMap<String, Netns>,
    /// Network devices: (device, inner end), by network id.
    pub devices: BTreeMap<String, (u32, u32)>,
    /// Host ends of the endpoints' veths, by endpoint id.
    pub links: BTreeMap<String, u32>,
    /// Interfaces of ours that are being removed.
    pub retired: BTreeSet<u32>,
    /// The host's own configuration, as last read.
    pub host: HostState,
    /// Directory of the sandboxes' files, `RUN/files`.
    pub files: PathBuf,
    endpoints: BTreeMap<String, Endpoint>,
    on_network: BTreeMap<String, Occupancy>,
    of_sandbox: BTreeMap<String, Vec<String>>,
    /// Endpoints with links.
    linking: BTreeSet<String>,
}

impl Model {
    /// Endpoints by id.
    pub fn endpoints(&self) -> &BTreeMap<String, Endpoint> {
        &self.endpoints
    }

    /// Adds an endpoint.
    pub fn insert_endpoint(&mut self, endpoint: Endpoint) {
        let there = self.on_network.entry(endpoint.network.clone()).or_default();
        there.endpoints.insert(endpoint.id.clone());
        there
            .addresses
            .extend(endpoint.addresses().iter().map(|a| a.ip()));
        there.macs.insert(endpoint.mac);
        let own = self.of_sandbox.entry(endpoint.sandbox.clone()).or_default();
        if !own.contains(&endpoint.id) {
            own.push(endpoint.id.clone());
        }
        if !endpoint.links.is_empty() {
            self.linking.insert(endpoint.id.clone());
        }
        self.endpoints.insert(endpoint.id.clone(), endpoint);
    }

    /// Removes an endpoint; its addresses are free from now on.
    pub fn remove_endpoint(&mut self, id: &str) {
        let Some(endpoint) = self.endpoints.remove(id) else {
            return;
        };
        self.links.remove(id);
        self.linking.remove(id);
        if let Some(there) = self.on_network.get_mut(&endpoint.network) {
            there.endpoints.remove(id);
            there.macs.remove(&endpoint.mac);
            for address in endpoint.addresses() {
                there.addresses.remove(&address.ip());
            }
            if there.endpoints.is_empty() {
                self.on_network.remove(&endpoint.network);
            }
        }
        if let Some(own) = self.of_sandbox.get_mut(&endpoint.sandbox) {
            own.retain(|e| e != id);
            if own.is_empty() {
                self.of_sandbox.remove(&endpoint.sandbox);
            }
        }
    }

    /// What stands on a network.
    pub fn on_network(&self, id: &str) -> Option<&Occupancy> {
        self.on_network.get(id)
    }

    /// The endpoints of a network.
    pub fn endpoints_on<'a>(
        &'a self,
        network: &str,
    ) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
        self.on_network
            .get(network)
            .into_iter()
            .flat_map(|there| &there.endpoints)
            .filter_map(|id| self.endpoints.get(id))
    }

    /// The endpoints of a sandbox, in the order in which they were connected.
    pub fn endpoints_of<'a>(
        &'a self,
        sandbox: &str,
    ) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
        self.of_sandbox
            .get(sandbox)
            .into_iter()
            .flatten()
            .filter_map(|id| self.endpoints.get(id))
    }

    /// The endpoints that have links to other sandboxes.
    pub fn linking(&self) -> impl Iterator<Item = &Endpoint> {
        let ids = self.linking.iter();
        ids.filter_map(|id| self.endpoints.get(id))
    }

    /// A network by name, id or prefix.
    pub fn network(&self, wanted: &str) -> Result<&Network> {
        model::find(
            "network",
            wanted,
            self.networks.values(),
            |n| &n.id,
            |n| &n.name,
        )
    }

    /// A sandbox by name, id or prefix.
    pub fn sandbox(&self, wanted: &str) -> Result<&Sandbox> {
        if let Some(found) = self.sandboxes.get(wanted) {
            return Ok(found);
        }
        model::find(
            "sandbox",
            wanted,
            self.sandboxes.values(),
            |s| &s.id,
            |s| &s.name,
        )
        .map_err(|mut e| {
            if e.kind == Kind::NotFound {
                e.message = format!("No such container: {wanted}");
                e = e.hint("netctl sandbox ls shows what there is");
            }
            e
        })
    }

    /// The endpoint that holds the sandbox's default route of a family: the highest priority, then the network's name.
    pub fn gateway_endpoint(&self, sandbox: &str, v4: bool) -> Option<&Endpoint> {
        self.endpoints_of(sandbox)
            .filter(|e| {
                if v4 {
                    e.ipv4.is_some()
                } else {
                    e.ipv6.is_some()
                }
            })
            .filter_map(|e| Some((e, self.networks.get(&e.network)?)))
            .filter(|(_, n)| n.route_via(v4).is_some())
            .min_by(|(a, an), (b, bn)| b.priority.cmp(&a.priority).then(an.name.cmp(&bn.name)))
            .map(|(e, _)| e)
    }

    /// Bytes that an interface of this network takes.
    pub fn mtu(&self, network: &Network) -> u32 {
        network.mtu.unwrap_or_else(|| self.host.egress_mtu())
    }

    /// Takes a number for the data plane; it goes to disk with the request's other changes.
    pub fn take_number(&mut self) -> Result<u32> {
        let number = self.next_number.max(1);
        self.next_number = number
            .checked_add(1)
            .ok_or_else(|| Error::internal("numbers of networks and endpoints", "all used"))?;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(id: &str, network: &str, sandbox: &str, last: u8) -> Endpoint {
        Endpoint {
            id: id.into(),
            network: network.into(),
            sandbox: sandbox.into(),
            ipv4: format!("10.0.0.{last}/24").parse().ok(),
            mac: [2, 0, 0, 0, 0, last],
            ..Endpoint::default()
        }
    }

    #[test]
    fn indices_follow_endpoints() {
        let mut model = Model::default();
        model.insert_endpoint(endpoint("a", "n", "s", 2));
        model.insert_endpoint(endpoint("b", "n", "t", 3));
        model.insert_endpoint(endpoint("a", "n", "s", 2));
        assert_eq!(model.endpoints_on("n").count(), 2);
        assert_eq!(model.endpoints_of("s").count(), 1);
        model.remove_endpoint("a");
        model.remove_endpoint("a");
        let there = model.on_network("n").unwrap();
        assert_eq!((there.addresses.len(), there.macs.len()), (1, 1));
        model.remove_endpoint("b");
        assert!(model.on_network("n").is_none() && model.endpoints_of("t").next().is_none());
    }
}
