//! The host's links and addresses, kept by the kernel's messages. Copies of the state share what did not change.

use std::{collections::BTreeSet, net::IpAddr};

use imbl::OrdMap;
use ipnetwork::IpNetwork;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
};

use super::routes::Routes;

/// An interface of the host's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// Whether a message tells all of a link. Some tell of its part in a bridge, or of an event of a radio's, alone.
pub(super) fn is_whole(message: &LinkMessage) -> bool {
    let mtu = |a: &LinkAttribute| matches!(a, LinkAttribute::Mtu(_));
    message.header.interface_family == AddressFamily::Unspec && message.attributes.iter().any(mtu)
}

impl HostLink {
    fn of(message: &LinkMessage) -> Self {
        let kind = message.header.link_layer_type;
        let mut link = Self {
            ifindex: message.header.index,
            ethernet: kind == LinkLayerType::Ether,
            loopback: kind == LinkLayerType::Loopback,
            up: message.header.flags.contains(LinkFlags::Up),
            port: is_port(&message.attributes),
            ..Self::default()
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(n) => link.name.clone_from(n),
                LinkAttribute::Mtu(m) => link.mtu = *m,
                LinkAttribute::IfAlias(a) => link.alias.clone_from(a),
                _ => {}
            }
        }
        link
    }
}

/// An address of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddr {
    /// Its interface.
    pub ifindex: u32,
    /// Address with prefix length.
    pub net: IpNetwork,
    /// Of universe scope.
    pub global: bool,
    /// Another address of its subnet came first (IPv4).
    pub secondary: bool,
    /// How far it is known; 0: everywhere.
    scope: u8,
}

impl HostAddr {
    fn of(message: &AddressMessage) -> Option<Self> {
        // On point-to-point links `Address` is the peer's and `Local` ours.
        let mut own = None;
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(a) => own = Some(*a),
                AddressAttribute::Address(a) if own.is_none() => own = Some(*a),
                AddressAttribute::Flags(f) => flags = *f,
                _ => {}
            }
        }
        let net = IpNetwork::new(own?, message.header.prefix_len).ok()?;
        Some(Self {
            ifindex: message.header.index,
            net,
            global: message.header.scope == AddressScope::Universe,
            scope: message.header.scope.into(),
            // Of IPv6 the flag has another meaning.
            secondary: net.is_ipv4() && flags.contains(AddressFlags::Secondary),
        })
    }
}

/// The host's interfaces, by their indices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links(OrdMap<u32, HostLink>);

impl Links {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &HostLink> {
        self.0.values()
    }

    /// One of them.
    pub fn get(&self, ifindex: u32) -> Option<&HostLink> {
        self.0.get(&ifindex)
    }

    /// Not even a loopback device: nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The host's addresses, those of each interface in the kernel's order: the first one is what the kernel would choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(OrdMap<u32, Vec<HostAddr>>);

impl Addresses {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &HostAddr> {
        self.0.values().flatten()
    }

    /// `listed`: as part of a listing, in order; otherwise as news, and the kernel has put it among the others as it does
    /// (`__inet_insert_ifa`, `ipv6_link_dev_addr`).
    fn put(&mut self, new: HostAddr, listed: bool) {
        let all = self.0.entry(new.ifindex).or_default();
        if let Some(old) = all.iter_mut().find(|a| a.net == new.net) {
            *old = new;
            return;
        }
        let v4 = new.net.is_ipv4();
        let others = |a: &HostAddr| a.net.is_ipv4() == v4;
        let end = all.iter().rposition(others).map(|last| last + 1);
        let at = if listed {
            None
        } else if v4 && new.secondary {
            // Those of IPv6 stand behind.
            end.or(Some(0))
        } else if v4 {
            // Behind the primary ones that are known no further.
            let before = |a: &HostAddr| others(a) && !a.secondary && new.scope <= a.scope;
            Some(all.iter().rposition(before).map_or(0, |last| last + 1))
        } else {
            // Of one scope, the newest comes first; the widest scope first of all.
            all.iter()
                .position(|a| others(a) && (new.global || !a.global))
        };
        match at {
            Some(at) => all.insert(at, new),
            None => all.push(new),
        }
    }

    fn remove(&mut self, ifindex: u32, net: IpNetwork) {
        if let Some(all) = self.0.get_mut(&ifindex) {
            all.retain(|a| a.net != net);
            if all.is_empty() {
                self.0.remove(&ifindex);
            }
        }
    }

    fn has_v4(&self, ifindex: u32) -> bool {
        let of = self.0.get(&ifindex);
        of.is_some_and(|all| all.iter().any(|a| a.net.is_ipv4()))
    }

    fn has(&self, address: IpAddr) -> bool {
        self.iter().any(|a| a.net.ip() == address)
    }
}

/// The host's own configuration. A copy costs next to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// Interfaces.
    pub links: Links,
    /// Addresses, loopback ones too.
    pub addresses: Addresses,
    /// Destinations of unicast routes but the default ones, as far as they are minded, and the interface that each leads to (0:
    /// several).
    pub routes: imbl::OrdSet<(IpNetwork, u32)>,
    /// Interfaces of default routes.
    pub egress: BTreeSet<u32>,
    /// Next hops of default routes, and their interfaces.
    pub routers: BTreeSet<(IpAddr, u32)>,
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

/// The state, and what must be known beside it to keep it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    links: Links,
    addresses: Addresses,
    pub(super) routes: Routes,
}

impl Tracker {
    /// Nothing known yet; `routes` says which are minded.
    pub fn minding(routes: Routes) -> Self {
        Self {
            routes,
            ..Self::default()
        }
    }

    /// As others see it; without resolvers.
    pub fn state(&self) -> HostState {
        HostState {
            links: self.links.clone(),
            addresses: self.addresses.clone(),
            routes: self.routes.destinations(),
            egress: self.routes.egress(),
            routers: self.routes.routers(),
            resolvers: Vec::new(),
        }
    }

    /// Takes a message in: part of a listing, or news. `replaces`: the message says that it takes another one's place.
    pub fn apply(&mut self, message: &RouteNetlinkMessage, listed: bool, replaces: bool) {
        use RouteNetlinkMessage as M;
        match message {
            M::NewLink(m) if is_whole(m) => {
                let link = HostLink::of(m);
                if !link.up {
                    self.routes.forget_device(link.ifindex, false);
                }
                self.links.0.insert(link.ifindex, link);
            }
            M::DelLink(m) if is_whole(m) => {
                self.links.0.remove(&m.header.index);
                self.addresses.0.remove(&m.header.index);
                self.routes.forget_device(m.header.index, false);
            }
            M::NewAddress(m) => {
                if let Some(address) = HostAddr::of(m) {
                    self.addresses.put(address, listed);
                }
            }
            M::DelAddress(m) => {
                if let Some(HostAddr { ifindex, net, .. }) = HostAddr::of(m) {
                    self.addresses.remove(ifindex, net);
                    if net.is_ipv4() && !self.addresses.has(net.ip()) {
                        self.routes.forget_source(net.ip());
                    }
                    // Without an address, a device has no IPv4 (`fib_inetaddr_event`).
                    if net.is_ipv4() && !self.addresses.has_v4(ifindex) {
                        self.routes.forget_device(ifindex, true);
                    }
                }
            }
            M::NewRoute(m) => self.routes.add(m, replaces),
            M::DelRoute(m) => self.routes.remove(m),
            _ => {}
        }
    }

    /// What is different from an earlier state: interfaces with other contents than before, and those that are gone.
    pub fn changes_since(&self, before: &Self) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let indices = |t: &Self| t.links.0.keys().copied().collect::<BTreeSet<u32>>();
        let (old, new) = (indices(before), indices(self));
        let differs = |i: &&u32| {
            self.links.get(**i) != before.links.get(**i)
                || self.addresses.0.get(*i) != before.addresses.0.get(*i)
        };
        let touched = old.union(&new).filter(differs).copied().collect();
        (touched, old.difference(&new).copied().collect())
    }
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

    /// A port that leaves its bridge is told of as a link that goes; it stays.
    #[test]
    fn b21_a_port_that_leaves_its_bridge_is_not_gone() {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.attributes.push(LinkAttribute::Mtu(1500));
        let mut tracker = Tracker::default();
        tracker.apply(&RouteNetlinkMessage::NewLink(message.clone()), false, false);
        message.header.interface_family = AddressFamily::Bridge;
        let mut changes = super::super::Changes::default();
        let left = RouteNetlinkMessage::DelLink(message.clone());
        tracker.apply(&left, false, false);
        changes.add(&left);
        assert!(tracker.links.get(7).is_some() && changes.removed.is_empty());
        message.header.interface_family = AddressFamily::Unspec;
        let gone = RouteNetlinkMessage::DelLink(message);
        tracker.apply(&gone, false, false);
        changes.add(&gone);
        assert!(tracker.links.is_empty() && changes.removed.contains(&7));
    }
}
