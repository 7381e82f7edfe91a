//! Probes between namespaces: one datagram or connection, the answer names the peer that the server saw.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::{
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
    let mut words = output.stdout.split_whitespace();
    let mut address = || -> Result<SocketAddr> {
        Ok(words
            .next()
            .with_context(|| format!("the answer {:?}", output.stdout))?
            .parse()?)
    };
    Ok(Reply {
        peer: address()?,
        local: address()?,
    })
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
