//! The test name server itself: sockets, threads, the log. What it answers is in `answers`.
//!
//! Each question is a line on standard output before it is answered: name, type, transport, asker, and how many
//! questions had no answer yet at that moment, with this one.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hickory_proto::op::Message;
use nix::sys::socket::{setsockopt, sockopt};

use super::answers::{Reply, Transport, replies};

/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(30);

/// How the server was started.
#[derive(Debug, Default)]
struct Server {
    always: Option<String>,
    quiet: bool,
    waiting: AtomicUsize,
}

/// Serves until it is killed. `--listen ADDRESS:PORT …`, `--always LABEL` (every name counts as that one), `--quiet`,
/// `--without-tcp`.
///
/// # Errors
/// When an address cannot be listened on, or a word is unknown.
pub fn run(words: &[&str]) -> Result<()> {
    let (mut server, mut listen, mut tcp) = (Server::default(), Vec::new(), true);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--listen" => listen.push(
                words
                    .next()
                    .context("--listen ADDRESS:PORT")?
                    .parse::<SocketAddr>()?,
            ),
            "--always" => server.always = words.next().map(|&label| label.to_owned()),
            "--quiet" => server.quiet = true,
            "--without-tcp" => tcp = false,
            other => anyhow::bail!("{other} is no option of dns"),
        }
    }
    ensure!(!listen.is_empty(), "dns --listen ADDRESS:PORT …");
    let server = Arc::new(server);
    let mut threads = Vec::new();
    for address in listen {
        let socket = UdpSocket::bind(address).with_context(|| format!("UDP on {address}"))?;
        // A thousand questions at once must not be lost here.
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20))?;
        let shared = Arc::clone(&server);
        threads.push(thread::spawn(move || shared.datagrams(&socket)));
        if tcp {
            let listener =
                TcpListener::bind(address).with_context(|| format!("TCP on {address}"))?;
            let shared = Arc::clone(&server);
            threads.push(thread::spawn(move || shared.connections(&listener)));
        }
    }
    println!("ready");
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

impl Server {
    /// What goes back, after the line in the log.
    fn decide(&self, bytes: &[u8], transport: Transport, peer: SocketAddr) -> Vec<Reply> {
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        let request = match Message::from_vec(bytes) {
            Ok(request) => request,
            Err(error) => {
                self.log(&format!("malformed {error} {}", transport.name()));
                return Vec::new();
            }
        };
        if let Some(query) = request.queries.first() {
            self.log(&format!(
                "{} {} {} {peer} {waiting}",
                query.name(),
                query.query_type(),
                transport.name()
            ));
        }
        replies(&request, transport, peer, self.always.as_deref()).unwrap_or_else(|error| {
            self.log(&format!("no answer: {error:#}"));
            Vec::new()
        })
    }

    /// Said before the answer leaves: whoever has it may ask again at once.
    fn answered(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn log(&self, line: &str) {
        if self.quiet {
            return;
        }
        // One write for each line, so that threads do not mix; a reader that went away is no matter.
        let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
    }

    fn datagrams(self: Arc<Self>, socket: &UdpSocket) {
        let mut buffer = [0; 65_535];
        loop {
            // An ICMP error of an earlier answer is no end.
            let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            let mut replies = self.decide(bytes, Transport::Udp, peer);
            if replies.iter().all(|reply| reply.after.is_zero()) {
                self.answered();
                send(socket, peer, &replies);
                continue;
            }
            let Ok(socket) = socket.try_clone() else {
                continue;
            };
            let shared = Arc::clone(&self);
            thread::spawn(move || {
                if let Some(first) = replies.first_mut() {
                    thread::sleep(std::mem::take(&mut first.after));
                }
                shared.answered();
                send(&socket, peer, &replies);
            });
        }
    }

    fn connections(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&self);
            thread::spawn(move || {
                // The asker's end of the connection is no error here.
                let _ = shared.connection(stream);
            });
        }
    }

    fn connection(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        let peer = stream.peer_addr()?;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut bytes)?;
            let replies = self.decide(&bytes, Transport::Tcp, peer);
            for (index, reply) in replies.iter().enumerate() {
                thread::sleep(reply.after);
                if index == 0 {
                    self.answered();
                }
                let mut message = u16::try_from(reply.bytes.len())?.to_be_bytes().to_vec();
                message.extend(&reply.bytes);
                stream.write_all(&message)?;
            }
        }
    }
}

/// Sends the replies; an asker that went away is no matter.
fn send(socket: &UdpSocket, peer: SocketAddr, replies: &[Reply]) {
    for reply in replies {
        thread::sleep(reply.after);
        if reply.elsewhere {
            let any: IpAddr = match socket.local_addr() {
                Ok(local) => local.ip(),
                Err(_) => continue,
            };
            if let Ok(other) = UdpSocket::bind((any, 0)) {
                let _ = other.send_to(&reply.bytes, peer);
            }
        } else {
            let _ = socket.send_to(&reply.bytes, peer);
        }
    }
}
