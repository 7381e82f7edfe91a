//! What the way through the host does to packets: MTU, MSS, TTL.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use netd_tests::{
    Scope, Server, World,
    probe::hold,
    wait_for,
    world::{HOST, LAN},
};

use crate::Outcome;

/// The host's link to the LAN is narrower than the containers' and than the neighbour thinks.
fn narrow() -> anyhow::Result<World> {
    let world = World::new()?;
    world.host.ip("link set uplink mtu 1400")?;
    world.ctl("network create --ipv6 --opt com.docker.network.mtu=1500 front")?;
    Ok(world)
}

/// The largest segment that the kernel there may send on its connection with this port.
fn mss(scope: &Scope, port: u16) -> anyhow::Result<u32> {
    let text = scope
        .run(&[
            "ss",
            "-tinH",
            &format!("( dport = :{port} or sport = :{port} )"),
        ])?
        .stdout;
    let find = |key: &str| {
        text.split_whitespace()
            .find_map(|word| word.strip_prefix(key)?.parse::<u32>().ok())
    };
    find("mss:").with_context(|| format!("no mss: in {text:?}"))
}

#[test]
fn d07_tcp_segments_fit_the_narrowest_link() -> Outcome {
    let world = narrow()?;
    let a = world.sandbox("a", &["front"])?;
    let _out = Server::start(&world.lan_scope(), 7000)?;
    let _in = a.serve(7001)?;
    world.ctl("port publish a 8080:7001")?;
    for (here, there) in HOST.into_iter().zip(LAN) {
        // Less 12 bytes for time stamps.
        let fits = if there.is_ipv4() { 1348 } else { 1328 };
        let connection = hold(&a.scope, SocketAddr::new(there, 7000))?;
        let seen = (mss(&world.lan_scope(), 7000)?, mss(&a.scope, 7000)?);
        ensure!(seen == (fits, fits), "out to {there}: {seen:?}");
        drop(connection);
        let connection = hold(&world.lan_scope(), SocketAddr::new(here, 8080))?;
        let seen = (mss(&world.lan_scope(), 8080)?, mss(&a.scope, 7001)?);
        ensure!(seen == (fits, fits), "in to {here}: {seen:?}");
        drop(connection);
    }
    Ok(())
}

/// NAT 4787-13: the sender learns the MTU, and so its next packets fit.
#[test]
fn d07_a_packet_too_big_comes_back_as_an_error() -> Outcome {
    let world = narrow()?;
    let a = world.sandbox("a", &["front"])?;
    let refused = world.drops("too-big")?;
    for there in LAN {
        let there = there.to_string();
        let output = a.scope.run(&[
            "ping", "-n", "-M", "do", "-c", "1", "-W", "2", "-s", "1400", &there,
        ])?;
        let said = output.text().to_lowercase();
        ensure!(
            said.contains("mtu = 1400") || said.contains("mtu=1400"),
            "{said}"
        );
        let route = a.netns.ip(&format!("route get {there}"))?;
        ensure!(route.contains("mtu 1400"), "{route}");
    }
    ensure!(world.drops("too-big")? >= refused + 2, "not counted");
    Ok(())
}

/// The same for the neighbour, when the container's link is the narrow one.
#[test]
fn d07_the_neighbour_learns_a_containers_mtu() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 --opt com.docker.network.mtu=1300 front")?;
    let a = world.sandbox("a", &["front"])?;
    let _server = a.serve(7000)?;
    world.ctl("port publish a 8080:7000/udp")?;
    for here in HOST {
        // One datagram of 1400 bytes, DF by default.
        let send = format!("head -c 1400 /dev/zero >/dev/udp/{here}/8080");
        world.lan_scope().run(&["bash", "-c", &send])?;
        let route = world.lan.ip(&format!("route get {here}"))?;
        ensure!(route.contains("mtu 1300"), "{route}");
    }
    Ok(())
}

/// A connection goes on when its way becomes narrower: large segments (GSO) come back as errors too.
#[test]
fn d07_a_connection_survives_a_smaller_mtu() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let a = world.sandbox("a", &["front"])?;
    for (port, there) in [5201, 5202].into_iter().zip(LAN) {
        let port = port.to_string();
        let _server = world
            .lan_scope()
            .spawn(&["iperf3", "-s", "-1", "-p", &port])?;
        wait_for("iperf3 listens", 5, || {
            let filter = format!("sport = :{port}");
            let found = world.lan_scope().run(&["ss", "-tlnH", &filter]).ok()?;
            found.stdout.contains(&port).then_some(())
        });
        let mut client = a.scope.spawn(&[
            "iperf3",
            "--forceflush",
            "-c",
            &there.to_string(),
            "-p",
            &port,
            "-t",
            "3",
            "-i",
            "1",
            "-f",
            "m",
        ])?;
        // The first second's report: the connection is at full speed.
        client.until(" 0.00-1.0")?;
        world.host.ip("link set uplink mtu 1300")?;
        let output = client.finish()?;
        world.host.ip("link set uplink mtu 1500")?;
        ensure!(output.ok, "{}", output.text());
        let last = output
            .stdout
            .lines()
            .find(|line| line.contains("-3.0"))
            .with_context(|| output.text())?;
        ensure!(!last.contains(" 0.00 "), "stalled: {}", output.text());
    }
    Ok(())
}

/// Traceroute shows the gateway as the first hop.
#[test]
fn d05_the_gateway_is_a_hop() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let a = world.sandbox("a", &["front"])?;
    for (there, family) in LAN.into_iter().zip(["-4", "-6"]) {
        let route = a.netns.ip(&format!("{family} route show default"))?;
        let gateway = route.split_whitespace().nth(2).unwrap_or("none").to_owned();
        let there = there.to_string();
        let said = a
            .scope
            .run(&["ping", "-n", "-c", "1", "-W", "2", "-t", "1", &there])?
            .text();
        let first = format!("From {gateway}");
        ensure!(said.contains(&first), "no {first:?} in {said}");
        let twice = a
            .scope
            .run(&["ping", "-n", "-c", "1", "-W", "2", "-t", "2", &there])?;
        ensure!(twice.ok, "{}", twice.text());
    }
    Ok(())
}
