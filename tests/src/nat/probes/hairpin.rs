//! RFC 4787, REQ-9; RFC 5382, REQ-8; RFC 5508, REQ-7: containers that meet at the outside address.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::nat::{
    Checks, Ends, Packet, Site, Transport, Verdict, errors::Trouble, exchange::mark, packet::flag,
};

/// Where a and b appear for a transport.
fn mappings(site: &Site, transport: Transport, ends: &Ends) -> Result<[(IpAddr, u16); 2]> {
    Ok([
        site.map(transport, &site.a, (ends.a, 20001), (ends.lan, 20100))?,
        site.map(transport, &site.b, (ends.b, 20002), (ends.lan, 20100))?,
    ])
}

/// Each has a mapping, and both send to the other's: filtering wants a packet out before one comes in.
pub fn between_mappings(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let what = format!("{transport:?} over {}", ends.family());
            let [a, b] = mappings(site, transport, &ends)?;
            let first = site.packet(transport, (ends.a, 20001), b);
            site.a.send(&first)?;
            site.fence(&site.a)?;
            let second = site.packet(transport, (ends.b, 20002), a);
            let seen = site.crosses(&site.b, &site.a, &second)?;
            checks.that(
                format!("{what}: does not arrive from the outside address"),
                seen.is_some_and(|seen| {
                    (seen.src, seen.dst) == (ends.host, ends.a)
                        && seen.ports() == Some((b.1, 20001))
                }),
            );
            let third = site.packet(transport, (ends.a, 20001), b);
            let seen = site.crosses(&site.a, &site.b, &third)?;
            checks.that(
                format!("{what}: no way back"),
                seen.is_some_and(|seen| {
                    (seen.src, seen.dst) == (ends.host, ends.b)
                        && seen.ports() == Some((a.1, 20002))
                }),
            );
        }
    }
    Ok(checks.verdict())
}

/// A published port by the host's address: the answer finds its way, and the server sees who asks.
pub fn published(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for (protocol, transport) in [("udp", Transport::Udp), ("tcp", Transport::Tcp)] {
        site.publish("a", protocol, 8080, 20007)?;
        for ends in site.ends() {
            let what = format!("{transport:?} over {}", ends.family());
            let packet = site.packet(transport, (ends.b, 20002), (ends.host, 8080));
            let seen = site.crosses(&site.b, &site.a, &packet)?;
            let Some(seen) = seen else {
                checks.that(format!("{what}: does not arrive"), false);
                continue;
            };
            // The address is the true one; the port need not be, so that the server can tell the client's connection by
            // this way from another one that goes to it directly.
            checks.that(
                format!("{what}: appears as {}", seen.src),
                seen.src == ends.b && seen.ports().is_some_and(|ports| ports.1 == 20007),
            );
            let to = (seen.src, seen.ports().context("ports")?.0);
            let mark = site.mark();
            let answer = match transport {
                Transport::Tcp => {
                    Packet::tcp((ends.a, 20007), to, flag::SYN | flag::ACK, (mark, 1))
                }
                _ => Packet::udp((ends.a, 20007), to, &mark.to_be_bytes()),
            };
            let seen = site.crosses(&site.a, &site.b, &answer)?;
            checks.that(
                format!("{what}: the answer does not come from the port asked"),
                seen.is_some_and(|seen| {
                    (seen.src, seen.ports()) == (ends.host, Some((8080, 20002)))
                }),
            );
        }
    }
    Ok(checks.verdict())
}

/// b refuses a hairpinned datagram: a hears of the packet as it sent it.
pub fn errors(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = ends.family();
        let [a, b] = mappings(site, Transport::Udp, &ends)?;
        site.b
            .send(&site.packet(Transport::Udp, (ends.b, 20002), a))?;
        site.fence(&site.b)?;
        let sent = site.packet(Transport::Udp, (ends.a, 20001), b);
        let Some(seen) = site.crosses(&site.a, &site.b, &sent)? else {
            checks.that(format!("{what}: the datagram does not arrive"), false);
            continue;
        };
        let error = Trouble::Port.about(ends.b, seen.src, &seen.bytes());
        site.a.forget()?;
        site.b.send(&error)?;
        site.fence(&site.b)?;
        site.fence(&site.a)?;
        let heard = site.a.find(|packet| Trouble::Port.is(packet))?;
        let whole = heard.as_ref().and_then(Packet::quoted_whole);
        checks.that(
            format!("{what}: the error does not name what was sent"),
            whole.is_some_and(|inner| {
                (inner.src, inner.dst, inner.ports()) == (ends.a, ends.host, Some((20001, b.1)))
                    && mark(&inner) == mark(&sent)
            }) && heard.is_some_and(|heard| heard.src == ends.host),
        );
        // Echo requests to the outside address are the host's to answer.
        let mark = site.mark();
        let ping = Packet::echo(ends.a, ends.host, true, 77, &mark.to_be_bytes());
        site.a.send(&ping)?;
        let answer = site
            .a
            .wait_for(std::time::Duration::from_secs(1), |packet| {
                self::mark(packet) == Some(mark)
            })?;
        checks.that(
            format!("{what}: no echo from the outside address"),
            answer.is_some(),
        );
    }
    Ok(checks.verdict())
}
