//! The kinds of attempts: a short connection, an exchange with a socket of its own, an echo, a word on a long connection.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::sockets::{Broken, Socket, Transport};

/// What a client does again and again.
#[derive(Clone, Debug)]
pub struct Attempts {
    pub kind: Kind,
    /// Taken in turns.
    pub to: Vec<SocketAddr>,
    /// The source address; none: as the kernel chooses.
    pub from: Option<IpAddr>,
    /// For a connection and for each answer.
    pub patience: Duration,
    /// How often a datagram is sent again.
    pub retries: u64,
}

/// See [`Attempts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP: connect, one byte, its answer, close; the server closes first.
    Connect,
    /// As above, but the client closes first.
    ConnectClientFirst,
    /// A datagram and its answer, each with a new socket.
    Exchange(Transport),
    /// One socket for as long as it works.
    Hold(Transport),
}

/// The first byte of a request tells the server who closes.
pub const CLOSE: u8 = b'c';
/// See [`CLOSE`].
pub const KEEP: u8 = b'k';

/// What a thread keeps between its attempts.
#[derive(Debug, Default)]
pub struct Held(Option<Socket>);

impl Held {
    /// Whether there is something that the next attempt goes on with.
    pub const fn is_open(&self) -> bool {
        self.0.is_some()
    }
}

impl Attempts {
    /// Where the attempt of this number goes.
    pub fn target(&self, number: u64) -> SocketAddr {
        let index = usize::try_from(number).unwrap_or_default() % self.to.len().max(1);
        // The command line refuses an empty list.
        let none = SocketAddr::new([0, 0, 0, 0].into(), 0);
        self.to.get(index).copied().unwrap_or(none)
    }

    /// One attempt; how often its datagram was sent again.
    pub fn attempt(&self, number: u64, to: SocketAddr, held: &mut Held) -> Result<u64, Broken> {
        match self.kind {
            Kind::Connect => self.connect(to, CLOSE),
            Kind::ConnectClientFirst => self.connect(to, KEEP),
            Kind::Exchange(transport) => {
                self.datagram(&self.open(transport, to)?, transport, number)
            }
            Kind::Hold(transport) => {
                let socket = match held.0.take() {
                    Some(socket) => socket,
                    None => self.open(transport, to)?,
                };
                let done = if transport == Transport::Tcp {
                    byte(&socket, KEEP).map(|()| 0)
                } else {
                    self.datagram(&socket, transport, number)
                };
                // A datagram's socket goes on whatever happened to one datagram, as programs' sockets do.
                if done.is_ok() || transport != Transport::Tcp {
                    held.0 = Some(socket);
                }
                done
            }
        }
    }

    fn open(&self, transport: Transport, to: SocketAddr) -> Result<Socket, Broken> {
        Socket::open(transport, self.from, to, self.patience)
    }

    fn connect(&self, to: SocketAddr, first: u8) -> Result<u64, Broken> {
        let socket = self.open(Transport::Tcp, to)?;
        byte(&socket, first)?;
        if first == CLOSE && socket.receive(&mut [0])?.is_some() {
            return Err(socket.wrong("more than was asked for"));
        }
        Ok(0)
    }

    fn datagram(&self, socket: &Socket, transport: Transport, number: u64) -> Result<u64, Broken> {
        let number = number.to_be_bytes();
        // Type and code of an echo request, room for the checksum and the identifier, a sequence number of zero.
        let header: &[u8] = match transport {
            Transport::Icmp if self.to.iter().all(SocketAddr::is_ipv4) => &[8, 0, 0, 0, 0, 0, 0, 0],
            Transport::Icmp => &[128, 0, 0, 0, 0, 0, 0, 0],
            Transport::Tcp | Transport::Udp => &[],
        };
        let asked = [header, &number].concat();
        let mut attempt = 0;
        loop {
            socket.send(&asked)?;
            match answer(socket, &number) {
                Err(broken) if broken.is_silence() && attempt < self.retries => attempt += 1,
                Err(broken) => return Err(broken),
                Ok(()) => return Ok(attempt),
            }
        }
    }
}

/// Waits for the datagram that ends with these bytes; late answers to former ones are passed over.
fn answer(socket: &Socket, number: &[u8]) -> Result<(), Broken> {
    let mut buffer = [0; 64];
    for _ in 0..64 {
        let length = socket.receive(&mut buffer)?.unwrap_or_default();
        if buffer
            .get(..length)
            .is_some_and(|got| got.ends_with(number))
        {
            return Ok(());
        }
    }
    Err(socket.wrong("answers to other requests"))
}

fn byte(socket: &Socket, byte: u8) -> Result<(), Broken> {
    socket.send(&[byte])?;
    let mut got = [0];
    match socket.receive(&mut got)? {
        Some(_) if got == [byte] => Ok(()),
        Some(_) => Err(socket.wrong("another answer")),
        None => Err(socket.wrong("receive end")),
    }
}
