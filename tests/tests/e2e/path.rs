//! What the way through the host does to packets: MTU, MSS, TTL.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use netd_tests::{
    Scope, Server, World,
    probe::hold,
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
