//! A handle of the test name server: started, asked what it saw, ended.

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

use super::{answers::MARK, client::Client};
use crate::{Netns, Process, run::Scope, wait_for, world::binary};

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Nameserver {
    process: Process,
    log: NamedTempFile,
    marker: Client,
}

/// A question that reached the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// As it was spelled, with the dot at the end.
    pub name: String,
    /// As `AAAA`.
    pub kind: String,
    /// `udp` or `tcp`.
    pub transport: String,
    /// Who asked.
    pub peer: SocketAddr,
    /// Questions without an answer at that moment, with this one.
    pub waiting: usize,
}

impl Nameserver {
    /// Starts it in a namespace, on these addresses, with more options behind.
    ///
    /// # Errors
    /// When an address is not there or taken.
    pub fn start(
        netns: &Netns,
        scope: &Scope,
        listen: &[SocketAddr],
        options: &[&str],
    ) -> Result<Self> {
        let log = tempfile::Builder::new().prefix("netd-names-").tempfile()?;
        let mut words = vec![binary("netd-probe"), "dns".into()];
        for address in listen {
            words.extend(["--listen".into(), address.to_string()]);
        }
        words.extend(options.iter().map(|&word| word.to_owned()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let file = fs::OpenOptions::new().append(true).open(log.path())?;
        let mut process = scope.spawn_logged(&words, file)?;
        let ready = wait_for("the name server", 10, || {
            let text = fs::read_to_string(log.path()).unwrap_or_default();
            (text.lines().any(|line| line == "ready") || !process.running()).then_some(text)
        });
        ensure!(process.running(), "the name server ended: {ready}");
        let first = *listen.first().context("an address")?;
        let marker = Client::new(netns, first);
        Ok(Self {
            process,
            log,
            marker,
        })
    }

    /// Everything that reached it until now, in order.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        // What comes after this one's line in the log came after now.
        let mark = format!("{MARK}{}.invalid.", COUNTER.fetch_add(1, Ordering::Relaxed));
        self.marker
            .exchange(&super::client::question(&mark, "A")?)?;
        let text = wait_for("the mark in the name server's log", 5, || {
            let text = fs::read_to_string(self.log.path()).unwrap_or_default();
            text.contains(&mark).then_some(text)
        });
        let lines = text.lines().take_while(|line| !line.contains(&mark));
        Ok(lines.filter_map(parse).collect())
    }

    /// The questions with this name (in any case, with the dot at the end) that reached it until now.
    ///
    /// # Errors
    /// As [`Nameserver::seen`].
    pub fn saw(&self, name: &str) -> Result<Vec<Seen>> {
        let mut seen = self.seen()?;
        seen.retain(|one| one.name.eq_ignore_ascii_case(name));
        Ok(seen)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn parse(line: &str) -> Option<Seen> {
    let mut words = line.split(' ').map(str::to_owned);
    let seen = Seen {
        name: words.next()?,
        kind: words.next()?,
        transport: words.next()?,
        peer: words.next()?.parse().ok()?,
        waiting: words.next()?.parse().ok()?,
    };
    (!seen.name.starts_with(MARK)).then_some(seen)
}
