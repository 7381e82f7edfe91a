//! A sandbox as seen from inside: its addresses as the kernel has them, and probes from there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};

use crate::{
    netns::Netns,
    probe::{self, Reply, Server},
    run::Scope,
};

/// A sandbox's name, namespace and scope.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// As netd knows it.
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// Programs inside.
    pub scope: Scope,
}

impl Sandbox {
    /// A sandbox that exists.
    pub fn new(name: &str, netns: Netns, scope: Scope) -> Self {
        Self {
            name: name.to_owned(),
            netns,
            scope,
        }
    }

    /// The global addresses of an interface, IPv4 first.
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn addresses(&self, interface: &str) -> Result<Vec<IpAddr>> {
        let text = self
            .netns
            .ip(&format!("-j addr show dev {interface} scope global"))?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        let mut found: Vec<IpAddr> = links
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|link| link.get("addr_info")?.as_array())
            .flatten()
            .filter_map(|info| info.get("local")?.as_str()?.parse().ok())
            .collect();
        found.sort_by_key(IpAddr::is_ipv6);
        Ok(found)
    }

    /// The IPv4 address of an interface.
    ///
    /// # Errors
    /// When it has none.
    pub fn v4(&self, interface: &str) -> Result<Ipv4Addr> {
        let found = self
            .addresses(interface)?
            .into_iter()
            .find_map(|address| match address {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            });
        found.with_context(|| format!("{} {interface} has no IPv4 address", self.name))
    }

    /// The global IPv6 address of an interface.
    ///
    /// # Errors
    /// When it has none.
    pub fn v6(&self, interface: &str) -> Result<Ipv6Addr> {
        let found = self
            .addresses(interface)?
            .into_iter()
            .find_map(|address| match address {
                IpAddr::V6(v6) => Some(v6),
                IpAddr::V4(_) => None,
            });
        found.with_context(|| format!("{} {interface} has no IPv6 address", self.name))
    }

    /// The Ethernet address of an interface.
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn mac(&self, interface: &str) -> Result<String> {
        let links: serde_json::Value =
            serde_json::from_str(&self.netns.ip(&format!("-j link show dev {interface}"))?)?;
        let mac = links
            .get(0)
            .and_then(|link| link.get("address")?.as_str().map(str::to_owned));
        mac.with_context(|| format!("{} {interface} has no Ethernet address", self.name))
    }

    /// A server inside.
    ///
    /// # Errors
    /// When the port is taken there.
    pub fn serve(&self, port: u16) -> Result<Server> {
        Server::start(&self.scope, port)
    }

    /// One exchange over `tcp` or `udp`, with 2 s for the answer.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn reach(&self, protocol: &str, to: IpAddr, port: u16) -> Result<Reply> {
        probe::probe(&self.scope, protocol, SocketAddr::new(to, port), 2000)
    }

    /// Whether one echo request is answered.
    ///
    /// # Errors
    /// When ping cannot be started.
    pub fn ping(&self, to: IpAddr) -> Result<bool> {
        probe::ping(&self.scope, to)
    }
}
