//! Starts clients, servers and floods in namespaces and reads what they counted.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::{Context, Result, ensure};

use super::{flood::Sent, tally::Tally};
use crate::{
    run::{Process, Scope},
    world::binary,
};

/// A server on many ports.
#[derive(Debug)]
pub struct Service {
    _process: Process,
}

impl Service {
    /// Listens on these ports (`7000`, `7000-7009`, separated by commas) of all addresses, TCP and UDP. With addresses
    /// given it answers datagrams from the one that was asked.
    ///
    /// # Errors
    /// When a port is taken there.
    pub fn start(scope: &Scope, ports: &str, addresses: &[IpAddr]) -> Result<Self> {
        let mut words = words(&["serve", "--ports", ports]);
        if !addresses.is_empty() {
            words.extend(["--bind".into(), list(addresses)]);
        }
        let mut process = spawn(scope, &words)?;
        let line = process.line()?;
        ensure!(
            line == "ready",
            "the server on {ports} did not start: {line}"
        );
        Ok(Self { _process: process })
    }
}

/// A client to be.
#[derive(Clone, Debug)]
pub struct Load {
    words: Vec<String>,
}

impl Load {
    fn new(kind: &[&str], to: &[SocketAddr]) -> Self {
        let mut words = words(kind);
        words.extend(["--to".into(), list(to)]);
        Self { words }
    }

    /// Short TCP connections to these in turns; the server closes first.
    pub fn connect(to: &[SocketAddr]) -> Self {
        Self::new(&["connect"], to)
    }

    /// UDP exchanges, each with a new socket.
    pub fn exchange(to: &[SocketAddr]) -> Self {
        Self::new(&["exchange"], to)
    }

    /// ICMP echo, each with a new identifier.
    pub fn echo(to: &[IpAddr]) -> Self {
        let to: Vec<SocketAddr> = to.iter().map(|&ip| SocketAddr::new(ip, 0)).collect();
        Self::new(&["echo"], &to)
    }

    /// Long connections, one for each thread: `tcp`, `udp` or `icmp`.
    pub fn hold(transport: &str, to: &[SocketAddr]) -> Self {
        Self::new(&["hold", "--transport", transport], to)
    }

    /// Any other option.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.words.extend([format!("--{name}"), value.to_string()]);
        self
    }

    /// How many at once.
    #[must_use]
    pub fn threads(self, threads: u64) -> Self {
        self.option("threads", threads)
    }

    /// For so long; without this until [`Running::end`].
    #[must_use]
    pub fn seconds(self, seconds: f64) -> Self {
        self.option("seconds", seconds)
    }

    /// Attempts per second of each thread.
    #[must_use]
    pub fn rate(self, rate: f64) -> Self {
        self.option("rate", rate)
    }

    /// The client closes first.
    #[must_use]
    pub fn client_first(mut self) -> Self {
        self.words.push("--client-first".into());
        self
    }

    /// Writes failures down.
    #[must_use]
    pub fn failures(self, file: &Path) -> Self {
        self.option("failures", file.display())
    }

    /// Starts it and waits until each thread has made its first attempt.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, scope: &Scope) -> Result<Running> {
        let mut process = spawn(scope, &self.words)?;
        let line = process.line()?;
        ensure!(
            line == "begun",
            "no first attempt: {:?}: {line}",
            self.words
        );
        Ok(Running(process))
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started or breaks; failed attempts are in the tally.
    pub fn run(&self, scope: &Scope) -> Result<Tally> {
        self.start(scope)?.end()
    }
}

/// A client at work.
#[derive(Debug)]
pub struct Running(Process);

impl Running {
    /// Ends one that has no time of its own, or waits for the end of one that has.
    ///
    /// # Errors
    /// When it broke.
    pub fn end(mut self) -> Result<Tally> {
        self.0.close();
        let line = self.0.line()?;
        let tally = serde_json::from_str(&line).with_context(|| format!("no tally: {line:?}"));
        // It has nothing more to say.
        self.0.finish()?;
        tally
    }
}

/// A flood to be.
#[derive(Clone, Debug)]
pub struct Flood {
    words: Vec<String>,
}

impl Flood {
    /// `syn` or `udp`, from an interface to the Ethernet address of the next hop, from and to a prefix.
    pub fn new(kind: &str, interface: &str, mac: &str, from: &str, to: &str) -> Self {
        Self {
            words: words(&[
                "flood",
                "--kind",
                kind,
                "--interface",
                interface,
                "--mac",
                mac,
                "--from",
                from,
                "--to",
                to,
            ]),
        }
    }

    /// To this port, or these (`1-1024`).
    #[must_use]
    pub fn ports(mut self, ports: &str) -> Self {
        self.words.extend(["--to-ports".into(), ports.into()]);
        self
    }

    /// Starts it and waits for the first frames.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, scope: &Scope, rate: f64, seconds: f64) -> Result<Flooding> {
        let mut words = self.words.clone();
        words.extend(["--rate".into(), rate.to_string()]);
        words.extend(["--seconds".into(), seconds.to_string()]);
        let mut process = spawn(scope, &words)?;
        let line = process.line()?;
        ensure!(line == "begun", "no frame was sent: {words:?}: {line}");
        Ok(Flooding(process))
    }
}

/// A flood at work.
#[derive(Debug)]
pub struct Flooding(Process);

impl Flooding {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it broke.
    pub fn end(mut self) -> Result<Sent> {
        let line = self.0.line()?;
        let sent = serde_json::from_str(&line).with_context(|| format!("no count: {line:?}"));
        self.0.finish()?;
        sent
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(",")
}

fn spawn(scope: &Scope, words: &[String]) -> Result<Process> {
    let probe = binary("netd-probe");
    let mut all = vec![probe.as_str(), "load"];
    all.extend(words.iter().map(String::as_str));
    scope.spawn(&all)
}
