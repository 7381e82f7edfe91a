//! Which publications an endpoint has in the data plane, and keeping them there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Engine, Model};
use crate::{
    dataplane::{EndpointPublications, HomeSpec, PublicationSpec},
    error::Result,
    model::{Endpoint, GatewayMode, Network, PortBinding, Sandbox},
};

/// Host addresses that a binding means.
fn hosts(binding: &PortBinding) -> Vec<IpAddr> {
    match binding.host_ip {
        Some(ip) => vec![ip],
        None => vec![
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ],
    }
}

impl Model {
    /// What an endpoint of a sandbox has published: the host's ports if it is the gateway of a family whose network
    /// translates, its own ports where its network is routed or trusts an uplink.
    pub(super) fn publications(
        &self,
        sandbox: &Sandbox,
        endpoint: &Endpoint,
    ) -> Vec<PublicationSpec> {
        let Some(network) = self.networks.get(&endpoint.network) else {
            return Vec::new();
        };
        let mut specs = Vec::new();
        for binding in &sandbox.ports {
            for host in hosts(binding) {
                specs.extend(self.translated(endpoint, network, binding, host));
                specs.extend(direct(endpoint, network, binding, host));
            }
        }
        specs
    }

    /// From a host address to the endpoint. A published address of one family leads to an endpoint of only the other
    /// one for host processes.
    fn translated(
        &self,
        endpoint: &Endpoint,
        network: &Network,
        binding: &PortBinding,
        host: IpAddr,
    ) -> Option<PublicationSpec> {
        let same = host.is_ipv4();
        let gateway = |v4: bool| self.gateway_endpoint(&endpoint.sandbox, v4);
        let v4 = if gateway(same).is_some() { same } else { !same };
        if gateway(v4)?.id != endpoint.id {
            return None;
        }
        let mode = network.options().mode(v4);
        if !matches!(mode, GatewayMode::Nat | GatewayMode::NatUnprotected) {
            return None;
        }
        let target = if v4 { endpoint.ipv4 } else { endpoint.ipv6 }?.ip();
        Some(spec(endpoint, network, binding, host, target, binding.host))
    }
}

/// From the endpoint's own address to itself.
fn direct(
    endpoint: &Endpoint,
    network: &Network,
    binding: &PortBinding,
    host: IpAddr,
) -> Option<PublicationSpec> {
    let options = network.options();
    let v4 = host.is_ipv4();
    let opened = options.mode(v4) == GatewayMode::Routed || !options.trusted.is_empty();
    let target = if v4 { endpoint.ipv4 } else { endpoint.ipv6 }?.ip();
    // A port that is bound to loopback is not for other machines, however they reach it.
    (opened && !network.internal && !host.is_loopback())
        .then(|| spec(endpoint, network, binding, target, target, binding.target))
}

fn spec(
    endpoint: &Endpoint,
    network: &Network,
    binding: &PortBinding,
    host: IpAddr,
    target: IpAddr,
    host_ports: (u16, u16),
) -> PublicationSpec {
    PublicationSpec {
        host,
        protocol: binding.protocol,
        host_ports,
        network: network.number,
        endpoint: endpoint.number,
        target,
        target_port: binding.target.0,
    }
}

impl Model {
    /// The endpoint as the one that answers clients of its own network, who ask by a published port of another one of
    /// its sandbox.
    fn home(&self, endpoint: &Endpoint) -> Option<HomeSpec> {
        let network = self.networks.get(&endpoint.network)?;
        let open = network.driver == "bridge" && !network.internal;
        open.then(|| HomeSpec {
            network: network.number,
            endpoint: endpoint.number,
            addresses: endpoint.addresses().iter().map(|a| a.ip()).collect(),
        })
    }
}

impl Engine {
    /// Publications follow the endpoints that are the sandbox' gateways now.
    pub(super) async fn refresh_publications(&self, sandbox: &str) -> Result<()> {
        let mut wanted: Vec<EndpointPublications> = {
            let model = self.read();
            let Some(sandbox) = model.sandboxes.get(sandbox) else {
                return Ok(());
            };
            let linked = |e: &&Endpoint| model.links.contains_key(&e.id);
            let endpoints: Vec<&Endpoint> =
                model.endpoints_of(&sandbox.id).filter(linked).collect();
            let specs = |e: &&Endpoint| EndpointPublications {
                endpoint: e.number,
                specs: model.publications(sandbox, e),
                ..EndpointPublications::default()
            };
            let mut all: Vec<EndpointPublications> = endpoints.iter().map(specs).collect();
            let homes: Vec<HomeSpec> = endpoints.iter().filter_map(|e| model.home(e)).collect();
            if homes.len() > 1 && all.iter().any(|p| !p.specs.is_empty()) {
                for publications in &mut all {
                    let own = publications.endpoint;
                    publications.is_home = homes.iter().any(|h| h.endpoint == own);
                    if !publications.specs.is_empty() {
                        let others = homes.iter().filter(|h| h.endpoint != own);
                        publications.homes = others.cloned().collect();
                    }
                }
            }
            all
        };
        // First take away, then give: the new holder's entries must not go with the old one's.
        wanted.sort_by_key(|publications| !publications.specs.is_empty());
        for publications in wanted {
            self.dataplane.set_publications(&publications).await?;
        }
        Ok(())
    }
}
