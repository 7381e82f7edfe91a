//! RFC 5508 and its companions: ICMP errors and queries.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::nat::{
    Checks, Ends, Packet, Site, Station, Transport, Verdict,
    errors::Trouble,
    exchange::{TRANSPORTS, mark},
    packet::{Body, Checksum},
};

const TROUBLES: [Trouble; 5] = [
    Trouble::Port,
    Trouble::Host,
    Trouble::Hops,
    Trouble::TooBig(1300),
    Trouble::Prohibited,
];

/// A packet of a container as it appears outside.
fn outside(site: &Site, from: &Station, packet: &Packet) -> Result<Packet> {
    site.leaves(from, packet)?
        .context("the packet does not leave")
}

/// Sends an error from outside; what the container hears of it.
fn hears(site: &Site, to: &Station, error: &Packet, trouble: Trouble) -> Result<Option<Packet>> {
    to.forget()?;
    site.lan.send(error)?;
    site.fence(to)?;
    to.find(|packet| trouble.is(packet))
}

/// RFC 4787, REQ-12; RFC 5382, REQ-10: every kind of error, and then both ways still pass.
pub fn ends_nothing(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in TRANSPORTS {
            let what = format!("{transport:?} over {}", ends.family());
            let (inside, peer) = ((ends.a, 20001), (ends.lan, 20100));
            let sent = site.packet(transport, inside, peer);
            let seen = outside(site, &site.a, &sent)?;
            let port = (seen.src, seen.ports().context("ports")?.0);
            for trouble in TROUBLES {
                site.lan
                    .send(&trouble.about(ends.lan, ends.host, &seen.bytes()))?;
            }
            let back = site.back(transport, peer, port, &site.a)?;
            checks.that(
                format!("{what}: no answer enters afterwards"),
                back == Some(inside),
            );
            let again = site.out(transport, &site.a, inside, peer)?;
            checks.that(
                format!("{what}: another port afterwards"),
                again == Some(port),
            );
        }
    }
    Ok(checks.verdict())
}

/// RFC 4787, REQ-13: by the NAT's own link, and by a router behind.
pub fn too_big(site: &Site) -> Result<Verdict> {
    site.world.host.ip("link set uplink mtu 1400")?;
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = ends.family();
        let mut packet = site.packet(Transport::Udp, (ends.a, 20001), (ends.lan, 20100));
        packet.df = true;
        let packet = packet.with(&[7; 1430]);
        site.a.forget()?;
        site.a.send(&packet)?;
        site.fence(&site.a)?;
        let heard = site.a.find(|packet| Trouble::TooBig(1400).is(packet))?;
        checks.that(
            format!("{what}: the link's MTU is not told"),
            heard
                .and_then(|heard| heard.quoted())
                .is_some_and(|quoted| {
                    (quoted.src, quoted.sport, quoted.dst) == (ends.a, 20001, ends.lan)
                }),
        );
        let sent = site.packet(Transport::Udp, (ends.a, 20001), (ends.far, 20100));
        let seen = outside(site, &site.a, &sent)?;
        let trouble = Trouble::TooBig(1300);
        let error = trouble.about(ends.lan, ends.host, &seen.bytes());
        let heard = hears(site, &site.a, &error, trouble)?;
        checks.that(
            format!("{what}: a router's word does not arrive"),
            heard
                .and_then(|heard| heard.quoted_whole())
                .is_some_and(|inner| inner == sent_as(&inner, &sent)),
        );
    }
    Ok(checks.verdict())
}

/// What was sent, with the time to live that the quoted packet had left.
fn sent_as(quoted: &Packet, sent: &Packet) -> Packet {
    Packet {
        ttl: quoted.ttl,
        ..sent.clone()
    }
}

/// RFC 5382, REQ-9; RFC 5508, REQ-4 and REQ-5.
pub fn both_ways(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in TRANSPORTS {
            for trouble in TROUBLES {
                let what = format!("{trouble:?} about {transport:?} over {}", ends.family());
                inwards(site, &mut checks, &what, transport, trouble, &ends)?;
                outwards(site, &mut checks, &what, transport, trouble, &ends)?;
            }
        }
    }
    Ok(checks.verdict())
}

/// A router between says that a container's packet did not arrive.
fn inwards(
    site: &Site,
    checks: &mut Checks,
    what: &str,
    transport: Transport,
    trouble: Trouble,
    ends: &Ends,
) -> Result<()> {
    let sent = site.packet(transport, (ends.a, 20001), (ends.far, 20100));
    let seen = outside(site, &site.a, &sent)?;
    let error = trouble.about(ends.lan, ends.host, &seen.bytes());
    let heard = hears(site, &site.a, &error, trouble)?;
    let Some(heard) = heard else {
        checks.that(format!("{what} does not enter"), false);
        return Ok(());
    };
    checks.that(
        format!("{what} enters with wrong outer header or checksum"),
        (heard.src, heard.dst, heard.checksum) == (ends.lan, ends.a, Checksum::Right),
    );
    let inner = heard.quoted_whole();
    checks.that(
        format!("{what} enters with a wrong inside"),
        inner.is_some_and(|inner| inner == sent_as(&inner, &sent)),
    );
    Ok(())
}

/// A container says that an answer did not arrive.
fn outwards(
    site: &Site,
    checks: &mut Checks,
    what: &str,
    transport: Transport,
    trouble: Trouble,
    ends: &Ends,
) -> Result<()> {
    let outside = site.map(transport, &site.a, (ends.a, 20001), (ends.lan, 20100))?;
    let mark = site.mark();
    let answer = match transport {
        Transport::Udp => Packet::udp((ends.lan, 20100), outside, &mark.to_be_bytes()),
        Transport::Tcp => Packet::tcp((ends.lan, 20100), outside, 18, (mark, 1)),
        Transport::Echo => Packet::echo(ends.lan, ends.host, false, outside.1, &mark.to_be_bytes()),
    };
    let entered = site
        .enters(&site.a, &answer)?
        .context("the answer does not enter")?;
    site.lan.forget()?;
    site.a
        .send(&trouble.about(ends.a, ends.lan, &entered.bytes()))?;
    site.fence(&site.a)?;
    let heard = site.lan.find(|packet| trouble.is(packet))?;
    let Some(heard) = heard else {
        checks.that(format!("{what} does not leave"), false);
        return Ok(());
    };
    checks.that(
        format!("{what} leaves with wrong outer header or checksum"),
        (heard.src, heard.dst, heard.checksum) == (ends.host, ends.lan, Checksum::Right),
    );
    let inner = heard.quoted_whole();
    checks.that(
        format!("{what} leaves with a wrong inside"),
        inner.is_some_and(|inner| inner == sent_as(&inner, &answer)),
    );
    Ok(())
}

/// RFC 5508, REQ-1: two containers with one identifier, each gets its own replies.
pub fn queries(site: &Site) -> Result<Verdict> {
    site.lan.answer_echo(true)?;
    let mut checks = Checks::new();
    for ends in site.ends() {
        for (station, src) in [(&site.a, ends.a), (&site.b, ends.b)] {
            for dst in [ends.lan, ends.other, ends.far] {
                let packet = site.packet(Transport::Echo, (src, 777), (dst, 0));
                station.forget()?;
                station.send(&packet)?;
                let reply = station.wait_for(std::time::Duration::from_secs(2), |seen| {
                    mark(seen) == mark(&packet)
                })?;
                checks.that(
                    format!("{src} gets no reply from {dst}"),
                    reply.is_some_and(|reply| {
                        (reply.src, reply.dst, reply.checksum) == (dst, src, Checksum::Right)
                            && reply.ports() == Some((777, 777))
                    }),
                );
            }
        }
    }
    Ok(checks.verdict())
}

/// RFC 5508, REQ-3.
pub fn careful(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = ends.family();
        let sent = site.packet(Transport::Udp, (ends.a, 20001), (ends.lan, 20100));
        let sent = sent.with(&[site.mark().to_be_bytes().as_slice(), &[5; 120]].concat());
        let seen = outside(site, &site.a, &sent)?;
        let error = Trouble::Host.about(ends.lan, ends.host, &seen.bytes());
        // a: a wrong checksum. Dropped, or still wrong, so that the container's kernel drops it.
        let wrong = error.clone().summed(Checksum::Wrong);
        let heard = hears(site, &site.a, &wrong, Trouble::Host)?;
        checks.that(
            format!("{what}: an error with a wrong checksum is made right"),
            heard.is_none_or(|heard| heard.checksum == Checksum::Wrong),
        );
        // b: options of the packet and of the quoted one.
        for (outer, inner) in [(true, false), (false, true), (true, true)] {
            let heard = with_options(site, &ends, outer, inner)?;
            checks.that(
                format!("{what}: options (outer {outer}, inner {inner}) hide the error"),
                heard,
            );
        }
        // c: extensions behind the quoted packet (RFC 4884).
        checks.that(
            format!("{what}: extensions are lost"),
            extended(site, &ends, &seen)?,
        );
    }
    Ok(checks.verdict())
}

fn options(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(_) => vec![1, 1, 1, 0],
        // One padding option that fills the header.
        IpAddr::V6(_) => vec![1, 4, 0, 0, 0, 0],
    }
}

fn with_options(site: &Site, ends: &Ends, outer: bool, inner: bool) -> Result<bool> {
    let mut sent = site.packet(Transport::Udp, (ends.a, 20003), (ends.lan, 20100));
    if inner {
        sent.options = options(ends.a);
    }
    let Some(seen) = site.leaves(&site.a, &sent)? else {
        return Ok(false);
    };
    let mut error = Trouble::Hops.about(ends.lan, ends.host, &seen.bytes());
    if outer {
        error.options = options(ends.a);
    }
    let heard = hears(site, &site.a, &error, Trouble::Hops)?;
    Ok(heard.is_some_and(|heard| {
        let whole = heard.quoted_whole();
        heard.checksum == Checksum::Right
            && heard.options == error.options
            && whole.is_some_and(|inner| inner == sent_as(&inner, &sent))
    }))
}

fn extended(site: &Site, ends: &Ends, seen: &Packet) -> Result<bool> {
    // The quoted packet padded to 128 bytes, then an extension structure with one object (an MPLS label).
    let mut quoted = seen.bytes();
    quoted.resize(quoted.len().max(128).next_multiple_of(8), 0);
    let object = [0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 0x41, 0xff];
    let words = if ends.a.is_ipv4() {
        quoted.len() / 4
    } else {
        quoted.len() / 8
    };
    let mut error =
        Trouble::Hops.about(ends.lan, ends.host, &[quoted.as_slice(), &object].concat());
    if let Body::Icmp { rest, .. } = &mut error.body {
        rest[usize::from(ends.a.is_ipv4())] = u8::try_from(words)?;
    }
    site.a.forget()?;
    site.lan.send(&error)?;
    site.fence(&site.a)?;
    let heard = site.a.find(|packet| {
        packet.is_error() && packet.checksum == Checksum::Right && packet.data().ends_with(&object)
    })?;
    Ok(heard.is_some_and(|heard| heard.dst == ends.a && heard.data().len() == error.data().len()))
}
