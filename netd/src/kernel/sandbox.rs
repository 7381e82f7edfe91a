//! Work inside a sandbox's namespace: addresses, routes and switches of its interfaces.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

pub use super::rules::{RESOLVER_PROGRAM, SourceRoute, TABLES, lead_to_resolver, leave};
use super::{
    Netlink, Netns,
    default_route::set_default,
    inside::{inside, on_thread},
    rules::set_sources,
    sysctl,
};
use crate::error::{Error, Result};

/// An interface to be configured.
#[derive(Clone, Debug)]
pub struct InterfaceSpec {
    /// Its name.
    pub name: String,
    /// Addresses with prefix lengths.
    pub addresses: Vec<IpNetwork>,
}

/// Where a sandbox's packets leave it.
#[derive(Clone, Debug, Default)]
pub struct RouteSpec {
    /// Gateway and interface of the default route, at most one of each family.
    pub defaults: Vec<(IpAddr, String)>,
    /// With several networks, answers leave by the network whose address they carry. `None`: leave those rules as they
    /// are.
    pub sources: Option<Vec<SourceRoute>>,
}

/// Names of the namespace's interfaces.
pub async fn interfaces(netns: &Netns) -> Result<Vec<String>> {
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
    .await
}

/// Sets an interface's MTU, bytes.
pub async fn set_mtu(netns: &Netns, name: String, mtu: u32) -> Result<()> {
    inside(netns, async move |netlink| {
        match netlink.index_of(&name).await? {
            Some(ifindex) => netlink.set_mtu(ifindex, mtu).await,
            None => Ok(()),
        }
    })
    .await
}

/// Configures an interface, if one is given, then the routes. Says how many addresses and default
/// routes were missing.
pub async fn configure(
    netns: &Netns,
    interface: Option<InterfaceSpec>,
    routes: RouteSpec,
) -> Result<usize> {
    let inner = netns.clone();
    inside(netns, async move |netlink| {
        let mut missing = 0;
        if let Some(interface) = interface {
            missing = set_interface(&netlink, &inner, &interface).await?;
        }
        for (gateway, name) in &routes.defaults {
            let new = set_default(&netlink, *gateway, name, None).await?;
            missing += usize::from(new);
        }
        if let Some(sources) = &routes.sources {
            set_sources(&netlink, sources).await?;
        }
        Ok(missing)
    })
    .await
}

/// What of an interface and the default routes is not as it should be, one sentence each; changes nothing.
pub async fn faults(
    netns: &Netns,
    interface: InterfaceSpec,
    routes: RouteSpec,
) -> Result<Vec<String>> {
    inside(netns, async move |netlink| {
        let mut faults = Vec::new();
        let name = &interface.name;
        let links = netlink.dump().await?;
        let named = |m: &LinkMessage| {
            let mut attributes = m.attributes.iter();
            attributes.any(|a| matches!(a, LinkAttribute::IfName(n) if n == name))
        };
        let Some(link) = links.iter().find(|m| named(m)) else {
            return Ok(vec![format!("the interface {name} is not in the sandbox")]);
        };
        if !link.header.flags.contains(LinkFlags::Up) {
            faults.push(format!("the interface {name} is down"));
        }
        let there = netlink.addresses(link.header.index).await?;
        for wanted in interface.addresses.iter().filter(|a| !there.contains(a)) {
            faults.push(format!("the interface {name} lacks the address {wanted}"));
        }
        for (gateway, device) in &routes.defaults {
            let ifindex = netlink.index_of(device).await?;
            let found = netlink.default_gateways(gateway.is_ipv4()).await?;
            if !found
                .iter()
                .any(|(g, i)| g == gateway && Some(*i) == ifindex)
            {
                faults.push(format!(
                    "there is no default route via {gateway} on {device}"
                ));
            }
        }
        Ok(faults)
    })
    .await
}

/// Gives the interface its addresses and brings it up. IPv6 addresses are exactly those given, of which nobody else has
/// one; without any, the data plane lets no IPv6 packet in or out (CVE-2024-32473). No sysctl is written: a lookup below
/// /proc/sys/net takes longer with each namespace of the host that has looked there.
async fn set_interface(netlink: &Netlink, netns: &Netns, spec: &InterfaceSpec) -> Result<usize> {
    let name = &spec.name;
    let missing = || Error::internal(format!("interface {name}"), "gone from its namespace");
    let ifindex = netlink.index_of(name).await?.ok_or_else(missing)?;
    netlink.set_no_own_ipv6(ifindex).await?;
    let mut given = 0;
    for net in &spec.addresses {
        let new = match netlink.add_address(ifindex, *net).await {
            // Where the namespace's default is to have no IPv6, the interface was asked for it all the same.
            Err(_) if net.is_ipv6() => {
                let device = name.clone();
                on_thread(netns, move || {
                    sysctl::set_device("ipv6", &device, "disable_ipv6", "0")
                })
                .await?;
                netlink.add_address(ifindex, *net).await?
            }
            other => other?,
        };
        given += usize::from(new);
    }
    netlink.set_up(ifindex).await?;
    Ok(given)
}
