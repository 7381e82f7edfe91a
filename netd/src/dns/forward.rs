//! Asking other servers: each in turn, by UDP, and by TCP where an answer was too long for that.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::op::{Message, ResponseCode};
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::{Instant, timeout_at},
};

use super::{
    fair::{Client, Fair},
    message::Asked,
    upstream::Servers,
};
use crate::kernel::{Netns, SocketMaker};

/// Times that the list of servers is gone through.
const ROUNDS: usize = 2;

/// The largest UDP payload.
const LARGEST: usize = 65_535;

/// Bytes that the kernel keeps for one question, which it doubles, beside the datagram that it takes in any case: a server
/// cannot make it keep more.
const BUFFER: usize = 8 << 10;

/// The namespace that questions leave from.
#[derive(Clone, Debug)]
pub enum Place {
    /// The daemon's own.
    Host,
    /// A sandbox's.
    Sandbox(Netns),
}

/// How one client's questions are asked.
#[derive(Debug)]
pub struct Asker<'a> {
    /// Whom to ask.
    pub servers: &'a Servers,
    /// From where.
    pub place: Place,
    /// The way there.
    pub socket_maker: &'a SocketMaker,
    /// How long one server is waited for.
    pub patience: Duration,
    /// All together.
    pub end: Instant,
    /// Connections to servers, which take more memory than datagrams.
    pub connections: &'a Arc<Fair>,
    /// Who asks.
    pub client: Client,
}

impl Asker<'_> {
    /// Asks the servers until one has an answer; the asker's bytes. When all fail, what the last one said of its failure,
    /// or our own word.
    pub async fn ask(&self, asked: &Asked) -> Vec<u8> {
        let order = self.servers.order(Instant::now().into_std());
        let mut failure = None;
        for &server in (0..ROUNDS).flat_map(|_| &order) {
            if Instant::now() >= self.end {
                break;
            }
            let Some((bytes, message)) = self.one(asked, server).await else {
                continue;
            };
            let given = asked.relayed(bytes, &message);
            match message.metadata.response_code {
                // This server cannot or will not say; another one may.
                ResponseCode::ServFail
                | ResponseCode::Refused
                | ResponseCode::NotImp
                | ResponseCode::FormErr => failure = Some(given),
                _ => return given,
            }
        }
        failure.unwrap_or_else(|| asked.failed())
    }

    /// By when one server must have answered that is asked now.
    fn until(&self) -> Instant {
        self.end.min(Instant::now() + self.patience)
    }

    /// What one server says; `None`: nothing.
    async fn one(&self, asked: &Asked, server: SocketAddr) -> Option<(Vec<u8>, Message)> {
        let until = self.until();
        let (bytes, message) = match timeout_at(until, self.by_udp(asked, server)).await {
            Ok(answer) => {
                let answer = answer.ok()?;
                self.servers.has_answered(server);
                answer
            }
            Err(_) => {
                // One that had less time than others is not to blame.
                if until < self.end {
                    let now = Instant::now().into_std();
                    self.servers.was_silent(server, now);
                }
                return None;
            }
        };
        if !message.metadata.truncation {
            return Some((bytes, message));
        }
        // From a server without TCP, or behind a filter, what there is of it, which says that it is cut.
        let whole = timeout_at(self.until(), self.by_tcp(asked, server)).await;
        Some(match whole {
            Ok(Ok(whole)) => whole,
            _ => (bytes, message),
        })
    }

    /// Makes a socket where the questions leave from.
    async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match &self.place {
            Place::Host => make(),
            Place::Sandbox(netns) => self.socket_maker.make(netns, make).await,
        }
    }

    /// A fresh socket for each question: its port is as hard to guess as the id (RFC 5452, 9.2).
    async fn by_udp(&self, asked: &Asked, server: SocketAddr) -> io::Result<(Vec<u8>, Message)> {
        let any: SocketAddr = if server.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let make = move || {
            let socket = std::net::UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, RcvBuf, &BUFFER)?;
            // Connected: the kernel takes nothing from anybody else, and tells of unreachable ports.
            socket.connect(server)?;
            Ok(socket)
        };
        let socket = UdpSocket::from_std(self.make(make).await?)?;
        let id = rand::random();
        socket.send(&asked.with_id(id)).await?;
        loop {
            socket.readable().await?;
            let bytes = match datagram(&socket) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                other => other?,
            };
            // A forged answer is passed over: the right one may still come.
            if let Some(message) = asked.answered(id, &bytes) {
                return Ok((bytes, message));
            }
        }
    }

    async fn by_tcp(&self, asked: &Asked, server: SocketAddr) -> io::Result<(Vec<u8>, Message)> {
        let turn = self.connections.turn(self.client, 0).await;
        let _turn = turn.ok_or_else(|| io::Error::other("too many connections"))?;
        let make = move || {
            if server.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }
        };
        let socket = self.make(make).await?;
        let mut stream = socket.connect(server).await?;
        let id = rand::random();
        write_message(&mut stream, &asked.with_id(id)).await?;
        loop {
            let bytes = read_message(&mut stream, LARGEST).await?;
            if let Some(message) = asked.answered(id, &bytes) {
                return Ok((bytes, message));
            }
        }
    }
}

/// The datagram that is there. Those that wait for one need no buffer.
fn datagram(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut bytes = [0; LARGEST];
    let length = socket.try_recv(&mut bytes)?;
    Ok(bytes.get(..length).unwrap_or_default().to_vec())
}

/// Reads a message with its length before it (RFC 1035, 4.2.2); one of more than `most` bytes is an error.
pub async fn read_message(stream: &mut TcpStream, most: usize) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > most {
        return Err(io::Error::other("a message that is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes a message with its length before it, in one piece.
pub async fn write_message(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(2 + bytes.len());
    framed.extend(length.to_be_bytes());
    framed.extend(bytes);
    stream.write_all(&framed).await
}
