//! The host's routes, of which only those are remembered that somebody minds: a host with all routes of the Internet has a million
//! others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnetwork::{IpNetwork, Ipv4Network};
use rtnetlink::packet_route::{
    AddressFamily,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteType},
};

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    /// Interface; 0: several.
    output: u32,
    /// Those several.
    members: Vec<u32>,
    gateway: Option<IpAddr>,
    /// Gateways by several interfaces, with them.
    hops: Vec<(IpAddr, u32)>,
    /// Source address that it prefers.
    source: Option<IpAddr>,
}

/// What tells routes apart; those that share it are alternatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    destination: IpNetwork,
    table: u32,
    priority: u32,
    tos: u8,
}

impl Key {
    /// No key comes before it.
    const LEAST: Self = Self {
        destination: IpNetwork::V4(Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0).unwrap()),
        table: 0,
        priority: 0,
        tos: 0,
    };
}

/// The routes that are minded, and the default ones.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// Routes that overlap none of these are not remembered; `None`: all are.
    pools: Option<Vec<IpNetwork>>,
    minded: Vec<IpNetwork>,
    ways: HashMap<Key, Vec<Way>>,
    by_output: BTreeSet<(u32, Key)>,
    by_source: BTreeSet<(IpAddr, Key)>,
    /// How many routes have this destination and interface.
    counts: BTreeMap<(IpNetwork, u32), usize>,
    destinations: imbl::OrdSet<(IpNetwork, u32)>,
    /// Something was told that does not fit: a listing must tell the truth.
    pub doubtful: bool,
}

fn overlap(a: &IpNetwork, b: &IpNetwork) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a.contains(b.network()) || b.contains(a.network()))
}

fn address(of: &RouteAddress) -> Option<IpAddr> {
    match of {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

/// Interface that a route leads to, if it is one alone.
pub fn output(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Oif(ifindex) => Some(*ifindex),
        _ => None,
    })
}

fn next_hop(hop: &RouteNextHop) -> Option<(IpAddr, u32)> {
    let gateway = hop.attributes.iter().find_map(|a| match a {
        RouteAttribute::Gateway(a) => address(a),
        _ => None,
    });
    Some((gateway?, hop.interface_index))
}

fn parse(route: &RouteMessage) -> Option<(Key, Way)> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let unspecified = match route.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut destination = unspecified;
    let (mut table, mut priority) = (route.header.table.into(), 0);
    let mut way = Way {
        output: 0,
        members: Vec::new(),
        gateway: None,
        hops: Vec::new(),
        source: None,
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(a) => destination = address(a)?,
            RouteAttribute::Table(t) => table = *t,
            RouteAttribute::Priority(p) => priority = *p,
            RouteAttribute::Oif(i) => way.output = *i,
            RouteAttribute::MultiPath(hops) => {
                way.members = hops.iter().map(|hop| hop.interface_index).collect();
                way.hops = hops.iter().filter_map(next_hop).collect();
            }
            RouteAttribute::Gateway(a) => way.gateway = address(a),
            RouteAttribute::PrefSource(a) => way.source = address(a),
            _ => {}
        }
    }
    let destination = IpNetwork::new(destination, route.header.destination_prefix_length).ok()?;
    let tos = route.header.tos;
    Some((
        Key {
            destination,
            table,
            priority,
            tos,
        },
        way,
    ))
}

impl Routes {
    /// None yet, and these are minded.
    pub fn new(pools: Option<Vec<IpNetwork>>) -> Self {
        Self {
            pools,
            ..Self::default()
        }
    }

    /// None, and the same ones are minded.
    pub fn emptied(&self) -> Self {
        Self {
            pools: self.pools.clone(),
            minded: self.minded.clone(),
            ..Self::default()
        }
    }

    /// These are minded beside the pools, from now on.
    pub fn mind(&mut self, mut subnets: Vec<IpNetwork>) {
        let pools = self.pools.as_deref().unwrap_or_default();
        let inside = |s: &IpNetwork| {
            let holds = |p: &IpNetwork| overlap(p, s) && p.prefix() <= s.prefix();
            pools.iter().any(holds)
        };
        subnets.retain(|s| !inside(s));
        self.minded = subnets;
    }

    fn minds(&self, net: &IpNetwork) -> bool {
        let Some(pools) = &self.pools else {
            return true;
        };
        net.prefix() == 0 || pools.iter().chain(&self.minded).any(|p| overlap(p, net))
    }

    /// Destinations but the default ones.
    pub fn destinations(&self) -> imbl::OrdSet<(IpNetwork, u32)> {
        self.destinations.clone()
    }

    /// Interfaces of default routes.
    pub fn egress(&self) -> BTreeSet<u32> {
        let default = |(net, output): &&(IpNetwork, u32)| net.prefix() == 0 && *output != 0;
        let all = self.counts.keys().filter(default);
        all.map(|(_, output)| *output).collect()
    }

    /// Next hops of default routes, and the interfaces behind which they are.
    pub fn routers(&self) -> BTreeSet<(IpAddr, u32)> {
        let default = self
            .ways
            .iter()
            .filter(|(k, _)| k.destination.prefix() == 0);
        let ways = default.flat_map(|(_, ways)| ways);
        let hops = ways.flat_map(|way| {
            let one = way.gateway.map(|gateway| (gateway, way.output));
            one.into_iter().chain(way.hops.iter().copied())
        });
        hops.collect()
    }

    /// Takes a route in. `replaces`: in place of one that has the same key.
    pub fn add(&mut self, route: &RouteMessage, replaces: bool) {
        let Some((key, way)) = parse(route).filter(|(key, _)| self.minds(&key.destination)) else {
            return;
        };
        let there = self.ways.get(&key).cloned().unwrap_or_default();
        let v6 = key.destination.is_ipv6();
        // Which of several IPv4 routes went is not told; of IPv6 the message tells of all interfaces at once.
        if replaces && there.len() > 1 && !v6 {
            self.doubtful = true;
        }
        let several = v6 && way.output == 0;
        for old in &there {
            if (replaces || several) && *old != way {
                self.take(&key, old);
            }
        }
        if !there.contains(&way) {
            self.put(key, way);
        }
    }

    /// Takes a route out.
    pub fn remove(&mut self, route: &RouteMessage) {
        let Some((key, way)) = parse(route) else {
            return;
        };
        let there = self.ways.get(&key).cloned().unwrap_or_default();
        let same = |w: &&Way| w.output == way.output && w.gateway == way.gateway;
        match there.iter().find(same) {
            Some(found) => self.take(&key, found),
            None => self.doubtful |= !there.is_empty(),
        }
    }

    /// The routes of an interface that is down or gone: the kernel tells nothing of IPv4 ones (`fib_sync_down_dev`).
    /// `v4`: those only.
    pub fn forget_device(&mut self, ifindex: u32, v4: bool) {
        let mut keys = keys_of(&self.by_output, ifindex);
        keys.retain(|key| !v4 || key.destination.is_ipv4());
        self.forget(keys, |way| way.output == ifindex);
        // A route by several interfaces goes with the last of them, and nobody tells which that is.
        let several = keys_of(&self.by_output, 0);
        let mut ways = several.iter().filter_map(|k| self.ways.get(k)).flatten();
        self.doubtful |= ways.any(|way| way.members.contains(&ifindex));
    }

    /// The routes that prefer an address which is gone: the kernel tells nothing of them (`fib_sync_down_addr`).
    pub fn forget_source(&mut self, source: IpAddr) {
        let keys = keys_of(&self.by_source, source);
        self.forget(keys, |way| way.source == Some(source));
    }

    fn forget(&mut self, keys: Vec<Key>, which: impl Fn(&Way) -> bool) {
        for key in keys {
            for way in self.ways.get(&key).cloned().unwrap_or_default() {
                if which(&way) {
                    self.take(&key, &way);
                }
            }
        }
    }

    fn put(&mut self, key: Key, way: Way) {
        self.by_output.insert((way.output, key));
        if let Some(source) = way.source {
            self.by_source.insert((source, key));
        }
        let place = (key.destination, way.output);
        *self.counts.entry(place).or_default() += 1;
        if key.destination.prefix() > 0 {
            self.destinations.insert(place);
        }
        // Alternatives are rare.
        let one = || Vec::with_capacity(1);
        self.ways.entry(key).or_insert_with(one).push(way);
    }

    fn take(&mut self, key: &Key, way: &Way) {
        let Some(ways) = self.ways.get_mut(key) else {
            return;
        };
        let Some(at) = ways.iter().position(|w| w == way) else {
            return;
        };
        ways.remove(at);
        let same_output = ways.iter().any(|w| w.output == way.output);
        let same_source = ways.iter().any(|w| w.source == way.source);
        if ways.is_empty() {
            self.ways.remove(key);
        }
        if !same_output {
            self.by_output.remove(&(way.output, *key));
        }
        if let Some(source) = way.source.filter(|_| !same_source) {
            self.by_source.remove(&(source, *key));
        }
        let place = (key.destination, way.output);
        if let Some(count) = self.counts.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&place);
                self.destinations.remove(&place);
            }
        }
    }
}

/// The keys that are listed by this.
fn keys_of<B: Ord + Copy>(list: &BTreeSet<(B, Key)>, by: B) -> Vec<Key> {
    let from = list.range((by, Key::LEAST)..);
    from.take_while(|(b, _)| *b == by)
        .map(|(_, k)| *k)
        .collect()
}

#[cfg(test)]
mod tests {
    use rtnetlink::RouteMessageBuilder;

    use super::*;

    /// Of a route by two interfaces, one of which goes, only a listing can tell; of one by another device it says nothing.
    #[test]
    fn b21_a_route_by_several_interfaces_is_doubted_with_each() {
        let mut routes = Routes::new(Some(vec!["10.0.0.0/8".parse().unwrap()]));
        let hops = [3, 4].map(|ifindex| {
            let mut hop = rtnetlink::packet_route::route::RouteNextHop::default();
            hop.interface_index = ifindex;
            hop
        });
        let to = |net: &str| {
            let net: ipnetwork::Ipv4Network = net.parse().unwrap();
            let to = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(net.network(), net.prefix());
            let mut message = to.build();
            let several = RouteAttribute::MultiPath(hops.to_vec());
            message.attributes.push(several);
            message
        };
        routes.add(&to("192.0.2.0/24"), false);
        assert!(routes.destinations().is_empty(), "nobody minds it");
        routes.add(&to("10.7.0.0/16"), false);
        assert_eq!(routes.destinations().len(), 1);
        routes.forget_device(7, false);
        assert!(!routes.doubtful);
        routes.forget_device(4, false);
        assert!(routes.doubtful && routes.destinations().len() == 1);
    }

    /// Of default routes the next hops are known, of one by several interfaces too; of others they are not.
    #[test]
    fn c12_routers_are_the_next_hops_of_default_routes() {
        let mut routes = Routes::new(Some(vec!["10.0.0.0/8".parse().unwrap()]));
        let by = |last: u8| RouteAttribute::Gateway(Ipv4Addr::new(192, 0, 2, last).into());
        let mut one = RouteMessageBuilder::<Ipv4Addr>::new().build();
        one.attributes.extend([by(1), RouteAttribute::Oif(3)]);
        routes.add(&one, false);
        let mut several = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let hops = [(2, 4), (3, 5)].map(|(last, ifindex)| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = ifindex;
            hop.attributes.push(by(last));
            hop
        });
        several.attributes.push(RouteAttribute::Priority(7));
        several
            .attributes
            .push(RouteAttribute::MultiPath(hops.to_vec()));
        routes.add(&several, false);
        let far = RouteMessageBuilder::<Ipv4Addr>::new();
        let mut far = far
            .destination_prefix(Ipv4Addr::new(10, 7, 0, 0), 16)
            .build();
        far.attributes.extend([by(9), RouteAttribute::Oif(3)]);
        routes.add(&far, false);
        let hop = |last: u8, ifindex| (IpAddr::from([192, 0, 2, last]), ifindex);
        assert_eq!(routes.routers(), [hop(1, 3), hop(2, 4), hop(3, 5)].into());
        routes.remove(&one);
        assert_eq!(routes.routers().len(), 2);
    }
}
