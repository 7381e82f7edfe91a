//! `[docker]`: Docker's API on a socket of its own.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};

/// Where Docker's API is served, and which engine stands behind.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Docker {
    /// The socket, an absolute path; `None`: it is not served.
    pub socket: Option<PathBuf>,
    /// The Docker Engine behind, as `unix:///run/docker.sock`; `None`: networks only.
    pub upstream: Option<String>,
    /// Group whose members may use the socket, by name or number; `None`: root's own.
    pub group: Option<String>,
}

impl Docker {
    /// Takes what the command line says instead.
    pub fn outweigh(&mut self, flags: Self) {
        let Self {
            socket,
            upstream,
            group,
        } = flags;
        self.socket = socket.or(self.socket.take());
        self.upstream = upstream.or(self.upstream.take());
        self.group = group.or(self.group.take());
    }

    /// Refuses what could not work.
    pub fn check(&self) -> Result<()> {
        self.upstream().map(drop)?;
        match &self.socket {
            Some(socket) if !socket.is_absolute() => Err(Error::invalid(format!(
                "docker: the socket {} is no absolute path",
                socket.display()
            ))
            .hint("as /run/netd/docker.sock")),
            Some(_) => Ok(()),
            None if self.upstream.is_some() => Err(Error::invalid(
                "docker: an engine is named, but no socket to serve Docker's API on",
            )
            .hint("--docker-socket PATH, or socket in [docker]")),
            None => Ok(()),
        }
    }

    /// The socket of the engine behind.
    ///
    /// # Errors
    /// When it is no Unix socket.
    pub fn upstream(&self) -> Result<Option<PathBuf>> {
        let parse = |text: &String| {
            netd_docker::unix_address(text)
                .map_err(|e| Error::invalid(format!("docker: the engine's address: {e}")))
        };
        self.upstream.as_ref().map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p05_what_could_not_work_is_refused() {
        let docker = |socket: &str, upstream: &str| Docker {
            socket: (!socket.is_empty()).then(|| socket.into()),
            upstream: (!upstream.is_empty()).then(|| upstream.into()),
            group: None,
        };
        for (socket, upstream, well) in [
            ("", "", true),
            ("/run/a.sock", "", true),
            ("/run/a.sock", "unix:///run/docker.sock", true),
            ("a.sock", "", false),
            ("", "unix:///run/docker.sock", false),
            ("/run/a.sock", "tcp://127.0.0.1:2375", false),
        ] {
            assert_eq!(
                docker(socket, upstream).check().is_ok(),
                well,
                "{socket} {upstream}"
            );
        }
        let mut file = docker("/a", "/b");
        file.outweigh(docker("/c", ""));
        assert_eq!(file, docker("/c", "/b"));
    }
}
