//! Ports and flows that are used up, shared, limited and given back.

use std::net::IpAddr;

use anyhow::{Result, ensure};

use crate::nat::{
    Checks, Kind, Packet, Setup, Site, Station, Transport, Verdict, errors::Trouble, packet::flag,
    session::Session,
};
use crate::wait_for;

fn pool(first: u16, last: u16) -> Setup {
    Setup {
        pool: Some((first, last)),
        ..Setup::default()
    }
}

/// Two outside ports.
pub fn tiny_pool() -> Setup {
    pool(50_000, 50_001)
}

/// Two outside ports that a host's socket may want, too.
pub fn two_ports() -> Setup {
    pool(50_000, 50_001)
}

/// One outside port.
pub fn one_port() -> Setup {
    pool(50_000, 50_000)
}

/// Eight outside ports, all of which one container may have for each family and protocol.
pub fn small_pool() -> Setup {
    Setup {
        limits: vec![("ports_per_endpoint", 64)],
        ..pool(50_000, 50_007)
    }
}

/// A container may have 64 entries of the flow table: 32 flows.
pub fn limited() -> Setup {
    Setup {
        limits: vec![("flows_per_endpoint", 64)],
        ..Setup::default()
    }
}

/// A small flow table.
pub fn flooded() -> Setup {
    Setup {
        limits: vec![("flows", 4096)],
        ..Setup::default()
    }
}

/// How many packets netd refused for a reason; nothing on a Linux host.
fn drops(site: &Site, reason: &str) -> Result<u64> {
    match site.kind {
        Kind::Netd => site.world.drops(reason),
        Kind::Linux => Ok(0),
    }
}

/// Waits until netd tells the operator, by `netctl status`, of a limit that was met.
fn told_by_status(site: &Site, words: &str) {
    wait_for(&format!("{words:?} in netctl status"), 30, || {
        site.world.ctl("status").ok()?.contains(words).then_some(())
    });
}

/// Who sends, from where, to where.
type Flow<'a> = (&'a Station, (IpAddr, u16), (IpAddr, u16));

/// RFC 7857, 3: three sockets and two ports; destinations tell the flows apart, and each keeps its answers.
pub fn shared_pool(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let what = format!("{transport:?} over {}", ends.family());
            let flows: [Flow<'_>; 4] = [
                (&site.a, (ends.a, 20_001), (ends.lan, 20_100)),
                (&site.a, (ends.a, 20_002), (ends.lan, 20_100)),
                (&site.b, (ends.b, 20_003), (ends.other, 20_100)),
                (&site.b, (ends.b, 20_004), (ends.far, 20_100)),
            ];
            let mut seen = Vec::new();
            for (station, src, dst) in flows {
                let outside = site.out(transport, station, src, dst)?;
                checks.that(
                    format!("{what}: nothing leaves when the ports are used up"),
                    outside.is_some_and(|(_, port)| (50_000..=50_001).contains(&port)),
                );
                seen.push((station, src, dst, outside));
            }
            for (station, src, dst, outside) in seen {
                let Some(outside) = outside else { continue };
                let back = site.back(transport, dst, outside, station)?;
                checks.that(
                    format!("{what}: an answer goes elsewhere"),
                    back == Some(src),
                );
            }
        }
    }
    if site.kind == Kind::Netd {
        told_by_status(site, "share an outside port");
    }
    Ok(checks.verdict())
}

/// RFC 5508, REQ-8; RFC 6888, REQ-11: the one port is taken for this destination.
pub fn told(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let what = format!("{transport:?} over {}", ends.family());
            let peer = (ends.lan, 20_100);
            site.map(transport, &site.a, (ends.a, 20_001), peer)?;
            let before = drops(site, "no-port")?;
            site.b.forget()?;
            let refused = site.packet(transport, (ends.b, 20_002), peer);
            let left = site.leaves(&site.b, &refused)?;
            ensure!(left.is_none(), "{what}: two flows are one outside");
            let heard = site.b.find(|packet| Trouble::Prohibited.is(packet))?;
            checks.that(
                format!("{what}: dropped in silence"),
                heard
                    .and_then(|heard| heard.quoted())
                    .is_some_and(|quoted| {
                        (quoted.src, quoted.sport, quoted.dst) == (ends.b, 20_002, ends.lan)
                    }),
            );
            checks.that(
                format!("{what}: not counted"),
                drops(site, "no-port")? > before,
            );
        }
    }
    if site.kind == Kind::Netd {
        told_by_status(site, "(no-port)");
        ensure!(site.world.log().contains("(no-port)"), "not in the log");
    }
    Ok(checks.verdict())
}

/// RFC 6888, REQ-4 and REQ-5.
pub fn each(site: &Site) -> Result<Verdict> {
    let ends = site.ends()[0];
    let peer = (ends.lan, 20_100);
    let mut checks = Checks::new();
    let old = site.map(Transport::Udp, &site.b, (ends.b, 20_001), peer)?;
    site.lan.forget()?;
    for port in 20_100..20_300 {
        site.a
            .send(&site.packet(Transport::Udp, (ends.a, port), peer))?;
    }
    site.fence(&site.b)?;
    site.fence(&site.b)?;
    let seen = site.lan.seen()?;
    let new = |packet: &&Packet| {
        packet.src == ends.host && packet.ports().is_some_and(|ports| ports.1 == 20_100)
    };
    let passed = seen.iter().filter(new).count();
    checks.that(
        format!("{passed} of 200 flows of one container"),
        (16..=40).contains(&passed),
    );
    if site.kind == Kind::Netd {
        checks.that("not counted", site.world.drops("quota")? >= 100);
    }
    let back = site.back(Transport::Udp, peer, old, &site.b)?;
    checks.that(
        "another container's flow is cut",
        back == Some((ends.b, 20_001)),
    );
    let new = site.out(Transport::Udp, &site.b, (ends.b, 20_002), peer)?;
    checks.that("another container begins no flow", new.is_some());
    Ok(match (site.kind, checks.verdict()) {
        // Nothing there can be set.
        (Kind::Linux, Verdict::Partly(why)) => Verdict::Fails(why),
        (_, verdict) => verdict,
    })
}

/// RFC 6888, REQ-8: a port that was freed is the last that is taken.
pub fn rests(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = ends.family();
        let fin = flag::FIN | flag::ACK;
        let mut session = Session::open(site, &site.a, (ends.a, 50_003), (ends.lan, 20_100))?;
        let closed = session.container_sends(fin, b"")?
            && session.remote_sends(fin, b"")?
            && session.container_sends(flag::ACK, b"")?;
        ensure!(closed, "{what}: the connection does not close");
        let freed = session.outside.1;
        let mut taken = Vec::new();
        for number in 0..8 {
            // The freed port's own number first: Linux would keep it.
            let port = if number == 0 { freed } else { 20_300 + number };
            let to = (ends.other, 20_100);
            taken.push(site.map(Transport::Tcp, &site.b, (ends.b, port), to)?.1);
        }
        let at = taken.iter().position(|port| *port == freed);
        checks.that(
            format!("{what}: taken again at once, as number {at:?} of 8"),
            at == Some(7),
        );
    }
    Ok(checks.verdict())
}

/// FEATURES X04: one container sends first segments to as many ports as the table has entries, twice.
pub fn flood(site: &Site) -> Result<Verdict> {
    if site.kind == Kind::Linux {
        let why = "the table's size is one for the whole machine";
        return Ok(Verdict::Untried(why.into()));
    }
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = ends.family();
        let peer = (ends.lan, 20_100);
        let old = site.map(Transport::Udp, &site.b, (ends.b, 20_001), peer)?;
        let mut session = Session::open(site, &site.b, (ends.b, 20_002), peer)?;
        for number in 0..8192_u32 {
            let (port, to) = (20_000 + (number % 9000), 1024 + number / 9000);
            let src = (ends.a, u16::try_from(port)?);
            site.a
                .send(&site.packet(Transport::Tcp, src, (ends.far, u16::try_from(to)?)))?;
        }
        site.fence(&site.b)?;
        let back = site.back(Transport::Udp, peer, old, &site.b)?;
        checks.that(
            format!("{what}: an old flow ended"),
            back == Some((ends.b, 20_001)),
        );
        let data = flag::ACK | flag::PSH;
        checks.that(
            format!("{what}: an old connection ended"),
            session.remote_sends(data, b"x")? && session.container_sends(data, b"y")?,
        );
        for port in 20_010..20_020 {
            let new = site.out(Transport::Udp, &site.b, (ends.b, port), peer)?;
            checks.that(format!("{what}: no new flow"), new.is_some());
        }
    }
    Ok(checks.verdict())
}
