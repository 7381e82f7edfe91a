//! Where the probes run: a host with two containers and its LAN, by netd or by Linux alone.

use std::{
    cell::Cell,
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result};

use super::{linux, station::Station};
use crate::{
    Sandbox, World, probe, wait_for,
    world::{HOST, LAN},
};

/// Whose NAT it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// netd's.
    Netd,
    /// Linux's own: nftables, which today's iptables are made of.
    Linux,
}

/// The LAN machine's second addresses.
pub const OTHER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 3)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 3)),
];
/// Addresses that are reached by way of the LAN machine.
pub const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 9)),
];

/// What is set otherwise than by default.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Lifetimes by their names in netd's configuration, seconds.
    pub lifetimes: Vec<(&'static str, u32)>,
    /// First and last outside port.
    pub pool: Option<(u16, u16)>,
    /// netd's `[limits]`.
    pub limits: Vec<(&'static str, u32)>,
    /// Destinations that are not translated.
    pub exempt: Vec<&'static str>,
    /// Whether everybody may send to a mapping.
    pub open: bool,
}

impl Setup {
    /// netd's configuration file.
    pub fn config(&self) -> String {
        let mut text = String::new();
        let mut line = |words: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{words}");
        };
        line("[nat]".into());
        if let Some((first, last)) = self.pool {
            line(format!("first_port = {first}\nlast_port = {last}"));
        }
        if !self.exempt.is_empty() {
            line(format!("exempt = {:?}", self.exempt));
        }
        if !self.lifetimes.is_empty() {
            line("[nat.lifetimes]".into());
        }
        for (name, seconds) in &self.lifetimes {
            line(format!("{name} = {seconds}"));
        }
        if !self.limits.is_empty() {
            line("[limits]".into());
        }
        for (name, value) in &self.limits {
            line(format!("{name} = {value}"));
        }
        text
    }
}

/// The addresses of one family.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Of container a.
    pub a: IpAddr,
    /// Of container b.
    pub b: IpAddr,
    /// Of the host on its uplink.
    pub host: IpAddr,
    /// Of the LAN machine.
    pub lan: IpAddr,
    /// Of the LAN machine, too.
    pub other: IpAddr,
    /// Behind the LAN machine.
    pub far: IpAddr,
}

impl Ends {
    /// `IPv4` or `IPv6`.
    pub fn family(&self) -> &'static str {
        if self.a.is_ipv4() { "IPv4" } else { "IPv6" }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Site {
    /// Whose NAT.
    pub kind: Kind,
    /// A container.
    pub a: Station,
    /// Another one of the same network.
    pub b: Station,
    /// The LAN machine.
    pub lan: Station,
    /// Host, LAN and, for netd, the daemon.
    pub world: World,
    ends: [Ends; 2],
    pub(super) marks: Cell<u32>,
}

/// The host's UDP ports that lead to [`FENCE`] of a and of b.
pub const FENCES: [u16; 2] = [8998, 8999];
/// The stations' port for packets that show that those before them have been handled.
pub const FENCE: u16 = 29_998;

impl Site {
    /// Namespaces with NAT of this kind.
    ///
    /// # Errors
    /// When a step fails.
    pub fn new(kind: Kind, setup: &Setup) -> Result<Self> {
        match kind {
            Kind::Netd => Self::netd(setup),
            Kind::Linux => Self::linux(setup),
        }
    }

    fn netd(setup: &Setup) -> Result<Self> {
        let world = World::with_config(&setup.config())?;
        // The MTU is given: it would follow that of the uplink otherwise, which some probes change.
        let option = if setup.open {
            " -o netd.nat.filtering=endpoint-independent"
        } else {
            ""
        };
        world.ctl(&format!(
            "network create --ipv6 -o com.docker.network.mtu=1500{option} front"
        ))?;
        let mut made = Vec::new();
        for name in ["a", "b"] {
            let sandbox = world.sandbox(name, &["front"])?;
            let hops = gateways(&sandbox)?;
            let addresses = [sandbox.v4("eth0")?.into(), sandbox.v6("eth0")?.into()];
            let station = Station::new(&sandbox.netns, sandbox.scope.clone(), "eth0", hops)?;
            made.push((station, addresses));
        }
        Self::finish(Kind::Netd, world, made)
    }

    fn linux(setup: &Setup) -> Result<Self> {
        let mut world = World::without_daemon()?;
        let containers = linux::build(&mut world, setup)?;
        let mut made = Vec::new();
        for (netns, addresses) in containers.iter().zip(linux::CONTAINERS) {
            let hops = [linux::GATEWAYS[0].parse()?, linux::GATEWAYS[1].parse()?];
            let addresses = [addresses[0].parse()?, addresses[1].parse()?];
            let station = Station::new(netns, world.scope(netns.path()), "eth0", hops)?;
            made.push((station, addresses));
        }
        Self::finish(Kind::Linux, world, made)
    }

    fn finish(kind: Kind, world: World, made: Vec<(Station, [IpAddr; 2])>) -> Result<Self> {
        world
            .lan
            .ip(&format!("addr add {}/24 dev uplink", OTHER[0]))?;
        world
            .lan
            .ip(&format!("addr add {}/64 dev uplink nodad", OTHER[1]))?;
        world.lan.ip(&format!("addr add {}/32 dev lo", FAR[0]))?;
        world.lan.ip(&format!("addr add {}/128 dev lo", FAR[1]))?;
        // Neighbours that are known from now on: no packet waits for one and is overtaken.
        for address in OTHER {
            wait_for(&format!("{address} on the LAN"), 10, || {
                probe::ping(&world.host_scope(), address)
                    .ok()?
                    .then_some(())
            });
        }
        let lan = Station::new(&world.lan, world.lan_scope(), "uplink", HOST)?;
        let mut made = made.into_iter();
        let (a, first) = made.next().context("container a")?;
        let (b, second) = made.next().context("container b")?;
        let ends = [0, 1].map(|v6| Ends {
            a: first[v6],
            b: second[v6],
            host: HOST[v6],
            lan: LAN[v6],
            other: OTHER[v6],
            far: FAR[v6],
        });
        let site = Self {
            kind,
            a,
            b,
            lan,
            world,
            ends,
            marks: Cell::new(0x4e00_0000),
        };
        site.publish("a", "udp", FENCES[0], FENCE)?;
        site.publish("b", "udp", FENCES[1], FENCE)?;
        Ok(site)
    }

    /// The addresses, IPv4 and IPv6.
    pub fn ends(&self) -> [Ends; 2] {
        self.ends
    }

    /// Makes a port of the host lead to a container's.
    ///
    /// # Errors
    /// When it is refused.
    pub fn publish(&self, container: &str, protocol: &str, port: u16, inside: u16) -> Result<()> {
        if self.kind == Kind::Netd {
            let line = format!("port publish {container} {port}:{inside}/{protocol}");
            return self.world.ctl(&line).map(|_| ());
        }
        let to = self
            .ends
            .map(|ends| if container == "a" { ends.a } else { ends.b });
        linux::publish(&self.world.host, protocol, port, to, inside)
    }

    /// Connection tracking's default of a Linux host; nothing of netd.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn conntrack(&self, key: &str) -> Result<Option<u64>> {
        if self.kind == Kind::Netd {
            return Ok(None);
        }
        // The LAN machine's namespace: nothing was set there.
        let text = self
            .world
            .lan
            .read_sysctl(&format!("net/netfilter/nf_conntrack_{key}"))?;
        Ok(Some(text.trim().parse()?))
    }

    /// A number that no other packet of this site carries.
    pub fn mark(&self) -> u32 {
        self.marks.set(self.marks.get() + 1);
        self.marks.get()
    }
}

/// The gateways of a sandbox, IPv4 and IPv6.
fn gateways(sandbox: &Sandbox) -> Result<[IpAddr; 2]> {
    let gateway = |family: &str| -> Result<IpAddr> {
        let route = sandbox.netns.ip(&format!("{family} route show default"))?;
        let word = route.split_whitespace().nth(2);
        Ok(word
            .with_context(|| format!("no gateway in {route:?}"))?
            .parse()?)
    };
    Ok([gateway("-4")?, gateway("-6")?])
}
