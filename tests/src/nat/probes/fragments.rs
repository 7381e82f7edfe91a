//! RFC 4787, REQ-14: fragments, put together again by the kernels of container and LAN machine.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::Result;

use crate::nat::{
    Checks, Ends, Packet, Site, Station, Verdict,
    packet::{Body, protocol},
};

/// Ports whose datagrams the kernels get.
const INSIDE: u16 = 7401;
const REMOTE: u16 = 7400;
const PUBLISHED: u16 = 8082;
/// Bytes of each part but the last.
const SIZE: usize = 1000;

/// The order in which the three parts are sent.
const ORDERS: [(&str, [usize; 3]); 3] = [
    ("in order", [0, 1, 2]),
    ("last first", [2, 1, 0]),
    ("first in the middle", [1, 0, 2]),
];

/// A datagram that nobody else sends, in three parts; of IPv6, with destination options in the first part, behind the
/// fragment header, where these are wanted.
fn datagram(
    site: &Site,
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    options: bool,
) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mark = site.mark();
    let mut data = mark.to_be_bytes().to_vec();
    data.resize(2500, b'x');
    let mut packet = Packet::udp(src, dst, &data);
    if src.0.is_ipv6() && options {
        let header = [protocol::UDP, 0, 1, 4, 0, 0, 0, 0];
        let datagram = packet.bytes().split_off(40);
        packet.body = Body::Other {
            protocol: protocol::OPTIONS,
            data: [header.as_slice(), &datagram].concat(),
        };
    }
    packet.id = mark & 0xffff;
    (data, packet.fragments(SIZE))
}

/// The sender that a socket sees of the datagram, if it came.
fn received(socket: &UdpSocket, data: &[u8]) -> Option<SocketAddr> {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if buffer.get(..length) == Some(data) {
            return Some(from);
        }
    }
    None
}

struct Way<'a> {
    site: &'a Site,
    container: &'a Station,
    inside: UdpSocket,
    remote: UdpSocket,
    own: IpAddr,
    ends: Ends,
}

impl<'a> Way<'a> {
    fn new(site: &'a Site, container: &'a Station, own: IpAddr, ends: Ends) -> Result<Self> {
        Ok(Self {
            site,
            container,
            inside: container.udp((own, INSIDE))?,
            remote: site.lan.udp((ends.lan, REMOTE))?,
            own,
            ends,
        })
    }

    /// From the container; where it appears.
    fn out(&self, order: [usize; 3], options: bool) -> Result<Option<SocketAddr>> {
        let (data, parts) = datagram(
            self.site,
            (self.own, INSIDE),
            (self.ends.lan, REMOTE),
            options,
        );
        for part in order {
            self.container.send_bytes(&parts[part])?;
        }
        self.site.fence(self.container)?;
        Ok(received(&self.remote, &data))
    }

    /// To an outside port; from where the container sees it.
    fn back(&self, port: u16, order: [usize; 3], options: bool) -> Result<Option<SocketAddr>> {
        let (data, parts) = datagram(
            self.site,
            (self.ends.lan, REMOTE),
            (self.ends.host, port),
            options,
        );
        for part in order {
            self.site.lan.send_bytes(&parts[part])?;
        }
        self.site.fence(self.container)?;
        Ok(received(&self.inside, &data))
    }
}

/// A datagram may be lost where the sender of its parts has to share its processor with what they wait for, or was moved to
/// another one between two of them: not three times.
fn soon(send: impl Fn() -> Result<Option<SocketAddr>>) -> Result<Option<SocketAddr>> {
    for _ in 0..2 {
        if let Some(seen) = send()? {
            return Ok(Some(seen));
        }
    }
    send()
}

/// Out, back and to a published port, each in three orders.
pub fn any_order(site: &Site) -> Result<Verdict> {
    site.publish("a", "udp", PUBLISHED, INSIDE)?;
    let mut checks = Checks::new();
    for ends in site.ends() {
        let way = Way::new(site, &site.a, ends.a, ends)?;
        let peer = SocketAddr::new(ends.lan, REMOTE);
        // The published port first: what the container sends would make the outside port another one's.
        for (order, parts) in ORDERS {
            for options in [false, true] {
                let seen = soon(|| way.back(PUBLISHED, parts, options))?;
                checks.that(
                    format!(
                        "{}: {order} to a published port, options: {options}",
                        ends.family()
                    ),
                    seen == Some(peer),
                );
            }
        }
    }
    for ends in site.ends() {
        let way = Way::new(site, &site.b, ends.b, ends)?;
        let peer = SocketAddr::new(ends.lan, REMOTE);
        let outside = site.map(
            crate::nat::Transport::Udp,
            &site.b,
            (ends.b, INSIDE),
            (ends.lan, REMOTE),
        )?;
        for (order, parts) in ORDERS {
            for options in [false, true] {
                let what = format!("{}, options: {options}: {order}", ends.family());
                let seen = soon(|| way.out(parts, options))?;
                checks.that(format!("{what} out"), seen == Some(outside.into()));
                let seen = soon(|| way.back(outside.1, parts, options))?;
                checks.that(format!("{what} back"), seen == Some(peer));
            }
        }
    }
    Ok(checks.verdict())
}

/// Thousands of first fragments that nothing follows, from one container and from outside; then datagrams in parts of
/// somebody else.
pub fn flood(site: &Site) -> Result<Verdict> {
    const FLOOD: u32 = 20_000;
    let mut checks = Checks::new();
    for ends in site.ends() {
        let way = Way::new(site, &site.b, ends.b, ends)?;
        let outside = soon(|| way.out([0, 1, 2], false))?;
        let Some(outside) = outside else {
            checks.that(
                format!("{}: not even before the flood", ends.family()),
                false,
            );
            continue;
        };
        for number in 0..FLOOD {
            for (from, src, dst) in [
                (&site.a, (ends.a, 20001), (ends.lan, 20100)),
                (&site.lan, (ends.far, 20100), (ends.host, outside.port())),
            ] {
                let mut packet = Packet::udp(src, dst, &[1; 64]);
                packet.id = number;
                from.send_bytes(&packet.fragments(32)[0])?;
            }
        }
        site.fence(&site.a)?;
        let seen = soon(|| way.out([0, 1, 2], false))?;
        checks.that(format!("{}: out", ends.family()), seen == Some(outside));
        let seen = soon(|| way.back(outside.port(), [0, 1, 2], false))?;
        checks.that(
            format!("{}: back", ends.family()),
            seen == Some(SocketAddr::new(ends.lan, REMOTE)),
        );
    }
    Ok(checks.verdict())
}
