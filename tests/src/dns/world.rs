//! A world whose host has resolvers: the file that names them, and name servers on the LAN and in the host.

use std::{fs, net::IpAddr};

use anyhow::Result;

use super::{Nameserver, STUB};
use crate::{
    World,
    world::{LAN, LAN_V4, LAN_V6},
};

impl World {
    /// A world whose daemon follows a resolv.conf of its own, with these servers; `more` are lines of `[dns]`.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn with_resolvers(servers: &[IpAddr], more: &str) -> Result<Self> {
        let mut world = Self::without_daemon()?;
        world.set_resolvers(servers)?;
        let file = world.resolv_conf().display().to_string();
        let path = world.directory().join("netd.toml");
        fs::write(&path, format!("[dns]\nresolv_conf = {file:?}\n{more}\n"))?;
        world.config = Some(path);
        world.start()?;
        Ok(world)
    }

    /// The file that names the host's resolvers.
    pub fn resolv_conf(&self) -> std::path::PathBuf {
        self.directory().join("resolv.conf")
    }

    /// Puts another file with these servers in its place, as a DHCP client does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_resolvers(&self, servers: &[IpAddr]) -> Result<()> {
        let lines: String = servers
            .iter()
            .map(|server| format!("nameserver {server}\n"))
            .collect();
        let new = self.directory().join("resolv.conf.new");
        fs::write(&new, format!("# made by a test\n{lines}"))?;
        Ok(fs::rename(&new, self.resolv_conf())?)
    }

    /// A name server on the LAN, IPv4 and IPv6.
    ///
    /// # Errors
    /// When the port is taken there.
    pub fn lan_names(&self, options: &[&str]) -> Result<Nameserver> {
        let listen = LAN.map(|address| (address, 53).into());
        Nameserver::start(&self.lan, &self.lan_scope(), &listen, options)
    }

    /// A name server on the LAN's IPv4 address alone, so that another one can have the IPv6 address.
    ///
    /// # Errors
    /// When the port is taken there.
    pub fn lan_names_v4(&self, options: &[&str]) -> Result<Nameserver> {
        let listen = [(LAN_V4, 53).into()];
        Nameserver::start(&self.lan, &self.lan_scope(), &listen, options)
    }

    /// As [`World::lan_names_v4`], on the IPv6 address.
    ///
    /// # Errors
    /// When the port is taken there.
    pub fn lan_names_v6(&self, options: &[&str]) -> Result<Nameserver> {
        let listen = [(LAN_V6, 53).into()];
        Nameserver::start(&self.lan, &self.lan_scope(), &listen, options)
    }

    /// A caching resolver as many hosts have it, on the host's 127.0.0.53.
    ///
    /// # Errors
    /// When the port is taken there.
    pub fn host_names(&self, options: &[&str]) -> Result<Nameserver> {
        Nameserver::start(&self.host, &self.host_scope(), &[STUB], options)
    }
}
