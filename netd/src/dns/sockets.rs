//! The resolver's two sockets in a sandbox' namespace.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use super::upstream::PORT;
use crate::{
    error::{Error, Result},
    kernel::Netns,
};

/// The resolver's address in every sandbox, as in Docker's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Bytes that requests may take while the daemon is busy or being replaced: some thousands.
const BUFFER: usize = 4 << 20;

/// Bound to [`ADDRESS`] and port 53, not blocking.
#[derive(Debug)]
pub struct Sockets {
    /// Datagrams.
    pub udp: UdpSocket,
    /// Connections.
    pub tcp: TcpListener,
}

impl Sockets {
    /// Opens them inside. Errors: loopback is down, or the port is taken there.
    pub fn open(netns: &Netns) -> Result<Self> {
        netns.run(|| {
            let open = || {
                let udp = UdpSocket::bind((ADDRESS, PORT))?;
                let tcp = TcpListener::bind((ADDRESS, PORT))?;
                setsockopt(&udp, RcvBufForce, &BUFFER)?;
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                Ok(Self { udp, tcp })
            };
            open().map_err(|e: std::io::Error| {
                Error::internal(format!("the resolver at {ADDRESS}:{PORT} in the sandbox"), e)
                    .hint("bring its loopback up, and let nothing else listen on port 53 of all addresses there")
            })
        })
    }

    /// The same sockets by other descriptors.
    pub fn duplicate(&self) -> Result<[OwnedFd; 2]> {
        let udp = self.udp.try_clone().map(OwnedFd::from);
        let tcp = self.tcp.try_clone().map(OwnedFd::from);
        match (udp, tcp) {
            (Ok(udp), Ok(tcp)) => Ok([udp, tcp]),
            (Err(e), _) | (_, Err(e)) => Err(Error::internal("the resolver's sockets", e)),
        }
    }

    /// From descriptors in the order of [`Sockets::duplicate`].
    pub fn adopt([udp, tcp]: [OwnedFd; 2]) -> Self {
        Self {
            udp: udp.into(),
            tcp: tcp.into(),
        }
    }
}
