//! From desired state to the kernel and the data plane, and back. Every step may find its work already done.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netd_common::abi::network_flags;

use super::{
    Engine, Model,
    networks::{ICC_OPTION, MASQUERADE_OPTION},
};
use crate::{
    dataplane::{EndpointSpec, NetworkSpec, PublicationSpec},
    error::{Error, Result},
    kernel::{EndpointLinkSpec, NetworkDeviceSpec, Role, links, sandbox},
    model::{Endpoint, Network},
};

fn flags(network: &Network) -> Result<u32> {
    let mut flags = 0;
    if network.internal {
        flags |= network_flags::INTERNAL;
    }
    if !network.flag(ICC_OPTION, true)? {
        flags |= network_flags::NO_ICC;
    }
    if network.flag(MASQUERADE_OPTION, true)? {
        flags |= network_flags::MASQUERADE_V4 | network_flags::MASQUERADE_V6;
    }
    Ok(flags)
}

fn gateways(network: &Network) -> Result<Vec<IpNetwork>> {
    let net = |p: &crate::model::Pool| IpNetwork::new(p.gateway, p.subnet.prefix());
    network
        .pools
        .iter()
        .map(net)
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Error::internal("a gateway", e))
}

impl Engine {
    /// Makes or adopts a network's device and tells the data plane.
    pub(super) async fn realize_network(&self, model: &mut Model, network: &Network) -> Result<()> {
        if network.device.is_empty() {
            return Ok(());
        }
        let gateways = gateways(network)?;
        let (ifindex, peer) = match model.devices.get(&network.id) {
            Some(found) => *found,
            None => {
                let name = &self.instance.name;
                let made = self
                    .netlink
                    .create_network_device(&NetworkDeviceSpec {
                        name: network.device.clone(),
                        peer_name: format!("np-{}", &network.id[..12]),
                        aliases: (
                            links::alias(name, Role::Network, &network.id),
                            links::alias(name, Role::Peer, &network.id),
                        ),
                        mac: network.mac,
                        mtu: network.mtu,
                        gateways: gateways.clone(),
                    })
                    .await?;
                (made.ifindex, made.peer_ifindex)
            }
        };
        model.devices.insert(network.id.clone(), (ifindex, peer));
        self.dataplane.attach_gateway(peer)?;
        self.dataplane.set_network(&NetworkSpec {
            number: network.number,
            flags: flags(network)?,
            gateway_ifindex: ifindex,
            peer_ifindex: peer,
            gateway_mac: network.mac,
            gateways,
        })?;
        self.netlink.set_up(peer).await?;
        self.netlink.set_up(ifindex).await?;
        self.refresh_host(model).await
    }

    /// Takes a network's device away; what fails is logged, the next start mends it.
    pub(super) async fn unrealize_network(&self, model: &mut Model, network: &Network) {
        if let Some((ifindex, _)) = model.devices.remove(&network.id)
            && let Err(e) = self.netlink.delete_link(ifindex).await
        {
            tracing::warn!("removing the device of network {}: {e}", network.name);
        }
        self.dataplane.remove_network(network.number);
        if let Err(e) = self.refresh_host(model).await {
            tracing::warn!("reading the host's addresses: {e}");
        }
    }

    /// Makes or adopts an endpoint's veth. The program denies before the link is up and knows the endpoint before its
    /// first packet.
    pub(super) async fn realize_endpoint(
        &self,
        model: &mut Model,
        endpoint: &Endpoint,
    ) -> Result<()> {
        if endpoint.interface.is_empty() {
            return Ok(());
        }
        let missing = |what: &str| {
            Error::internal(
                format!("endpoint {}", endpoint.id),
                format!("its {what} is gone"),
            )
        };
        let network = model
            .networks
            .get(&endpoint.network)
            .ok_or_else(|| missing("network"))?
            .clone();
        let Some(netns) = model.running.get(&endpoint.sandbox).cloned() else {
            return Ok(());
        };
        let (gateway_ifindex, _) = *model
            .devices
            .get(&network.id)
            .ok_or_else(|| missing("network's device"))?;
        let ifindex = match model.links.get(&endpoint.id) {
            Some(found) => *found,
            None => {
                self.netlink
                    .create_endpoint(&EndpointLinkSpec {
                        host_name: endpoint.host_interface(),
                        alias: links::alias(&self.instance.name, Role::Endpoint, &endpoint.id),
                        netns: &netns,
                        name: endpoint.interface.clone(),
                        mac: endpoint.mac,
                        mtu: network.mtu,
                    })
                    .await?
            }
        };
        model.links.insert(endpoint.id.clone(), ifindex);
        self.dataplane.attach_endpoint(ifindex)?;
        self.dataplane.set_endpoint(&EndpointSpec {
            number: endpoint.number,
            network: network.number,
            flags: flags(&network)?,
            ifindex,
            mtu: network.mtu,
            mac: endpoint.mac,
            addresses: endpoint.addresses().iter().map(|a| a.ip()).collect(),
            gateway_ifindex,
            gateway_mac: network.mac,
        })?;
        self.netlink.set_up(ifindex).await?;
        sandbox::configure(&netns, &endpoint.interface, &endpoint.addresses())?;
        self.refresh_sandbox(model, &endpoint.sandbox)
    }

    /// Takes an endpoint away: first the link, then what the data plane knows; its program denies to the last.
    pub(super) async fn unrealize_endpoint(&self, model: &mut Model, endpoint: &Endpoint) {
        self.dataplane.remove_endpoint(endpoint.number);
        let ifindex = model.links.remove(&endpoint.id);
        let removed = match ifindex {
            Some(ifindex) => self.netlink.delete_link(ifindex).await,
            None if endpoint.interface.is_empty() => Ok(()),
            None => {
                self.netlink
                    .delete_by_name(&endpoint.host_interface())
                    .await
            }
        };
        if let Err(e) = removed {
            tracing::warn!("removing the link of endpoint {}: {e}", endpoint.id);
        }
    }

    /// Default routes and publications follow the endpoint that is the sandbox's gateway now.
    pub(super) fn refresh_sandbox(&self, model: &mut Model, id: &str) -> Result<()> {
        let Some(sandbox) = model.sandboxes.get(id).cloned() else {
            return Ok(());
        };
        let chosen = model.gateway_endpoint(id).cloned();
        if let Some(netns) = model.running.get(id)
            && !sandbox.host
        {
            let mut routes: Vec<(IpAddr, String)> = Vec::new();
            for v4 in [true, false] {
                // Each family by itself: an IPv4-only network does not take the IPv6 route away.
                let mut candidates: Vec<(&Endpoint, &Network)> = model
                    .endpoints_of(id)
                    .filter(|e| {
                        if v4 {
                            e.ipv4.is_some()
                        } else {
                            e.ipv6.is_some()
                        }
                    })
                    .filter_map(|e| Some((e, model.networks.get(&e.network)?)))
                    .filter(|(_, n)| !n.internal)
                    .collect();
                candidates.sort_by(|(a, an), (b, bn)| {
                    b.priority.cmp(&a.priority).then(an.name.cmp(&bn.name))
                });
                let Some((endpoint, network)) = candidates.first() else {
                    continue;
                };
                let Some(pool) = network.pools.iter().find(|p| p.subnet.is_ipv4() == v4) else {
                    continue;
                };
                routes.push((pool.gateway, endpoint.interface.clone()));
            }
            sandbox::set_default_routes(netns, &routes)?;
        }
        let endpoints: Vec<Endpoint> = model.endpoints_of(id).cloned().collect();
        // First take away, then give: the new holder's entries must not go with the old one's.
        for endpoint in endpoints
            .iter()
            .filter(|e| chosen.as_ref().is_none_or(|c| c.id != e.id))
        {
            self.dataplane.set_publications(endpoint.number, &[])?;
        }
        if let Some(endpoint) = chosen
            && model.links.contains_key(&endpoint.id)
        {
            let network = model
                .networks
                .get(&endpoint.network)
                .map_or(0, |n| n.number);
            let specs: Vec<PublicationSpec> = sandbox
                .ports
                .iter()
                .flat_map(|binding| super::ports::specs(binding, &endpoint, network))
                .collect();
            self.dataplane.set_publications(endpoint.number, &specs)?;
        }
        Ok(())
    }
}
