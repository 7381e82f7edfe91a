//! The resolver's two sockets in a sandbox' namespace.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
};

use netd_common::resolver::{ADDRESS, SOCKETS};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use crate::{
    error::{Error, Result},
    kernel::Netns,
};

/// Bytes that requests may take while the daemon is busy or being replaced, of which the kernel doubles what it is told:
/// some 2,500 of them, and no more memory than one sandbox may hold.
const BUFFER: usize = 1 << 20;

/// Bound to [`ADDRESS`] and port [`SOCKETS`], not blocking.
#[derive(Debug)]
pub struct Sockets {
    /// Datagrams.
    pub udp: UdpSocket,
    /// Connections.
    pub tcp: TcpListener,
}

impl Sockets {
    /// Opens them inside. Errors: the port is taken there.
    pub fn open(netns: &Netns) -> Result<Self> {
        netns.run(|| {
            let open = || {
                let place = (Ipv4Addr::from(ADDRESS), SOCKETS);
                let udp = UdpSocket::bind(place)?;
                let tcp = TcpListener::bind(place)?;
                setsockopt(&udp, RcvBufForce, &BUFFER)?;
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                Ok(Self { udp, tcp })
            };
            open().map_err(|e: std::io::Error| {
                let place = Ipv4Addr::from(ADDRESS);
                Error::internal(
                    format!("the resolver's sockets at {place}:{SOCKETS} in the sandbox"),
                    e,
                )
                .hint("let nothing else there listen on that port")
            })
        })
    }

    /// From descriptors: datagrams, then connections.
    pub fn adopt([udp, tcp]: [OwnedFd; 2]) -> Self {
        Self {
            udp: udp.into(),
            tcp: tcp.into(),
        }
    }
}
