//! Single questions, also such as no client would send: sockets of this process, opened inside a namespace.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hickory_proto::{
    op::{Edns, Message, Query},
    rr::{Name, RecordType},
};

use super::RESOLVER;
use crate::Netns;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks one server from one namespace.
#[derive(Clone, Debug)]
pub struct Client {
    netns: Netns,
    server: SocketAddr,
    patience: Duration,
}

/// The bytes of a question that wants recursion.
///
/// # Errors
/// When the name or the type is none.
pub fn question(name: &str, kind: &str) -> Result<Vec<u8>> {
    Ok(message(name, kind)?.to_vec()?)
}

/// The same with an EDNS record of this size.
///
/// # Errors
/// As [`question`].
pub fn question_with_size(name: &str, kind: &str, size: u16) -> Result<Vec<u8>> {
    let mut message = message(name, kind)?;
    let mut edns = Edns::new();
    edns.set_max_payload(size).set_version(0);
    message.set_edns(edns);
    Ok(message.to_vec()?)
}

fn message(name: &str, kind: &str) -> Result<Message> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    message.add_query(Query::query(name, RecordType::from_str(kind)?));
    Ok(message)
}

impl Client {
    /// Of a server.
    pub fn new(netns: &Netns, server: SocketAddr) -> Self {
        Self {
            netns: netns.clone(),
            server,
            patience: PATIENCE,
        }
    }

    /// From where the program runs.
    pub fn here(server: SocketAddr) -> Self {
        Self::new(&Netns::at("here", "/proc/self/ns/net"), server)
    }

    /// Of a sandbox's resolver.
    pub fn inside(netns: &Netns) -> Self {
        Self::new(netns, RESOLVER)
    }

    /// The same that waits so long for an answer.
    #[must_use]
    pub fn patience(mut self, millis: u64) -> Self {
        self.patience = Duration::from_millis(millis);
        self
    }

    /// A datagram socket inside that is connected to the server.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn socket(&self) -> Result<UdpSocket> {
        let (server, patience) = (self.server, self.patience);
        self.netns.enter(move || -> Result<UdpSocket> {
            let any = if server.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(patience))?;
            Ok(socket)
        })?
    }

    /// A connection from inside to the server.
    ///
    /// # Errors
    /// When it is refused.
    pub fn stream(&self) -> Result<TcpStream> {
        let (server, patience) = (self.server, self.patience);
        self.netns.enter(move || -> Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&server, patience)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })?
    }

    /// One datagram there, the next one back; `None` when none comes in time.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn datagram(&self, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
        let socket = self.socket()?;
        socket.send(bytes)?;
        receive(&socket)
    }

    /// One datagram there, the next one back.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn exchange(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.datagram(bytes)?
            .with_context(|| format!("no answer from {}", self.server))
    }

    /// The answer to a question, by UDP; whole messages only, with the question's id.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn ask(&self, name: &str, kind: &str) -> Result<Message> {
        let bytes = question(name, kind)?;
        let answer = self
            .exchange(&bytes)
            .with_context(|| format!("{name} {kind}"))?;
        ensure!(answer.get(..2) == bytes.get(..2), "the answer's id");
        Ok(Message::from_vec(&answer)?)
    }

    /// The same by TCP.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn ask_by_tcp(&self, name: &str, kind: &str) -> Result<Message> {
        let mut stream = self.stream()?;
        send_framed(&mut stream, &question(name, kind)?)?;
        let answer = receive_framed(&mut stream)?.with_context(|| format!("{name} {kind}"))?;
        Ok(Message::from_vec(&answer)?)
    }
}

/// The next datagram; `None` when none comes in time.
///
/// # Errors
/// When the other end is not there.
pub fn receive(socket: &UdpSocket) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 65_535];
    match socket.recv(&mut buffer) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Sends a message with its length in front.
///
/// # Errors
/// When the other end went away.
pub fn send_framed(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    let mut message = u16::try_from(bytes.len())?.to_be_bytes().to_vec();
    message.extend(bytes);
    Ok(stream.write_all(&message)?)
}

/// Reads a message with its length in front; `None` at the end of the stream.
///
/// # Errors
/// When none comes in time, or it breaks off.
pub fn receive_framed(stream: &mut TcpStream) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    }
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}
