//! Clients, run in a namespace against a socket: an engine's, or another one that speaks its API.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{Installed, Suite, clients::Set};
use crate::{
    Netns,
    run::{Output, Process, Scope},
};

/// Seconds that a client may take before it is ended.
const PATIENCE: &str = "180";

/// Which docker compose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compose {
    /// docker-compose 1.29, written in Python.
    V1,
    /// `docker compose`, the plugin of Debian's newest suite: 2.40 or newer.
    V2,
    /// 5.6, from PyPI, by itself.
    V5,
}

impl Compose {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V5];
}

/// Clients of one socket.
#[derive(Debug)]
pub struct Cli {
    scope: Scope,
    docker: String,
    /// The CLI's settings, with links to its plugins.
    config: TempDir,
}

impl Cli {
    /// Clients in a namespace, with the CLI of a suite (the plugins are always those of the newest one).
    ///
    /// # Errors
    /// When they cannot be fetched.
    pub fn new(suite: Suite, netns: &Netns, socket: &Path) -> Result<Self> {
        let installed = Installed::of(suite)?;
        let config = tempfile::Builder::new().prefix("netd-cli-").tempdir()?;
        fs::write(config.path().join("config.json"), "{}")?;
        let plugins = config.path().join("cli-plugins");
        fs::create_dir(&plugins)?;
        let newest = Installed::of(Suite::Sid)?;
        for name in ["docker-compose", "docker-buildx"] {
            symlink(newest.program(name)?, plugins.join(name))?;
        }
        let docker = installed.program("docker")?.display().to_string();
        let scope = netns
            .scope()
            .env("PATH", &installed.path())
            .env("DOCKER_HOST", &format!("unix://{}", socket.display()))
            .env("DOCKER_CONFIG", &config.path().display().to_string());
        Ok(Self {
            scope,
            docker,
            config,
        })
    }

    /// The same, with an environment variable, as `DOCKER_API_VERSION`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.scope = self.scope.env(name, value);
        self
    }

    /// What clients are run in: namespace and environment.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The directory of the CLI's settings.
    pub fn config(&self) -> &Path {
        self.config.path()
    }

    /// Runs `docker` with the words of a line, to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn docker(&self, line: &str) -> Result<Output> {
        self.docker_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `docker` with these words, to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn docker_words(&self, words: &[&str]) -> Result<Output> {
        self.run(&self.scope, &[&[self.docker.as_str()], words].concat())
    }

    /// Runs `docker` with the words of a line; returns its output without white space around it.
    ///
    /// # Errors
    /// What it said when it fails.
    pub fn ok(&self, line: &str) -> Result<String> {
        let output = self.docker(line)?;
        ensure!(
            output.ok,
            "docker {line}: exit code {:?}: {}",
            output.code,
            output.text().trim()
        );
        Ok(output.stdout.trim().to_owned())
    }

    /// Runs `docker`, wants it to fail and to say each of `parts`, in any case of letters; returns what it said.
    ///
    /// # Errors
    /// When it succeeds or says something else.
    pub fn refused(&self, line: &str, parts: &[&str]) -> Result<String> {
        let output = self.docker(line)?;
        ensure!(!output.ok, "docker {line} succeeds: {}", output.text());
        let said = output.stderr.to_lowercase();
        for part in parts {
            ensure!(
                said.contains(&part.to_lowercase()),
                "docker {line}: {part:?} is not in: {}",
                output.stderr
            );
        }
        Ok(output.stderr)
    }

    /// Starts `docker` with the words of a line and leaves it running, as `docker events`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, line: &str) -> Result<Process> {
        let mut words = vec![self.docker.as_str()];
        words.extend(line.split_whitespace());
        self.scope.spawn(&words)
    }

    /// Runs a script by `sh -eu`, with `docker` in its PATH.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn shell(&self, script: &str) -> Result<Output> {
        self.run(&self.scope, &["sh", "-euc", script])
    }

    /// Runs a script by Python with docker-py, which finds the socket by `docker.from_env()`.
    ///
    /// # Errors
    /// What it wrote when it fails.
    pub fn python(&self, script: &str) -> Result<String> {
        let python = Set::Python.programs()?.join("python");
        let words = [&python.display().to_string(), "-c", script];
        let output = self.run(&self.scope, &words)?;
        ensure!(output.ok, "docker-py: {}", output.text());
        Ok(output.stdout)
    }

    /// Runs docker compose with the words of a line on the project in a directory (its `compose.yaml`).
    ///
    /// # Errors
    /// What it said when it fails.
    pub fn compose(&self, which: Compose, project: &Path, line: &str) -> Result<Output> {
        let output = self.compose_any(which, project, line)?;
        ensure!(
            output.ok,
            "{which:?} compose {line}: exit code {:?}: {}",
            output.code,
            output.text().trim()
        );
        Ok(output)
    }

    /// As [`Cli::compose`], but any exit code is a result.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn compose_any(&self, which: Compose, project: &Path, line: &str) -> Result<Output> {
        let words = self.compose_words(which, project, line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.run(&self.scope, &words)
    }

    /// Starts docker compose as [`Cli::compose`] and leaves it running, as an `up` that stays.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn compose_spawn(&self, which: Compose, project: &Path, line: &str) -> Result<Process> {
        let words = self.compose_words(which, project, line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.scope.spawn(&words)
    }

    fn compose_words(&self, which: Compose, project: &Path, line: &str) -> Result<Vec<String>> {
        let mut words = match which {
            Compose::V1 => vec![program(Set::Compose1.programs()?)],
            Compose::V2 => vec![self.docker.clone(), "compose".into()],
            Compose::V5 => vec![program(Set::Python.programs()?)],
        };
        let file = ["compose.yaml", "docker-compose.yml"]
            .map(|name| project.join(name))
            .into_iter()
            .find(|path| path.exists())
            .with_context(|| format!("no compose.yaml in {}", project.display()))?;
        words.extend(["-f".into(), file.display().to_string()]);
        words.extend(line.split_whitespace().map(str::to_owned));
        Ok(words)
    }

    fn run(&self, scope: &Scope, words: &[&str]) -> Result<Output> {
        let patience = ["timeout", "--kill-after=5", PATIENCE];
        scope.run(&[&patience, words].concat())
    }
}

/// The program docker-compose of an environment of Python.
fn program(environment: PathBuf) -> String {
    environment.join("docker-compose").display().to_string()
}
