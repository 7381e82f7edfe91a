//! Work inside a sandbox's namespace: addresses, routes and switches of its interfaces.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures::TryStreamExt as _;
use ipnetwork::IpNetwork;
use rtnetlink::{
    IpVersion, RouteMessageBuilder,
    packet_route::{
        link::LinkAttribute,
        route::RouteMessage,
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};

use super::{Netlink, Netns, rtnl, sysctl};
use crate::error::{Error, Result};

/// An interface to be configured.
#[derive(Clone, Debug)]
pub struct InterfaceSpec {
    /// Its name.
    pub name: String,
    /// Addresses with prefix lengths.
    pub addresses: Vec<IpNetwork>,
}

/// A way out of a sandbox for packets from one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRoute {
    /// The address.
    pub source: IpAddr,
    /// Routing table of its own.
    pub table: u32,
    /// Gateway of the same family.
    pub gateway: IpAddr,
    /// Interface.
    pub interface: String,
    /// Subnets of the sandbox' other networks: an answer to a client there that asked by a published port goes back
    /// through the gateway, too, not straight to the client, who knows nothing of this address.
    pub others: Vec<IpNetwork>,
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

/// Priorities of the rules, all before the kernel's own 32766: from one network of the sandbox to another's subnet; every
/// route but the default ones; the default routes of single addresses.
const ACROSS: u32 = 29_999;
const SPECIFIC: u32 = 30_000;
const SOURCE: u32 = 30_001;

/// Runs async netlink work inside the namespace, on a thread and a runtime of its own.
async fn inside<F, R>(netns: &Netns, work: impl FnOnce(Netlink) -> F + Send + 'static) -> Result<R>
where
    F: Future<Output = Result<R>>,
    R: Send + 'static,
{
    let netns = netns.clone();
    let done = tokio::task::spawn_blocking(move || {
        netns.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| Error::internal("starting a runtime", e))?;
            runtime.block_on(async {
                let netlink = Netlink::new()?;
                let _turn = rtnl::turn().await;
                work(netlink).await
            })
        })
    });
    done.await
        .unwrap_or_else(|e| Err(Error::internal("work in a namespace", e)))
}

/// Brings a new namespace's loopback up.
pub async fn set_loopback_up(netns: &Netns) -> Result<()> {
    inside(netns, async |netlink| netlink.set_up(1).await).await
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
    inside(netns, async move |netlink| {
        let mut missing = 0;
        if let Some(interface) = interface {
            missing = set_interface(&netlink, &interface).await?;
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

/// Gives the interface its addresses and brings it up. IPv6 addresses are exactly those given, of which nobody else has
/// one; without any, the data plane lets no IPv6 packet in or out (CVE-2024-32473). No sysctl is written: a lookup below
/// /proc/sys/net takes longer with each namespace of the host that has looked there.
async fn set_interface(netlink: &Netlink, spec: &InterfaceSpec) -> Result<usize> {
    let name = &spec.name;
    let missing = || Error::internal(format!("interface {name}"), "gone from its namespace");
    let ifindex = netlink.index_of(name).await?.ok_or_else(missing)?;
    netlink.set_no_own_ipv6(ifindex).await?;
    let mut given = 0;
    for net in &spec.addresses {
        let new = match netlink.add_address(ifindex, *net).await {
            // Where the namespace's default is to have no IPv6, the interface was asked for it all the same.
            Err(_) if net.is_ipv6() => {
                sysctl::set_device("ipv6", name, "disable_ipv6", "0")?;
                netlink.add_address(ifindex, *net).await?
            }
            other => other?,
        };
        given += usize::from(new);
    }
    netlink.set_up(ifindex).await?;
    Ok(given)
}

/// Replaces the default route of the gateway's family, in the main table or another one. Routes with another metric
/// are not netd's and stay. Says whether there was none.
async fn set_default(
    netlink: &Netlink,
    gateway: IpAddr,
    name: &str,
    table: Option<u32>,
) -> Result<bool> {
    let Some(ifindex) = netlink.index_of(name).await? else {
        return Ok(false);
    };
    let mut message: RouteMessage = match gateway {
        IpAddr::V4(g) => RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(g)
            .output_interface(ifindex)
            .build(),
        IpAddr::V6(g) => RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(g)
            .output_interface(ifindex)
            .build(),
    };
    if let Some(table) = table {
        use rtnetlink::packet_route::route::RouteAttribute;
        message.header.table = 0;
        message.attributes.push(RouteAttribute::Table(table));
    }
    let fail = |e| Error::internal(format!("default route via {gateway} on {name}"), e);
    let route = || netlink.handle.route().add(message.clone());
    match route().execute().await {
        Ok(()) => Ok(true),
        Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::EEXIST => {
            route().replace().execute().await.map_err(fail)?;
            Ok(false)
        }
        Err(e) => Err(fail(e)),
    }
}

/// A rule of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// The main table, but for its default routes.
    Specific { v4: bool },
    /// From an address to a table.
    Source(IpAddr, u32),
    /// From an address to a subnet of another network of the sandbox, to a table.
    Across(IpAddr, IpNetwork, u32),
}

impl Rule {
    fn v4(self) -> bool {
        match self {
            Self::Specific { v4 } => v4,
            Self::Source(address, _) | Self::Across(address, ..) => address.is_ipv4(),
        }
    }

    fn parse(message: &RuleMessage, v4: bool) -> Option<Self> {
        let (mut priority, mut source, mut table, mut to) = (0, None, 0, None);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(p) => priority = *p,
                RuleAttribute::Source(a) => source = Some(*a),
                RuleAttribute::Destination(a) => {
                    to = IpNetwork::new(*a, message.header.dst_len).ok();
                }
                RuleAttribute::Table(t) => table = *t,
                _ => {}
            }
        }
        match (priority, source, to) {
            (ACROSS, Some(source), Some(to)) => Some(Self::Across(source, to, table)),
            (SPECIFIC, ..) => Some(Self::Specific { v4 }),
            (SOURCE, Some(source), _) => Some(Self::Source(source, table)),
            _ => None,
        }
    }

    fn message(self) -> RuleMessage {
        use rtnetlink::packet_route::AddressFamily;
        let mut message = RuleMessage::default();
        message.header.family = if self.v4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        message.header.action = RuleAction::ToTable;
        match self {
            Self::Specific { .. } => {
                message.header.table = 254;
                message.attributes.push(RuleAttribute::Priority(SPECIFIC));
                message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
            }
            Self::Source(address, table) | Self::Across(address, _, table) => {
                message.header.src_len = if address.is_ipv4() { 32 } else { 128 };
                message
                    .attributes
                    .extend([RuleAttribute::Source(address), RuleAttribute::Table(table)]);
            }
        }
        match self {
            Self::Specific { .. } => {}
            Self::Source(..) => message.attributes.push(RuleAttribute::Priority(SOURCE)),
            Self::Across(_, to, _) => {
                message.header.dst_len = to.prefix();
                message.attributes.extend([
                    RuleAttribute::Priority(ACROSS),
                    RuleAttribute::Destination(to.network()),
                ]);
            }
        }
        message
    }
}

/// Makes exactly these the ways out by source address.
async fn set_sources(netlink: &Netlink, sources: &[SourceRoute]) -> Result<()> {
    let mut wanted = BTreeSet::new();
    for route in sources {
        let gateway = route.gateway;
        set_default(netlink, gateway, &route.interface, Some(route.table)).await?;
        let v4 = route.source.is_ipv4();
        wanted.insert(Rule::Specific { v4 });
        wanted.insert(Rule::Source(route.source, route.table));
        for to in &route.others {
            wanted.insert(Rule::Across(route.source, *to, route.table));
        }
    }
    let fail = |e: rtnetlink::Error| Error::internal("routing rules of a sandbox", e);
    let mut there = BTreeSet::new();
    for (version, v4) in [(IpVersion::V4, true), (IpVersion::V6, false)] {
        let found = netlink.handle.rule().get(version).execute();
        let found: Vec<RuleMessage> = match found.try_collect().await {
            Ok(found) => found,
            // A namespace without IPv6.
            Err(rtnetlink::Error::NetlinkError(e))
                if !v4 && e.raw_code() == -libc::EAFNOSUPPORT =>
            {
                continue;
            }
            Err(e) => return Err(fail(e)),
        };
        there.extend(found.iter().filter_map(|m| Rule::parse(m, v4)));
    }
    // First give, then take: no packet meets neither.
    for rule in wanted.difference(&there) {
        let mut request = netlink.handle.rule().add();
        *request.message_mut() = rule.message();
        request.execute().await.map_err(fail)?;
    }
    for rule in there.difference(&wanted) {
        let removed = netlink.handle.rule().del(rule.message()).execute().await;
        removed.map_err(fail)?;
    }
    Ok(())
}
