//! What the host has of its own: links, addresses, routes, resolvers; and being told when they change.

use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use ipnetwork::IpNetwork;
use rtnetlink::{
    MulticastGroup, RouteMessageBuilder, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressScope},
        link::{InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    },
};
use tokio::sync::mpsc;

use super::{Netlink, links::retry};
use crate::{
    error::{Error, Result},
    resolv_conf::ResolvConf,
};

/// An interface of the host's namespace.
#[derive(Clone, Debug)]
pub struct HostLink {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub mtu: u32,
    /// Packets start with an Ethernet header.
    pub ethernet: bool,
    /// The loopback device.
    pub loopback: bool,
    /// Administratively up.
    pub up: bool,
    /// A port of a bridge, bond, team or the like: its packets are those of the device that it belongs to, which sees
    /// them, too.
    pub port: bool,
    /// Its alias, by which netd's own are known.
    pub alias: String,
}

/// A slave of a VRF keeps its packets (Documentation/networking/vrf.rst); every other controller takes them.
fn is_port(attributes: &[LinkAttribute]) -> bool {
    let vrf = LinkInfo::PortKind(InfoPortKind::Vrf);
    let belongs = |a: &LinkAttribute| matches!(a, LinkAttribute::Controller(c) if *c != 0);
    let routes = |a: &LinkAttribute| matches!(a, LinkAttribute::LinkInfo(i) if i.contains(&vrf));
    attributes.iter().any(belongs) && !attributes.iter().any(routes)
}

/// An address of the host.
#[derive(Clone, Debug)]
pub struct HostAddr {
    /// Its interface.
    pub ifindex: u32,
    /// Address with prefix length.
    pub net: IpNetwork,
    /// Of universe scope.
    pub global: bool,
}

/// The host's own configuration.
#[derive(Clone, Debug, Default)]
pub struct HostState {
    /// Interfaces.
    pub links: Vec<HostLink>,
    /// Addresses, loopback ones too.
    pub addresses: Vec<HostAddr>,
    /// Destinations of unicast routes but the default ones, and the interface that each leads to (0: several).
    pub routes: Vec<(IpNetwork, u32)>,
    /// Interfaces of default routes.
    pub egress: BTreeSet<u32>,
    /// Its name servers.
    pub resolvers: Vec<IpAddr>,
}

impl HostState {
    /// What the host can reach already: an automatic subnet must not lie over it.
    pub fn taken(&self) -> Vec<IpNetwork> {
        let routes = self.routes.iter().map(|(net, _)| *net);
        let addresses = self.addresses.iter().map(|a| a.net);
        let resolvers = self.resolvers.iter().map(|r| IpNetwork::from(*r));
        routes.chain(addresses).chain(resolvers).collect()
    }

    /// The smallest MTU of the interfaces that default routes lead to; without such, of all that are up. Bytes, at
    /// least 1280, which IPv6 needs (RFC 8200, 5).
    pub fn egress_mtu(&self) -> u32 {
        let foreign = |l: &&HostLink| l.up && !l.loopback && !l.alias.starts_with("netd:");
        let of = |egress: bool| {
            let chosen = |l: &&HostLink| !egress || self.egress.contains(&l.ifindex);
            let links = self.links.iter().filter(foreign).filter(chosen);
            links.map(|l| l.mtu).min()
        };
        of(true)
            .or_else(|| of(false))
            .unwrap_or(1500)
            .clamp(1280, 65535)
    }
}

impl Netlink {
    /// Reads the host's configuration; `resolv_conf` is the file that names its resolvers.
    pub async fn host_state(&self, resolv_conf: &Path) -> Result<HostState> {
        let mut state = HostState::default();
        for message in self.dump().await? {
            let mut link = HostLink {
                ifindex: message.header.index,
                name: String::new(),
                mtu: 0,
                ethernet: message.header.link_layer_type == LinkLayerType::Ether,
                loopback: message.header.link_layer_type == LinkLayerType::Loopback,
                up: message.header.flags.contains(LinkFlags::Up),
                port: is_port(&message.attributes),
                alias: String::new(),
            };
            for attribute in message.attributes {
                match attribute {
                    LinkAttribute::IfName(n) => link.name = n,
                    LinkAttribute::Mtu(m) => link.mtu = m,
                    LinkAttribute::IfAlias(a) => link.alias = a,
                    _ => {}
                }
            }
            state.links.push(link);
        }
        let found = retry(|| {
            let addresses = self.handle.address().get().execute();
            addresses.try_collect::<Vec<_>>()
        })
        .await;
        for message in found.map_err(|e| Error::internal("listing addresses", e))? {
            // On point-to-point links `Address` is the peer's and `Local` ours.
            let mut own = None;
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Local(a) => own = Some(*a),
                    AddressAttribute::Address(a) if own.is_none() => own = Some(*a),
                    _ => {}
                }
            }
            let Some(net) = own.and_then(|a| IpNetwork::new(a, message.header.prefix_len).ok())
            else {
                continue;
            };
            let global = message.header.scope == AddressScope::Universe;
            state.addresses.push(HostAddr {
                ifindex: message.header.index,
                net,
                global,
            });
        }
        let queries = [
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        ];
        for query in queries {
            let found = retry(|| {
                let routes = self.handle.route().get(query.clone()).execute();
                routes.try_collect::<Vec<_>>()
            })
            .await;
            let found = found.map_err(|e| Error::internal("listing routes", e))?;
            for route in found.iter().filter(|r| r.header.kind == RouteType::Unicast) {
                let to = output(route).unwrap_or_default();
                state.routes.extend(destination(route).map(|net| (net, to)));
                if route.header.destination_prefix_length == 0 {
                    state.egress.extend(output(route));
                }
            }
        }
        // A host without the file has none.
        let text = std::fs::read(resolv_conf).unwrap_or_default();
        let servers = ResolvConf::parse(&String::from_utf8_lossy(&text)).servers;
        state.resolvers = servers.iter().map(|s| s.address).collect();
        Ok(state)
    }
}

fn destination(route: &RouteMessage) -> Option<IpNetwork> {
    let address = route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        RouteAttribute::Destination(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    })?;
    IpNetwork::new(address, route.header.destination_prefix_length).ok()
}

/// Interface that a route leads to, if it is one alone.
fn output(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Oif(ifindex) => Some(*ifindex),
        _ => None,
    })
}

/// What changed in the host's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Interfaces with a change of themselves, their addresses or routes; 0: a change of something else.
    pub touched: BTreeSet<u32>,
    /// Interfaces that are gone.
    pub removed: BTreeSet<u32>,
}

impl Changes {
    fn add(&mut self, message: &RouteNetlinkMessage) {
        use RouteNetlinkMessage as M;
        match message {
            M::NewLink(m) => self.touched.insert(m.header.index),
            M::DelLink(m) => {
                self.touched.insert(m.header.index);
                self.removed.insert(m.header.index)
            }
            M::NewAddress(m) | M::DelAddress(m) => self.touched.insert(m.header.index),
            M::NewRoute(m) | M::DelRoute(m) => self.touched.insert(output(m).unwrap_or_default()),
            _ => false,
        };
    }
}

/// Changes that come close together are told together.
const SETTLE: Duration = Duration::from_millis(20);

/// The host's changes, as they come.
pub fn watch() -> Result<mpsc::Receiver<Changes>> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let (connection, _, mut messages) = new_multicast_connection(&groups)
        .map_err(|e| Error::internal("opening a netlink multicast socket", e))?;
    tokio::spawn(connection);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some((first, _)) = messages.next().await {
            let mut changes = Changes::default();
            let mut add = |message: NetlinkMessage<RouteNetlinkMessage>| match &message.payload {
                NetlinkPayload::InnerMessage(inner) => changes.add(inner),
                // An overrun: something was lost, and nobody knows what.
                _ => {
                    changes.touched.insert(0);
                }
            };
            add(first);
            let settled = tokio::time::sleep(SETTLE);
            tokio::pin!(settled);
            loop {
                tokio::select! {
                    more = messages.next() => match more {
                        Some((message, _)) => add(message),
                        None => break,
                    },
                    () = &mut settled => break,
                }
            }
            if sender.send(changes).await.is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c12_ports_of_other_devices_are_told_from_slaves_of_a_vrf() {
        let of = |kind: Option<InfoPortKind>| {
            let info = kind.map(|k| LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(k)]));
            is_port(
                &[Some(LinkAttribute::Controller(7)), info]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>(),
            )
        };
        for kind in [InfoPortKind::Bridge, InfoPortKind::Bond, InfoPortKind::Team] {
            assert!(of(Some(kind)));
        }
        assert!(of(Some(InfoPortKind::Other("openvswitch".into()))));
        // Some controllers say nothing of themselves, such as a virtual device before its accelerated half.
        assert!(of(None));
        assert!(!of(Some(InfoPortKind::Vrf)));
        assert!(!is_port(&[LinkAttribute::IfName("eth0".into())]));
    }
}
