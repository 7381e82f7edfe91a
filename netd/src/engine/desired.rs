//! What is desired, in memory, with the indices that keep a request's cost from growing with the number of objects. The maps
//! share what does not change, so a copy costs nothing: whoever reads has one of its own and holds nobody up.

use std::{net::IpAddr, path::Path, sync::Arc};

use imbl::{OrdMap, OrdSet, Vector};

use super::{lookup::find, port_index::PortIndex};
use crate::{
    by_id::ById,
    driver::{Gateways, Network},
    error::{Kind, Result},
    model::{Endpoint, Sandbox},
};

/// What stands on one network.
#[derive(Clone, Debug, Default)]
pub struct Occupancy {
    /// Ids of its endpoints.
    pub endpoints: OrdSet<Arc<str>>,
    /// Their Ethernet addresses.
    pub macs: OrdSet<[u8; 6]>,
}

/// What is desired; the store holds the same.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    networks: ById<Arc<Network>>,
    sandboxes: ById<Arc<Sandbox>>,
    endpoints: ById<Arc<Endpoint>>,
    network_names: ById<Arc<str>>,
    sandbox_names: ById<Arc<str>>,
    /// Ids of sandboxes by the names of their namespaces' files, where these are not the sandboxes' own names.
    namespaces: ById<Arc<str>>,
    /// Ids of networks by their devices.
    devices: ById<Arc<str>>,
    on_network: ById<Occupancy>,
    of_sandbox: ById<Vector<Arc<str>>>,
    /// Ids of endpoints by their numbers.
    numbers: OrdMap<u32, Arc<str>>,
    /// Endpoints with links.
    linking: OrdSet<Arc<str>>,
    /// Published ports.
    ports: PortIndex,
}

impl Desired {
    /// Networks by id.
    pub fn networks(&self) -> &ById<Arc<Network>> {
        &self.networks
    }

    /// Sandboxes by id.
    pub fn sandboxes(&self) -> &ById<Arc<Sandbox>> {
        &self.sandboxes
    }

    /// Endpoints by id.
    pub fn endpoints(&self) -> &ById<Arc<Endpoint>> {
        &self.endpoints
    }

    /// Published ports.
    pub fn ports(&self) -> &PortIndex {
        &self.ports
    }

    /// Adds or changes a network.
    pub(super) fn put_network(&mut self, network: Arc<Network>) {
        self.remove_network(&network.id.clone());
        let id: Arc<str> = network.id.as_str().into();
        if !network.device.is_empty() {
            self.devices.insert(&*network.device, Arc::clone(&id));
        }
        self.network_names.insert(&*network.name, Arc::clone(&id));
        self.networks.insert(id, network);
    }

    /// Removes a network.
    pub(super) fn remove_network(&mut self, id: &str) {
        if let Some(old) = self.networks.remove(id) {
            forget(&mut self.network_names, &old.name, id);
            forget(&mut self.devices, &old.device, id);
        }
    }

    /// Adds or changes a sandbox.
    pub(super) fn put_sandbox(&mut self, sandbox: Arc<Sandbox>) {
        self.remove_sandbox(&sandbox.id);
        let id: Arc<str> = sandbox.id.as_str().into();
        self.sandbox_names.insert(&*sandbox.name, Arc::clone(&id));
        if let Some(file) = other_namespace(&sandbox) {
            self.namespaces.insert(file, Arc::clone(&id));
        }
        for binding in &sandbox.ports {
            self.ports.insert(&sandbox.id, binding);
        }
        self.sandboxes.insert(id, sandbox);
    }

    /// Removes a sandbox.
    pub(super) fn remove_sandbox(&mut self, id: &str) {
        if let Some(old) = self.sandboxes.remove(id) {
            forget(&mut self.sandbox_names, &old.name, id);
            if let Some(file) = other_namespace(&old) {
                forget(&mut self.namespaces, file, id);
            }
            for binding in &old.ports {
                self.ports.remove(id, binding);
            }
        }
    }

    /// Adds or changes an endpoint.
    pub(super) fn put_endpoint(&mut self, endpoint: Arc<Endpoint>) {
        let known = self.endpoints.contains_key(&endpoint.id);
        if known {
            self.unindex(&endpoint.id, true);
        }
        let id: Arc<str> = endpoint.id.as_str().into();
        let there = self.on_network.entry(&endpoint.network);
        there.endpoints.insert(Arc::clone(&id));
        there.macs.insert(endpoint.mac);
        let own = self.of_sandbox.entry(&endpoint.sandbox);
        if !own.contains(&id) {
            own.push_back(Arc::clone(&id));
        }
        if !endpoint.links.is_empty() {
            self.linking.insert(Arc::clone(&id));
        }
        self.numbers.insert(endpoint.number, Arc::clone(&id));
        self.endpoints.insert(id, endpoint);
    }

    /// Removes an endpoint.
    pub(super) fn remove_endpoint(&mut self, id: &str) {
        self.unindex(id, false);
        self.endpoints.remove(id);
    }

    /// `stays`: it keeps its place among its sandbox's endpoints.
    fn unindex(&mut self, id: &str, stays: bool) {
        let Some(endpoint) = self.endpoints.get(id).cloned() else {
            return;
        };
        self.linking.remove(id);
        self.numbers.remove(&endpoint.number);
        if let Some(there) = self.on_network.get_mut(&endpoint.network) {
            there.endpoints.remove(id);
            there.macs.remove(&endpoint.mac);
            if there.endpoints.is_empty() {
                self.on_network.remove(&endpoint.network);
            }
        }
        if stays {
            return;
        }
        if let Some(own) = self.of_sandbox.get_mut(&endpoint.sandbox) {
            own.retain(|e| **e != *id);
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
    ) -> impl Iterator<Item = &'a Arc<Endpoint>> + use<'a> {
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
    ) -> impl Iterator<Item = &'a Arc<Endpoint>> + use<'a> {
        self.of_sandbox
            .get(sandbox)
            .into_iter()
            .flatten()
            .filter_map(|id| self.endpoints.get(id))
    }

    /// The endpoint with this number in the data plane.
    pub fn endpoint_numbered(&self, number: u32) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(self.numbers.get(&number)?)
    }

    /// The endpoints that have links to other sandboxes.
    pub fn linking(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let ids = self.linking.iter();
        ids.filter_map(|id| self.endpoints.get(id))
    }

    /// Whether an endpoint's id begins so.
    pub fn has_endpoint_beginning(&self, prefix: &str) -> bool {
        !prefix.is_empty() && self.endpoints.beginning(prefix).next().is_some()
    }

    /// Whether a network's id begins so.
    pub fn has_network_beginning(&self, prefix: &str) -> bool {
        !prefix.is_empty() && self.networks.beginning(prefix).next().is_some()
    }

    /// A network by name, id or prefix.
    pub fn network(&self, wanted: &str) -> Result<&Arc<Network>> {
        find("network", wanted, &self.networks, &self.network_names)
    }

    /// An endpoint by id or prefix; it has no name.
    pub fn endpoint(&self, wanted: &str) -> Result<&Arc<Endpoint>> {
        find("endpoint", wanted, &self.endpoints, &ById::default())
    }

    /// A network of this very name.
    pub fn network_named(&self, name: &str) -> Option<&Arc<Network>> {
        self.networks.get(self.network_names.get(name)?)
    }

    /// The network whose device has this name.
    pub fn network_with_device(&self, device: &str) -> Option<&Arc<Network>> {
        self.networks.get(self.devices.get(device)?)
    }

    /// A sandbox by name, id or prefix.
    pub fn sandbox(&self, wanted: &str) -> Result<&Arc<Sandbox>> {
        find("sandbox", wanted, &self.sandboxes, &self.sandbox_names).map_err(|mut e| {
            if e.kind == Kind::NotFound {
                e.message = format!("No such container: {wanted}");
                e = e.hint("netctl sandbox ls shows what there is");
            }
            e
        })
    }

    /// A sandbox of this very name.
    pub fn sandbox_named(&self, name: &str) -> Option<&Arc<Sandbox>> {
        self.sandboxes.get(self.sandbox_names.get(name)?)
    }

    /// The sandbox that has this file for its namespace.
    pub fn sandbox_in(&self, netns: &Path) -> Option<&Arc<Sandbox>> {
        let file = netns.file_name()?.to_str()?;
        let other = self.namespaces.get(file);
        let ids = other.into_iter().chain(self.sandbox_names.get(file));
        let mut found = ids.filter_map(|id| self.sandboxes.get(id));
        found.find(|s| s.run.as_ref().is_some_and(|r| r.netns == netns))
    }

    /// The endpoint that holds the sandbox's default route of a family: the highest priority, then the network's name.
    pub fn gateway_endpoint(&self, sandbox: &str, v4: bool) -> Option<&Endpoint> {
        self.endpoints_of(sandbox)
            .filter(|e| e.address(v4).is_some())
            .filter_map(|e| Some((e, self.networks.get(&e.network)?)))
            .filter(|(_, n)| n.route_via(v4).is_some())
            .min_by(|(a, an), (b, bn)| b.priority.cmp(&a.priority).then(an.name.cmp(&bn.name)))
            .map(|(e, _)| &**e)
    }

    /// The endpoints that hold a sandbox's default routes.
    pub fn gateways(&self, sandbox: &str) -> Gateways<'_> {
        Gateways {
            v4: self.gateway_endpoint(sandbox, true),
            v6: self.gateway_endpoint(sandbox, false),
        }
    }

    /// Whether an address is a gateway's that the host holds: it is the host's from the moment the network is there.
    pub fn is_gateway(&self, ip: IpAddr) -> bool {
        let mut networks = self.networks.values().filter(|n| !n.device.is_empty());
        networks.any(|n| n.host_gateways().iter().any(|net| net.ip() == ip))
    }
}

/// The name of the file of a sandbox's namespace, if it is not the sandbox's own.
fn other_namespace(sandbox: &Sandbox) -> Option<&str> {
    let file = sandbox.run.as_ref()?.netns.file_name()?.to_str()?;
    (file != sandbox.name).then_some(file)
}

/// Removes an entry that leads to this id; by now it may lead to another's.
fn forget(index: &mut ById<Arc<str>>, name: &str, id: &str) {
    if index.get(name).is_some_and(|found| **found == *id) {
        index.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    fn endpoint(id: &str, network: &str, sandbox: &str, last: u8) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            id: id.into(),
            number: last.into(),
            network: network.into(),
            sandbox: sandbox.into(),
            ipv4: format!("10.0.0.{last}/24").parse().ok(),
            mac: [2, 0, 0, 0, 0, last],
            ..Endpoint::default()
        })
    }

    #[test]
    fn indices_follow_endpoints() {
        let mut desired = Desired::default();
        desired.put_endpoint(endpoint("a", "n", "s", 2));
        desired.put_endpoint(endpoint("b", "n", "t", 3));
        desired.put_endpoint(endpoint("a", "n", "s", 4));
        assert_eq!(desired.endpoints_on("n").count(), 2);
        assert_eq!(desired.endpoints_of("s").count(), 1);
        assert!(desired.endpoint_numbered(2).is_none() && desired.endpoint_numbered(4).is_some());
        desired.remove_endpoint("a");
        desired.remove_endpoint("a");
        let there = desired.on_network("n").unwrap();
        assert_eq!((there.endpoints.len(), there.macs.len()), (1, 1));
        desired.remove_endpoint("b");
        assert!(desired.on_network("n").is_none() && desired.endpoints_of("t").next().is_none());
    }

    #[test]
    fn a_sandbox_is_found_by_its_namespace() {
        let sandbox = |id: &str, name: &str, file: &str| {
            let run = model::Run {
                netns: Path::new("/run/netns").join(file),
                origin: model::Origin::Made,
            };
            Arc::new(Sandbox {
                id: id.into(),
                name: name.into(),
                run: Some(run),
                ..Sandbox::default()
            })
        };
        let mut desired = Desired::default();
        desired.put_sandbox(sandbox("1", "a", "a"));
        let holder = |d: &Desired, file: &str| {
            let found = d.sandbox_in(&Path::new("/run/netns").join(file));
            found.map(|s| s.id.clone())
        };
        assert_eq!(holder(&desired, "a").as_deref(), Some("1"));
        // Renamed, it keeps its namespace; its name is another's.
        desired.put_sandbox(sandbox("1", "b", "a"));
        desired.put_sandbox(sandbox("2", "a", "2"));
        assert_eq!(holder(&desired, "a").as_deref(), Some("1"));
        assert_eq!(holder(&desired, "2").as_deref(), Some("2"));
        desired.remove_sandbox("1");
        assert!(holder(&desired, "a").is_none() && holder(&desired, "b").is_none());
        assert!(desired.sandbox_in(Path::new("/elsewhere/2")).is_none());
    }
}
