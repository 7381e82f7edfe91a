//! What stands in a sandbox's hosts file, by the model: extra hosts, legacy links and its own names.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Engine, desired::Desired};
use crate::{
    driver::Network,
    error::{Error, Reason, Result},
    files::{self, Line},
    model::{Endpoint, Sandbox},
};

/// Target and alias of a link.
fn parts(link: &str) -> (&str, &str) {
    link.split_once(':').unwrap_or((link, link))
}

impl Desired {
    /// Address of the host as a sandbox sees it, if the host is on the network of its default route.
    fn host_gateway(&self, sandbox: &str, v4: bool) -> Option<IpAddr> {
        let endpoint = self.gateway_endpoint(sandbox, v4)?;
        let network = self.networks().get(&endpoint.network)?;
        let held = network.host_gateways().into_iter().map(|net| net.ip());
        held.into_iter().find(|address| address.is_ipv4() == v4)
    }

    /// Addresses of the host as a sandbox sees it.
    pub(super) fn host_gateways(&self, sandbox: &str) -> impl Iterator<Item = IpAddr> {
        let families = [true, false].into_iter();
        families.filter_map(move |v4| self.host_gateway(sandbox, v4))
    }

    /// A sandbox's lines of its hosts file.
    pub(super) fn host_lines(&self, sandbox: &Sandbox) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for (name, address) in &sandbox.names.hosts {
            let line = |address| (address, vec![name.clone()]);
            match address {
                Some(address) => lines.push(line(*address)),
                None => lines.extend(self.host_gateways(&sandbox.id).map(line)),
            }
        }
        let own = files::own_names(&sandbox.hostname, &sandbox.names.domainname);
        let mut own_lines = Vec::new();
        for endpoint in self.endpoints_of(&sandbox.id) {
            for link in self.legacy_links(endpoint) {
                let (wanted, alias) = parts(link);
                let Ok(target) = self.sandbox(wanted) else {
                    continue;
                };
                let names = files::link_names(alias, &target.hostname, &target.name);
                let addresses = self.addresses_on(&target.id, &endpoint.network);
                lines.extend(addresses.map(|address| (address, names.clone())));
            }
            let addresses = endpoint.addresses().into_iter();
            own_lines.extend(addresses.map(|net| (net.ip(), own.clone())));
        }
        lines.extend(own_lines);
        lines
    }

    /// The links of an endpoint that stand in the hosts file; on other networks the resolver knows them.
    fn legacy_links<'a>(&self, endpoint: &'a Endpoint) -> &'a [String] {
        let network = self.networks().get(&endpoint.network);
        if network.is_some_and(|n| n.names().links_in_hosts) {
            &endpoint.links
        } else {
            &[]
        }
    }

    fn addresses_on(&self, sandbox: &str, network: &str) -> impl Iterator<Item = IpAddr> {
        let mut endpoints = self.endpoints_of(sandbox);
        let found = endpoints.find(|e| e.network == network);
        let addresses = found.map(|e| e.addresses()).unwrap_or_default();
        addresses.into_iter().map(|net| net.ip())
    }

    /// Sandboxes that may have legacy links to this one, and itself.
    pub(super) fn linked_to(&self, target: &str, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::from([target.to_owned()]);
        let names = |link: &String| {
            let (wanted, _) = parts(link);
            wanted == name || target.starts_with(wanted)
        };
        for endpoint in self.linking() {
            if self.legacy_links(endpoint).iter().any(names) {
                found.insert(endpoint.sandbox.clone());
            }
        }
        found
    }
}

impl Engine {
    /// Refuses links to what is not there, where they stand in the hosts file. On other networks a link may come before its
    /// target.
    pub(super) fn check_links(
        &self,
        desired: &Desired,
        network: &Network,
        sandbox: &Sandbox,
        links: &[String],
    ) -> Result<()> {
        if !network.names().links_in_hosts {
            return Ok(());
        }
        let observed = self.context.observations.now();
        for link in links {
            let (wanted, alias) = parts(link);
            let target = desired.sandbox(wanted).map_err(|e| {
                Error::invalid(format!("could not get container for {wanted}: {}", e.message))
                    .hint("on the default bridge a link's target must be there; make a network of your own for others")
            })?;
            if !observed.running.contains_key(&target.id) {
                return Err(Error::conflict(format!(
                    "Cannot link to a non running container: /{} AS /{}/{alias}",
                    target.name, sandbox.name
                ))
                .because(Reason::NotRunning)
                .about("sandbox", &target.name)
                .hint("start it first"));
            }
            let mut endpoints = desired.endpoints_of(&target.id);
            if !endpoints.any(|e| e.network == network.id) {
                return Err(Error::conflict(format!(
                    "Cannot link to /{}, as it does not belong to the default network",
                    target.name
                ))
                .because(Reason::NotConnected)
                .about("sandbox", &target.name)
                .about("network", &network.name)
                .hint(format!("connect it to {} first", network.name)));
            }
        }
        Ok(())
    }
}
