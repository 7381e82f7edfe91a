//! From desired state to the kernel and the data plane, and back. Every step may find its work already done. The lock
//! of the network or the sandbox is held.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netd_common::{abi::network_flags as bits, addr::link_local_of};

use super::{Engine, Model};
use crate::{
    dataplane::{EndpointSpec, NetworkSpec},
    error::{Error, Result},
    kernel::{
        EndpointLinkSpec, Netns, NetworkDeviceSpec, Role, links, rtnl,
        sandbox::{self as namespace, InterfaceSpec, RouteSpec, SourceRoute},
        sysctl,
    },
    model::{Endpoint, GatewayMode, Network},
};

/// First routing table of single endpoints; their numbers follow.
const TABLES: u32 = 1 << 24;

fn flags(network: &Network) -> u32 {
    let options = network.options();
    let mode = |v4, routed, unprotected| match options.mode(v4) {
        GatewayMode::Routed => routed,
        GatewayMode::NatUnprotected => unprotected,
        GatewayMode::Nat | GatewayMode::Isolated => 0,
    };
    let when = |on, bit| if on { bit } else { 0 };
    when(network.internal, bits::INTERNAL)
        | when(!options.icc, bits::NO_ICC)
        | when(options.masquerades(true), bits::MASQUERADE_V4)
        | when(options.masquerades(false), bits::MASQUERADE_V6)
        | mode(true, bits::ROUTED_V4, bits::UNPROTECTED_V4)
        | mode(false, bits::ROUTED_V6, bits::UNPROTECTED_V6)
        | when(options.endpoint_independent, bits::ENDPOINT_INDEPENDENT)
        | when(!options.metadata, bits::NO_METADATA)
}

impl Model {
    /// Indices of the uplinks that a network trusts, as far as they are there.
    pub(super) fn trusted(&self, network: &Network) -> Vec<u32> {
        let names = network.options().trusted;
        let links = self.host.links.iter();
        links
            .filter(|l| names.contains(&l.name))
            .map(|l| l.ifindex)
            .collect()
    }

    /// Where a sandbox' packets leave it. `several`: also when it is on one network only, its rules are looked at.
    fn routes(&self, sandbox: &str, several: bool) -> RouteSpec {
        let via = |e: &Endpoint, v4| self.networks.get(&e.network)?.route_via(v4);
        let default = |v4| {
            let endpoint = self.gateway_endpoint(sandbox, v4)?;
            Some((via(endpoint, v4)?, endpoint.interface.clone()))
        };
        let mut sources = Vec::new();
        if self.endpoints_of(sandbox).nth(1).is_some() {
            for endpoint in self.endpoints_of(sandbox) {
                for net in endpoint.addresses() {
                    if let Some(gateway) = via(endpoint, net.is_ipv4()) {
                        let others = self.endpoints_of(sandbox).filter(|o| o.id != endpoint.id);
                        let others = others.flat_map(Endpoint::addresses);
                        let others = others.filter(|o| o.is_ipv4() == net.is_ipv4());
                        let whole = |o: IpNetwork| IpNetwork::new(o.network(), o.prefix()).ok();
                        sources.push(SourceRoute {
                            source: net.ip(),
                            table: TABLES + endpoint.number,
                            gateway,
                            interface: endpoint.interface.clone(),
                            others: others.filter_map(whole).collect(),
                        });
                    }
                }
            }
        }
        RouteSpec {
            defaults: [true, false].into_iter().filter_map(default).collect(),
            sources: (several || !sources.is_empty()).then_some(sources),
        }
    }

    fn endpoint_spec(&self, endpoint: &Endpoint, ifindex: u32) -> Option<EndpointSpec> {
        let network = self.networks.get(&endpoint.network)?;
        let (gateway_ifindex, _) = *self.devices.get(&network.id)?;
        Some(EndpointSpec {
            number: endpoint.number,
            network: network.number,
            flags: flags(network),
            ifindex,
            mtu: self.mtu(network),
            mac: endpoint.mac,
            addresses: endpoint.addresses().iter().map(|a| a.ip()).collect(),
            link_local: endpoint.link_local.clone(),
            gateway_ifindex,
            gateway_mac: network.mac,
        })
    }
}

/// What an endpoint's interface carries: its addresses, the link-local one that the data plane knows by its Ethernet
/// address, and the additional ones.
fn interface_addresses(endpoint: &Endpoint) -> Vec<IpNetwork> {
    let own = endpoint.ipv6.map(|_| {
        let address = Ipv6Addr::from(link_local_of(endpoint.mac).v6_bytes());
        IpAddr::V6(address)
    });
    let local = own.into_iter().chain(endpoint.link_local.iter().copied());
    let local = local.filter_map(|a| IpNetwork::new(a, if a.is_ipv4() { 16 } else { 64 }).ok());
    endpoint.addresses().into_iter().chain(local).collect()
}

fn missing(endpoint: &Endpoint, what: &str) -> Error {
    Error::internal(
        format!("endpoint {}", endpoint.id),
        format!("its {what} is gone"),
    )
}

/// Sets what the kernel must do on a network's device. Says how much of it was wrong.
fn set_switches(network: &Network) -> Result<usize> {
    let has = |what: fn(&IpNetwork) -> bool| network.host_gateways().any(|a| what(&a));
    let wrong = sysctl::let_forward(&network.device, has(IpNetwork::is_ipv6))?;
    sysctl::take_local_answers(&network.device, has(IpNetwork::is_ipv4))?;
    Ok(wrong)
}

impl Engine {
    /// Sets the devices' switches anew where somebody has set those of all devices: looks at one network's.
    pub(super) fn follow_switches(&self) -> Result<()> {
        let filter = sysctl::reverse_path_filter()?;
        let there =
            |model: &Model, n: &Network| model.devices.contains_key(&n.id) && !n.device.is_empty();
        let first = {
            let model = self.read();
            // One with IPv6, if there is any, stands for all.
            let has_v6 = |n: &&Network| n.host_gateways().any(|a| a.is_ipv6());
            let all = model.networks.values().filter(|n| there(&model, n));
            all.max_by_key(has_v6).cloned()
        };
        let Some(first) = first else {
            return Ok(());
        };
        let seen = self.filter_seen.lock().map(|seen| *seen == filter);
        if set_switches(&first)? == 0 && seen.unwrap_or(false) {
            return Ok(());
        }
        let networks: Vec<Network> = {
            let model = self.read();
            let all = model.networks.values().filter(|n| there(&model, n));
            all.cloned().collect()
        };
        for network in &networks {
            // One that is being removed has none.
            if let Err(e) = set_switches(network) {
                tracing::debug!("switches of network {}: {e}", network.name);
            }
        }
        if let Ok(mut seen) = self.filter_seen.lock() {
            *seen = filter;
        }
        Ok(())
    }

    /// Makes or adopts a network's device and tells the data plane. Says how many things were missing.
    pub(super) async fn realize_network(&self, network: &Network) -> Result<usize> {
        if network.device.is_empty() {
            return Ok(0);
        }
        let mut missing = 0;
        let host_addresses: Vec<IpNetwork> = network.host_gateways().collect();
        let (found, mtu, trusted) = {
            let model = self.read();
            let found = model.devices.get(&network.id).copied();
            (found, model.mtu(network), model.trusted(network))
        };
        let (ifindex, peer) = match found {
            Some(found) => {
                for gateway in &host_addresses {
                    let new = self.netlink.add_address(found.0, *gateway).await?;
                    missing += usize::from(new);
                }
                found
            }
            None => {
                let name = &self.instance.name;
                let spec = NetworkDeviceSpec {
                    name: network.device.clone(),
                    peer_name: format!("np-{}", &network.id[..12]),
                    aliases: (
                        links::alias(name, Role::Network, &network.id),
                        links::alias(name, Role::Peer, &network.id),
                    ),
                    mac: network.mac,
                    mtu,
                    gateways: host_addresses.clone(),
                };
                let _turn = rtnl::turn().await;
                let made = self.netlink.create_network_device(&spec).await?;
                (made.ifindex, made.peer_ifindex)
            }
        };
        self.write()
            .devices
            .insert(network.id.clone(), (ifindex, peer));
        fail::fail_point!("network-device-made");
        missing += set_switches(network)?;
        missing += usize::from(self.dataplane.attach_gateway(peer).await?);
        self.dataplane.set_network(&NetworkSpec {
            number: network.number,
            flags: flags(network),
            gateway_ifindex: ifindex,
            peer_ifindex: peer,
            gateway_mac: network.mac,
            gateways: network.gateways().collect(),
            host_addresses: host_addresses.iter().map(|a| a.ip()).collect(),
            trusted,
        })?;
        self.netlink.set_up(peer).await?;
        self.netlink.set_up(ifindex).await?;
        Ok(missing)
    }

    /// Takes a network's device away; what fails is logged, the next start mends it.
    pub(super) async fn unrealize_network(&self, network: &Network) {
        let device = {
            let mut model = self.write();
            let device = model.devices.remove(&network.id);
            model
                .retired
                .extend(device.iter().flat_map(|(a, b)| [*a, *b]));
            device
        };
        self.dataplane.remove_network(network.number);
        if let Some((ifindex, _)) = device
            && let Err(e) = self.reaper.remove(ifindex).await
        {
            tracing::warn!("removing the device of network {}: {e}", network.name);
        }
    }

    /// Makes or adopts an endpoint's veth. The program denies before the link is up and knows the endpoint before its
    /// first packet. `inside`: the sandbox' side is to be configured, too. Says how many things were missing.
    pub(super) async fn realize_endpoint(
        &self,
        endpoint: &Endpoint,
        inside: bool,
    ) -> Result<usize> {
        if endpoint.interface.is_empty() {
            return Ok(0);
        }
        let (netns, mtu, found) = {
            let model = self.read();
            let Some(netns) = model.running.get(&endpoint.sandbox).cloned() else {
                return Ok(0);
            };
            let network = model.networks.get(&endpoint.network);
            let network = network.ok_or_else(|| missing(endpoint, "network"))?;
            let found = model.links.get(&endpoint.id).copied();
            (netns, model.mtu(network), found)
        };
        let ifindex = match found {
            Some(found) => found,
            None => self.create_link(endpoint, &netns, mtu).await?,
        };
        fail::fail_point!("endpoint-link-made");
        let filter = usize::from(self.dataplane.attach_endpoint(ifindex).await?);
        self.tell_endpoint(endpoint, ifindex)?;
        fail::fail_point!("endpoint-told");
        if !inside {
            return Ok(filter);
        }
        self.netlink.set_up(ifindex).await?;
        let interface = InterfaceSpec {
            name: endpoint.interface.clone(),
            addresses: interface_addresses(endpoint),
        };
        let routes = self.read().routes(&endpoint.sandbox, false);
        let addresses = namespace::configure(&netns, Some(interface), routes).await?;
        fail::fail_point!("endpoint-configured");
        Ok(filter + addresses)
    }

    async fn create_link(&self, endpoint: &Endpoint, netns: &Netns, mtu: u32) -> Result<u32> {
        let spec = EndpointLinkSpec {
            host_name: endpoint.host_interface(),
            alias: links::alias(&self.instance.name, Role::Endpoint, &endpoint.id),
            netns,
            name: endpoint.interface.clone(),
            mac: endpoint.mac,
            mtu,
        };
        let ifindex = {
            let _turn = rtnl::turn().await;
            self.netlink.create_endpoint(&spec).await?
        };
        self.write().links.insert(endpoint.id.clone(), ifindex);
        Ok(ifindex)
    }

    /// Tells the data plane of an endpoint.
    pub(super) fn tell_endpoint(&self, endpoint: &Endpoint, ifindex: u32) -> Result<()> {
        let spec = self.read().endpoint_spec(endpoint, ifindex);
        let spec = spec.ok_or_else(|| missing(endpoint, "network's device"))?;
        self.dataplane.set_endpoint(&spec)
    }

    /// Takes an endpoint away: first what the data plane knows, so that its program denies to the last, then the link.
    pub(super) async fn unrealize_endpoint(&self, endpoint: &Endpoint) {
        self.dataplane.remove_endpoint(endpoint.number).await;
        let ifindex = {
            let mut model = self.write();
            let ifindex = model.links.get(&endpoint.id).copied();
            model.retired.extend(ifindex);
            // The address is free: nothing in the data plane leads here any more.
            model.remove_endpoint(&endpoint.id);
            ifindex
        };
        self.publish_names(&endpoint.sandbox);
        if let Err(e) = self.refresh_publications(&endpoint.sandbox).await {
            tracing::warn!("publications of sandbox {}: {e}", endpoint.sandbox);
        }
        let removed = match ifindex {
            Some(ifindex) => self.reaper.remove(ifindex).await,
            None if endpoint.interface.is_empty() => Ok(()),
            // What failed half-way.
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

    /// Default routes and rules follow the networks that a sandbox is on.
    pub(super) async fn refresh_routes(&self, sandbox: &str) -> Result<()> {
        let (netns, routes) = {
            let model = self.read();
            let host = model.sandboxes.get(sandbox).is_none_or(|s| s.host);
            match model.running.get(sandbox) {
                Some(netns) if !host => (netns.clone(), model.routes(sandbox, true)),
                _ => return Ok(()),
            }
        };
        namespace::configure(&netns, None, routes).await.map(drop)
    }
}
