//! X04: a flood from outside, a scan and a greedy sandbox leave all others' flows alone, old and new.
//!
//! Each test prints a line of the table in docs/floods.md: attack, rate reached, what the others saw. The flow table is
//! small here, so that each flood fills it many times over. `NETD_LOAD_SECONDS` and `NETD_FLOOD_RATE` make them longer
//! and faster.

use std::{env, net::SocketAddr};

use anyhow::{Context, ensure};
use netd_tests::{
    Sandbox, Scope, World,
    load::{Flood, Load, Running, Service, Tally},
    world::{HOST, HOST_V4, HOST_V6, LAN},
};

use crate::Outcome;

fn setting(name: &str, usual: f64) -> f64 {
    let given = env::var(name).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A host whose flow table a flood fills in seconds; servers everywhere.
struct Place {
    /// Before the world, which wants its cgroup empty at the end.
    _services: [Service; 3],
    world: World,
    /// Published as 8085.
    victim: Sandbox,
    /// Published as 8080.
    web: Sandbox,
    peer: Sandbox,
    attacker: Sandbox,
}

/// Who goes on meanwhile.
struct Others {
    clients: Vec<(String, Running)>,
    /// Clients of the published port that is flooded.
    customers: Vec<(String, Running)>,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let world = World::with_config("[limits]\nflows = 32768\n")?;
        world.ctl("network create --ipv6 front")?;
        world.ctl("network create --ipv6 back")?;
        let victim = world.sandbox("victim", &["front"])?;
        let web = world.sandbox("web", &["front"])?;
        let peer = world.sandbox("peer", &["front"])?;
        let attacker = world.sandbox("attacker", &["back"])?;
        let services = [
            Service::start(&world.lan_scope(), "7000", &LAN)?,
            Service::start(&web.scope, "7000", &[])?,
            Service::start(&victim.scope, "7000", &[])?,
        ];
        world.ctl("port publish web 8080:7000 8080:7000/udp")?;
        world.ctl("port publish victim 8085:7000 8085:7000/udp")?;
        Ok(Self {
            world,
            victim,
            web,
            peer,
            attacker,
            _services: services,
        })
    }

    /// TCP and UDP, new and old, both families: out, by a published port, within the network, and the host's own.
    fn others(&self) -> anyhow::Result<Others> {
        let mut clients = Vec::new();
        let mut customers = Vec::new();
        let (lan, host) = (self.world.lan_scope(), self.world.host_scope());
        let web = self.web.addresses("eth0")?;
        for (index, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
            let inside = *web.get(index).context("an address")?;
            let ways: [(&str, &Scope, SocketAddr); 5] = [
                ("out", &self.peer.scope, (LAN[index], 7000).into()),
                (
                    "out, the flooded one",
                    &self.victim.scope,
                    (LAN[index], 7000).into(),
                ),
                ("published", &lan, (HOST[index], 8080).into()),
                ("same network", &self.peer.scope, (inside, 7000).into()),
                ("host out", &host, (LAN[index], 7000).into()),
            ];
            for (what, scope, to) in ways {
                for (kind, load) in kinds(to) {
                    let name = format!("{what}, {family}, {kind}");
                    clients.push((name, load.start(scope)?));
                }
            }
            for (kind, load) in kinds((HOST[index], 8085).into()) {
                customers.push((format!("{family}, {kind}"), load.start(&lan)?));
            }
        }
        Ok(Others { clients, customers })
    }

    /// Floods with the others at work; prints the line of the table.
    fn under(&self, what: &str, scope: &Scope, flood: &Flood) -> Outcome {
        let others = self.others()?;
        let seconds = setting("NETD_LOAD_SECONDS", 5.0);
        let rate = setting("NETD_FLOOD_RATE", 20_000.0);
        let sent = flood.start(scope, rate, seconds)?.end()?;
        let clients = end(others.clients)?;
        let customers = end(others.customers)?;
        let (all, theirs) = (sum(&clients), sum(&customers));
        println!(
            "| {what} | {:.0}/s | {} of {} | {} | {} of {} | {} |",
            sent.rate(),
            all.failed(),
            all.attempts,
            all.slow + all.retried,
            theirs.failed(),
            theirs.attempts,
            theirs.slow + theirs.retried
        );
        ensure!(sent.frames > 1000, "no flood: {sent:?}");
        for (name, tally) in &clients {
            ensure!(tally.failed() == 0, "{what}: {name}: {}", tally.line());
            ensure!(tally.ok > 10, "{what}: {name}: {}", tally.line());
        }
        for (name, tally) in &customers {
            println!("  the flooded port, {name}: {}", tally.line());
        }
        Ok(())
    }

    fn flood_from_outside(
        &self,
        kind: &str,
        from: &str,
        to: &str,
        ports: &str,
    ) -> anyhow::Result<Flood> {
        let host = Sandbox::new("host", self.world.host.clone(), self.world.host_scope());
        let mac = host.mac("uplink")?;
        Ok(Flood::new(kind, "uplink", &mac, from, to).ports(ports))
    }

    fn flood_from_inside(&self, kind: &str, to: &str, ports: &str) -> anyhow::Result<Flood> {
        // So that the gateway's Ethernet address is known there.
        ensure!(self.attacker.ping(HOST_V4.into())?, "no way out");
        let known = self.attacker.netns.ip("-4 -j neigh show dev eth0")?;
        let known: serde_json::Value = serde_json::from_str(&known)?;
        let mac = known[0]["lladdr"].as_str().context("no gateway")?;
        let own = self.attacker.v4("eth0")?.to_string();
        Ok(Flood::new(kind, "eth0", mac, &own, to).ports(ports))
    }
}

/// New and old connections of both protocols.
fn kinds(to: SocketAddr) -> [(&'static str, Load); 4] {
    [
        ("TCP", Load::connect(&[to])),
        ("UDP", Load::exchange(&[to]).option("retries", 2)),
        ("old TCP", Load::hold("tcp", &[to])),
        ("old UDP", Load::hold("udp", &[to]).option("retries", 2)),
    ]
    .map(|(kind, load)| (kind, load.rate(20.0)))
}

fn end(clients: Vec<(String, Running)>) -> anyhow::Result<Vec<(String, Tally)>> {
    clients
        .into_iter()
        .map(|(name, client)| Ok((name, client.end()?)))
        .collect()
}

fn sum(tallies: &[(String, Tally)]) -> Tally {
    let tallies: Vec<Tally> = tallies.iter().map(|(_, tally)| tally.clone()).collect();
    Tally::sum(&tallies)
}

/// Nobody's addresses, so that answers to forged sources go to the neighbour and end there.
const FORGED: &str = "11.0.0.0/8";

#[test]
fn x04_syn_flood_at_a_published_port() -> Outcome {
    let place = Place::new()?;
    let lan = place.world.lan_scope();
    let flood = place.flood_from_outside("syn", FORGED, &HOST_V4.to_string(), "8085")?;
    place.under("SYN, forged sources, published port", &lan, &flood)?;
    let flood =
        place.flood_from_outside("syn", "2001:db8:bad::/48", &HOST_V6.to_string(), "8085")?;
    place.under("SYN, forged sources, published port, IPv6", &lan, &flood)
}

#[test]
fn x04_udp_flood_at_a_published_port() -> Outcome {
    let place = Place::new()?;
    let lan = place.world.lan_scope();
    let flood = place.flood_from_outside("udp", FORGED, &HOST_V4.to_string(), "8085")?;
    place.under("UDP, forged sources, published port", &lan, &flood)?;
    let flood =
        place.flood_from_outside("udp", "2001:db8:bad::/48", &HOST_V6.to_string(), "8085")?;
    place.under("UDP, forged sources, published port, IPv6", &lan, &flood)
}

#[test]
fn x04_flood_at_all_ports_of_the_host() -> Outcome {
    let place = Place::new()?;
    let lan = place.world.lan_scope();
    // Also the ports that masqueraded flows have; not those that the others call.
    for kind in ["syn", "udp"] {
        let flood = place.flood_from_outside(kind, FORGED, &HOST_V4.to_string(), "10000-65535")?;
        place.under(&format!("{kind}, forged sources, all ports"), &lan, &flood)?;
    }
    Ok(())
}

#[test]
fn x04_a_scan_from_a_sandbox() -> Outcome {
    let place = Place::new()?;
    let scope = place.attacker.scope.clone();
    for kind in ["syn", "udp"] {
        let flood = place.flood_from_inside(kind, "203.0.112.0/20", "1-1024")?;
        place.under(&format!("{kind} scan from a sandbox"), &scope, &flood)?;
    }
    Ok(())
}

#[test]
fn x04_a_sandbox_that_takes_all_it_may() -> Outcome {
    let place = Place::new()?;
    let scope = place.attacker.scope.clone();
    // Each datagram from another port of its own: flows that are answered and live, as many ports as it may have.
    let flood = place.flood_from_inside("udp", &LAN[0].to_string(), "7000")?;
    place.under("a sandbox takes UDP ports", &scope, &flood)?;
    let flood = place.flood_from_inside("syn", &LAN[0].to_string(), "7000")?;
    place.under("a sandbox takes TCP ports", &scope, &flood)?;
    let flood = place.flood_from_inside("syn", &HOST_V4.to_string(), "8085")?;
    place.under("a sandbox floods a published port", &scope, &flood)
}

/// Sends so many broadcasts at once, and then one every tenth of a second until it is ended.
const BROADCAST: &str = "
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
to = ('255.255.255.255', 7500)
for number in range(int(sys.argv[1])):
    s.sendto(b'%d' % number, to)
print('sent', flush=True)
while True:
    time.sleep(0.1)
    s.sendto(b'late', to)
";

/// Counts broadcasts until a late one comes.
const COUNT: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
s.bind(('', 7500))
print('ready', flush=True)
count = 0
while s.recv(100) != b'late':
    count += 1
print(count, flush=True)
";

/// One endpoint's broadcasts cost every other one's time: what is too much is refused and counted, and what comes at a sound
/// rate passes.
#[test]
fn x04_broadcasts_of_a_sandbox() -> Outcome {
    const SENT: u64 = 20_000;
    let world = World::new()?;
    world.ctl("network create front")?;
    let a = world.sandbox("a", &["front"])?;
    let b = world.sandbox("b", &["front"])?;
    let mut counter = b.scope.spawn(&["/usr/bin/python3", "-c", COUNT])?;
    counter.until("ready")?;
    let number = SENT.to_string();
    let words = ["/usr/bin/python3", "-c", BROADCAST, &number];
    let mut sender = a.scope.spawn(&words)?;
    sender.until("sent")?;
    let arrived: u64 = counter.line()?.trim().parse()?;
    let refused = world.drops("too-many-broadcasts")?;
    ensure!(
        arrived >= 100 && refused >= 1000 && arrived + refused >= SENT,
        "of {SENT} broadcasts {arrived} arrive and {refused} are refused"
    );
    Ok(())
}
