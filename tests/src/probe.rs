//! Probes between namespaces: one datagram or connection, the answer names the peer that the server saw.

use std::{
    io::{BufRead, BufReader, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    netns::Netns,
    run::{Process, Scope},
    world::binary,
};

/// What a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who the server saw.
    pub peer: SocketAddr,
    /// Which of its own addresses was reached.
    pub local: SocketAddr,
}

/// A TCP and UDP server on one port, both families, that answers every message with the peer it sees.
#[derive(Debug)]
pub struct Server {
    process: Process,
}

impl Server {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When the port is taken there.
    pub fn start(scope: &Scope, port: u16) -> Result<Self> {
        let mut process = scope.spawn(&[&binary("netd-probe"), "serve", &port.to_string()])?;
        let line = process.line()?;
        ensure!(line == "ready", "the server on port {port} did not start");
        Ok(Self { process })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// One TCP connection or UDP exchange (`protocol` is `tcp` or `udp`) with at most `millis` for the answer.
///
/// # Errors
/// When nothing answers.
pub fn probe(scope: &Scope, protocol: &str, to: SocketAddr, millis: u32) -> Result<Reply> {
    let output = scope.run(&[
        &binary("netd-probe"),
        protocol,
        &to.to_string(),
        &millis.to_string(),
    ])?;
    ensure!(output.ok, "{protocol} to {to}: {}", output.text().trim());
    reply(&output.stdout)
}

fn reply(text: &str) -> Result<Reply> {
    let mut words = text.split_whitespace();
    let mut address = || -> Result<SocketAddr> {
        Ok(words
            .next()
            .with_context(|| format!("the answer {text:?}"))?
            .parse()?)
    };
    Ok(Reply {
        peer: address()?,
        local: address()?,
    })
}

/// As [`probe`], by a thread of this process instead of a program: for hundreds of probes.
///
/// # Errors
/// When nothing answers.
pub fn quick(netns: &Netns, protocol: &'static str, to: SocketAddr, millis: u64) -> Result<Reply> {
    let text = netns.enter(move || ask(protocol, to, Duration::from_millis(millis)))?;
    reply(&text.with_context(|| format!("{protocol} to {to}"))?)
}

/// IPv4 peers of a dual-stack socket appear mapped; they are told as what they are.
pub fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(v6) => SocketAddr::new(v6.to_canonical(), address.port()),
        IpAddr::V4(_) => address,
    }
}

/// The line that a server answers, asked from the calling thread's namespace.
///
/// # Errors
/// When nothing answers.
pub fn ask(protocol: &str, to: SocketAddr, time: Duration) -> Result<String> {
    if protocol == "tcp" {
        let mut stream = TcpStream::connect_timeout(&to, time)?;
        stream.set_read_timeout(Some(time))?;
        stream.write_all(b"?\n")?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        // What the client believes it talks to must be what it asked for, also through the host's hooks.
        ensure!(
            plain(stream.peer_addr()?) == to,
            "the peer of the socket is {}",
            stream.peer_addr()?
        );
        return Ok(line);
    }
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(time))?;
    // Unconnected: the answer's source address must be the address that was asked.
    socket.send_to(b"?", to)?;
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer)?;
    ensure!(from == to, "the answer comes from {from}");
    Ok(String::from_utf8_lossy(buffer.get(..length).context("length")?).into_owned())
}

/// A TCP connection that sends a line every 20 ms and wants it back within 5 s; ends with the number of lines.
///
/// # Errors
/// When the connection cannot be made.
pub fn hold(scope: &Scope, to: SocketAddr) -> Result<Process> {
    let mut process = scope.spawn(&[&binary("netd-probe"), "hold", &to.to_string()])?;
    let line = process.line()?;
    ensure!(line == "connected", "no connection to {to}");
    Ok(process)
}

/// Whether one of three ICMP echo requests is answered.
///
/// # Errors
/// When ping cannot be started.
pub fn ping(scope: &Scope, to: std::net::IpAddr) -> Result<bool> {
    Ok(scope
        .run(&["ping", "-n", "-c", "1", "-W", "1", &to.to_string()])?
        .ok)
}
