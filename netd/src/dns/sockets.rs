//! The resolver's two sockets in a sandbox's namespace.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use netd_common::resolver::{ADDRESS, SOCKETS};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use tokio::time::{Instant, sleep};

use crate::{
    error::{Error, Result},
    kernel::{Netns, SocketMaker},
};

/// Bytes that requests may take while the daemon is busy or being replaced, of which the kernel takes double:
/// some 2,500 of them, and no more memory than one sandbox may hold.
const BUFFER: usize = 1 << 20;

/// How long the port of a resolver that was closed a moment ago may still be taken: other processes let go of it in their
/// own time.
const CLOSING: Duration = Duration::from_millis(500);

/// Descriptors of both sockets: datagrams, then connections.
pub type Descriptors = [OwnedFd; 2];

/// Bound to [`ADDRESS`] and port [`SOCKETS`], not blocking.
#[derive(Debug)]
pub struct Sockets {
    /// Datagrams.
    pub udp: UdpSocket,
    /// Connections.
    pub tcp: TcpListener,
}

/// The same sockets in a runtime's hands.
#[derive(Debug)]
pub struct Pair {
    /// Datagrams.
    pub udp: tokio::net::UdpSocket,
    /// Connections.
    pub tcp: tokio::net::TcpListener,
}

impl Pair {
    /// Datagrams, then connections.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.udp.as_fd(), self.tcp.as_fd()]
    }
}

impl Sockets {
    /// Opens them inside. Errors: the port is taken there.
    pub async fn open(maker: &SocketMaker, netns: &Netns) -> Result<Self> {
        let end = Instant::now() + CLOSING;
        let opened = loop {
            match maker.make(netns, Self::open_here).await {
                Err(e) if e.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                    sleep(Duration::from_millis(10)).await;
                }
                other => break other,
            }
        };
        opened.map_err(|e| {
            let place = Ipv4Addr::from(ADDRESS);
            Error::internal(
                format!("the resolver's sockets at {place}:{SOCKETS} in the sandbox"),
                e,
            )
            .hint("let nothing else there listen on that port")
        })
    }

    fn open_here() -> std::io::Result<Self> {
        let place = (Ipv4Addr::from(ADDRESS), SOCKETS);
        let udp = UdpSocket::bind(place)?;
        let tcp = TcpListener::bind(place)?;
        setsockopt(&udp, RcvBufForce, &BUFFER)?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Self { udp, tcp })
    }

    /// From descriptors that were kept.
    pub fn adopt([udp, tcp]: Descriptors) -> Self {
        Self {
            udp: udp.into(),
            tcp: tcp.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing;

    /// While a resolver waits for its port, the one worker there is does other work.
    #[tokio::test]
    async fn b16_opening_a_resolver_holds_up_no_worker() {
        let netns = testing::fresh();
        testing::ip(&netns, "link set lo up");
        let taken = netns.run(|| Ok(Sockets::open_here().unwrap())).unwrap();
        let maker = SocketMaker::start("b16-sockets").unwrap();
        let opening = Sockets::open(&maker, &netns);
        tokio::pin!(opening);
        let mut turns = 0;
        let opened = loop {
            tokio::select! {
                biased;
                opened = &mut opening => break opened,
                () = tokio::task::yield_now() => turns += 1,
            }
        };
        assert!(turns > 0, "nothing else was done");
        assert!(opened.unwrap_err().to_string().contains("127.0.0.11"));
        drop(taken);
        Sockets::open(&maker, &netns).await.unwrap();
    }
}
