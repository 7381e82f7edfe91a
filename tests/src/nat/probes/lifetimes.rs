//! How long flows live. They are set short here, and measured; of Linux's, the default is read as well.

use std::time::Duration;

use anyhow::{Context, Result};

use super::tcp::segment_enters;
use crate::nat::{
    Checks, Ends, Setup, Site, Transport, Verdict, errors::Trouble, life::life, packet::flag,
    session::Session,
};

/// Datagrams and echoes live two seconds, questions for names one.
pub fn short() -> Setup {
    Setup {
        lifetimes: vec![("udp", 2), ("udp_dns", 1), ("icmp", 2)],
        ..Setup::default()
    }
}

/// Connections live by their state.
pub fn tcp() -> Setup {
    Setup {
        lifetimes: vec![
            ("tcp_opening", 2),
            ("tcp_closing", 2),
            ("tcp_closed", 1),
            ("tcp_established", 30),
        ],
        ..Setup::default()
    }
}

const LONGEST: Duration = Duration::from_secs(5);

/// Whether a measured life is one that was set: not shorter, and not much longer on a busy machine.
fn is(life: Option<Duration>, seconds: u64) -> bool {
    let set = Duration::from_secs(seconds);
    life.is_some_and(|life| life + Duration::from_millis(50) >= set && life < set * 2)
}

/// The life of a container's flows to one port of the LAN machine.
fn measured(
    site: &Site,
    transport: Transport,
    ends: &Ends,
    port: u16,
    answered: bool,
) -> Result<Option<Duration>> {
    let peer = (ends.lan, port);
    life(
        LONGEST,
        |number| {
            let outside = site.map(transport, &site.a, (ends.a, 20_200 + number), peer)?;
            if answered {
                let back = site.back(transport, peer, outside, &site.a)?;
                back.context("no answer to a new flow")?;
            }
            Ok(outside)
        },
        |_, outside| Ok(site.back(transport, peer, *outside, &site.a)?.is_some()),
    )
}

/// Adds what Linux has by default, where the site is Linux's.
pub fn by_default(site: &Site, checks: &mut Checks, wanted: u64, keys: &[&str]) -> Result<()> {
    for key in keys {
        if let Some(seconds) = site.conntrack(key)? {
            checks.that(
                format!("{key} is {seconds} s by default"),
                seconds >= wanted,
            );
        }
    }
    Ok(())
}

/// RFC 4787, REQ-5.
pub fn udp(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for answered in [false, true] {
            let life = measured(site, Transport::Udp, &ends, 20_100, answered)?;
            checks.that(
                format!("{}: set to 2 s, lives {life:?}", ends.family()),
                is(life, 2),
            );
        }
    }
    by_default(
        site,
        &mut checks,
        120,
        &["udp_timeout", "udp_timeout_stream"],
    )?;
    Ok(checks.verdict())
}

/// RFC 4787, REQ-5a: one question and its answer need not live as long.
pub fn names(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let life = measured(site, Transport::Udp, &ends, 53, true)?;
        checks.that(format!("{}: lives {life:?}", ends.family()), is(life, 1));
    }
    Ok(checks.verdict())
}

/// RFC 4787, REQ-6.
pub fn refresh(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let (udp, peer, what) = (Transport::Udp, (ends.lan, 20_100), ends.family());
        let flow = |port| site.map(udp, &site.b, (ends.b, port), peer);
        let [from_inside, from_peer, from_stranger] = [flow(20_001)?, flow(20_002)?, flow(20_003)?];
        // While these are kept alive, others are not, and one of those ends.
        let silent = life(
            LONGEST,
            |number| site.map(udp, &site.a, (ends.a, 20_200 + number), peer),
            |_, outside| {
                site.out(udp, &site.b, (ends.b, 20_001), peer)?;
                site.back(udp, peer, from_peer, &site.b)?;
                site.back(udp, (ends.other, 20_100), from_stranger, &site.b)?;
                Ok(site.back(udp, peer, *outside, &site.a)?.is_some())
            },
        )?;
        checks.that(format!("{what}: silent flows do not end"), silent.is_some());
        let alive =
            |outside| Ok::<_, anyhow::Error>(site.back(udp, peer, outside, &site.b)?.is_some());
        checks.that(
            format!("{what}: packets from inside do not refresh"),
            alive(from_inside)?,
        );
        checks.that(
            format!("{what}: packets of the peer do not refresh"),
            alive(from_peer)?,
        );
        checks.that(
            format!("{what}: a stranger refreshes"),
            !alive(from_stranger)?,
        );
    }
    Ok(checks.verdict())
}

/// RFC 5508, REQ-2.
pub fn echo(site: &Site) -> Result<Verdict> {
    site.lan.answer_echo(false)?;
    let mut checks = Checks::new();
    for ends in site.ends() {
        let life = measured(site, Transport::Echo, &ends, 0, false)?;
        checks.that(
            format!("{}: set to 2 s, lives {life:?}", ends.family()),
            is(life, 2),
        );
    }
    by_default(site, &mut checks, 60, &["icmp_timeout", "icmpv6_timeout"])?;
    Ok(checks.verdict())
}

/// RFC 5508, REQ-6.
pub fn errors(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let (udp, peer) = (Transport::Udp, (ends.lan, 20_100));
        let packet = site.packet(udp, (ends.b, 20_001), peer);
        let seen = site.leaves(&site.b, &packet)?.context("does not leave")?;
        let outside = (seen.src, seen.ports().context("ports")?.0);
        let error = Trouble::Host.about(ends.lan, ends.host, &seen.bytes());
        let silent = life(
            LONGEST,
            |number| site.map(udp, &site.a, (ends.a, 20_200 + number), peer),
            |_, outside| {
                site.lan.send(&error)?;
                Ok(site.back(udp, peer, *outside, &site.a)?.is_some())
            },
        )?;
        checks.that(
            format!("{}: silent flows do not end", ends.family()),
            silent.is_some(),
        );
        let late = site.back(udp, peer, outside, &site.b)?;
        checks.that(format!("{}: errors refresh", ends.family()), late.is_none());
    }
    Ok(checks.verdict())
}

/// RFC 5382, REQ-5; RFC 7857, 2.2.
pub fn by_state(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = ends.family();
        let peer = (ends.lan, 20_100);
        let opening = life(
            LONGEST,
            |number| Session::begin(site, &site.a, (ends.a, 20_200 + number), peer),
            |_, session| segment_enters(site, session),
        )?;
        checks.that(
            format!("{what}: opening, set to 2 s, lives {opening:?}"),
            is(opening, 2),
        );
        for (base, inside_closes) in [(20_300, true), (20_400, false)] {
            let closing = life(
                LONGEST,
                |number| {
                    let mut session = Session::open(site, &site.a, (ends.a, base + number), peer)?;
                    let fin = flag::FIN | flag::ACK;
                    let passed = if inside_closes {
                        session.container_sends(fin, b"")?
                    } else {
                        session.remote_sends(fin, b"")?
                    };
                    anyhow::ensure!(passed, "the FIN does not pass");
                    Ok(session)
                },
                |_, session| {
                    let packet = session.far_segment(flag::ACK | flag::PSH, b"late");
                    Ok(site.enters(session.station, &packet)?.is_some())
                },
            )?;
            checks.that(
                format!("{what}: half closed (by the container: {inside_closes}), set to 2 s, lives {closing:?}"),
                is(closing, 2) || closing.is_none(),
            );
        }
    }
    by_default(site, &mut checks, 7440, &["tcp_timeout_established"])?;
    let transitory = [
        "tcp_timeout_syn_sent",
        "tcp_timeout_syn_recv",
        "tcp_timeout_fin_wait",
        "tcp_timeout_close_wait",
        "tcp_timeout_last_ack",
    ];
    by_default(site, &mut checks, 240, &transitory)?;
    Ok(checks.verdict())
}
