//! The address manager `default`: subnets from the configured pools and the host's ULA prefix, addresses from the subnets. All
//! that is held stands in one ledger in memory, made anew at each start from the networks and endpoints that are stored.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use ipnetwork::{IpNetwork, Ipv6Network};
use serde::{Deserialize, Serialize};

use super::{
    AddressManager, PoolsRequest, Withheld,
    addresses::{allocate, bounds, choose_v4, choose_v6, first_usable, is_reserved, overlap},
};
use crate::{
    config,
    error::{Error, Kind, Reason, Result},
    model::{Network, Pool},
    observed::Observations,
};

/// The addresses of each family that a network gave out last: the search for a free one goes on behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cursors {
    /// Of IPv4.
    pub v4: Option<IpAddr>,
    /// Of IPv6.
    pub v6: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Held {
    name: String,
    pools: Vec<IpNetwork>,
    addresses: BTreeSet<IpAddr>,
    cursors: Cursors,
}

/// First address of a subnet, then its last one and its holder.
type Subnets = BTreeMap<u128, (u128, String)>;

#[derive(Debug, Default)]
struct Ledger {
    networks: HashMap<String, Held>,
    /// Subnets that are held, of IPv4 and of IPv6; they do not overlap.
    subnets: [Subnets; 2],
    withheld: Withheld,
}

impl Ledger {
    /// Who holds a subnet that overlaps this one.
    fn holder(&self, net: &IpNetwork) -> Option<&str> {
        let (first, last) = bounds(net);
        // None overlaps another: only the last one that begins before this one's end can reach into it.
        let subnets = &self.subnets[usize::from(net.is_ipv6())];
        let found = subnets.range(..=last).next_back();
        let found = found.filter(|(_, (end, _))| *end >= first);
        found.map_or_else(
            || self.withheld.holder(net),
            |(_, (_, holder))| Some(holder),
        )
    }

    fn hold(&mut self, network: &str, net: &IpNetwork) {
        let (first, last) = bounds(net);
        self.subnets[usize::from(net.is_ipv6())].insert(first, (last, network.to_owned()));
    }

    /// What nobody else may have: subnets that are held and what the host can reach already, in order.
    fn taken(&self, v6: bool, host: &[IpNetwork]) -> Vec<(u128, u128)> {
        let subnets = self.subnets[usize::from(v6)].iter();
        let mut taken: Vec<(u128, u128)> =
            subnets.map(|(first, (last, _))| (*first, *last)).collect();
        let withheld = self.withheld.subnets.iter().map(|(net, _)| net);
        let others = host.iter().chain(withheld);
        taken.extend(others.filter(|n| n.is_ipv6() == v6).map(bounds));
        taken.sort_unstable();
        taken
    }

    /// Who holds the subnets when none is left.
    fn holders(&self) -> String {
        let mut held: Vec<String> = self
            .networks
            .values()
            .filter(|held| !held.pools.is_empty())
            .map(|held| {
                let subnets: Vec<String> = held.pools.iter().map(ToString::to_string).collect();
                format!("{} {}", held.name, subnets.join(" "))
            })
            .collect();
        held.sort();
        let more = held.len().saturating_sub(16);
        held.truncate(16);
        let rest = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{rest}", held.join(", "))
    }
}

/// The address manager.
pub struct DefaultManager {
    pools: Vec<config::Pool>,
    ula: Ipv6Network,
    host: Observations,
    ledger: Mutex<Ledger>,
}

fn automatic(subnet: IpNetwork) -> Pool {
    Pool {
        gateway: first_usable(&subnet),
        subnet,
        ip_range: None,
        aux: BTreeMap::new(),
        chosen: false,
    }
}

impl DefaultManager {
    /// With nothing held.
    pub fn new(pools: Vec<config::Pool>, ula: Ipv6Network, host: Observations) -> Self {
        Self {
            pools,
            ula,
            host,
            ledger: Mutex::default(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl AddressManager for DefaultManager {
    async fn request_pools(&self, request: &PoolsRequest) -> Result<Vec<Pool>> {
        // What the host can reach already must not disappear behind a container network.
        let host = self.host.now().host.taken();
        let mut ledger = self.ledger();
        let mut pools = request.chosen.clone();
        for pool in &pools {
            if let Some(holder) = ledger.holder(&pool.subnet) {
                let (about, named) = match ledger.networks.get(holder) {
                    Some(held) => (held.name.as_str(), format!("network {}", held.name)),
                    None => (holder, holder.to_owned()),
                };
                return Err(
                    Error::conflict("Pool overlaps with other one on this address space")
                        .because(Reason::PoolOverlap)
                        .about("subnet", pool.subnet)
                        .about("holder", about)
                        .hint(format!("{} overlaps {named}", pool.subnet)),
                );
            }
        }
        let has = |pools: &[Pool], v4: bool| pools.iter().any(|p| p.subnet.is_ipv4() == v4);
        if request.v4 && !has(&pools, true) {
            let taken = ledger.taken(false, &host);
            let subnet = choose_v4(&self.pools, taken.iter()).map_err(|mut e| {
                e.message = format!("{}; networks hold {}", e.message, ledger.holders());
                e
            })?;
            pools.insert(0, automatic(subnet));
        }
        if request.v6 && !has(&pools, false) {
            let mut taken = ledger.taken(true, &host);
            let chosen = pools.iter().filter(|p| p.subnet.is_ipv6());
            taken.extend(chosen.map(|p| bounds(&p.subnet)));
            pools.push(automatic(choose_v6(self.ula, taken.iter())?));
        }
        for (index, pool) in pools.iter().enumerate() {
            let others = pools.iter().take(index);
            if let Some(other) = others
                .into_iter()
                .find(|p| overlap(&p.subnet, &pool.subnet))
            {
                return Err(
                    Error::conflict("Pool overlaps with other one on this address space")
                        .because(Reason::PoolOverlap)
                        .about("subnet", pool.subnet)
                        .about("holder", &request.name)
                        .hint(format!("{} overlaps {}", pool.subnet, other.subnet)),
                );
            }
        }
        let held = Held {
            name: request.name.clone(),
            pools: pools.iter().map(|p| p.subnet).collect(),
            ..Held::default()
        };
        for subnet in &held.pools {
            ledger.hold(&request.network, subnet);
        }
        ledger.networks.insert(request.network.clone(), held);
        Ok(pools)
    }

    async fn release_pools(&self, network: &str) {
        let mut ledger = self.ledger();
        if ledger.networks.remove(network).is_some() {
            for subnets in &mut ledger.subnets {
                subnets.retain(|_, (_, holder)| holder != network);
            }
        }
    }

    async fn request_address(
        &self,
        network: &Network,
        v4: bool,
        wanted: Option<IpAddr>,
        before: &[IpAddr],
    ) -> Result<IpAddr> {
        let name = format!("{} ({})", network.name, network.id);
        let pool = network.pool(v4).ok_or_else(|| {
            Error::internal(format!("network {name}"), "it has no subnet of the family")
        })?;
        let mut ledger = self.ledger();
        let withheld = ledger.withheld.of(&network.id);
        if let Some(wanted) = wanted
            && let Some(holder) = ledger.withheld.holder_of(&network.id, wanted)
        {
            let text = format!("Address already in use: {wanted} by {holder}");
            return Err(Error::conflict(text)
                .because(Reason::AddressInUse)
                .about("address", wanted)
                .about("network", &network.name)
                .hint("choose another one, or remove what has it; netctl status shows why it cannot be used"));
        }
        let held = ledger.networks.entry(network.id.clone()).or_default();
        if let Some(wanted) = wanted {
            if !held.addresses.insert(wanted) {
                return Err(Error::conflict(format!("Address already in use: {wanted}"))
                    .because(Reason::AddressInUse)
                    .about("address", wanted)
                    .about("network", &network.name)
                    .hint("choose another one, or none for an automatic one"));
            }
            return Ok(wanted);
        }
        let used = |a: &IpAddr| held.addresses.contains(a) || withheld.contains(a);
        let free = |a: &&IpAddr| pool.subnet.contains(**a) && !used(a) && !is_reserved(pool, **a);
        if let Some(again) = before.iter().find(free).copied() {
            held.addresses.insert(again);
            return Ok(again);
        }
        let cursor = if v4 { held.cursors.v4 } else { held.cursors.v6 };
        let used = match withheld.is_empty() {
            true => Cow::Borrowed(&held.addresses),
            false => Cow::Owned(&held.addresses | &withheld),
        };
        let found = allocate(pool, cursor, &used).ok_or_else(|| {
            let family = if v4 { "IPv4" } else { "IPv6" };
            Error::new(
                Kind::Exhausted,
                format!("no available {family} addresses on this network's address pools: {name}"),
            )
            .because(Reason::AddressesExhausted)
            .about("network", &network.name)
            .hint("disconnect a sandbox or make a larger network")
        })?;
        if v4 {
            held.cursors.v4 = Some(found);
        } else {
            held.cursors.v6 = Some(found);
        }
        held.addresses.insert(found);
        Ok(found)
    }

    async fn release_address(&self, network: &str, address: IpAddr) {
        if let Some(held) = self.ledger().networks.get_mut(network) {
            held.addresses.remove(&address);
        }
    }

    fn adopt_network(&self, network: &Network, cursors: Cursors) {
        let mut ledger = self.ledger();
        for pool in &network.pools {
            ledger.hold(&network.id, &pool.subnet);
        }
        let held = ledger.networks.entry(network.id.clone()).or_default();
        held.name.clone_from(&network.name);
        held.pools = network.pools.iter().map(|p| p.subnet).collect();
        held.cursors = cursors;
    }

    fn adopt_address(&self, network: &str, address: IpAddr) {
        let mut ledger = self.ledger();
        let held = ledger.networks.entry(network.to_owned()).or_default();
        held.addresses.insert(address);
    }

    fn withhold(&self, withheld: &Withheld) {
        self.ledger().withheld = withheld.clone();
    }

    fn cursors(&self, network: &str) -> Option<Cursors> {
        self.ledger().networks.get(network).map(|held| held.cursors)
    }
}

#[cfg(test)]
#[path = "default_tests.rs"]
mod tests;
