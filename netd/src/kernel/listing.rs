//! Addresses and default routes of the namespace that a netlink socket is in, to be looked at.

use std::net::IpAddr;

use futures::TryStreamExt as _;
use ipnetwork::IpNetwork;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressMessage},
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage},
    },
};

use super::{Netlink, links::retry};
use crate::error::{Error, Result};

impl Netlink {
    /// The addresses of an interface.
    pub(super) async fn addresses(&self, ifindex: u32) -> Result<Vec<IpNetwork>> {
        let found = retry(|| {
            let addresses = self.handle.address().get().set_link_index_filter(ifindex);
            addresses.execute().try_collect::<Vec<_>>()
        })
        .await;
        let found = found.map_err(|e| Error::internal("listing addresses", e))?;
        let net = |m: &AddressMessage| {
            let address = m.attributes.iter().find_map(|a| match a {
                AddressAttribute::Address(a) => Some(*a),
                _ => None,
            })?;
            IpNetwork::new(address, m.header.prefix_len).ok()
        };
        Ok(found.iter().filter_map(net).collect())
    }

    /// Gateways of the default routes of a family in the main table, and the interfaces that they leave by.
    pub(super) async fn default_gateways(&self, v4: bool) -> Result<Vec<(IpAddr, u32)>> {
        let query = if v4 {
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().build()
        } else {
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build()
        };
        let found = retry(|| {
            let routes = self.handle.route().get(query.clone()).execute();
            routes.try_collect::<Vec<_>>()
        })
        .await;
        let found = found.map_err(|e| Error::internal("listing routes", e))?;
        let default = found.iter().filter(|r| {
            r.header.destination_prefix_length == 0 && r.header.table == RouteHeader::RT_TABLE_MAIN
        });
        let way = |r: &RouteMessage| {
            let (mut gateway, mut output) = (None, None);
            for attribute in &r.attributes {
                match attribute {
                    RouteAttribute::Gateway(RouteAddress::Inet(a)) => {
                        gateway = Some(IpAddr::V4(*a))
                    }
                    RouteAttribute::Gateway(RouteAddress::Inet6(a)) => {
                        gateway = Some(IpAddr::V6(*a))
                    }
                    RouteAttribute::Oif(ifindex) => output = Some(*ifindex),
                    _ => {}
                }
            }
            gateway.zip(output)
        };
        Ok(default.filter_map(way).collect())
    }
}
