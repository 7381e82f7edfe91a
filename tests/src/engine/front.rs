//! netd's Docker socket in front of a real engine: the whole that users meet.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{Api, Cli, Engine, Options, Suite};
use crate::{
    Netns, World,
    run::{Output, Process},
    wait_for,
    world::binary,
};

/// The name under which engines know netd's runtime.
pub const RUNTIME: &str = "netd";

/// Networks that are always there.
const STANDING: [&str; 3] = ["bridge", "host", "none"];

/// A world with netd, and on its host an engine with netd's runtime and netd-docker in front of it; everything goes when
/// it is dropped. An engine without netd can run beside it, to compare with.
#[derive(Debug)]
pub struct Front {
    suite: Suite,
    // In the order in which they go.
    adapter: Option<Process>,
    plain: Option<Engine>,
    engine: Option<Engine>,
    world: World,
}

impl Front {
    /// A new world with netd, an engine of a suite and the socket in front of it.
    ///
    /// # Errors
    /// As [`World::new`] and [`Engine::start`]; or when netd-docker does not answer.
    pub fn start(suite: Suite) -> Result<Self> {
        Self::with(suite, World::new()?, &Options::default())
    }

    /// As [`Front::start`], in this world, whose netd runs, and with an engine that has these options beside netd's runtime.
    ///
    /// # Errors
    /// As [`Front::start`].
    pub fn with(suite: Suite, world: World, options: &Options) -> Result<Self> {
        for name in ["netd-docker", "netd-runc"] {
            let path = binary(name);
            ensure!(
                Path::new(&path).exists(),
                "{path} is missing: cargo build --workspace, or cargo xtask test"
            );
        }
        let mut front = Self {
            suite,
            adapter: None,
            plain: None,
            engine: None,
            world,
        };
        let words = ["--netd-address", &front.world.address()];
        let options = options.clone().inside(front.world.cgroup()).runtime(
            RUNTIME,
            Path::new(&binary("netd-runc")),
            &words,
            false,
        );
        front.engine = Some(Engine::start(suite, &front.world.host, &options)?);
        front.serve(&[])?;
        Ok(front)
    }

    /// The socket that stands for Docker's.
    pub fn socket(&self) -> PathBuf {
        self.world.directory().join("front.sock")
    }

    /// Its API, in its newest version.
    pub fn api(&self) -> Api {
        Api::new(&self.socket())
    }

    /// Clients of it on the host, with the CLI of the engine's own suite.
    ///
    /// # Errors
    /// When they cannot be fetched.
    pub fn cli(&self) -> Result<Cli> {
        Cli::new(self.suite, &self.world.host, &self.socket())
    }

    /// The world: its host, its neighbour, netd.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// The engine behind.
    ///
    /// # Errors
    /// When it was closed.
    pub fn engine(&mut self) -> Result<&mut Engine> {
        self.engine.as_mut().context("the engine was closed")
    }

    /// The socket of the engine behind, unless it was closed.
    pub fn upstream(&self) -> Option<PathBuf> {
        self.engine.as_ref().map(Engine::socket)
    }

    /// An engine of the same suite without netd, on another host of this world; started when it is asked for first.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn plain(&mut self) -> Result<&mut Engine> {
        if self.plain.is_none() {
            let host = self.world.namespace("plain")?;
            let options = Options::default().inside(self.world.cgroup());
            self.plain = Some(Engine::start(self.suite, &host, &options)?);
        }
        self.plain.as_mut().context("the engine was closed")
    }

    /// Starts netd-docker, with more words behind, and waits until it answers.
    ///
    /// # Errors
    /// When it ends instead; its log is in the message.
    pub fn serve(&mut self, more: &[&str]) -> Result<()> {
        ensure!(self.adapter.is_none(), "netd-docker runs already");
        let upstream = format!("unix://{}", self.engine()?.socket().display());
        let socket = self.socket();
        let (program, address, at) = (
            binary("netd-docker"),
            self.world.address(),
            socket.display().to_string(),
        );
        let words = [
            &program,
            "--docker-socket",
            &at,
            "--docker-upstream",
            &upstream,
            "--address",
            &address,
            "--log",
            "info,netd_docker=debug",
        ];
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let scope = self.world.host_scope().env("RUST_BACKTRACE", "1");
        let mut adapter = scope.spawn_logged(&[&words, more].concat(), log)?;
        let api = self.api();
        let up = wait_for("netd-docker to answer", 30, || {
            if !adapter.running() {
                return Some(false);
            }
            api.get("/_ping").is_ok().then_some(true)
        });
        ensure!(up, "netd-docker ended: {}", self.log());
        self.adapter = Some(adapter);
        Ok(())
    }

    /// Ends netd-docker by this signal and waits for its end.
    ///
    /// # Errors
    /// When it does not run, or ends with an error at SIGTERM.
    pub fn unserve(&mut self, signal: Signal) -> Result<Output> {
        let adapter = self.adapter.take().context("netd-docker does not run")?;
        let output = adapter.stop(signal)?;
        ensure!(
            output.ok || signal != Signal::SIGTERM,
            "netd-docker ended with {:?}: {}",
            output.code,
            self.log()
        );
        Ok(output)
    }

    /// netd-docker's process id, if it runs.
    pub fn adapter_pid(&self) -> Option<u32> {
        self.adapter.as_ref().map(Process::pid)
    }

    fn log_path(&self) -> PathBuf {
        self.world.directory().join("netd-docker.log")
    }

    /// What netd-docker wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The namespace of the engine without netd.
    pub fn plain_host(&self) -> Option<&Netns> {
        self.plain.as_ref().map(Engine::netns)
    }

    /// Removes all containers and networks that were made by the socket, and by the other engine, so that the next check
    /// finds them as new.
    ///
    /// # Errors
    /// What one of them says.
    pub fn clear(&self) -> Result<()> {
        clear(&self.api())?;
        self.plain.iter().try_for_each(|plain| clear(&plain.api()))
    }

    /// Ends everything, and says what is left behind.
    ///
    /// # Errors
    /// When something is left behind or ends with an error.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        // By the socket, so that netd is told, too.
        let cleared = match self.adapter.as_mut().is_some_and(Process::running) {
            true => clear(&self.api()),
            false => Ok(()),
        };
        let served = self.adapter.take().map_or(Ok(()), |mut adapter| {
            if !adapter.running() {
                return Ok(());
            }
            adapter.signal(Signal::SIGTERM)?;
            let ended = adapter.ended_within(Duration::from_secs(10));
            ensure!(ended, "netd-docker runs on: {}", self.log());
            Ok(())
        });
        let plain = self.plain.take().map_or(Ok(()), Engine::close);
        let engine = self.engine.take().map_or(Ok(()), Engine::close);
        let world = self.world.close();
        cleared.and(served).and(plain).and(engine).and(world)
    }
}

fn clear(api: &Api) -> Result<()> {
    api.remove_containers()?;
    let all = api.get("/networks")?;
    for network in all.as_array().into_iter().flatten() {
        let name = network["Name"].as_str().unwrap_or_default();
        if !STANDING.contains(&name) {
            let id = network["Id"].as_str().unwrap_or_default();
            api.delete(&format!("/networks/{id}"))?;
        }
    }
    Ok(())
}

impl Drop for Front {
    fn drop(&mut self) {
        if self.engine.is_none() {
            return;
        }
        // The test harness shows this only when the test fails.
        eprintln!("--- netd-docker's log\n{}---", self.log());
        eprintln!("--- netd's log\n{}---", self.world.log());
        match self.end() {
            Err(error) if thread::panicking() => eprintln!("and ending: {error:#}"),
            Err(error) => panic!("ending: {error:#}"),
            Ok(()) => {}
        }
    }
}
