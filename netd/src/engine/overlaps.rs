//! Networks' subnets and the host's own surroundings: what would cut the host is refused, what lies over one of its routes is told.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;

use super::{Engine, events::Event, state::State};
use crate::{
    driver::Network,
    error::{Error, Reason, Result},
    ipam,
    kernel::host::HostState,
};

/// Whom a subnet must not hide from the host.
struct Met {
    whose: &'static str,
    address: IpAddr,
    ifindex: u32,
}

impl State {
    /// Whether an interface is one of netd's, or was.
    fn is_own(&self, ifindex: u32) -> bool {
        self.observed.is_own(ifindex) || self.observed.retired.contains(&ifindex)
    }

    /// Destinations of the host that are not netd's: routes and addresses of uplinks.
    fn foreign_destinations(&self, state: &HostState) -> BTreeSet<IpNetwork> {
        let addresses = state.addresses.iter().filter(|a| !self.is_own(a.ifindex));
        let nets = addresses.filter(|a| !a.net.ip().is_loopback());
        let nets = nets.filter_map(|a| IpNetwork::new(a.net.network(), a.net.prefix()).ok());
        let routes = state.routes.iter().filter(|(_, oif)| !self.is_own(*oif));
        nets.chain(routes.map(|(net, _)| *net)).collect()
    }

    /// An address in the subnet that is the host's own, or its router's. Also where the host's
    /// own route is the more specific one: whoever has an address of a network's subnet is taken for a container.
    fn met(&self, host: &HostState, subnet: &IpNetwork) -> Option<Met> {
        let own = host.addresses.iter();
        let own = own.map(|a| Met {
            whose: "the host's own address",
            address: a.net.ip(),
            ifindex: a.ifindex,
        });
        let routers = host.routers.iter().map(|(address, ifindex)| Met {
            whose: "the host's router",
            address: *address,
            ifindex: *ifindex,
        });
        let mut all = own.chain(routers);
        all.find(|m| subnet.contains(m.address) && !self.is_own(m.ifindex))
    }

    /// Subnets over which one of these destinations lies, each with the first one.
    fn overlaps<'a>(
        &self,
        networks: impl Iterator<Item = &'a Arc<Network>>,
        destinations: &[IpNetwork],
    ) -> Vec<(&'a Arc<Network>, String)> {
        let mut found = Vec::new();
        for network in networks.filter(|n| !n.device.is_empty()) {
            for new in destinations.iter().filter(|n| n.prefix() > 0) {
                let mut pools = network.pools.iter();
                if let Some(pool) = pools.find(|p| ipam::overlap(&p.subnet, new)) {
                    let text = format!(
                        "the host's route or address {new} overlaps subnet {} of network {}; one of the two is unreachable",
                        pool.subnet, network.name
                    );
                    found.push((network, text));
                }
            }
        }
        found
    }
}

impl Engine {
    /// The host as it is now.
    async fn surroundings(&self) -> Result<HostState> {
        let resolv_conf = &self.config.dns.resolv_conf;
        self.context.netlink.host_state(resolv_conf).await
    }

    /// Refuses subnets whose routes or gateways would cut the host from its neighbours or its router. Where the host carries no
    /// address of the network, nothing of the host's own leads there.
    pub(super) async fn check_surroundings(&self, network: &Network) -> Result<()> {
        let held = network.host_gateways();
        let chosen = network.pools.iter().any(|p| p.chosen);
        if network.device.is_empty() || held.is_empty() || !chosen {
            return Ok(());
        }
        let host = self.surroundings().await?;
        let state = self.state();
        for pool in network.pools.iter().filter(|p| p.chosen) {
            let subnet = &pool.subnet;
            if !held.iter().any(|net| net.ip() == pool.gateway) {
                continue;
            }
            if let Some(met) = state.met(&host, subnet) {
                let link = host.links.get(met.ifindex);
                let interface = link.map_or_else(String::new, |l| l.name.clone());
                let hint = match link.is_some_and(|l| l.alias.starts_with("netd:")) {
                    true => {
                        "it is a network's, of another instance or of a record that cannot be used (netctl status): choose another subnet, or remove that network first"
                    }
                    false => {
                        "its neighbours would be taken for containers: choose another subnet, or let netd choose one"
                    }
                };
                return Err(Error::conflict(format!(
                    "subnet {subnet} holds {} {} ({interface})",
                    met.whose, met.address
                ))
                .because(Reason::SubnetInUse)
                .about("subnet", subnet)
                .about("address", met.address)
                .about("interface", interface)
                .hint(hint));
            }
        }
        Ok(())
    }

    /// Warns where subnets that a user chose lie over what the host reaches already.
    pub(super) async fn report_new_overlaps(&self, network: &Arc<Network>) {
        if !network.pools.iter().any(|p| p.chosen) {
            return;
        }
        match self.surroundings().await {
            Ok(host) => {
                let state = self.state();
                let destinations = Vec::from_iter(state.foreign_destinations(&host));
                self.tell_overlaps(&state.overlaps([network].into_iter(), &destinations));
            }
            Err(e) => tracing::warn!("looking for routes over network {}: {e}", network.name),
        }
    }

    /// Warns when something new of the host, such as a VPN, lies over a network's subnet.
    pub(super) fn report_overlaps(&self, before: &HostState) {
        let state = self.state();
        let known = state.foreign_destinations(before);
        let now = state.foreign_destinations(&state.observed.host);
        let new: Vec<IpNetwork> = now.difference(&known).copied().collect();
        self.tell_overlaps(&state.overlaps(state.networks().values(), &new));
    }

    fn tell_overlaps(&self, found: &[(&Arc<Network>, String)]) {
        for (network, text) in found {
            let attributes = [("name", &*network.name), ("message", &**text)];
            self.tell(Event::new("network", "warning", &network.id, &attributes));
            self.warn(text.clone());
        }
    }
}
