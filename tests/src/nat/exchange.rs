//! One packet out, one packet in, and certainty about packets that did not come.

use std::net::IpAddr;

use anyhow::{Result, ensure};

use super::{
    packet::{Body, Packet, flag},
    site::{FENCE, FENCES, Site},
    station::Station,
};

/// What carries a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A first segment.
    Tcp,
    /// An echo request from inside, a reply from outside; ports are identifiers.
    Echo,
}

/// All of them.
pub const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Echo];

/// What a packet is known by behind the NAT: nothing there changes it.
pub fn mark(packet: &Packet) -> Option<u32> {
    match &packet.body {
        Body::Tcp { seq, .. } => Some(*seq),
        Body::Udp { data, .. } | Body::Icmp { data, .. } => {
            Some(u32::from_be_bytes(data.get(..4)?.try_into().ok()?))
        }
        Body::Other { .. } => None,
    }
}

impl Site {
    /// A container by its station's place.
    fn fence_port(&self, station: &Station) -> u16 {
        FENCES[usize::from(std::ptr::eq(station, &self.b))]
    }

    /// Returns when everything that was sent before, either way between the LAN and this container, was handled.
    ///
    /// # Errors
    /// When packets for a published port do not pass.
    pub fn fence(&self, station: &Station) -> Result<()> {
        let ends = self.ends()[0];
        let port = self.fence_port(station);
        // Twice: a program that moved to another processor may have its packets overtake each other.
        for _ in 0..2 {
            let mark = self.mark();
            let there = Packet::udp((ends.lan, FENCE), (ends.host, port), &mark.to_be_bytes());
            self.lan.send(&there)?;
            let arrived = station.wait("a datagram for a published port", |packet| {
                packet.protocol() == there.protocol() && self::mark(packet) == Some(mark)
            })?;
            let back = Packet::udp((arrived.dst, FENCE), (ends.lan, FENCE), &mark.to_be_bytes());
            station.send(&back)?;
            self.lan.wait("the answer of a published port", |packet| {
                packet.protocol() == back.protocol() && self::mark(packet) == Some(mark)
            })?;
        }
        Ok(())
    }

    /// Sends a packet from a container; as the LAN machine sees it, if it does.
    ///
    /// # Errors
    /// When the fence does not hold.
    pub fn leaves(&self, from: &Station, packet: &Packet) -> Result<Option<Packet>> {
        self.passes(from, &self.lan, from, packet)
    }

    /// Sends a packet from the LAN machine; as the container sees it, if it does.
    ///
    /// # Errors
    /// When the fence does not hold.
    pub fn enters(&self, to: &Station, packet: &Packet) -> Result<Option<Packet>> {
        self.passes(&self.lan, to, to, packet)
    }

    /// Sends a packet from one container; as the other sees it, if it does.
    ///
    /// # Errors
    /// When the fence does not hold.
    pub fn crosses(&self, from: &Station, to: &Station, packet: &Packet) -> Result<Option<Packet>> {
        from.send(packet)?;
        self.fence(from)?;
        self.fence(to)?;
        to.find(|seen| same(packet, seen))
    }

    fn passes(
        &self,
        from: &Station,
        to: &Station,
        container: &Station,
        packet: &Packet,
    ) -> Result<Option<Packet>> {
        from.send(packet)?;
        self.fence(container)?;
        to.find(|seen| same(packet, seen))
    }

    /// A packet of a transport with a mark of its own.
    pub fn packet(&self, transport: Transport, src: (IpAddr, u16), dst: (IpAddr, u16)) -> Packet {
        let mark = self.mark();
        match transport {
            Transport::Udp => Packet::udp(src, dst, &mark.to_be_bytes()),
            Transport::Tcp => Packet::tcp(src, dst, flag::SYN, (mark, 0)),
            Transport::Echo => Packet::echo(src.0, dst.0, true, src.1, &mark.to_be_bytes()),
        }
    }

    /// Sends a packet from a container's address and port; from where the LAN machine sees it, if it does.
    ///
    /// # Errors
    /// When the fence does not hold.
    pub fn out(
        &self,
        transport: Transport,
        from: &Station,
        src: (IpAddr, u16),
        dst: (IpAddr, u16),
    ) -> Result<Option<(IpAddr, u16)>> {
        let packet = self.packet(transport, src, dst);
        let seen = self.leaves(from, &packet)?;
        Ok(seen.and_then(|seen| Some((seen.src, seen.ports()?.0))))
    }

    /// As [`Site::out`] where it must leave.
    ///
    /// # Errors
    /// When it does not leave.
    pub fn map(
        &self,
        transport: Transport,
        from: &Station,
        src: (IpAddr, u16),
        dst: (IpAddr, u16),
    ) -> Result<(IpAddr, u16)> {
        let seen = self.out(transport, from, src, dst)?;
        ensure!(
            seen.is_some(),
            "{transport:?} from {src:?} to {dst:?} does not leave"
        );
        Ok(seen.unwrap_or(src))
    }

    /// Sends an answer of the LAN machine to an outside address and port; at which port the container gets it, if it does.
    ///
    /// # Errors
    /// When the fence does not hold.
    pub fn back(
        &self,
        transport: Transport,
        src: (IpAddr, u16),
        outside: (IpAddr, u16),
        to: &Station,
    ) -> Result<Option<(IpAddr, u16)>> {
        let mark = self.mark();
        let packet = match transport {
            Transport::Udp => Packet::udp(src, outside, &mark.to_be_bytes()),
            Transport::Tcp => Packet::tcp(src, outside, flag::SYN | flag::ACK, (mark, 1)),
            Transport::Echo => {
                Packet::echo(src.0, outside.0, false, outside.1, &mark.to_be_bytes())
            }
        };
        let seen = self.enters(to, &packet)?;
        Ok(seen.and_then(|seen| Some((seen.dst, seen.ports()?.1))))
    }
}

/// Whether `seen` is what became of `sent`.
pub fn same(sent: &Packet, seen: &Packet) -> bool {
    let kinds = match (&sent.body, &seen.body) {
        (
            Body::Icmp {
                kind: a, code: c, ..
            },
            Body::Icmp {
                kind: b, code: d, ..
            },
        ) => (a, c) == (b, d),
        (Body::Tcp { flags: a, .. }, Body::Tcp { flags: b, .. }) => a == b,
        _ => true,
    };
    kinds && sent.protocol() == seen.protocol() && mark(sent).is_some() && mark(sent) == mark(seen)
}
