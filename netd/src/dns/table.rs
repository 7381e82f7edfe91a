//! Who has which name: one snapshot of every network's names and every sandbox's view of them. A change makes a new
//! snapshot that shares what is unchanged, so that questions read without a lock and see all of a change or nothing.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use imbl::{HashMap, OrdMap};

/// The addresses that a name leads to on one network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its IPv4 address there.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address there.
    pub v6: Option<Ipv6Addr>,
}

/// A sandbox on one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The network's number.
    pub network: u32,
    /// The network's name, in lower case.
    pub zone: String,
    /// Sandboxes know each other's names here; not so on the default bridge.
    pub named: bool,
    /// Names by which others find the sandbox here, in lower case.
    pub names: Vec<String>,
    /// Its whole name in its own spelling and with its last dot, for reverse questions.
    pub canonical: String,
    /// Its addresses here.
    pub holder: Holder,
    /// Alias and target, both in lower case, for this sandbox alone.
    pub links: Vec<(String, String)>,
}

/// What a running sandbox shows and sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its id.
    pub sandbox: Arc<str>,
    /// Its networks, in the order in which they are searched.
    pub memberships: Vec<Membership>,
    /// Name servers to ask from the sandbox's namespace; empty: the host's.
    pub servers: Vec<IpAddr>,
    /// Whether questions about other names may go to the host's resolvers.
    pub forwards: bool,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Somebody has it.
    Held(Vec<Holder>),
    /// It is a link whose target is not there.
    Dangling,
    /// Nobody here knows it.
    Unknown,
}

/// A name as a sandbox sees it on one network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownName {
    /// In lower case.
    pub name: String,
    /// The network's number.
    pub network: u32,
    /// Of all that have it there.
    pub addresses: Vec<IpAddr>,
    /// The name that a link of the sandbox's own leads to.
    pub link: Option<String>,
}

/// A sandbox that has an address.
#[derive(Clone, Debug)]
struct Owner {
    sandbox: Arc<str>,
    name: Arc<str>,
}

#[derive(Clone, Debug, Default)]
struct Zone {
    names: HashMap<String, OrdMap<Arc<str>, Holder>>,
    /// Who was last given an address comes last: it may change hands before its old holder is forgotten.
    addresses: HashMap<IpAddr, Vec<Owner>>,
}

/// A snapshot.
#[derive(Clone, Debug, Default)]
pub struct Table {
    zones: HashMap<u32, Zone>,
    views: HashMap<Arc<str>, Arc<View>>,
}

impl Table {
    /// Sets or changes what a sandbox shows and sees.
    pub fn put(&mut self, view: View) {
        self.remove(&view.sandbox);
        for membership in view.memberships.iter().filter(|s| s.named) {
            let zone = self.zones.entry(membership.network).or_default();
            for name in &membership.names {
                let holders = zone.names.entry(name.clone()).or_default();
                holders.insert(Arc::clone(&view.sandbox), membership.holder);
            }
            let canonical: Arc<str> = membership.canonical.as_str().into();
            for address in addresses(membership.holder) {
                zone.addresses.entry(address).or_default().push(Owner {
                    sandbox: Arc::clone(&view.sandbox),
                    name: Arc::clone(&canonical),
                });
            }
        }
        let id = Arc::clone(&view.sandbox);
        self.views.insert(id, Arc::new(view));
    }

    /// Forgets a sandbox; an unknown one is fine.
    pub fn remove(&mut self, sandbox: &str) {
        let Some(view) = self.views.remove(sandbox) else {
            return;
        };
        for membership in view.memberships.iter().filter(|s| s.named) {
            let Some(zone) = self.zones.get_mut(&membership.network) else {
                continue;
            };
            for name in &membership.names {
                if let Some(holders) = zone.names.get_mut(name) {
                    holders.remove(sandbox);
                    if holders.is_empty() {
                        zone.names.remove(name);
                    }
                }
            }
            for address in addresses(membership.holder) {
                if let Some(owners) = zone.addresses.get_mut(&address) {
                    owners.retain(|owner| *owner.sandbox != *sandbox);
                    if owners.is_empty() {
                        zone.addresses.remove(&address);
                    }
                }
            }
            if zone.names.is_empty() && zone.addresses.is_empty() {
                self.zones.remove(&membership.network);
            }
        }
    }

    /// A sandbox's view.
    pub fn view(&self, sandbox: &str) -> Option<&Arc<View>> {
        self.views.get(sandbox)
    }

    /// Looks a name up as a sandbox sees it: its networks in order, on each its links first; the first network where
    /// somebody `suits` counts, so that a family is found where it is. `name`: in lower case, without the last dot.
    pub fn find(&self, view: &View, name: &str, suits: impl Fn(&Holder) -> bool) -> Known {
        let mut best = Known::Unknown;
        for membership in view.memberships.iter().filter(|s| s.named) {
            let within = name
                .strip_suffix(membership.zone.as_str())
                .and_then(|rest| rest.strip_suffix('.'));
            for wanted in [Some(name), within].into_iter().flatten() {
                let link = membership.links.iter().find(|(alias, _)| alias == wanted);
                let target = link.map_or(wanted, |(_, target)| target);
                let zone = self.zones.get(&membership.network);
                match (zone.and_then(|z| z.names.get(target)), link) {
                    (Some(holders), _) if holders.values().any(&suits) => {
                        return Known::Held(holders.values().copied().collect());
                    }
                    (Some(_), _) => best = Known::Held(Vec::new()),
                    (None, Some(_)) if best == Known::Unknown => best = Known::Dangling,
                    (None, _) => {}
                }
            }
        }
        best
    }

    /// All names that a sandbox sees, in order.
    pub fn names(&self, view: &View) -> Vec<KnownName> {
        let mut found = Vec::new();
        for membership in view.memberships.iter().filter(|m| m.named) {
            let zone = self.zones.get(&membership.network);
            let of = |name: &str| -> Vec<IpAddr> {
                let holders = zone.and_then(|z| z.names.get(name));
                let holders = holders.into_iter().flat_map(OrdMap::values);
                holders.flat_map(|h| addresses(*h)).collect()
            };
            let known = |name: &str, target: &str, link: Option<String>| KnownName {
                name: name.to_owned(),
                network: membership.network,
                addresses: of(target),
                link,
            };
            for (alias, target) in &membership.links {
                found.push(known(alias, target, Some(target.clone())));
            }
            let hidden = |name: &&String| !membership.links.iter().any(|(alias, _)| alias == *name);
            let names = zone.into_iter().flat_map(|z| z.names.keys());
            found.extend(names.filter(hidden).map(|name| known(name, name, None)));
        }
        found.sort();
        found
    }

    /// The name of an address on one of a sandbox's networks, with its last dot.
    pub fn name_of(&self, view: &View, address: IpAddr) -> Option<Arc<str>> {
        let memberships = view.memberships.iter().filter(|s| s.named);
        let mut zones = memberships.filter_map(|s| self.zones.get(&s.network));
        let owner = zones.find_map(|z| z.addresses.get(&address)?.last())?;
        Some(Arc::clone(&owner.name))
    }
}

fn addresses(holder: Holder) -> impl Iterator<Item = IpAddr> {
    let v4 = holder.v4.map(IpAddr::V4);
    v4.into_iter().chain(holder.v6.map(IpAddr::V6))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(network: u32, names: &[&str], last: u8) -> Membership {
        Membership {
            network,
            zone: format!("net{network}"),
            named: true,
            names: names.iter().map(|n| n.to_string()).collect(),
            canonical: format!("{}.net{network}.", names[0]),
            holder: Holder {
                v4: Some(Ipv4Addr::new(10, network as u8, 0, last)),
                v6: None,
            },
            links: Vec::new(),
        }
    }

    fn any(_: &Holder) -> bool {
        true
    }

    fn view(id: &str, memberships: Vec<Membership>) -> View {
        View {
            sandbox: id.into(),
            memberships,
            ..View::default()
        }
    }

    #[test]
    fn s01_names_are_known_on_common_networks_only() {
        let mut table = Table::default();
        table.put(view("a", vec![membership(1, &["web"], 1)]));
        table.put(view(
            "b",
            vec![membership(1, &["db"], 2), membership(2, &["db"], 3)],
        ));
        table.put(view("c", vec![membership(2, &["other"], 4)]));
        let a = table.view("a").unwrap().clone();
        let held = |last| Known::Held(vec![membership(1, &["x"], last).holder]);
        assert_eq!(table.find(&a, "db", any), held(2));
        assert_eq!(table.find(&a, "db.net1", any), held(2));
        assert_eq!(table.find(&a, "db.net2", any), Known::Unknown);
        assert_eq!(table.find(&a, "other", any), Known::Unknown);
        let name = table.name_of(&a, "10.1.0.2".parse().unwrap());
        assert_eq!(name.as_deref(), Some("db.net1."));
        assert_eq!(table.name_of(&a, "10.2.0.3".parse().unwrap()), None);
    }

    #[test]
    fn s05_a_family_is_found_on_the_network_that_has_it() {
        let mut table = Table::default();
        let mut second = membership(2, &["db"], 2);
        second.holder.v6 = Some("fd00::2".parse().unwrap());
        table.put(view(
            "a",
            vec![membership(1, &["a"], 1), membership(2, &["a"], 1)],
        ));
        table.put(view("b", vec![membership(1, &["db"], 2), second.clone()]));
        let a = table.view("a").unwrap().clone();
        let found = table.find(&a, "db", |h| h.v6.is_some());
        assert_eq!(found, Known::Held(vec![second.holder]));
        let found = table.find(&a, "db.net1", |h| h.v6.is_some());
        assert_eq!(found, Known::Held(vec![]));
    }

    #[test]
    fn s02_links_are_private_and_may_come_first() {
        let mut table = Table::default();
        let mut own = membership(1, &["web"], 1);
        own.links.push(("store".into(), "db".into()));
        table.put(view("a", vec![own]));
        table.put(view("b", vec![membership(1, &["other"], 9)]));
        let (a, b) = (
            table.view("a").unwrap().clone(),
            table.view("b").unwrap().clone(),
        );
        assert_eq!(table.find(&a, "store", any), Known::Dangling);
        table.put(view("c", vec![membership(1, &["db"], 2)]));
        assert!(matches!(table.find(&a, "store", any), Known::Held(_)));
        assert!(matches!(table.find(&a, "store.net1", any), Known::Held(_)));
        assert_eq!(table.find(&b, "store", any), Known::Unknown);
    }

    #[test]
    fn b03_an_address_that_changed_hands_keeps_its_new_name() {
        let address = "10.1.0.7".parse().unwrap();
        let asker = view("asker", vec![membership(1, &["asker"], 1)]);
        let name = |table: &Table| table.name_of(&asker, address).map(|n| n.to_string());
        let mut table = Table::default();
        table.put(asker.clone());
        table.put(view("a", vec![membership(1, &["a"], 7)]));
        table.put(view("b", vec![membership(1, &["b"], 7)]));
        assert_eq!(name(&table).as_deref(), Some("b.net1."));
        // The old holder's change comes last.
        table.put(view("a", vec![membership(1, &["a"], 8)]));
        assert_eq!(name(&table).as_deref(), Some("b.net1."));
        table.remove("a");
        assert_eq!(name(&table).as_deref(), Some("b.net1."));
        // Published once more before its end.
        table.put(view("a", vec![membership(1, &["a"], 7)]));
        table.remove("a");
        assert_eq!(name(&table).as_deref(), Some("b.net1."));
        table.remove("b");
        assert_eq!(name(&table), None);
    }

    #[test]
    fn s03_all_holders_of_an_alias_and_nothing_left_over() {
        let mut table = Table::default();
        table.put(view("a", vec![membership(1, &["a", "app"], 1)]));
        table.put(view("b", vec![membership(1, &["b", "app"], 2)]));
        let a = table.view("a").unwrap().clone();
        assert!(matches!(table.find(&a, "app", any), Known::Held(all) if all.len() == 2));
        table.remove("b");
        assert!(matches!(table.find(&a, "app", any), Known::Held(all) if all.len() == 1));
        table.put(view("a", vec![]));
        assert_eq!(table.find(&a, "app", any), Known::Unknown);
        table.remove("a");
        assert!(table.zones.is_empty() && table.views.is_empty());
    }
}
