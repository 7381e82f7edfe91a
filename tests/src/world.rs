//! The world: a host with netd, a machine on its LAN, and sandboxes.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    cgroup::Cgroup,
    netns::Netns,
    residue,
    run::{Output, Process, Scope},
    sandbox::Sandbox,
    wait_for,
};

/// The host's address on the LAN.
pub const HOST_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The neighbour's address on the LAN, the host's default gateway.
pub const LAN_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// As [`HOST_V4`].
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1);
/// As [`LAN_V4`].
pub const LAN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 2);

/// Both of the host's addresses.
pub const HOST: [IpAddr; 2] = [IpAddr::V4(HOST_V4), IpAddr::V6(HOST_V6)];
/// Both of the neighbour's addresses.
pub const LAN: [IpAddr; 2] = [IpAddr::V4(LAN_V4), IpAddr::V6(LAN_V6)];

/// Path of a binary of the workspace, built beside the one that runs.
///
/// # Panics
/// When the running program's own path cannot be read.
pub fn binary(name: &str) -> String {
    let mut directory = env::current_exe().expect("the path of the running program");
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    directory.join(name).display().to_string()
}

/// Namespaces, a cgroup, directories and a daemon; everything goes when it is dropped.
#[derive(Debug)]
pub struct World {
    /// The host's namespace.
    pub host: Netns,
    /// The neighbour's namespace.
    pub lan: Netns,
    /// Name of netd's instance.
    pub instance: String,
    directory: TempDir,
    cgroup: Cgroup,
    daemon: Option<Process>,
    others: Vec<Netns>,
    config: Option<PathBuf>,
    kept: bool,
}

impl World {
    /// Namespaces joined by the LAN, and a running daemon.
    ///
    /// # Errors
    /// Without root, or when a step fails; what was made goes again.
    pub fn new() -> Result<Self> {
        let mut world = Self::without_daemon()?;
        world.start()?;
        Ok(world)
    }

    /// As [`World::new`], with this configuration file's text.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn with_config(text: &str) -> Result<Self> {
        let mut world = Self::without_daemon()?;
        let path = world.directory.path().join("netd.toml");
        fs::write(&path, text)?;
        world.config = Some(path);
        world.start()?;
        Ok(world)
    }

    /// As [`World::new`], but netd is not started yet.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn without_daemon() -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the tests make network namespaces and load eBPF: run them as root"
        );
        let instance = format!(
            "t{}-{}",
            process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let cgroup = Cgroup::create(&format!("netd-{instance}"))?;
        let world = Self {
            host: Netns::create(&format!("{instance}-host"))?,
            lan: Netns::create(&format!("{instance}-lan"))?,
            directory: tempfile::Builder::new().prefix("netd-").tempdir()?,
            cgroup,
            daemon: None,
            others: Vec::new(),
            config: None,
            kept: false,
            instance,
        };
        world.join_lan()?;
        Ok(world)
    }

    fn join_lan(&self) -> Result<()> {
        let (host, lan) = (&self.host, &self.lan);
        host.ip(&format!(
            "link add uplink type veth peer name uplink netns {}",
            lan.name()
        ))?;
        for (ns, v4, v6) in [(host, HOST_V4, HOST_V6), (lan, LAN_V4, LAN_V6)] {
            ns.ip(&format!("addr add {v4}/24 dev uplink"))?;
            ns.ip(&format!("addr add {v6}/64 dev uplink nodad"))?;
            ns.ip("link set uplink up")?;
        }
        host.ip(&format!("route add default via {LAN_V4}"))?;
        host.ip(&format!("-6 route add default via {LAN_V6}"))?;
        Ok(())
    }

    /// Another namespace of this world.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn namespace(&mut self, name: &str) -> Result<Netns> {
        let ns = Netns::create(&format!("{}-{name}", self.instance))?;
        self.others.push(ns.clone());
        Ok(ns)
    }

    /// Says that a namespace of this world was removed already.
    pub fn forget(&mut self, netns: &Netns) {
        self.others.retain(|other| other.path() != netns.path());
    }

    /// Scratch directory, gone with the world.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// netd's run directory.
    pub fn run_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// netd's state directory.
    pub fn state_directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// netd's socket as netctl wants it.
    pub fn address(&self) -> String {
        format!("unix://{}/netd.sock", self.run_directory().display())
    }

    /// Programs of the host: its namespace and the cgroup that netd's hooks hang on.
    pub fn host_scope(&self) -> Scope {
        self.host
            .scope()
            .cgroup(self.cgroup.path())
            .env("NETD_ADDRESS", &self.address())
    }

    /// Programs of the neighbour.
    pub fn lan_scope(&self) -> Scope {
        self.lan.scope()
    }

    /// Programs in a sandbox's namespace.
    pub fn scope(&self, netns: &Path) -> Scope {
        Scope::machine().inside(netns).cgroup(self.cgroup.path())
    }

    /// netd's command line, with more words behind.
    pub fn daemon_words(&self, more: &[&str]) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut words = vec![
            binary("netd"),
            "--instance".into(),
            self.instance.clone(),
            "--state".into(),
            path(&self.state_directory()),
            "--run".into(),
            path(&self.run_directory()),
            "--cgroup".into(),
            path(self.cgroup.path()),
        ];
        if let Some(config) = &self.config {
            words.extend(["--config".into(), path(config)]);
        }
        words.extend(more.iter().map(|&word| word.to_owned()));
        words
    }

    /// Runs netd to its end with more words behind, as for `--purge` or for an error.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn netd(&self, more: &[&str]) -> Result<Output> {
        let words = self.daemon_words(more);
        self.host_scope()
            .run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// When it ends instead; its message is on standard error and in the log.
    pub fn start(&mut self) -> Result<()> {
        let words = self.daemon_words(&[]);
        let log = self.log_path();
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut process = self
            .host_scope()
            .env("RUST_BACKTRACE", "1")
            .spawn_logged(&words, file)?;
        let ready = wait_for("netd to answer", 30, || {
            if !process.running() {
                return Some(false);
            }
            self.netctl(&["status"])
                .is_ok_and(|output| output.ok)
                .then_some(true)
        });
        ensure!(ready, "netd ended: {}", self.log());
        self.daemon = Some(process);
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("netd.log")
    }

    /// What the daemon wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Sends SIGKILL to the daemon and waits for its end.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon
            .take()
            .context("the daemon is not running")?
            .stop(Signal::SIGKILL)?;
        Ok(())
    }

    /// Sends SIGTERM to the daemon and waits for its end.
    ///
    /// # Errors
    /// When it is not running or ends with an error.
    pub fn stop(&mut self) -> Result<()> {
        let output = self
            .daemon
            .take()
            .context("the daemon is not running")?
            .stop(Signal::SIGTERM)?;
        ensure!(
            output.ok,
            "netd ended with {:?}: {}",
            output.code,
            self.log()
        );
        Ok(())
    }

    /// The daemon's process id.
    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Process::pid)
    }

    /// Runs netctl on the host.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn netctl(&self, words: &[&str]) -> Result<Output> {
        let netctl = binary("netctl");
        let mut all = vec![netctl.as_str()];
        all.extend(words);
        self.host_scope().run(&all)
    }

    /// Runs netctl with the words of a line; a refusal is an error with netctl's message.
    ///
    /// # Errors
    /// netctl's message.
    pub fn ctl(&self, line: &str) -> Result<String> {
        let output = self.netctl(&line.split_whitespace().collect::<Vec<_>>())?;
        ensure!(output.ok, "netctl {line}: {}", output.text().trim());
        Ok(output.stdout.trim().to_owned())
    }

    /// Runs netctl, wants exit code 1 and a message that holds each of `parts`, in any case of letters.
    ///
    /// # Errors
    /// When it succeeds or says something else.
    pub fn refused(&self, line: &str, parts: &[&str]) -> Result<String> {
        let output = self.netctl(&line.split_whitespace().collect::<Vec<_>>())?;
        ensure!(
            output.code == Some(1),
            "netctl {line}: exit code {:?}, not 1: {}",
            output.code,
            output.text()
        );
        let said = output.stderr.to_lowercase();
        for part in parts {
            ensure!(
                said.contains(&part.to_lowercase()),
                "netctl {line}: {part:?} is not in: {}",
                output.stderr
            );
        }
        Ok(output.stderr)
    }

    /// A sandbox in a namespace that netd makes, connected to `networks` in order.
    ///
    /// # Errors
    /// netctl's message.
    pub fn sandbox(&self, name: &str, networks: &[&str]) -> Result<Sandbox> {
        self.ctl(&format!("sandbox create {name}"))?;
        for network in networks {
            self.ctl(&format!("network connect {network} {name}"))?;
        }
        let path = self.run_directory().join("netns").join(name);
        let sandbox = Sandbox::new(name, Netns::at(name, &path), self.scope(&path));
        sandbox.netns.prepare()?;
        Ok(sandbox)
    }

    /// Packets refused for a reason (its name in `netctl drops`), over all endpoints.
    ///
    /// # Errors
    /// netctl's message, or JSON of another shape.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        let rows: serde_json::Value = serde_json::from_str(&self.ctl("--output json drops")?)?;
        let rows = rows.as_array().context("drops: not an array")?;
        Ok(rows
            .iter()
            .filter(|row| {
                row.as_object()
                    .is_some_and(|fields| fields.values().any(|v| v.as_str() == Some(reason)))
            })
            .filter_map(|row| row.get("packets").or_else(|| row.get("Packets")))
            .filter_map(|packets| packets.as_u64().or_else(|| packets.as_str()?.parse().ok()))
            .sum())
    }

    /// Ends the daemon, purges the instance, removes the namespaces and says what is left behind.
    ///
    /// # Errors
    /// When something is left, or a step fails.
    pub fn close(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.kept, true) {
            return Ok(());
        }
        drop(self.daemon.take());
        let purged = self.netd(&["--purge"]);
        let mut left = residue::find(self);
        for ns in self.others.iter().chain([&self.host, &self.lan]) {
            if let Err(error) = ns.remove() {
                left.push(error.to_string());
            }
        }
        // Killed processes leave a cgroup a moment after they were reaped.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while let Err(error) = self.cgroup.remove() {
            if std::time::Instant::now() > end {
                left.push(format!("cgroup {}: {error}", self.cgroup.path().display()));
                break;
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
        let purged = purged?;
        ensure!(purged.ok, "netd --purge: {}", purged.text());
        ensure!(left.is_empty(), "left behind: {}", left.join("; "));
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let panicking = thread::panicking();
        if panicking {
            let log = self.log();
            eprintln!("--- netd's log\n{log}---");
        }
        match self.close() {
            Err(error) if panicking => eprintln!("and cleaning up: {error:#}"),
            Err(error) => panic!("cleaning up: {error:#}"),
            Ok(()) => {}
        }
    }
}
