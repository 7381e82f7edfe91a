//! The rules and routing tables by which a sandbox's answers leave by the network whose address they carry; and taking away
//! whatever netd put into a namespace that lives on.

use std::{collections::BTreeSet, net::IpAddr, os::fd::BorrowedFd};

use futures::TryStreamExt as _;
use ipnetwork::IpNetwork;
use netd_common::abi::LOOPBACK_IFINDEX;
use nix::libc;
use rtnetlink::{
    IpVersion, RouteMessageBuilder,
    packet_route::{
        route::{RouteAttribute, RouteMessage},
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};

use super::{
    Netlink, Netns,
    default_route::set_default,
    filters::{Filter, Hanging, Side},
    inside::inside,
    links::retry,
};
use crate::error::{Error, Result};

/// Priorities of the rules, all before the kernel's own 32766: from one network of the sandbox to another's subnet; every
/// route but the default ones; the default routes of single addresses.
const ACROSS: u32 = 29_999;
const SPECIFIC: u32 = 30_000;
const SOURCE: u32 = 30_001;

/// First routing table of single endpoints; their numbers follow. Tables of others have smaller ones.
pub const TABLES: u32 = 1 << 24;

/// The main routing table (RT_TABLE_MAIN).
const MAIN: u32 = 254;

/// Name of the program on the loopback device that leads questions to the resolver.
pub const RESOLVER_PROGRAM: &str = "to_resolver";

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
    /// Subnets of the sandbox's other networks: an answer to a client there that asked by a published port goes back
    /// through the gateway, too, not straight to the client, who knows nothing of this address.
    pub others: Vec<IpNetwork>,
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
        let mut suppressed = None;
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(p) => priority = *p,
                RuleAttribute::Source(a) => source = Some(*a),
                RuleAttribute::Destination(a) => {
                    to = IpNetwork::new(*a, message.header.dst_len).ok();
                }
                RuleAttribute::Table(t) => table = *t,
                RuleAttribute::SuppressPrefixLen(n) => suppressed = Some(*n),
                _ => {}
            }
        }
        let (own, main) = (table >= TABLES, table == MAIN && suppressed == Some(0));
        match (priority, source, to) {
            (ACROSS, Some(source), Some(to)) if own => Some(Self::Across(source, to, table)),
            (SPECIFIC, None, None) if main => Some(Self::Specific { v4 }),
            (SOURCE, Some(source), None) if own => Some(Self::Source(source, table)),
            // Somebody else's, of the same priority.
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
                message.header.table = MAIN as u8;
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

/// The rules of ours that stand there.
async fn rules(netlink: &Netlink) -> Result<BTreeSet<Rule>> {
    let mut there = BTreeSet::new();
    for (version, v4) in [(IpVersion::V4, true), (IpVersion::V6, false)] {
        let list = || {
            let found = netlink.handle.rule().get(version.clone()).execute();
            found.try_collect::<Vec<RuleMessage>>()
        };
        let found = match retry(list).await {
            Ok(found) => found,
            // A namespace without IPv6.
            Err(rtnetlink::Error::NetlinkError(e))
                if !v4 && e.raw_code() == -libc::EAFNOSUPPORT =>
            {
                continue;
            }
            Err(e) => return Err(fail(&e)),
        };
        there.extend(found.iter().filter_map(|m| Rule::parse(m, v4)));
    }
    Ok(there)
}

fn fail(e: &rtnetlink::Error) -> Error {
    Error::internal("routing rules of a sandbox", e)
}

/// One that is gone is fine.
async fn remove(netlink: &Netlink, rule: Rule) -> Result<()> {
    match netlink.handle.rule().del(rule.message()).execute().await {
        Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::ENOENT => Ok(()),
        Err(e) => Err(fail(&e)),
        Ok(()) => Ok(()),
    }
}

/// Makes exactly these the ways out by source address.
pub(super) async fn set_sources(netlink: &Netlink, sources: &[SourceRoute]) -> Result<()> {
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
    let there = rules(netlink).await?;
    // First give, then take: no packet meets neither.
    for rule in wanted.difference(&there) {
        let mut request = netlink.handle.rule().add();
        *request.message_mut() = rule.message();
        request.execute().await.map_err(|e| fail(&e))?;
    }
    for rule in there.difference(&wanted) {
        remove(netlink, *rule).await?;
    }
    // Of interfaces that stay: their networks are the only ones now.
    if there != wanted {
        let tables: BTreeSet<u32> = sources.iter().map(|route| route.table).collect();
        remove_tables(netlink, &tables).await?;
    }
    Ok(())
}

/// Whether a filter leads questions to the resolver.
fn leads(filter: &Filter) -> bool {
    let program = filter.program.as_ref();
    program.is_some_and(|(name, _)| name == RESOLVER_PROGRAM)
}

/// Hangs the program that leads questions to the resolver on the loopback device. Says whether it did not hang there.
pub async fn lead_to_resolver(netns: &Netns, program: BorrowedFd<'_>) -> Result<bool> {
    inside(netns, async move |netlink| {
        let program = Hanging {
            name: RESOLVER_PROGRAM,
            fd: program,
            again: false,
        };
        netlink
            .hang(program, LOOPBACK_IFINDEX, Side::Egress, leads)
            .await
    })
    .await
}

/// Takes netd's rules, routing tables and filter out of a namespace that lives on without netd, and the qdisc that held the
/// filter if nobody else uses it. Links of netd's go by themselves, and with them what the main table said of them.
pub async fn leave(netns: &Netns) -> Result<()> {
    inside(netns, async |netlink| {
        for rule in rules(&netlink).await? {
            remove(&netlink, rule).await?;
        }
        remove_tables(&netlink, &BTreeSet::new()).await?;
        netlink
            .unhang(LOOPBACK_IFINDEX, Side::Egress, leads)
            .await?;
        netlink
            .remove_empty_clsact(LOOPBACK_IFINDEX)
            .await
            .map(drop)
    })
    .await
}

/// Removes the routes of single endpoints' tables but for those that are kept.
async fn remove_tables(netlink: &Netlink, kept: &BTreeSet<u32>) -> Result<()> {
    let fail = |e| Error::internal("routing tables of a sandbox", e);
    let queries = [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ];
    for query in queries {
        let list = || {
            let found = netlink.handle.route().get(query.clone()).execute();
            let gone = |table| table >= TABLES && !kept.contains(&table);
            let own = found.try_filter(move |route| std::future::ready(gone(table(route))));
            own.try_collect::<Vec<RouteMessage>>()
        };
        for route in retry(list).await.map_err(fail)? {
            match netlink.handle.route().del(route).execute().await {
                Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::ESRCH => {}
                Err(e) => return Err(fail(e)),
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

fn table(route: &RouteMessage) -> u32 {
    let number = route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    number.unwrap_or_else(|| route.header.table.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{fresh, ip};

    const WAY: &str = "10.9.0.2";

    fn sources(interface: &str) -> Vec<SourceRoute> {
        let of = |source: &str, gateway: &str, table, other: &str| SourceRoute {
            source: source.parse().unwrap(),
            table,
            gateway: gateway.parse().unwrap(),
            interface: interface.to_owned(),
            others: vec![other.parse().unwrap()],
        };
        vec![
            of(WAY, "10.9.0.1", TABLES + 7, "10.8.0.0/16"),
            of("fd00:9::2", "fd00:9::1", TABLES + 7, "fd00:8::/64"),
        ]
    }

    /// What ip(8) and tc(8) show of the rules, the routes and the qdiscs.
    fn shown(netns: &Netns) -> Vec<String> {
        let lists = [
            "-4 rule show",
            "-6 rule show",
            "-4 route show table all",
            "-6 route show table all",
        ];
        let mut all: Vec<String> = lists.iter().map(|words| ip(netns, words)).collect();
        all.push(crate::kernel::testing::command(netns, "tc qdisc show"));
        all
    }

    /// Needs root.
    #[tokio::test(flavor = "multi_thread")]
    async fn b20_nothing_of_netds_stays_in_a_namespace_that_lives_on() {
        let netns = fresh();
        for words in [
            "link set lo up",
            "link add own0 type veth peer name own1",
            "addr add 10.9.0.2/16 dev own0",
            "addr add fd00:9::2/64 dev own0 nodad",
            "link set own1 up",
            "link set own0 up",
            // Others' rules and routes, one of them of a priority of netd's.
            "rule add pref 30000 from 10.1.0.0/16 lookup 77",
            "-6 rule add pref 30001 from fd00:1::/64 lookup 77",
            "route add 192.0.2.0/24 via 10.9.0.1 table 77",
        ] {
            ip(&netns, words);
        }
        let before = shown(&netns);
        let set = sources("own0");
        inside(&netns, async move |netlink| {
            set_sources(&netlink, &set).await
        })
        .await
        .unwrap();
        assert!(shown(&netns)[0].contains(WAY) && shown(&netns)[3].contains("16777223"));
        leave(&netns).await.unwrap();
        assert_eq!(shown(&netns), before);
        // Nothing to take away is fine.
        leave(&netns).await.unwrap();
        assert_eq!(shown(&netns), before);
    }

    /// Needs root.
    #[tokio::test(flavor = "multi_thread")]
    async fn b20_a_qdisc_that_others_use_stays() {
        let netns = fresh();
        ip(&netns, "link set lo up");
        let tc = |words: &str| crate::kernel::testing::command(&netns, &format!("tc {words}"));
        tc("qdisc add dev lo clsact");
        let others = "1,6 0 0 4294967295";
        let words = "filter add dev lo ingress protocol all pref 7 bpf direct-action bytecode";
        let mut words: Vec<&str> = words.split(' ').collect();
        words.push(others);
        words.insert(0, "tc");
        crate::kernel::testing::run(&netns, &words);
        leave(&netns).await.unwrap();
        assert!(tc("qdisc show dev lo").contains("clsact"));
        assert!(tc("filter show dev lo ingress").contains("pref 7"));
        tc("filter del dev lo ingress pref 7");
        leave(&netns).await.unwrap();
        assert!(!tc("qdisc show dev lo").contains("clsact"));
    }
}
