//! Certificates of a world, made by `netd pki`, and netctl over TCP with them.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{
    run::{Output, Process, Scope},
    world::{HOST_V4, World, binary},
};

/// The port that the worlds' daemons serve TCP on.
pub const PORT: u16 = 7433;

/// An authority with a server and clients.
#[derive(Debug)]
pub struct Pki {
    /// Where `netd pki init` put it.
    pub directory: PathBuf,
}

impl Pki {
    /// Makes one with these clients in a directory of the world.
    ///
    /// # Errors
    /// netd's message.
    pub fn new(world: &World, name: &str, clients: &[&str]) -> Result<Self> {
        let directory = world.directory().join(name);
        let pki = Self { directory };
        let host = HOST_V4.to_string();
        pki.make("init", &["--host", &host, "--client", clients[0]])?;
        for client in &clients[1..] {
            pki.make("client", &[client])?;
        }
        Ok(pki)
    }

    /// Runs `netd pki` for this directory.
    ///
    /// # Errors
    /// netd's message.
    pub fn make(&self, what: &str, more: &[&str]) -> Result<()> {
        let (netd, directory) = (binary("netd"), self.directory.display().to_string());
        let words = [&[netd.as_str(), "pki", what, &directory], more].concat();
        let output = Scope::machine().run(&words)?;
        ensure!(output.ok, "netd pki: {}", output.text());
        Ok(())
    }

    /// `[listen]` for a daemon that uses it.
    pub fn listen(&self) -> String {
        let path = |name: &str| self.directory.join(name).display().to_string();
        format!(
            "[listen]\naddress = \"{HOST_V4}:{PORT}\"\ntls_cert = {:?}\ntls_key = {:?}\ntls_client_ca = {:?}\n",
            path("server/cert.pem"),
            path("server/key.pem"),
            path("ca.pem")
        )
    }

    /// The directory with a client's files.
    pub fn client(&self, name: &str) -> PathBuf {
        self.directory.join("clients").join(name)
    }

    fn words(&self, client: &str, line: &str) -> Vec<String> {
        let files = self.client(client).display().to_string();
        let address = format!("https://{HOST_V4}:{PORT}");
        let first = [binary("netctl"), "--address".into(), address];
        let more = ["--tls-path".to_owned(), files];
        let line = line.split_whitespace().map(str::to_owned);
        first.into_iter().chain(more).chain(line).collect()
    }

    /// Runs netctl as this client.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn netctl(&self, scope: &Scope, client: &str, line: &str) -> Result<Output> {
        let words = self.words(client, line);
        scope.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Starts netctl as this client.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, scope: &Scope, client: &str, line: &str) -> Result<Process> {
        let words = self.words(client, line);
        scope.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// `[[access]]` of a client.
pub fn access(name: &str, role: &str) -> String {
    format!("[[access]]\nname = {name:?}\nrole = {role:?}\n")
}

/// A text without the colours of a terminal.
pub fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        all + part.split_once('m').map_or(part, |(_, rest)| rest)
    })
}

/// The configuration file of a world that was made with one.
///
/// # Panics
/// Never: the path is the world's own.
pub fn config_path(world: &World) -> PathBuf {
    Path::new(world.directory()).join("netd.toml")
}
