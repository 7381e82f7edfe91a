//! A real Docker Engine in a namespace of its own, to compare with. It gets its own directories, socket and cgroup
//! parent and sees none of the machine's interfaces.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Netns, run::Process, wait_for};

/// The engine's API version that is asked for.
const VERSION: &str = "v1.41";

/// A running engine.
#[derive(Debug)]
pub struct Docker {
    directory: TempDir,
    netns: Netns,
    daemon: Option<Process>,
}

impl Docker {
    /// Starts the engine and imports a busybox image.
    ///
    /// # Errors
    /// When `dockerd` or `busybox` is missing, or the engine does not come up; its log is in the message.
    pub fn start() -> Result<Self> {
        for (program, package) in [("dockerd", "docker.io"), ("busybox", "busybox-static")] {
            let found = Command::new("which")
                .arg(program)
                .output()?
                .status
                .success();
            ensure!(
                found,
                "{program} is missing; install Debian's package {package}"
            );
        }
        let directory = tempfile::Builder::new().prefix("netd-docker-").tempdir()?;
        let netns = Netns::create(&format!("docker-{}", std::process::id()))?;
        netns.ip("link set lo up")?;
        let mut docker = Self {
            directory,
            netns,
            daemon: None,
        };
        docker.launch()?;
        docker.import()?;
        Ok(docker)
    }

    /// The namespace that stands for its host.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The engine's process id.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.daemon.as_ref().context("dockerd does not run")?.pid())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn launch(&mut self) -> Result<()> {
        let at = |name: &str| self.path(name).display().to_string();
        let socket = format!("unix://{}", at("docker.sock"));
        let words = [
            "dockerd",
            "--data-root",
            &at("data"),
            "--exec-root",
            &at("exec"),
            "--pidfile",
            &at("docker.pid"),
            "--host",
            &socket,
            "--storage-driver",
            "vfs",
            "--exec-opt",
            "native.cgroupdriver=cgroupfs",
        ];
        let log = fs::File::create(self.path("docker.log"))?;
        let mut daemon = self.netns.scope().spawn_logged(&words, log)?;
        let up = wait_for("Docker to answer", 60, || {
            if !daemon.running() {
                return Some(false);
            }
            self.get("/version").is_ok().then_some(true)
        });
        let log = fs::read_to_string(self.path("docker.log")).unwrap_or_default();
        ensure!(up, "dockerd ended: {log}");
        self.daemon = Some(daemon);
        Ok(())
    }

    /// An image `busybox` of the machine's static busybox alone.
    fn import(&self) -> Result<()> {
        let root = self.path("image");
        fs::create_dir_all(root.join("bin"))?;
        fs::copy("/bin/busybox", root.join("bin/busybox"))?;
        let archive = self.path("image.tar");
        let done = Command::new("tar")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(&root)
            .arg(".")
            .status()?;
        ensure!(done.success(), "tar failed");
        let body = fs::read(&archive)?;
        self.request(
            "POST",
            "/images/create?fromSrc=-&repo=busybox",
            "application/x-tar",
            &body,
        )
        .map(drop)
    }

    /// Creates a container that sleeps; returns its id. `host`: its HostConfig.
    ///
    /// # Errors
    /// What the engine says.
    pub fn container(&self, name: &str, host: &Value) -> Result<String> {
        let body = json!({
            "Image": "busybox",
            "Cmd": ["/bin/busybox", "sleep", "100000"],
            "HostConfig": host,
            "ExposedPorts": {"80/tcp": {}},
        });
        let made = self.post(&format!("/containers/create?name={name}"), &body)?;
        Ok(made["Id"].as_str().context("no Id")?.to_owned())
    }

    /// GET.
    ///
    /// # Errors
    /// What the engine says.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.request("GET", path, "application/json", b"")
    }

    /// POST of JSON; of nothing where it is null: an answer to a body that nobody read can be lost with its connection.
    ///
    /// # Errors
    /// What the engine says.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.request("POST", path, "application/json", body.as_bytes())
    }

    /// DELETE.
    ///
    /// # Errors
    /// What the engine says.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.request("DELETE", path, "application/json", b"")
    }

    /// One request on a connection of its own (HTTP/1.0, so that the answer ends with the connection).
    fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Value> {
        let mut stream = UnixStream::connect(self.path("docker.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(
            stream,
            "{method} /{VERSION}{path} HTTP/1.0\r\nHost: docker\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, text) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).unwrap_or("0");
        if !status.starts_with('2') {
            bail!("{method} {path}: {status} {text}");
        }
        // Progress reports of an import are several values; nobody needs them.
        Ok(serde_json::from_str(text).unwrap_or(Value::Null))
    }

    /// Stops the engine and removes what it had.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(daemon) = self.daemon.take() else {
            return Ok(());
        };
        if let Ok(Value::Array(all)) = self.get("/containers/json?all=1") {
            for container in all {
                let id = container["Id"].as_str().unwrap_or_default();
                let _ = self.delete(&format!("/containers/{id}?force=1"));
            }
        }
        daemon.stop(Signal::SIGTERM)?;
        self.netns.remove()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Err(e) = self.end() {
            eprintln!("stopping Docker: {e:#}");
        }
    }
}
