//! C10: short connections and exchanges without pause, at the order of the host's own rate, none failing.
//!
//! Five seconds of each; `NETD_LOAD_SECONDS` makes them longer. Speed is told, not judged: but a run goes on until it
//! has made more attempts than the pool has ports.

use std::{
    env,
    net::{IpAddr, SocketAddr},
};

use anyhow::ensure;
use netd_tests::{
    Sandbox, Scope, World,
    load::{Load, Service, Tally},
    world::{HOST_V4, HOST_V6, LAN, LAN_V4, LAN_V6},
};

use crate::Outcome;

/// More than the pool has ports, so that none may be kept for long.
const LEAST: u64 = 20_000;

fn seconds() -> f64 {
    let given = env::var("NETD_LOAD_SECONDS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(5.0)
}

/// A network, a sandbox on it, and a server on the LAN.
fn place() -> anyhow::Result<(World, Sandbox, Service)> {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let client = world.sandbox("client", &["front"])?;
    let mut addresses = LAN.to_vec();
    for host in 100..120 {
        let address = format!("198.51.100.{host}");
        world.lan.ip(&format!("addr add {address}/24 dev uplink"))?;
        addresses.push(address.parse()?);
    }
    let service = Service::start(&world.lan_scope(), "7000-7009", &addresses)?;
    Ok((world, client, service))
}

fn one(address: impl Into<IpAddr>) -> Vec<SocketAddr> {
    vec![SocketAddr::new(address.into(), 7000)]
}

/// Two hundred destinations.
fn many() -> Vec<SocketAddr> {
    let hosts = 100..120_u8;
    hosts
        .flat_map(|host| (7000..7010).map(move |port| ([198, 51, 100, host], port).into()))
        .collect()
}

/// For the time of a test, and not less than [`LEAST`].
fn long(load: Load) -> Load {
    load.seconds(seconds()).option("least", LEAST)
}

/// None failed, and it did not stand still.
fn clean(what: &str, tally: &Tally) -> Outcome {
    println!("{what}: {}", tally.line());
    ensure!(tally.failed() == 0, "{what}: {}", tally.line());
    ensure!(tally.ok >= LEAST, "{what} stood still: {}", tally.line());
    Ok(())
}

/// The host's own, then the sandbox', in the same namespaces.
fn beside_the_host(world: &World, sandbox: &Scope, what: &str, load: Load) -> Outcome {
    let own = load.clone().seconds(1.0).run(&world.host_scope())?;
    ensure!(own.failed() == 0, "the host's own: {}", own.line());
    let tally = long(load).run(sandbox)?;
    println!(
        "{what}: {:.0}/s, the host's own {:.0}/s: {:.2}",
        tally.rate(),
        own.rate(),
        tally.rate() / own.rate()
    );
    clean(what, &tally)
}

#[test]
fn c10_connections_to_one_destination() -> Outcome {
    let (world, client, _service) = place()?;
    for (what, to) in [("IPv4", one(LAN_V4)), ("IPv6", one(LAN_V6))] {
        let load = Load::connect(&to).threads(4);
        beside_the_host(&world, &client.scope, what, load)?;
    }
    Ok(())
}

#[test]
fn c10_connections_to_many_destinations() -> Outcome {
    let (world, client, _service) = place()?;
    let load = Load::connect(&many()).threads(4);
    beside_the_host(&world, &client.scope, "server first", load)?;
    // The client keeps the state: its own ports last for few seconds to one destination, for long to two hundred.
    let load = Load::connect(&many()).threads(4).client_first();
    beside_the_host(&world, &client.scope, "client first", load)
}

#[test]
fn c10_udp_exchanges_with_a_new_socket_each() -> Outcome {
    let (world, client, _service) = place()?;
    for (what, to) in [
        ("one, IPv4", one(LAN_V4)),
        ("one, IPv6", one(LAN_V6)),
        ("many", many()),
    ] {
        let load = Load::exchange(&to).threads(4).option("retries", 2);
        beside_the_host(&world, &client.scope, what, load)?;
    }
    Ok(())
}

#[test]
fn c10_echo_requests_with_a_new_identifier_each() -> Outcome {
    let (world, client, _service) = place()?;
    for ns in [&world.host, &client.netns] {
        ns.sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
    }
    for to in LAN {
        let load = Load::echo(&[to]).threads(4).option("retries", 2);
        beside_the_host(&world, &client.scope, &to.to_string(), load)?;
    }
    Ok(())
}

#[test]
fn c10_ten_sandboxes_at_once() -> Outcome {
    let (world, _, _service) = place()?;
    let sandboxes = (0..10)
        .map(|n| world.sandbox(&format!("c{n}"), &["front"]))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for (what, load) in [
        ("connections, one destination", Load::connect(&one(LAN_V4))),
        ("connections, many", Load::connect(&many())),
        (
            "exchanges, one destination",
            Load::exchange(&one(LAN_V4)).option("retries", 2),
        ),
    ] {
        let load = load.seconds(seconds()).option("least", LEAST / 10);
        let running = sandboxes
            .iter()
            .map(|sandbox| load.start(&sandbox.scope))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let tallies = running
            .into_iter()
            .map(|running| running.end())
            .collect::<anyhow::Result<Vec<_>>>()?;
        for (n, tally) in tallies.iter().enumerate() {
            ensure!(tally.ok > 0, "{what}: c{n}: {}", tally.line());
        }
        clean(what, &Tally::sum(&tallies))?;
    }
    Ok(())
}

#[test]
fn c10_while_the_daemon_is_dead() -> Outcome {
    let (mut world, client, _service) = place()?;
    world.kill()?;
    for (what, load) in [
        ("connections", Load::connect(&one(LAN_V4))),
        ("connections, IPv6", Load::connect(&one(LAN_V6))),
        (
            "exchanges",
            Load::exchange(&one(LAN_V4)).option("retries", 2),
        ),
    ] {
        let load = long(load.threads(4));
        clean(what, &load.run(&client.scope)?)?;
    }
    world.start()?;
    // And killed and started while they run.
    let running = long(Load::connect(&one(LAN_V4)).threads(4)).start(&client.scope)?;
    for _ in 0..2 {
        world.kill()?;
        world.start()?;
    }
    clean("killed meanwhile", &running.end()?)
}

#[test]
fn c10_connections_to_a_published_port() -> Outcome {
    let (world, client, _service) = place()?;
    let _inside = Service::start(&client.scope, "7000", &[])?;
    world.ctl("port publish client 8080:7000 8080:7000/udp")?;
    let peer = world.sandbox("peer", &["front"])?;
    let cases = [
        ("from outside", world.lan_scope(), HOST_V4.into()),
        ("from outside, IPv6", world.lan_scope(), HOST_V6.into()),
        ("hairpin", peer.scope, HOST_V4.into()),
        (
            "from the host",
            world.host_scope(),
            IpAddr::from([127, 0, 0, 1]),
        ),
    ];
    for (what, scope, address) in cases {
        let to = [SocketAddr::new(address, 8080)];
        let tcp = long(Load::connect(&to).threads(4)).run(&scope)?;
        clean(&format!("{what}, TCP"), &tcp)?;
        let udp = Load::exchange(&to).threads(4).option("retries", 2);
        clean(&format!("{what}, UDP"), &long(udp).run(&scope)?)?;
    }
    Ok(())
}

/// The ports that rest after short exchanges do not count against the flows that there may be.
#[test]
fn c10_a_small_table_has_room_for_new_flows() -> Outcome {
    let world = World::with_config("[limits]\nflows = 32768\n")?;
    world.ctl("network create --ipv6 front")?;
    let client = world.sandbox("client", &["front"])?;
    let _service = Service::start(&world.lan_scope(), "7000", &LAN)?;
    for to in LAN {
        let exchange = Load::exchange(&one(to)).threads(4).option("retries", 2);
        let tally = long(exchange).run(&client.scope)?;
        clean(&format!("{to}, UDP"), &tally)?;
        let connect = Load::connect(&one(to)).threads(4);
        clean(&format!("{to}, TCP"), &long(connect).run(&client.scope)?)?;
    }
    Ok(())
}
