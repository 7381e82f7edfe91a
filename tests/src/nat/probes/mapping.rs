//! RFC 4787, 4.1 to 4.3; RFC 5382, 4; RFC 6888: which outside port a flow gets.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::nat::{
    Checks, Ends, Site, Verdict,
    exchange::{TRANSPORTS, Transport},
    packet::flag,
};

/// RFC 4787, REQ-1; RFC 5382, REQ-1: alone, and where a neighbour uses the same inside port.
pub fn endpoint_independent(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in TRANSPORTS {
            let what = format!("{transport:?} over {}", ends.family());
            let to = [
                (ends.lan, 20100),
                (ends.lan, 20101),
                (ends.other, 20100),
                (ends.far, 20102),
            ];
            let mut seen = BTreeSet::new();
            for dst in to {
                seen.insert(site.map(transport, &site.a, (ends.a, 20001), dst)?);
            }
            checks.that(
                format!("{what}: {} outside ports", seen.len()),
                seen.len() == 1,
            );
            let count = contested(site, transport, &ends)?.len();
            checks.that(
                format!("{what}: {count} outside ports when a neighbour has the inside port, too"),
                count == 1,
            );
        }
    }
    Ok(checks.verdict())
}

/// Where b appears to three destinations; a has the same inside port, and has talked to the second.
fn contested(site: &Site, transport: Transport, ends: &Ends) -> Result<BTreeSet<u16>> {
    let to = [(ends.other, 20110), (ends.lan, 20110), (ends.far, 20110)];
    site.map(transport, &site.a, (ends.a, 20002), to[1])?;
    let ports = to
        .into_iter()
        .map(|dst| Ok(site.map(transport, &site.b, (ends.b, 20002), dst)?.1));
    ports.collect()
}

/// RFC 4787, REQ-2.
pub fn paired(site: &Site) -> Result<Verdict> {
    site.world.host.ip("addr add 198.51.100.77/24 dev uplink")?;
    site.world
        .host
        .ip("addr add 2001:db8:100::77/64 dev uplink nodad")?;
    let mut checks = Checks::new();
    for ends in site.ends() {
        let mut seen = BTreeSet::new();
        for transport in TRANSPORTS {
            for (port, dst) in [(20001, ends.lan), (20002, ends.other), (20003, ends.far)] {
                seen.insert(
                    site.map(transport, &site.a, (ends.a, port), (dst, 20100))?
                        .0,
                );
            }
        }
        checks.that(format!("appears as {seen:?}"), seen.len() == 1);
    }
    Ok(checks.verdict())
}

/// RFC 4787, REQ-3; RFC 5382, REQ-7.
pub fn exclusive(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in TRANSPORTS {
            let a = site.map(transport, &site.a, (ends.a, 20001), (ends.lan, 20100))?;
            let b = site.map(transport, &site.b, (ends.b, 20001), (ends.other, 20100))?;
            checks.that(
                format!(
                    "{transport:?} over {}: both are port {}",
                    ends.family(),
                    b.1
                ),
                a != b,
            );
        }
    }
    Ok(checks.verdict())
}

/// RFC 4787, REQ-3a: unprivileged sources stay unprivileged; those below are welcome anywhere above.
pub fn unprivileged(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in [Transport::Udp, Transport::Tcp] {
            // The second of each pair finds its port taken.
            for (station, src) in [(&site.a, ends.a), (&site.b, ends.b)] {
                let (_, port) = site.map(transport, station, (src, 20001), (ends.lan, 20100))?;
                checks.that(
                    format!("{transport:?}: 20001 appears as {port}"),
                    port > 1023,
                );
            }
        }
    }
    Ok(checks.verdict())
}

/// RFC 4787, REQ-4, which RFC 7857 lifts: whether even ports stay even.
pub fn parity(site: &Site) -> Result<Verdict> {
    let ends = site.ends()[0];
    let mut kept = 0;
    for port in (20000..20040_u16).step_by(2) {
        let (_, outside) = site.map(Transport::Udp, &site.a, (ends.a, port), (ends.lan, 20100))?;
        kept += usize::from(outside % 2 == 0);
    }
    Ok(match kept {
        20 => Verdict::Meets,
        _ => Verdict::Fails(format!("{kept} of 20 even ports stay even")),
    })
}

/// RFC 4787, REQ-10; RFC 5382, REQ-6: what application gateways would rewrite.
pub fn payload(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let sip = format!(
            "    REGISTER sip:{} SIP/2.0\r\nContact: <sip:x@{}:5060>\r\n",
            ends.lan, ends.a
        );
        let packet = site.packet(Transport::Udp, (ends.a, 5060), (ends.lan, 5060));
        let mark = packet.data().to_vec();
        let packet = packet.with(&[mark.as_slice(), sip.as_bytes()].concat());
        let seen = site
            .leaves(&site.a, &packet)?
            .context("SIP does not leave")?;
        checks.that("SIP is rewritten", seen.data() == packet.data());
        let mut session =
            crate::nat::session::Session::open(site, &site.a, (ends.a, 20001), (ends.lan, 21))?;
        let intact =
            session.container_sends(flag::PSH | flag::ACK, b"PORT 172,18,0,2,78,33\r\n")?;
        checks.that("FTP is rewritten", intact);
    }
    Ok(checks.verdict())
}

/// RFC 4787, REQ-11: the kind of mapping does not change when a neighbour takes the same inside port.
pub fn deterministic(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in TRANSPORTS {
            let alone: BTreeSet<u16> = [(ends.lan, 20120), (ends.other, 20120)]
                .into_iter()
                .map(|dst| Ok(site.map(transport, &site.b, (ends.b, 20003), dst)?.1))
                .collect::<Result<_>>()?;
            let contested = contested(site, transport, &ends)?;
            checks.that(
                format!(
                    "{transport:?} over {}: another kind of mapping",
                    ends.family()
                ),
                alone.len() == contested.len(),
            );
        }
    }
    Ok(checks.verdict())
}

/// RFC 6888, REQ-15 (RFC 6056): neither the inside port nor in a row.
pub fn random(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in TRANSPORTS {
            let ports = (20001..20041)
                .map(|port| {
                    Ok(site
                        .map(transport, &site.a, (ends.a, port), (ends.lan, 20100))?
                        .1)
                })
                .collect::<Result<Vec<u16>>>()?;
            let same = (20001..).zip(&ports).filter(|(a, b)| a == *b).count();
            let near = ports
                .windows(2)
                .filter(|pair| pair[0].abs_diff(pair[1]) < 16)
                .count();
            let spread: BTreeSet<u16> = ports.iter().map(|port| port >> 11).collect();
            checks.that(
                format!(
                    "{transport:?} over {}: {same} of 40 are the inside port",
                    ends.family()
                ),
                same < 3 && near < 5 && spread.len() > 3,
            );
        }
    }
    Ok(checks.verdict())
}
