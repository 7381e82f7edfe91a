//! RFC 4787, REQ-8; RFC 5382, REQ-3: who may send to a mapping.

use anyhow::Result;

use crate::nat::{Checks, Setup, Site, Transport, Verdict, exchange::TRANSPORTS};

/// The network lets everybody send to its mappings.
pub fn open_setup() -> Setup {
    Setup {
        open: true,
        ..Setup::default()
    }
}

/// The peer enters, another port of it and another address do not.
pub fn strict(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for transport in TRANSPORTS {
            let what = format!("{transport:?} over {}", ends.family());
            let inside = (ends.a, 20001);
            let outside = site.map(transport, &site.a, inside, (ends.lan, 20100))?;
            let enters = |src| site.back(transport, src, outside, &site.a);
            if transport != Transport::Echo {
                let seen = enters((ends.lan, 20101))?;
                checks.that(
                    format!("{what}: another port of the peer enters"),
                    seen.is_none(),
                );
            }
            for stranger in [ends.other, ends.far] {
                let seen = enters((stranger, 20100))?;
                checks.that(format!("{what}: {stranger} enters"), seen.is_none());
            }
            let seen = enters((ends.lan, 20100))?;
            checks.that(
                format!("{what}: the peer does not enter"),
                seen == Some(inside),
            );
        }
    }
    Ok(checks.verdict())
}

/// Everybody enters, and is answered by way of the same port; no one enters where nothing is mapped.
pub fn open(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        let what = format!("over {}", ends.family());
        let inside = (ends.a, 20001);
        let outside = site.map(Transport::Udp, &site.a, inside, (ends.lan, 20100))?;
        for src in [(ends.lan, 20101), (ends.other, 20100), (ends.far, 20109)] {
            let seen = site.back(Transport::Udp, src, outside, &site.a)?;
            checks.that(
                format!("{what}: {src:?} does not enter"),
                seen == Some(inside),
            );
            let answer = site.out(Transport::Udp, &site.a, inside, src)?;
            checks.that(
                format!("{what}: {src:?} is not answered"),
                answer == Some(outside),
            );
        }
        let tcp = site.map(Transport::Tcp, &site.a, inside, (ends.lan, 20100))?;
        let syn = site.packet(Transport::Tcp, (ends.other, 20100), tcp);
        let seen = site.enters(&site.a, &syn)?;
        checks.that(
            format!("{what}: a connection from elsewhere does not enter"),
            seen.is_some_and(|seen| (seen.dst, seen.ports()) == (ends.a, Some((20100, 20001)))),
        );
    }
    Ok(checks.verdict())
}
