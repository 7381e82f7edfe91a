//! What is measured: the paths of each build of the daemon, and the two bases.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path as File,
};

use anyhow::{Context, Result, ensure};
use netd_tests::{
    Netns, Process, Scope, World,
    load::Service,
    wait_for,
    world::{HOST_V4, LAN_V4},
};

use crate::measure;

/// A system's paths, with the base that each is held against.
pub const PATHS: [(&str, &str); 4] = [
    ("same network", VETH),
    ("masqueraded", ROUTED),
    ("published", ROUTED),
    ("127.0.0.1:port", VETH),
];

/// A bare pair.
pub const VETH: &str = "veth pair";
/// Two pairs and a namespace that forwards, without any netfilter rule.
pub const ROUTED: &str = "routed";

/// A client and the address at which it finds its servers.
pub struct Path {
    pub system: &'static str,
    pub name: &'static str,
    pub client: Scope,
    pub address: IpAddr,
}

/// A daemon with its world.
pub struct System {
    pub paths: Vec<Path>,
    /// Before the world, which wants its cgroup empty at the end.
    servers: Vec<Servers>,
    world: World,
}

/// iperf3 and the server for connections and exchanges, both on one processor.
struct Servers {
    _iperf: Process,
    _service: Service,
}

impl Servers {
    fn start(scope: &Scope) -> Result<Self> {
        measure::pinned(measure::SERVER, || {
            let iperf = scope.spawn(&["iperf3", "-s", "--logfile", "/dev/null"])?;
            let service = Service::start(scope, "7000", &[])?;
            wait_for("iperf3", 5, || {
                let listening = scope.run(&["sh", "-c", "ss -Hltn sport = 5201 | grep -q ."]);
                listening.ok()?.ok.then_some(())
            });
            Ok(Self {
                _iperf: iperf,
                _service: service,
            })
        })
    }
}

impl System {
    /// The shipped daemon, or another one.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn new(name: &'static str, daemon: Option<&File>) -> Result<Self> {
        let world = match daemon {
            None => World::new()?,
            Some(netd) => {
                let file = netd.file_name().and_then(|name| name.to_str());
                let netctl =
                    netd.with_file_name(file.unwrap_or_default().replace("netd", "netctl"));
                ensure!(netctl.exists(), "{} is missing", netctl.display());
                World::of(netd, &netctl)?
            }
        };
        world.ctl("network create front")?;
        let client = world.sandbox("a", &["front"])?;
        let server = world.sandbox("b", &["front"])?;
        world.ctl("port publish b 5201:5201 7000:7000 7000:7000/udp")?;
        let (host, lan) = (world.host_scope(), world.lan_scope());
        let servers = vec![Servers::start(&server.scope)?, Servers::start(&lan)?];
        let ends: [(Scope, IpAddr); 4] = [
            (client.scope.clone(), server.v4("eth0")?.into()),
            (client.scope, LAN_V4.into()),
            (lan, HOST_V4.into()),
            (host, Ipv4Addr::LOCALHOST.into()),
        ];
        let paths = PATHS
            .iter()
            .zip(ends)
            .map(|(&(path, _), (client, address))| Path {
                system: name,
                name: path,
                client,
                address,
            })
            .collect();
        Ok(Self {
            paths,
            servers,
            world,
        })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When something is left behind.
    pub fn close(mut self) -> Result<()> {
        drop(self.servers);
        self.world.close()
    }
}

/// The bases, in namespaces of the first system's world.
pub struct Bases {
    paths: Vec<Path>,
    _servers: Vec<Servers>,
}

impl Bases {
    /// Both.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn new(systems: &mut [System]) -> Result<Self> {
        let world = &mut systems.first_mut().context("no system")?.world;
        let mut made = Vec::new();
        for name in ["p", "q", "client", "router", "server"] {
            made.push(world.namespace(name)?);
        }
        let [p, q, client, router, server] = &made[..] else {
            anyhow::bail!("five namespaces");
        };
        join((p, "10.9.0.1/24"), (q, "10.9.0.2/24"), "eth0")?;
        join((client, "10.8.0.2/24"), (router, "10.8.0.1/24"), "eth0")?;
        join((server, "10.7.0.2/24"), (router, "10.7.0.1/24"), "eth1")?;
        client.ip("route add default via 10.8.0.1")?;
        server.ip("route add default via 10.7.0.1")?;
        router.sysctl("net/ipv4/ip_forward", "1")?;
        let path = |name, client: &Netns, address: [u8; 4]| Path {
            system: "base",
            name,
            client: client.scope(),
            address: address.into(),
        };
        Ok(Self {
            paths: vec![
                path(VETH, p, [10, 9, 0, 2]),
                path(ROUTED, client, [10, 7, 0, 2]),
            ],
            _servers: vec![
                Servers::start(&q.scope())?,
                Servers::start(&server.scope())?,
            ],
        })
    }

    /// Their paths.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }
}

impl Path {
    /// Where the server for connections and exchanges is.
    pub fn service(&self) -> SocketAddr {
        SocketAddr::new(self.address, 7000)
    }
}

/// A pair of this name on both sides.
fn join(a: (&Netns, &str), b: (&Netns, &str), name: &str) -> Result<()> {
    let peer = b.0.name();
    a.0.ip(&format!(
        "link add {name} type veth peer name {name} netns {peer}"
    ))?;
    for (ns, address) in [a, b] {
        ns.ip(&format!("addr add {address} dev {name}"))?;
        ns.ip(&format!("link set {name} up"))?;
    }
    Ok(())
}
