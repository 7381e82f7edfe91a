//! What goes past rules, around them, and before them: exempt destinations, older flows, the host's own sockets.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::nat::{
    Checks, Kind, Setup, Site, Transport, Verdict,
    exchange::{TRANSPORTS, mark},
};
use crate::{
    Server, World,
    probe::{hold, probe},
    world::LAN,
};

/// What is behind the LAN machine knows the containers.
pub fn exempt_setup() -> Setup {
    Setup {
        exempt: vec!["203.0.113.0/24", "2001:db8:113::/48"],
        ..Setup::default()
    }
}

/// RFC 6888, REQ-6: there and back with the container's own address; elsewhere as always.
pub fn exempt(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in TRANSPORTS {
            let what = format!("{transport:?} over {}", ends.family());
            let inside = (ends.a, 20_001);
            let peer = (ends.far, 20_100);
            let seen = site.out(transport, &site.a, inside, peer)?;
            checks.that(format!("{what}: appears as {seen:?}"), seen == Some(inside));
            let back = site.back(transport, peer, inside, &site.a)?;
            checks.that(format!("{what}: no way back"), back == Some(inside));
            let seen = site.out(transport, &site.a, (ends.a, 20_002), (ends.lan, 20_100))?;
            checks.that(
                format!("{what}: elsewhere not translated"),
                seen.is_some_and(|(src, _)| src == ends.host),
            );
        }
    }
    Ok(checks.verdict())
}

/// FEATURES C08: a client that sends all the time, since before the port was published.
pub fn older_flow(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for _ in 0..3 {
            let early = site.packet(Transport::Udp, (ends.lan, 20_100), (ends.host, 8081));
            let seen = site.enters(&site.a, &early)?;
            ensure!(seen.is_none(), "not published yet");
        }
    }
    site.publish("a", "udp", 8081, 20_009)?;
    for ends in site.ends() {
        let late = site.packet(Transport::Udp, (ends.lan, 20_100), (ends.host, 8081));
        let seen = site.enters(&site.a, &late)?;
        checks.that(
            format!("{}: the container gets nothing", ends.family()),
            seen.is_some_and(|seen| (seen.dst, seen.ports()) == (ends.a, Some((20_100, 20_009)))),
        );
    }
    Ok(checks.verdict())
}

/// FEATURES X01: old and new flows after `nft flush ruleset` on the host.
pub fn flushed(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    let mut old = Vec::new();
    for ends in site.ends() {
        for transport in TRANSPORTS {
            let inside = (ends.a, 20_001);
            old.push((
                transport,
                ends,
                site.map(transport, &site.a, inside, (ends.lan, 20_100))?,
            ));
        }
    }
    let output = site.world.host_scope().run(&["nft", "flush", "ruleset"])?;
    ensure!(output.ok, "nft: {}", output.text());
    for (transport, ends, outside) in old {
        let what = format!("{transport:?} over {}", ends.family());
        // No fence: where rules are needed, it went with them.
        let second = Duration::from_secs(1);
        let old = site.packet(transport, (ends.a, 20_001), (ends.lan, 20_100));
        site.a.send(&old)?;
        let seen = site.lan.wait_for(second, |seen| mark(seen) == mark(&old))?;
        checks.that(
            format!("{what}: an old flow breaks"),
            seen.is_some_and(|seen| {
                (seen.src, seen.ports().map(|ports| ports.0)) == (outside.0, Some(outside.1))
            }),
        );
        let new = site.packet(transport, (ends.a, 20_002), (ends.lan, 20_100));
        site.a.send(&new)?;
        let seen = site.lan.wait_for(second, |seen| mark(seen) == mark(&new))?;
        checks.that(
            format!(
                "{what}: a new flow appears as {:?}",
                seen.as_ref().map(|seen| seen.src)
            ),
            seen.is_some_and(|seen| seen.src == ends.host),
        );
    }
    Ok(checks.verdict())
}

/// FEATURES C12: a host's server on one of the two outside ports keeps it.
pub fn sockets(site: &Site) -> Result<Verdict> {
    let _server = Server::start(&site.world.host_scope(), 50_000)?;
    let mut checks = Checks::new();
    for ends in site.ends() {
        for (protocol, transport) in [("udp", Transport::Udp), ("tcp", Transport::Tcp)] {
            let what = format!("{transport:?} over {}", ends.family());
            // By its own number, too, which Linux would keep.
            for (port, dst) in [
                (50_000, ends.lan),
                (20_001, ends.lan),
                (20_002, ends.other),
                (20_003, ends.far),
            ] {
                let seen = site.out(transport, &site.a, (ends.a, port), (dst, 20_100))?;
                checks.that(
                    format!("{what}: a container's flow has the port of a host's socket"),
                    seen.is_none_or(|(_, port)| port != 50_000),
                );
            }
            let reply = probe(
                &site.world.lan_scope(),
                protocol,
                (ends.host, 50_000).into(),
                2000,
            );
            checks.that(
                format!("{what}: the host's server is not reached"),
                reply.is_ok(),
            );
        }
    }
    Ok(checks.verdict())
}

/// FEATURES C12: a connection of the host's that is older than its NAT, from a port of the pool.
pub fn older_connection(site: &Site) -> Result<Verdict> {
    // A world of its own, in which there is no NAT yet.
    let setup = Setup {
        pool: Some((50_000, 50_001)),
        ..Setup::default()
    };
    let mut world = World::unstarted_with(&setup.config())?;
    let _server = Server::start(&world.lan_scope(), 7000)?;
    world
        .host
        .sysctl("net/ipv4/ip_local_port_range", "50000 50001")?;
    let flows = [
        hold(&world.host_scope(), (LAN[0], 7000).into())?,
        hold(&world.host_scope(), (LAN[1], 7000).into())?,
    ];
    let scope = match site.kind {
        Kind::Netd => {
            world
                .host
                .sysctl("net/ipv4/ip_local_port_range", "32768 60999")?;
            world.start()?;
            world.ctl("network create --ipv6 front")?;
            world.sandbox("a", &["front"])?.scope
        }
        Kind::Linux => {
            let [a, _] = crate::nat::linux::build(&mut world, &setup)?;
            world.scope(a.path())
        }
    };
    let mut checks = Checks::new();
    for to in LAN {
        // The one port that is free for this destination.
        let reply = probe(&scope, "tcp", (to, 7000).into(), 2000);
        checks.that(
            format!("to {to}: {reply:?}"),
            reply.is_ok_and(|reply| (50_000..=50_001).contains(&reply.peer.port())),
        );
    }
    for flow in flows {
        let output = flow.finish().context("the older connection")?;
        checks.that("the older connection broke", output.ok);
    }
    Ok(checks.verdict())
}
