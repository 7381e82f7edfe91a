//! What the host has of its own: links, addresses, routes, resolvers; and being told when they change.

use std::net::IpAddr;

use futures::{StreamExt as _, TryStreamExt as _};
use ipnetwork::IpNetwork;
use rtnetlink::{
    MulticastGroup, RouteMessageBuilder, new_multicast_connection,
    packet_route::{
        address::{AddressAttribute, AddressScope},
        link::{LinkAttribute, LinkFlags, LinkLayerType},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    },
};
use tokio::sync::mpsc;

use super::Netlink;
use crate::error::{Error, Result};

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
    /// Its alias, by which netd's own are known.
    pub alias: String,
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
    /// Destinations of unicast routes but the default ones.
    pub routes: Vec<IpNetwork>,
    /// Name servers of `/etc/resolv.conf`.
    pub resolvers: Vec<IpAddr>,
}

impl Netlink {
    /// Reads the host's configuration.
    pub async fn host_state(&self) -> Result<HostState> {
        let mut state = HostState::default();
        for message in self.dump().await? {
            let mut link = HostLink {
                ifindex: message.header.index,
                name: String::new(),
                mtu: 0,
                ethernet: message.header.link_layer_type == LinkLayerType::Ether,
                loopback: message.header.link_layer_type == LinkLayerType::Loopback,
                up: message.header.flags.contains(LinkFlags::Up),
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
        let found = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect::<Vec<_>>()
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
            let found = self
                .handle
                .route()
                .get(query)
                .execute()
                .try_collect::<Vec<_>>()
                .await;
            let found = found.map_err(|e| Error::internal("listing routes", e))?;
            let unicast = found.iter().filter(|r| r.header.kind == RouteType::Unicast);
            state.routes.extend(unicast.filter_map(destination));
        }
        // A host without the file has none.
        let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let server = |line: &str| {
            line.strip_prefix("nameserver")?
                .trim()
                .split('%')
                .next()?
                .parse()
                .ok()
        };
        state.resolvers = resolv.lines().filter_map(server).collect();
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

/// A tick after each change of the host's links, addresses or routes; several changes may make one tick.
pub fn watch() -> Result<mpsc::Receiver<()>> {
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
        while messages.next().await.is_some() {
            // A full channel already holds the tick that will show this change.
            if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                break;
            }
        }
    });
    Ok(receiver)
}
