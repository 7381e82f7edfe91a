//! Asking other servers: each in turn, by UDP, and by TCP where an answer was too long for that.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::op::{Message, ResponseCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::{Instant, timeout_at},
};

use super::message::Asked;
use crate::{
    error::{Error, Result},
    kernel::Netns,
};

/// All servers together may take so long: resolvers in sandboxes wait 5 s (resolv.conf(5)).
const PATIENCE: Duration = Duration::from_millis(4500);

/// Times that the list of servers is gone through.
const ROUNDS: usize = 2;

/// The largest UDP payload.
const LARGEST: usize = 65_535;

/// The namespace that questions leave from.
#[derive(Clone, Debug)]
pub enum Place {
    /// The daemon's own.
    Host,
    /// A sandbox'.
    Sandbox(Netns),
}

impl Place {
    /// Runs `make` there; it must not wait.
    async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let made = |r: std::io::Result<T>| r.map_err(|e| Error::internal("a socket for DNS", e));
        match self {
            Self::Host => made(make()),
            Self::Sandbox(netns) => {
                let netns = netns.clone();
                tokio::task::spawn_blocking(move || netns.run(|| made(make())))
                    .await
                    .unwrap_or_else(|e| Err(Error::internal("a socket for DNS", e)))
            }
        }
    }
}

/// Asks the servers until one has an answer; the asker's bytes. `patience`: how long one server is waited for. When all
/// fail, what the last one said of its failure, or our own word.
pub async fn ask(
    asked: &Asked,
    servers: &[SocketAddr],
    place: &Place,
    patience: Duration,
) -> Vec<u8> {
    let end = Instant::now() + PATIENCE;
    let mut failure = None;
    for server in (0..ROUNDS).flat_map(|_| servers) {
        let until = end.min(Instant::now() + patience);
        if until <= Instant::now() {
            break;
        }
        let Ok(Ok((bytes, message))) = timeout_at(until, one(asked, *server, place)).await else {
            continue;
        };
        let given = asked.relayed(bytes, &message);
        match message.metadata.response_code {
            // This server cannot or will not say; another one may.
            ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp => {
                failure = Some(given);
            }
            _ => return given,
        }
    }
    failure.unwrap_or_else(|| asked.failed())
}

async fn one(asked: &Asked, server: SocketAddr, place: &Place) -> Result<(Vec<u8>, Message)> {
    let (bytes, message) = by_udp(asked, server, place).await?;
    if !message.metadata.truncation {
        return Ok((bytes, message));
    }
    // From a server without TCP what there is of it, which says that it is cut.
    let whole = by_tcp(asked, server, place).await;
    whole.or(Ok((bytes, message)))
}

fn failed(server: SocketAddr) -> impl Fn(std::io::Error) -> Error {
    move |e| Error::internal(format!("asking the name server {server}"), e)
}

/// A fresh socket for each question: its port is as hard to guess as the id (RFC 5452, 9.2).
async fn by_udp(asked: &Asked, server: SocketAddr, place: &Place) -> Result<(Vec<u8>, Message)> {
    let fail = failed(server);
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = place
        .make(move || {
            let socket = std::net::UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            // Connected: the kernel takes nothing from anybody else, and tells of unreachable ports.
            socket.connect(server)?;
            Ok(socket)
        })
        .await?;
    let socket = UdpSocket::from_std(socket).map_err(&fail)?;
    let id = rand::random();
    socket.send(&asked.with_id(id)).await.map_err(&fail)?;
    let mut bytes = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut bytes).await.map_err(&fail)?;
        // A forged answer is passed over: the right one may still come.
        if let Some(message) = asked.answered(id, &bytes[..length]) {
            bytes.truncate(length);
            return Ok((bytes, message));
        }
    }
}

async fn by_tcp(asked: &Asked, server: SocketAddr, place: &Place) -> Result<(Vec<u8>, Message)> {
    let fail = failed(server);
    let socket = place
        .make(move || {
            if server.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }
        })
        .await?;
    let mut stream = socket.connect(server).await.map_err(&fail)?;
    let id = rand::random();
    write_message(&mut stream, &asked.with_id(id))
        .await
        .map_err(&fail)?;
    loop {
        let bytes = read_message(&mut stream).await.map_err(&fail)?;
        if let Some(message) = asked.answered(id, &bytes) {
            return Ok((bytes, message));
        }
    }
}

/// Reads a message with its length before it (RFC 1035, 4.2.2).
pub async fn read_message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes a message with its length before it, in one piece.
pub async fn write_message(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    let mut framed = Vec::with_capacity(2 + bytes.len());
    framed.extend(length.to_be_bytes());
    framed.extend(bytes);
    stream.write_all(&framed).await
}
