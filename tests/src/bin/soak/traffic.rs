//! The connections: of every kind, all the time, each class with what may end it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use netd_tests::{
    Netns, Sandbox, Scope,
    load::{Load, Running, Service},
    world::{HOST_V4, HOST_V6, LAN_V4, LAN_V6},
};

use crate::{Soak, ledger::Tag};

/// A destination behind the neighbour, to which the route changes.
pub const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The neighbour's address on the second uplink.
pub const SECOND_LAN: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// Attempts per second of a client.
const RATE: f64 = 25.0;

/// All clients and servers that run the whole time.
pub struct Traffic {
    running: Vec<(String, Running)>,
    services: Vec<Service>,
}

/// Makes a client one that writes its failures into a class' ledger and runs until it is ended.
pub fn steady(soak: &Soak, class: &str, load: Load, rate: f64) -> Load {
    let tags: &[Tag] = if class.starts_with("guest: published") {
        &["guest", "host4"]
    } else if class.starts_with("guest") {
        &["guest", "source4"]
    } else {
        &[]
    };
    if !tags.is_empty() {
        soak.ledger.class(class, tags);
    }
    load.rate(rate)
        .option("retries", 2)
        .failures(&soak.ledger.file(class))
}

/// Where everything stands.
struct Places {
    front: [Sandbox; 2],
    back: Sandbox,
    mover: Sandbox,
    host: Scope,
    lan: Scope,
}

impl Traffic {
    /// Networks, sandboxes, servers and clients.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn start(soak: &Soak) -> Result<Self> {
        let mut traffic = Self {
            running: Vec::new(),
            services: Vec::new(),
        };
        let places = traffic.places(soak)?;
        let [web, peer] = &places.front;
        let (web4, web6) = (web.v4("eth0")?, web.v6("eth0")?);
        let (lan, host) = (&places.lan, &places.host);
        for (v, outside, published, source, address) in [
            (
                "4",
                IpAddr::from(LAN_V4),
                IpAddr::from(HOST_V4),
                "source4",
                "host4",
            ),
            ("6", LAN_V6.into(), HOST_V6.into(), "source6", "host6"),
        ] {
            let inside = if v == "4" { web4.into() } else { web6.into() };
            let loopback: IpAddr = if v == "4" {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            };
            let mut all = |what: &str, scope: &Scope, to, port, tags: &[Tag]| {
                traffic.all(
                    soak,
                    &format!("{what}, IPv{v}"),
                    scope,
                    SocketAddr::new(to, port),
                    tags,
                )
            };
            all("out", &web.scope, outside, 7000, &[source])?;
            all(
                "out, another network",
                &places.back.scope,
                outside,
                7000,
                &[source],
            )?;
            all(
                "out, network comes and goes",
                &places.mover.scope,
                outside,
                7000,
                &[source],
            )?;
            all("same network", &peer.scope, inside, 7000, &[])?;
            all("published", lan, published, 8080, &[address])?;
            all(
                "published, port comes and goes",
                lan,
                published,
                8081,
                &["toggled", address],
            )?;
            all(
                "published, flooded",
                lan,
                published,
                8085,
                &["flooded", address],
            )?;
            all("hairpin", &peer.scope, published, 8080, &[address])?;
            all(
                "hairpin, another network",
                &places.back.scope,
                published,
                8080,
                &[address],
            )?;
            all("host to loopback", host, loopback, 8080, &[])?;
            all("host to its address", host, published, 8080, &[address])?;
            all("host to endpoint", host, inside, 7000, &[])?;
            // The host's own sockets keep the address that they began with.
            all("host out", host, outside, 7000, &[source, address])?;
            for (what, scope, to, tags) in [
                ("ping out", &web.scope, outside, &[source][..]),
                ("ping same network", &peer.scope, inside, &[]),
                ("ping host", &peer.scope, published, &[address]),
            ] {
                let class = format!("{what}, IPv{v}");
                traffic.add(soak, &class, scope, Load::echo(&[to]), tags)?;
            }
            let class = format!("long ping out, IPv{v}");
            let hold = Load::hold("icmp", &[SocketAddr::new(outside, 0)]);
            traffic.add(soak, &class, &web.scope, hold, &[source])?;
        }
        let far = SocketAddr::new(FAR.into(), 7000);
        traffic.all(
            soak,
            "out, route changes",
            &web.scope,
            far,
            &["far", "source4"],
        )?;
        Ok(traffic)
    }

    /// TCP and UDP, short and long.
    fn all(
        &mut self,
        soak: &Soak,
        what: &str,
        scope: &Scope,
        to: SocketAddr,
        tags: &[Tag],
    ) -> Result<()> {
        for (how, load) in [
            ("TCP", Load::connect(&[to])),
            ("UDP", Load::exchange(&[to])),
            ("long TCP", Load::hold("tcp", &[to])),
            ("long UDP", Load::hold("udp", &[to])),
        ] {
            self.add(soak, &format!("{what}, {how}"), scope, load, tags)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        soak: &Soak,
        class: &str,
        scope: &Scope,
        load: Load,
        tags: &[Tag],
    ) -> Result<()> {
        soak.ledger.class(class, tags);
        let running = steady(soak, class, load, RATE).start(scope)?;
        self.running.push((class.to_owned(), running));
        Ok(())
    }

    fn places(&mut self, soak: &Soak) -> Result<Places> {
        let world = soak.control.world();
        for line in [
            "network create --ipv6 front",
            "network create --ipv6 back",
            "network create --ipv6 zone",
        ] {
            world.ctl(line)?;
        }
        // A second uplink to the same neighbour, and a destination behind it.
        let (host, lan) = (&world.host, &world.lan);
        host.ip(&format!(
            "link add second type veth peer name second netns {}",
            lan.name()
        ))?;
        for (ns, address) in [(host, "198.18.0.1"), (lan, "198.18.0.2")] {
            ns.ip(&format!("addr add {address}/24 dev second"))?;
            ns.ip("link set second up")?;
        }
        lan.ip(&format!("addr add {FAR}/32 dev lo"))?;
        let web = world.sandbox("web", &["front"])?;
        let peer = world.sandbox("peer", &["front"])?;
        let back = world.sandbox("other", &["back"])?;
        let mover = world.sandbox("mover", &["front"])?;
        let victim = world.sandbox("victim", &["front"])?;
        for name in ["scanner", "greedy"] {
            let sandbox = world.sandbox(name, &["front"])?;
            // The flood asks for the gateway's Ethernet address here.
            sandbox.ping(HOST_V4.into())?;
        }
        let ping: &[&Netns] = &[host, &web.netns, &peer.netns];
        for ns in ping {
            ns.sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
        }
        let outside = [LAN_V4.into(), LAN_V6.into(), FAR.into()];
        self.services = vec![
            Service::start(&world.lan_scope(), "7000", &outside)?,
            Service::start(&web.scope, "7000", &[])?,
            Service::start(&victim.scope, "7000", &[])?,
        ];
        world.ctl("port publish web 8080:7000 8080:7000/udp 8081:7000 8081:7000/udp")?;
        world.ctl("port publish victim 8085:7000 8085:7000/udp")?;
        Ok(Places {
            front: [web, peer],
            back,
            mover,
            host: world.host_scope(),
            lan: world.lan_scope(),
        })
    }

    /// Ends the clients.
    ///
    /// # Errors
    /// When one broke.
    pub fn end(self, soak: &Soak) -> Result<()> {
        for (class, client) in self.running {
            soak.ledger.tally(&class, client.end()?);
        }
        drop(self.services);
        Ok(())
    }
}
