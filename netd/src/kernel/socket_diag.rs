//! Finding connected sockets of the calling thread's namespace by where they lead, and ending them (`sock_diag(7)`, `SOCK_DESTROY`:
//! TCP and UDP since Linux 4.9, with CONFIG_INET_DIAG_DESTROY).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
        socket,
    },
};

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` (include/uapi/linux/sock_diag.h).
const FIND: u16 = 20;
const DESTROY: u16 = 21;

/// Length of `struct nlmsghdr`, and of `struct inet_diag_req_v2` and `struct inet_diag_msg` up to the end of the socket's id.
const HEADER: usize = 16;
const QUESTION: usize = 56;
const ANSWER: usize = 52;
/// Where the id (`struct inet_diag_sockid`) begins in an answer, and its length.
const ID_TOLD: usize = 4;
const ID: usize = 48;

/// States of TCP sockets that have a peer, and of UDP sockets that are connected: ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2,
/// CLOSE_WAIT, LAST_ACK, CLOSING.
const CONNECTED: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// A connected socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// By which the kernel, and eBPF programs, know it.
    pub cookie: u64,
    /// Where it leads, an IPv4 address as one also where the socket is an IPv6 one.
    pub peer: (IpAddr, u16),
    family: u8,
    protocol: u8,
    id: [u8; ID],
}

/// A netlink socket for questions about sockets.
pub struct SocketDiag(OwnedFd);

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    field(bytes, at).map(u16::from_ne_bytes)
}

/// A request: header, then the question.
fn request(kind: u16, flags: i32, family: u8, protocol: u8, id: [u8; ID]) -> Vec<u8> {
    let length = (HEADER + QUESTION) as u32;
    let mut message = Vec::with_capacity(HEADER + QUESTION);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    // Sequence and port: there is one question at a time.
    message.extend([0; 8]);
    message.extend([family, protocol, 0, 0]);
    message.extend(CONNECTED.to_ne_bytes());
    message.extend(id);
    message
}

/// A socket as the kernel tells of it (`struct inet_diag_msg`).
fn parse(body: &[u8], protocol: u8) -> Option<Connected> {
    if body.len() < ANSWER {
        return None;
    }
    let family = *body.first()?;
    let id: [u8; ID] = field(body, ID_TOLD)?;
    let port = u16::from_be_bytes(field(&id, 2)?);
    let peer = if i32::from(family) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::from(field::<4>(&id, 20)?))
    } else {
        IpAddr::V6(Ipv6Addr::from(field::<16>(&id, 20)?)).to_canonical()
    };
    // Its lower half stands first, in every byte order.
    let half = |at| field(&id, at).map(u32::from_ne_bytes).map(u64::from);
    Some(Connected {
        cookie: half(40)? | half(44)? << 32,
        peer: (peer, port),
        family,
        protocol,
        id,
    })
}

impl SocketDiag {
    /// For the calling thread's namespace.
    pub fn new() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )?;
        Ok(Self(fd))
    }

    fn ask(&self, message: &[u8]) -> io::Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.0.as_raw_fd(), message, &kernel, MsgFlags::empty())?;
        Ok(())
    }

    /// Hands each message of the answer to `visit` until the end of a listing, or the acknowledgement of a request.
    fn answers(&self, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                done => done?,
            };
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some(size) = field(rest, 0).map(u32::from_ne_bytes) {
                let size = size as usize;
                let kind = i32::from(u16_at(rest, 4).unwrap_or_default());
                let Some(body) = rest.get(HEADER..size) else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                if kind == libc::NLMSG_DONE || kind == libc::NLMSG_ERROR {
                    let code = field(body, 0).map_or(0, i32::from_ne_bytes);
                    return match code {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    };
                }
                visit(body);
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// The connected sockets of a protocol (TCP or UDP) that lead to this port; `None`: to any.
    pub fn connected(&self, protocol: u8, port: Option<u16>) -> io::Result<Vec<Connected>> {
        let mut found = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut id = [0; ID];
            if let Some(place) = id.get_mut(2..4) {
                place.copy_from_slice(&port.unwrap_or_default().to_be_bytes());
            }
            self.ask(&request(FIND, libc::NLM_F_DUMP, family as u8, protocol, id))?;
            self.answers(|body| found.extend(parse(body, protocol)))?;
        }
        Ok(found)
    }

    /// Ends a socket: its process is told ECONNABORTED, a TCP peer a RST. Says whether it was still there.
    pub fn destroy(&self, socket: &Connected) -> io::Result<bool> {
        let Connected {
            family,
            protocol,
            id,
            ..
        } = *socket;
        self.ask(&request(DESTROY, libc::NLM_F_ACK, family, protocol, id))?;
        match self.answers(|_| ()) {
            Ok(()) => Ok(true),
            // Closed meanwhile, or another one is there now.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    };

    use super::*;
    use crate::kernel::testing;

    fn found(diag: &SocketDiag, protocol: u8, peer: SocketAddr) -> Vec<Connected> {
        let to = (peer.ip().to_canonical(), peer.port());
        let mut all = diag.connected(protocol, Some(peer.port())).unwrap();
        assert!(all.iter().all(|s| s.peer.1 == peer.port()));
        all.retain(|s| s.peer == to);
        all
    }

    #[test]
    fn c05_sockets_are_found_by_their_peer_and_ended() {
        let netns = testing::fresh();
        testing::ip(&netns, "link set lo up");
        netns.run(ends_all_kinds).unwrap();
    }

    fn ends_all_kinds() -> crate::error::Result<()> {
        let diag = SocketDiag::new().unwrap();
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let any: SocketAddr = (address.parse::<IpAddr>().unwrap(), 0).into();
            let server = UdpSocket::bind(any).unwrap();
            let at = server.local_addr().unwrap();
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(at).unwrap();
            let sockets = found(&diag, 17, at);
            assert_eq!(sockets.len(), 1, "{at}");
            assert!(diag.destroy(&sockets[0]).unwrap());
            assert!(!diag.destroy(&sockets[0]).unwrap(), "it was ended before");
            let told = socket.recv(&mut [0]).unwrap_err();
            assert_eq!(told.raw_os_error(), Some(libc::ECONNABORTED));
            assert!(found(&diag, 17, at).is_empty());

            let server = TcpListener::bind(any).unwrap();
            let at = server.local_addr().unwrap();
            let mut stream = TcpStream::connect(at).unwrap();
            let (mut peer, _) = server.accept().unwrap();
            let sockets = found(&diag, 6, at);
            assert_eq!(sockets.len(), 1, "{at}");
            assert!(diag.destroy(&sockets[0]).unwrap());
            let told = stream.read(&mut [0]).unwrap_err();
            assert_eq!(told.raw_os_error(), Some(libc::ECONNABORTED));
            let told = peer.read(&mut [0]).unwrap_err();
            assert_eq!(told.raw_os_error(), Some(libc::ECONNRESET));
        }
        Ok(())
    }
}
