//! RFC 5382 and RFC 7857: TCP's states, resets and stray segments.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::lifetimes::by_default;
use crate::nat::{
    Checks, Kind, Packet, Site, Transport, Verdict,
    life::life,
    packet::{Body, flag},
    session::Session,
};
use crate::{Server, probe};

/// RFC 5382, REQ-2: both sides send a SYN, and then a SYN-ACK.
pub fn simultaneous_open(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = ends.family();
        let mut session = Session::begin(site, &site.a, (ends.a, 20001), (ends.lan, 20100))?;
        let first = session.far;
        let syn = Packet::tcp(session.remote, session.outside, flag::SYN, (first, 0));
        let seen = site.enters(&site.a, &syn)?;
        checks.that(
            format!("{what}: the peer's SYN does not enter"),
            seen.is_some_and(|seen| (seen.dst, seen.ports()) == (ends.a, Some((20100, 20001)))),
        );
        session.far = session.far.wrapping_add(1);
        session.near = session.near.wrapping_sub(1);
        let both = flag::SYN | flag::ACK;
        checks.that(
            format!("{what}: the SYN-ACK does not leave"),
            session.container_sends(both, b"")?,
        );
        session.far = session.far.wrapping_sub(1);
        checks.that(
            format!("{what}: the SYN-ACK does not enter"),
            session.remote_sends(both, b"")?,
        );
        let data = flag::ACK | flag::PSH;
        checks.that(
            format!("{what}: no data out"),
            session.container_sends(data, b"one")?,
        );
        checks.that(
            format!("{what}: no data in"),
            session.remote_sends(data, b"two")?,
        );
    }
    Ok(checks.verdict())
}

/// RFC 5382, REQ-4: to ports that nobody has, and to a mapping from a stranger; a host's own port answers.
pub fn unsolicited(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    let _server = Server::start(&site.world.host_scope(), 7100)?;
    let mut asked = Vec::new();
    for ends in site.ends() {
        let outside = site.map(Transport::Tcp, &site.a, (ends.a, 20001), (ends.lan, 20100))?;
        let reply = probe::probe(
            &site.world.lan_scope(),
            "tcp",
            (ends.host, 7100).into(),
            2000,
        );
        ensure!(
            reply.is_ok(),
            "a listener of the host does not answer: {reply:?}"
        );
        asked.push(("a port of nobody", (ends.host, 55_555), (ends.lan, 20101)));
        asked.push(("another one", (ends.host, 49_152), (ends.lan, 20101)));
        asked.push(("a mapping, from a stranger", outside, (ends.other, 20101)));
    }
    site.lan.forget()?;
    for (_, to, from) in &asked {
        site.lan
            .send(&Packet::tcp(*from, *to, flag::SYN, (site.mark(), 0)))?;
    }
    // The six seconds are the requirement itself.
    site.lan.wait_for(Duration::from_millis(6100), |_| false)?;
    let answers = site.lan.seen()?;
    for (what, to, from) in asked {
        let answer = answers.iter().any(|packet| {
            let back = packet.ports() == Some((to.1, from.1)) && packet.dst == from.0;
            let quoted = packet.quoted().is_some_and(|quoted| quoted.dport == to.1);
            back || quoted
        });
        checks.that(
            format!(
                "{what} answers over {}",
                if to.0.is_ipv4() { "IPv4" } else { "IPv6" }
            ),
            !answer,
        );
    }
    if site.kind == Kind::Netd {
        let counted = site.world.drops("unsolicited")?;
        ensure!(counted >= 4, "{counted} unsolicited packets are counted");
    }
    Ok(checks.verdict())
}

/// RFC 7857, 2.1: an established connection that is silent outlives half-open ones; a closed one does not.
pub fn followed(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = ends.family();
        let mut idle = Session::open(site, &site.a, (ends.a, 20001), (ends.lan, 20100))?;
        let mut closed = Session::open(site, &site.a, (ends.a, 20002), (ends.lan, 20100))?;
        let fin = flag::FIN | flag::ACK;
        let passed = closed.container_sends(fin, b"")?
            && closed.remote_sends(fin, b"")?
            && closed.container_sends(flag::ACK, b"")?;
        checks.that(format!("{what}: a FIN does not pass"), passed);
        let opening = life(
            Duration::from_secs(5),
            |number| Session::begin(site, &site.b, (ends.b, 20100 + number), (ends.lan, 20100)),
            |_, session| segment_enters(site, session),
        )?;
        checks.that(
            format!("{what}: half-open connections do not end"),
            opening.is_some(),
        );
        let data = flag::ACK | flag::PSH;
        checks.that(
            format!("{what}: the idle connection ended"),
            idle.remote_sends(data, b"late")?,
        );
        checks.that(
            format!("{what}: the idle connection has no way out"),
            idle.container_sends(data, b"too")?,
        );
        checks.that(
            format!("{what}: the closed one goes on"),
            !closed.remote_sends(data, b"late")?,
        );
    }
    Ok(checks.verdict())
}

/// Whether the peer's SYN-ACK of a half-open connection enters.
pub fn segment_enters(site: &Site, session: &Session<'_>) -> Result<bool> {
    let packet = session.far_segment(flag::SYN | flag::ACK, b"");
    Ok(site.enters(session.station, &packet)?.is_some())
}

/// RFC 7857, 2.3: nobody knows whether the container takes a reset for good.
pub fn reset(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = ends.family();
        let mut session = Session::open(site, &site.a, (ends.a, 20001), (ends.lan, 20100))?;
        checks.that(
            format!("{what}: the RST does not enter"),
            session.remote_sends(flag::RST, b"")?,
        );
        let data = flag::ACK | flag::PSH;
        checks.that(
            format!("{what}: no data in behind it"),
            session.remote_sends(data, b"in")?,
        );
        checks.that(
            format!("{what}: no data out behind it"),
            session.container_sends(data, b"out")?,
        );
        let mut session = Session::open(site, &site.a, (ends.a, 20002), (ends.lan, 20100))?;
        checks.that(
            format!("{what}: the RST does not leave"),
            session.container_sends(flag::RST, b"")?,
        );
    }
    by_default(site, &mut checks, 240, &["tcp_timeout_close"])?;
    Ok(checks.verdict())
}

/// All 64 combinations of flags, without a flow and behind one that was reset.
pub fn flags(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let mut session = Session::open(site, &site.a, (ends.a, 20001), (ends.lan, 20100))?;
        session.container_sends(flag::RST | flag::ACK, b"")?;
        site.lan.forget()?;
        for flags in 0..64 {
            let packet = |port| Packet::tcp((ends.a, port), (ends.lan, 20100), flags, (7, 7));
            site.a.send(&packet(20_100 + u16::from(flags)))?;
            site.a.send(&packet(20_001))?;
        }
        site.fence(&site.a)?;
        let leaked: Vec<u8> = site
            .lan
            .seen()?
            .into_iter()
            .filter(|packet| packet.src == ends.a)
            .filter_map(|packet| match packet.body {
                Body::Tcp { flags, .. } => Some(flags),
                _ => None,
            })
            .collect();
        checks.that(
            format!(
                "{}: {} segments leave with the private source",
                ends.family(),
                leaked.len()
            ),
            leaked.is_empty(),
        );
        let passed = site.out(Transport::Tcp, &site.a, (ends.a, 20_500), (ends.lan, 20100))?;
        ensure!(
            passed.is_some_and(|(src, _)| src == ends.host),
            "a SYN does not leave"
        );
    }
    Ok(checks.verdict())
}

/// A segment of the peer that is far outside the window: no RST for the peer, and the connection goes on.
pub fn window(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = ends.family();
        let mut session = Session::open(site, &site.a, (ends.a, 20001), (ends.lan, 20100))?;
        let data = flag::ACK | flag::PSH;
        site.lan.forget()?;
        let mut stray = session.far_segment(data, b"stray");
        if let Body::Tcp { seq, .. } = &mut stray.body {
            *seq = seq.wrapping_add(1 << 30);
        }
        site.enters(&site.a, &stray)?;
        let answer = site.lan.find(
            |packet| matches!(packet.body, Body::Tcp { flags, .. } if flags & flag::RST != 0),
        )?;
        let goes_on =
            session.remote_sends(data, b"in")? && session.container_sends(data, b"out")?;
        checks.that(
            format!(
                "{what}: reset by the host: {}, goes on: {goes_on}",
                answer.is_some()
            ),
            answer.is_none() && goes_on,
        );
    }
    Ok(checks.verdict())
}

/// RFC 5961, 3 and 4: what an attacker sends who knows addresses and ports, but no numbers. The connections go on, both whole
/// and half closed, by the same outside port.
pub fn forged(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    let data = flag::ACK | flag::PSH;
    for ends in site.ends() {
        let what = ends.family();
        let forge = |session: &Session<'_>, all: &[u8]| -> Result<()> {
            for &flags in all {
                let mut segment = session.far_segment(flags, b"");
                if let Body::Tcp { seq, ack, .. } = &mut segment.body {
                    // Beyond any window.
                    *seq = seq.wrapping_add(3 << 29);
                    *ack = ack.wrapping_add(3 << 29);
                }
                site.lan.send(&segment)?;
            }
            site.fence(session.station)
        };
        let attacks: [(&str, &[u8]); 4] = [
            ("RST", &[flag::RST]),
            ("RST, SYN", &[flag::RST, flag::SYN]),
            ("RST|ACK, SYN", &[flag::RST | flag::ACK, flag::SYN]),
            (
                "FIN|ACK twice, SYN",
                &[flag::FIN | flag::ACK, flag::FIN | flag::ACK, flag::SYN],
            ),
        ];
        for (number, (attack, flags)) in (0u16..).zip(attacks) {
            let inside = (ends.a, 20_001 + number);
            let mut session = Session::open(site, &site.a, inside, (ends.lan, 20100))?;
            forge(&session, flags)?;
            let goes_on =
                session.remote_sends(data, b"in")? && session.container_sends(data, b"out")?;
            checks.that(format!("{what}: {attack} ends a connection"), goes_on);
            let inside = (ends.a, 20_101 + number);
            let mut session = Session::open(site, &site.a, inside, (ends.lan, 20100))?;
            session.container_sends(flag::FIN | flag::ACK, b"")?;
            session.remote_sends(flag::ACK, b"")?;
            forge(&session, flags)?;
            let goes_on = session.remote_sends(data, b"in")?
                && session.container_sends(flag::ACK, b"")?
                && session.remote_sends(data, b"in")?;
            checks.that(format!("{what}: {attack} ends a half closed one"), goes_on);
        }
        // Numbers from the whole space, so that one is near.
        let mut session = Session::open(site, &site.a, (ends.a, 20_201), (ends.lan, 20100))?;
        session.container_sends(flag::FIN | flag::ACK, b"")?;
        session.remote_sends(flag::ACK, b"")?;
        for (flags, count) in [(flag::FIN | flag::ACK, 128), (flag::SYN, 1)] {
            for guess in 0..count {
                let mut segment = session.far_segment(flags, b"");
                if let Body::Tcp { seq, .. } = &mut segment.body {
                    *seq = seq.wrapping_add((guess << 25) + 77);
                }
                site.lan.send(&segment)?;
            }
        }
        site.fence(session.station)?;
        let goes_on = session.remote_sends(data, b"in")?
            && session.container_sends(flag::ACK, b"")?
            && session.remote_sends(data, b"in")?;
        checks.that(
            format!("{what}: FINs with every number end a half closed one"),
            goes_on,
        );
    }
    Ok(checks.verdict())
}
