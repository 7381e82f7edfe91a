//! A running engine.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Api, Cli, Installed, Options, Suite, cgroups::Cgroups, image, remains, storage};
use crate::{Netns, run::Process, wait_for};

/// An engine in a namespace, with directories, a socket and cgroups of its own; everything goes when it is dropped.
#[derive(Debug)]
pub struct Engine {
    installed: Installed,
    netns: Netns,
    options: Options,
    directory: Option<TempDir>,
    cgroups: Cgroups,
    daemon: Option<Process>,
}

impl Engine {
    /// Starts a suite's engine in a namespace and imports the images of [`image`].
    ///
    /// # Errors
    /// When it cannot be fetched or does not come up; its log is in the message.
    pub fn start(suite: Suite, netns: &Netns, options: &Options) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let installed = Installed::of(suite)?;
        let directory = tempfile::Builder::new().prefix("netd-engine-").tempdir()?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("netd-engine-{}-{number}", process::id());
        let mut engine = Self {
            cgroups: Cgroups::create(&name, options.cgroup.as_deref())?,
            installed,
            netns: netns.clone(),
            options: options.clone(),
            directory: Some(directory),
            daemon: None,
        };
        engine.configure(&Value::Null)?;
        engine.launch()?;
        if !options.bare {
            image::import(&engine.api())?;
        }
        Ok(engine)
    }

    /// Its directory, gone with it: `data`, `exec`, `daemon.json`, `docker.log`, `docker.sock`.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().map_or(Path::new(""), TempDir::path)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory().join("docker.sock")
    }

    /// The version of it, as `28.5.2`.
    pub fn version(&self) -> &str {
        &self.installed.version
    }

    /// The namespace that stands for its host.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its API, in its newest version.
    pub fn api(&self) -> Api {
        Api::new(&self.socket())
    }

    /// Clients of it, with the CLI of its own suite.
    ///
    /// # Errors
    /// When they cannot be fetched.
    pub fn cli(&self) -> Result<Cli> {
        Cli::new(self.installed.suite, &self.netns, &self.socket())
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.daemon.as_ref().context("dockerd does not run")?.pid())
    }

    /// Whether it runs.
    pub fn running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(Process::running)
    }

    /// What it wrote since it was started first.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory().join("docker.log")).unwrap_or_default()
    }

    /// Writes `daemon.json` anew with these keys over the ones it has; counts at the next start or reload.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&mut self, keys: &Value) -> Result<()> {
        self.options = self.options.clone().config(keys);
        let at = |name: &str| self.directory().join(name).display().to_string();
        let mut all = Map::new();
        if !self.options.config.contains_key("storage-driver") {
            let driver = storage::driver(self.directory())?;
            all.insert("storage-driver".into(), driver.into());
        }
        let own = json!({
            "data-root": at("data"),
            "exec-root": at("exec"),
            "pidfile": at("docker.pid"),
            "hosts": [format!("unix://{}", at("docker.sock"))],
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": self.cgroups.of_containers(),
            // Containers that ignore SIGTERM hold up the engine's end.
            "shutdown-timeout": 3,
        });
        all.extend(own.as_object().cloned().unwrap_or_default());
        all.extend(self.options.config.clone());
        let path = self.directory().join("daemon.json");
        fs::write(&path, Value::from(all).to_string()).with_context(|| path.display().to_string())
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it ends instead; its log is in the message.
    pub fn launch(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "dockerd runs already");
        let mut path = self.installed.path();
        if let Some(first) = &self.options.programs {
            path = format!("{}:{path}", first.display());
        }
        let mut scope = self
            .netns
            .scope()
            .cgroup(&self.cgroups.programs())
            .env("PATH", &path);
        for (name, value) in &self.options.environment {
            scope = scope.env(name, value);
        }
        let (program, config) = (
            self.installed.program("dockerd")?.display().to_string(),
            self.directory().join("daemon.json").display().to_string(),
        );
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory().join("docker.log"))?;
        let mut daemon = scope.spawn_logged(&[&program, "--config-file", &config], log)?;
        let api = self.api();
        let up = wait_for("Docker to answer", 90, || {
            if !daemon.running() {
                return Some(false);
            }
            api.get("/_ping").is_ok().then_some(true)
        });
        ensure!(up, "dockerd {} ended: {}", self.version(), self.log());
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Sends SIGTERM and waits for its end; containers stay, but stop unless it lets them live.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("dockerd does not run")?;
        daemon.stop(Signal::SIGTERM).map(drop)
    }

    /// Sends SIGKILL and waits for its end; containers run on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill9(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("dockerd does not run")?;
        daemon.stop(Signal::SIGKILL)?;
        // Its containerd is killed with it. One that the machine's init is late to reap counts as running for the next
        // engine, which waits for it to answer, and gives up.
        let file = self.directory().join("exec/containerd/containerd.pid");
        let Ok(pid) = fs::read_to_string(&file) else {
            return Ok(());
        };
        wait_for("containerd to be killed", 10, || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.map_or(true, |stat| stat.contains(") Z "))
                .then_some(())
        });
        fs::remove_file(&file).with_context(|| file.display().to_string())
    }

    /// [`Engine::stop`] and [`Engine::launch`].
    ///
    /// # Errors
    /// As these.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    /// [`Engine::configure`], and SIGHUP: the engine reads its settings anew. Waits until it says so.
    ///
    /// # Errors
    /// When it does not run.
    pub fn reload(&mut self, keys: &Value) -> Result<()> {
        self.configure(keys)?;
        let before = self.log().len();
        let daemon = self.daemon.as_ref().context("dockerd does not run")?;
        daemon.signal(Signal::SIGHUP)?;
        wait_for("Docker to read its settings anew", 10, || {
            let log = self.log();
            let new = log.get(before..).unwrap_or_default();
            new.contains("Reloaded configuration").then_some(())
        });
        Ok(())
    }

    /// Removes all containers, ends it and removes what it had.
    ///
    /// # Errors
    /// When something is left behind.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(directory) = self.directory.take() else {
            return Ok(());
        };
        let mut removed = Ok(());
        if let Some(mut daemon) = self.daemon.take()
            && daemon.running()
        {
            removed = Api::new(&directory.path().join("docker.sock")).remove_containers();
            // Whatever does not end by this, or has ended just now, is cleared away below.
            let _ = daemon.signal(Signal::SIGTERM);
            daemon.ended_within(Duration::from_secs(20));
        }
        let cleared = remains::clear(directory.path(), &self.cgroups);
        let left = remains::find(directory.path(), &self.cgroups);
        let path = directory.path().to_owned();
        let gone = directory
            .close()
            .with_context(|| path.display().to_string());
        removed.and(cleared).and(gone)?;
        ensure!(left.is_empty(), "left behind: {}", left.join("; "));
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.directory.is_none() {
            return;
        }
        // The test harness shows this only when the test fails.
        eprintln!("--- the engine's log\n{}---", self.log());
        match self.end() {
            Err(error) if thread::panicking() => eprintln!("and ending Docker: {error:#}"),
            Err(error) => panic!("ending Docker: {error:#}"),
            Ok(()) => {}
        }
    }
}
