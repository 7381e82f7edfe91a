//! A TCP connection from a container to the LAN machine, segment by segment.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use super::{
    packet::{Body, Packet, flag},
    site::Site,
    station::Station,
};

/// See the module.
#[derive(Debug)]
pub struct Session<'a> {
    site: &'a Site,
    /// The container.
    pub station: &'a Station,
    /// Its address and port.
    pub inside: (IpAddr, u16),
    /// Where it appears.
    pub outside: (IpAddr, u16),
    /// The LAN machine's.
    pub remote: (IpAddr, u16),
    /// Next sequence number of the container.
    pub near: u32,
    /// Next sequence number of the LAN machine.
    pub far: u32,
}

fn advance(flags: u8, data: &[u8]) -> u32 {
    let flags = u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
    flags + u32::try_from(data.len()).unwrap_or(0)
}

impl<'a> Session<'a> {
    /// Sends the first segment; nothing is answered yet.
    ///
    /// # Errors
    /// When it does not leave.
    pub fn begin(
        site: &'a Site,
        station: &'a Station,
        inside: (IpAddr, u16),
        remote: (IpAddr, u16),
    ) -> Result<Self> {
        let near = site.mark() << 8;
        let syn = Packet::tcp(inside, remote, flag::SYN, (near, 0));
        let seen = site.leaves(station, &syn)?;
        let seen = seen.with_context(|| format!("the SYN from {inside:?} does not leave"))?;
        Ok(Self {
            site,
            station,
            inside,
            outside: (seen.src, seen.ports().context("ports")?.0),
            remote,
            near: near.wrapping_add(1),
            far: site.mark() << 8,
        })
    }

    /// An established connection.
    ///
    /// # Errors
    /// When one of its three segments does not pass.
    pub fn open(
        site: &'a Site,
        station: &'a Station,
        inside: (IpAddr, u16),
        remote: (IpAddr, u16),
    ) -> Result<Self> {
        let mut session = Self::begin(site, station, inside, remote)?;
        ensure!(
            session.remote_sends(flag::SYN | flag::ACK, b"")?,
            "the SYN-ACK does not enter"
        );
        ensure!(
            session.container_sends(flag::ACK, b"")?,
            "the ACK does not leave"
        );
        Ok(session)
    }

    /// The next segment of the container.
    pub fn near_segment(&self, flags: u8, data: &[u8]) -> Packet {
        Packet::tcp(self.inside, self.remote, flags, (self.near, self.far)).with(data)
    }

    /// The next segment of the LAN machine.
    pub fn far_segment(&self, flags: u8, data: &[u8]) -> Packet {
        Packet::tcp(self.remote, self.outside, flags, (self.far, self.near)).with(data)
    }

    /// Whether the container's next segment reaches the LAN machine, from the same outside address and port.
    ///
    /// # Errors
    /// When the fence does not hold.
    pub fn container_sends(&mut self, flags: u8, data: &[u8]) -> Result<bool> {
        let segment = self.near_segment(flags, data);
        self.near = self.near.wrapping_add(advance(flags, data));
        self.site.lan.forget()?;
        segment_came(
            self.site.leaves(self.station, &segment)?,
            self.outside,
            &segment,
            true,
        )
    }

    /// Whether the LAN machine's next segment reaches the container's port.
    ///
    /// # Errors
    /// When the fence does not hold.
    pub fn remote_sends(&mut self, flags: u8, data: &[u8]) -> Result<bool> {
        let segment = self.far_segment(flags, data);
        self.far = self.far.wrapping_add(advance(flags, data));
        self.station.forget()?;
        segment_came(
            self.site.enters(self.station, &segment)?,
            self.inside,
            &segment,
            false,
        )
    }
}

fn segment_came(
    seen: Option<Packet>,
    end: (IpAddr, u16),
    sent: &Packet,
    source: bool,
) -> Result<bool> {
    let Some(seen) = seen else { return Ok(false) };
    let (sport, dport) = seen.ports().context("ports")?;
    let own = if source {
        (seen.src, sport)
    } else {
        (seen.dst, dport)
    };
    let same = matches!((&seen.body, &sent.body),
        (Body::Tcp { ack: a, data: x, .. }, Body::Tcp { ack: b, data: y, .. }) if a == b && x == y);
    Ok(own == end && same)
}
