//! Blocking client sockets with a patience, and names for what goes wrong with them.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage,
            setsockopt, sockopt,
        },
        time::TimeVal,
    },
};

/// What went wrong, and when: `connect ECONNREFUSED`.
#[derive(Debug)]
pub struct Broken {
    /// Phase and error.
    pub error: String,
    /// The socket's own address, if it had one.
    pub from: String,
}

/// Which kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
    /// Echo requests; the kernel fills in identifier and checksum.
    Icmp,
}

/// A connected socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Connects; waits at most `patience` for this and for each answer.
    pub fn open(
        transport: Transport,
        from: Option<IpAddr>,
        to: SocketAddr,
        patience: Duration,
    ) -> Result<Self, Broken> {
        let family = if to.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let (kind, protocol) = match transport {
            Transport::Tcp => (SockType::Stream, None),
            Transport::Udp => (SockType::Datagram, None),
            Transport::Icmp if to.is_ipv4() => (SockType::Datagram, Some(SockProtocol::Icmp)),
            Transport::Icmp => (SockType::Datagram, Some(SockProtocol::IcmpV6)),
        };
        let early = |errno| broken("socket", errno, String::new());
        let fd = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol).map_err(early)?;
        let time = TimeVal::new(
            i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            i64::from(patience.subsec_micros()),
        );
        setsockopt(&fd, sockopt::ReceiveTimeout, &time).map_err(early)?;
        if transport == Transport::Tcp {
            // Holds for connect, too.
            setsockopt(&fd, sockopt::SendTimeout, &time).map_err(early)?;
        }
        let socket = Self { fd };
        if let Some(from) = from {
            let from = SockaddrStorage::from(SocketAddr::new(from, 0));
            socket::bind(socket.fd.as_raw_fd(), &from).map_err(|e| socket.broken("bind", e))?;
        }
        socket::connect(socket.fd.as_raw_fd(), &SockaddrStorage::from(to)).map_err(|errno| {
            // What a connect that waits no longer says.
            let waited = errno == Errno::EINPROGRESS;
            socket.broken("connect", if waited { Errno::ETIMEDOUT } else { errno })
        })?;
        Ok(socket)
    }

    /// Sends all of it.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Broken> {
        let sent = socket::send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL);
        sent.map(|_| ()).map_err(|errno| self.broken("send", errno))
    }

    /// Receives what there is, at least a byte; `None` when the peer has closed.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, Broken> {
        match socket::recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(0) => Ok(None),
            Ok(length) => Ok(Some(length)),
            Err(errno) => Err(self.broken("receive", errno)),
        }
    }

    /// Something that is no error of the kernel's.
    pub fn wrong(&self, what: &str) -> Broken {
        Broken {
            error: what.to_owned(),
            from: self.own(),
        }
    }

    fn own(&self) -> String {
        socket::getsockname::<SockaddrStorage>(self.fd.as_raw_fd())
            .map(|address| address.to_string())
            .unwrap_or_default()
    }

    fn broken(&self, phase: &str, errno: Errno) -> Broken {
        broken(phase, errno, self.own())
    }
}

impl Broken {
    /// Whether an answer did not come in time.
    pub fn is_silence(&self) -> bool {
        self.error == "receive timeout"
    }
}

fn broken(phase: &str, errno: Errno, from: String) -> Broken {
    let error = match errno {
        Errno::EAGAIN | Errno::ETIMEDOUT => format!("{phase} timeout"),
        errno => format!("{phase} {errno:?}"),
    };
    Broken { error, from }
}
