//! D04, D06, X04, X06: who may talk to whom, where ports are bound, and what one sandbox may take from the others.

use std::net::IpAddr;

use anyhow::ensure;
use netd_tests::{
    Server, World,
    probe::probe,
    world::{HOST_V4, HOST_V6, LAN_V4, LAN_V6},
};

use crate::{Outcome, PROTOCOLS, does_not_reach, reaches};

#[test]
fn d04_without_icc_only_published_ports_connect_neighbours() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 open")?;
    world.ctl("network create --ipv6 -o com.docker.network.bridge.enable_icc=false closed")?;
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    for (network, open) in [("open", true), ("closed", false)] {
        let a = world.sandbox(&format!("{network}-a"), &[network])?;
        let b = world.sandbox(&format!("{network}-b"), &[network])?;
        let _server = b.serve(7000)?;
        for to in [IpAddr::from(b.v4("eth0")?), b.v6("eth0")?.into()] {
            if open {
                reaches(&a, to, 7000)?;
            } else {
                does_not_reach(&a, to, 7000)?;
                // It reaches itself, and the host reaches it.
                ensure!(b.ping(to)?, "itself");
                probe(&world.host_scope(), "tcp", (to, 7000).into(), 1500)?;
            }
        }
        // The way out stays open.
        for to in [LAN_V4.into(), LAN_V6.into()] {
            reaches(&a, to, 7000)?;
        }
    }
    ensure!(world.drops("inter-container")? > 0, "nothing was counted");
    // A published port is for everybody, by the host's address; the neighbour's own address stays closed.
    world.ctl("port publish closed-b 8080:7000 8080:7000/udp")?;
    let path = world.run_directory().join("netns/closed-b");
    let netns = netd_tests::Netns::at("closed-b", &path);
    let b = netd_tests::Sandbox::new("closed-b", netns, world.scope(&path));
    let _server = b.serve(7000)?;
    let path = world.run_directory().join("netns/closed-a");
    let netns = netd_tests::Netns::at("closed-a", &path);
    let a = netd_tests::Sandbox::new("closed-a", netns, world.scope(&path));
    for host in [IpAddr::from(HOST_V4), HOST_V6.into()] {
        for protocol in PROTOCOLS {
            a.reach(protocol, host, 8080)?;
        }
    }
    does_not_reach(&a, b.v4("eth0")?.into(), 7000)?;
    does_not_reach(&a, b.v6("eth0")?.into(), 7000)
}

#[test]
fn d06_ports_are_bound_to_the_networks_address() -> Outcome {
    let world = World::new()?;
    world.host.ip("addr add 198.51.100.21/24 dev uplink")?;
    world.ctl("network create -o com.docker.network.bridge.host_binding_ipv4=198.51.100.21 n")?;
    let web = world.sandbox("web", &["n"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 198.51.100.1:8081:7000")?;
    let lan = world.lan_scope();
    let bound = IpAddr::from([198, 51, 100, 21]);
    probe(&lan, "tcp", (bound, 8080).into(), 1500)?;
    ensure!(
        probe(&lan, "tcp", (HOST_V4, 8080).into(), 700).is_err(),
        "by another address"
    );
    ensure!(
        probe(&lan, "tcp", (HOST_V6, 8080).into(), 700).is_err(),
        "by IPv6"
    );
    // An address of the publication's own wins.
    probe(&lan, "tcp", (HOST_V4, 8081).into(), 1500)?;
    ensure!(
        probe(&lan, "tcp", (bound, 8081).into(), 700).is_err(),
        "by the default"
    );
    Ok(())
}

/// Two hundred sandboxes connected at once, and two hundred networks: each address once, each one reachable.
#[test]
fn x06_many_at_once() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 --subnet 10.66.0.0/16 --subnet fd00:66::/64 n")?;
    let create = |line: String| {
        let world = &world;
        move || world.ctl(&line).map(drop)
    };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for n in 0..200 {
            let network = n % 10 == 0;
            if network {
                for m in 0..20 {
                    threads.push(scope.spawn(create(format!("network create n{n}-{m}"))));
                }
            }
            threads.push(scope.spawn(create(format!("sandbox create s{n} --network n"))));
        }
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(done) => done,
                Err(_) => anyhow::bail!("a thread panicked"),
            })
    })?;
    let shown: serde_json::Value = serde_json::from_str(&world.ctl("network inspect n")?)?;
    let containers = shown[0]["Containers"]
        .as_object()
        .map_or(0, serde_json::Map::len);
    ensure!(containers == 200, "{containers} containers");
    let mut addresses = std::collections::BTreeSet::new();
    for container in shown[0]["Containers"].as_object().into_iter().flatten() {
        for key in ["IPv4Address", "IPv6Address", "MacAddress"] {
            let value = container.1[key].as_str().unwrap_or_default().to_owned();
            ensure!(addresses.insert(value.clone()), "{value} twice");
        }
    }
    let targets: Vec<&str> = addresses
        .iter()
        .filter_map(|a| a.strip_suffix("/16"))
        .collect();
    let script = format!(
        "for a in {}; do ping -c 1 -W 2 $a > /dev/null || echo lost $a; done",
        targets.join(" ")
    );
    let path = world.run_directory().join("netns/s0");
    let lost = world.scope(&path).run(&["sh", "-c", &script])?.stdout;
    ensure!(lost.is_empty(), "{lost}");
    ensure!(
        world.ctl("network ls -q")?.lines().count() == 404,
        "networks are missing"
    );
    let mended = world.ctl("system reconcile")?;
    ensure!(!mended.contains("anew"), "{mended}");
    Ok(())
}

/// Sends from many sockets; prints how many answers came.
const FLOOD: &str = "
import select, socket, sys
waiting = set()
for i in range(int(sys.argv[3])):
    s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(b'x\\n', (sys.argv[1], int(sys.argv[2])))
    waiting.add(s)
answers = 0
while waiting:
    ready = select.select(waiting, [], [], 1)[0]
    if not ready:
        break
    answers += len(ready)
    waiting -= set(ready)
print(answers)
";

fn flood(scope: &netd_tests::Scope, to: IpAddr, port: u16, sockets: u16) -> anyhow::Result<u16> {
    let words = [
        "/usr/bin/python3",
        "-c",
        FLOOD,
        &to.to_string(),
        &port.to_string(),
        &sockets.to_string(),
    ];
    let output = scope.run(&words)?;
    output
        .stdout
        .trim()
        .parse()
        .map_err(|_| anyhow::anyhow!("{}", output.text()))
}

/// One sandbox that opens flows without end leaves room for the others, outwards and inwards.
#[test]
fn x04_one_sandbox_cannot_take_all_flows_or_ports() -> Outcome {
    // Beyond its share of ports an endpoint shares them (RFC 7857, 3): none of its flows fails.
    for (limits, wanted) in [
        ("flows_per_endpoint = 100", 40..=60),
        ("ports_per_endpoint = 40", 200..=200),
    ] {
        let world = World::with_config(&format!("[limits]\n{limits}\n"))?;
        world.ctl("network create --ipv6 n")?;
        let other = world.sandbox("other", &["n"])?;
        let _lan = Server::start(&world.lan_scope(), 7000)?;
        for (name, to) in [("greedy4", LAN_V4.into()), ("greedy6", LAN_V6.into())] {
            let greedy = world.sandbox(name, &["n"])?;
            ensure!(
                flood(&greedy.scope, to, 7000, 10)? == 10,
                "a few flows are lost"
            );
            let answers = flood(&greedy.scope, to, 7000, 200)?;
            ensure!(
                wanted.contains(&answers),
                "{limits}: {answers} of 200 flows to {to}"
            );
            reaches(&other, to, 7000)?;
        }
        let counted = world.drops("quota")? > 0;
        ensure!(counted != wanted.contains(&200), "quota: {counted}");
    }
    // A flood from outside on one published port does not close another one's.
    let world = World::with_config("[limits]\nflows_per_endpoint = 100\n")?;
    world.ctl("network create --ipv6 n")?;
    let (a, b) = (world.sandbox("a", &["n"])?, world.sandbox("b", &["n"])?);
    let _servers = [a.serve(7000)?, b.serve(7000)?];
    world.ctl("port publish a 8080:7000/udp")?;
    world.ctl("port publish b 8081:7000/udp")?;
    let answers = flood(&world.lan_scope(), HOST_V4.into(), 8080, 200)?;
    // Those that have their answer make room.
    ensure!(answers >= 40, "{answers} of 200 flows");
    probe(&world.lan_scope(), "udp", (HOST_V4, 8081).into(), 1500)?;
    Ok(())
}
