//! Work inside a sandbox's namespace: addresses, routes and switches of its interfaces.

use std::net::IpAddr;

use futures::TryStreamExt as _;
use ipnetwork::IpNetwork;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        link::LinkAttribute,
        route::{RouteAttribute, RouteProtocol},
    },
};

use super::{Netlink, Netns, sysctl};
use crate::error::{Error, Result};

/// Runs async netlink work inside the namespace, on a thread and a runtime of its own.
fn inside<F, R>(netns: &Netns, work: impl FnOnce(Netlink) -> F + Send) -> Result<R>
where
    F: Future<Output = Result<R>>,
    R: Send,
{
    netns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::internal("starting a runtime", e))?;
        runtime.block_on(async { work(Netlink::new()?).await })
    })
}

/// Brings a new namespace's loopback up.
pub fn set_loopback_up(netns: &Netns) -> Result<()> {
    inside(netns, async |netlink| netlink.set_up(1).await)
}

/// Names of the namespace's interfaces.
pub fn interfaces(netns: &Netns) -> Result<Vec<String>> {
    inside(netns, async |netlink| {
        let names = netlink
            .dump()
            .await?
            .into_iter()
            .flat_map(|m| m.attributes)
            .filter_map(|a| match a {
                LinkAttribute::IfName(n) => Some(n),
                _ => None,
            });
        Ok(names.collect())
    })
}

/// Gives the interface its addresses and brings it up. Without an IPv6 address, IPv6 is switched off on it
/// (CVE-2024-32473); with one, router advertisements and autoconfiguration are.
pub fn configure(netns: &Netns, name: &str, addresses: &[IpNetwork]) -> Result<()> {
    inside(netns, async |netlink| {
        if addresses.iter().any(IpNetwork::is_ipv6) {
            sysctl::set_device("ipv6", name, "disable_ipv6", "0")?;
            sysctl::set_device("ipv6", name, "accept_ra", "0")?;
            sysctl::set_device("ipv6", name, "autoconf", "0")?;
            // Link-local addresses made of the MAC (EUI-64) are those that the data plane knows.
            sysctl::set_device("ipv6", name, "addr_gen_mode", "0")?;
            sysctl::set_device("ipv6", name, "accept_dad", "0")?;
        } else {
            sysctl::set_device("ipv6", name, "disable_ipv6", "1")?;
        }
        let missing = || Error::internal(format!("interface {name}"), "gone from its namespace");
        let ifindex = netlink.index_of(name).await?.ok_or_else(missing)?;
        for net in addresses {
            netlink.add_address(ifindex, *net).await?;
        }
        netlink.set_up(ifindex).await
    })
}

/// Makes these the default routes: a gateway and its interface for each family that has one. Only routes that netd
/// made (protocol static) are replaced.
pub fn set_default_routes(netns: &Netns, routes: &[(IpAddr, String)]) -> Result<()> {
    inside(netns, async |netlink| {
        remove_defaults(&netlink).await?;
        for (gateway, name) in routes {
            let Some(ifindex) = netlink.index_of(name).await? else {
                continue;
            };
            let message = match gateway {
                IpAddr::V4(g) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                    .gateway(*g)
                    .output_interface(ifindex)
                    .build(),
                IpAddr::V6(g) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                    .gateway(*g)
                    .output_interface(ifindex)
                    .build(),
            };
            let added = netlink
                .handle
                .route()
                .add(message)
                .replace()
                .execute()
                .await;
            added.map_err(|e| {
                Error::internal(format!("default route via {gateway} on {name}"), e)
            })?;
        }
        Ok(())
    })
}

async fn remove_defaults(netlink: &Netlink) -> Result<()> {
    let queries = [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ];
    for query in queries {
        let found = netlink
            .handle
            .route()
            .get(query)
            .execute()
            .try_collect::<Vec<_>>()
            .await;
        for route in found.map_err(|e| Error::internal("listing routes", e))? {
            let via = route
                .attributes
                .iter()
                .any(|a| matches!(a, RouteAttribute::Gateway(_)));
            let ours = route.header.protocol == RouteProtocol::Static;
            if route.header.destination_prefix_length == 0 && via && ours {
                let removed = netlink.handle.route().del(route).execute().await;
                removed.map_err(|e| Error::internal("removing a default route", e))?;
            }
        }
    }
    Ok(())
}
