//! The server: many ports on several addresses, TCP and UDP, with epoll so that it is not the bottleneck.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    thread,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        resource::{Resource, getrlimit, setrlimit},
        socket::{
            self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt,
        },
    },
};

use super::attempts::CLOSE;

/// What waits behind a descriptor.
enum Role {
    Listener(TcpListener),
    Datagrams(UdpSocket),
    Stream(TcpStream),
}

/// Serves until it is killed; prints `ready` when it listens. An empty list of addresses means all of them.
///
/// # Errors
/// When a port is taken.
pub fn run(addresses: &[IpAddr], ports: &[u16], threads: u64) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let mut servers = Vec::new();
    for _ in 0..threads {
        servers.push(Server::new(addresses, ports)?);
    }
    println!("ready");
    let threads: Vec<_> = servers
        .into_iter()
        .map(|mut server| thread::spawn(move || server.run()))
        .collect();
    for thread in threads {
        match thread.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(())
}

/// One thread's sockets; the threads' sockets share the ports, and the kernel divides the connections.
struct Server {
    epoll: Epoll,
    roles: Vec<Option<Role>>,
}

impl Server {
    fn new(addresses: &[IpAddr], ports: &[u16]) -> Result<Self> {
        let mut server = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            roles: Vec::new(),
        };
        for &port in ports {
            if addresses.is_empty() {
                // Dual-stack where there is IPv6; in a namespace with IPv6 off, IPv4 alone.
                let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
                let one = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
                server.listen(both).or_else(|_| server.listen(one))?;
            }
            for &address in addresses {
                server.listen(SocketAddr::new(address, port))?;
            }
        }
        Ok(server)
    }

    fn listen(&mut self, at: SocketAddr) -> Result<()> {
        let tcp = TcpListener::from(open(SockType::Stream, at)?);
        socket::listen(&tcp, Backlog::MAXCONN)?;
        self.add(Role::Listener(tcp))?;
        let udp = UdpSocket::from(open(SockType::Datagram, at)?);
        self.add(Role::Datagrams(udp))
    }

    fn add(&mut self, role: Role) -> Result<()> {
        let fd = role.fd().as_raw_fd();
        let (token, index) = (u64::try_from(fd)?, usize::try_from(fd)?);
        self.epoll
            .add(role.fd(), EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        if self.roles.len() <= index {
            self.roles.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.roles.get_mut(index) {
            *slot = Some(role);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let mut events = vec![EpollEvent::empty(); 256];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => 0,
                count => count?,
            };
            for event in events.iter().take(count) {
                let index = usize::try_from(event.data())?;
                let mut fresh = Vec::new();
                let Some(slot) = self.roles.get_mut(index) else {
                    continue;
                };
                let ended = match slot {
                    Some(Role::Listener(listener)) => {
                        accept(listener, &mut fresh);
                        false
                    }
                    Some(Role::Datagrams(socket)) => {
                        echo(socket);
                        false
                    }
                    Some(Role::Stream(stream)) => answer(stream),
                    None => false,
                };
                if ended {
                    // Closing takes it out of the epoll set.
                    *slot = None;
                }
                for stream in fresh {
                    self.add(Role::Stream(stream))?;
                }
            }
        }
    }
}

impl Role {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Listener(socket) => socket.as_fd(),
            Self::Datagrams(socket) => socket.as_fd(),
            Self::Stream(socket) => socket.as_fd(),
        }
    }
}

fn open(kind: SockType, at: SocketAddr) -> Result<OwnedFd> {
    let family = if at.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(family, kind, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    if kind == SockType::Datagram {
        setsockopt(&fd, sockopt::RcvBuf, &(4 << 20))?;
    }
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(at)).with_context(|| at.to_string())?;
    Ok(fd)
}

/// Takes what waits; those whose request has come already are answered at once.
fn accept(listener: &TcpListener, fresh: &mut Vec<TcpStream>) {
    // An error other than «nothing waits» is one connection's (it was reset): the next event brings the others.
    while let Ok((mut stream, _)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok() && !answer(&mut stream) {
            fresh.push(stream);
        }
    }
}

/// Answers what there is to read; whether the connection is over.
fn answer(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 64];
    match stream.read(&mut buffer) {
        Ok(0) => true,
        Ok(length) => {
            let got = buffer.get(..length).unwrap_or_default();
            stream.write_all(got).is_err() || got.contains(&CLOSE)
        }
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

fn echo(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    for _ in 0..64 {
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
            return;
        };
        // A peer that cannot be answered is its own concern.
        let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), peer);
    }
}
