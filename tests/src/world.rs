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
use tempfile::TempDir;

use crate::{
    cgroup::Cgroup,
    disk::SmallDisk,
    netns::Netns,
    run::{Output, Process, Scope},
    sandbox::Sandbox,
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
    /// Holds the state directory, if that has little room; goes before the directory that it is mounted in.
    pub(crate) disk: Option<SmallDisk>,
    pub(crate) directory: TempDir,
    /// Holds netd's run directory: in memory, as /run is on a host.
    pub(crate) memory: TempDir,
    pub(crate) cgroup: Cgroup,
    pub(crate) daemon: Option<Process>,
    pub(crate) others: Vec<Netns>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) closed: bool,
    /// The daemon and its command line, if they are not those built beside the running program.
    pub(crate) programs: Option<[PathBuf; 2]>,
    /// What starts the daemon, in front of its command line.
    pub(crate) wrapper: Vec<String>,
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
        let mut world = Self::unstarted_with(text)?;
        world.start()?;
        Ok(world)
    }

    /// As [`World::with_config`], but netd is not started yet.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn unstarted_with(text: &str) -> Result<Self> {
        let mut world = Self::without_daemon()?;
        let path = world.directory.path().join("netd.toml");
        fs::write(&path, text)?;
        world.config = Some(path);
        Ok(world)
    }

    /// As [`World::new`], with these builds of netd and netctl.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn of(netd: &Path, netctl: &Path) -> Result<Self> {
        let mut world = Self::without_daemon()?;
        world.programs = Some([netd.to_owned(), netctl.to_owned()]);
        world.start()?;
        Ok(world)
    }

    /// From now on the daemon is this build's, started by another program with these words.
    pub fn wrap(&mut self, words: &[&str], [netd, netctl]: [&Path; 2]) {
        self.wrapper = words.iter().map(|&word| word.to_owned()).collect();
        self.programs = Some([netd.to_owned(), netctl.to_owned()]);
    }

    /// The path of netd (0) or netctl (1).
    pub(crate) fn program(&self, which: usize) -> String {
        let given = self.programs.as_ref().and_then(|paths| paths.get(which));
        given.map_or_else(
            || binary(if which == 0 { "netd" } else { "netctl" }),
            |path| path.display().to_string(),
        )
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
        for name in ["netd", "netctl", "netd-probe"] {
            let path = binary(name);
            ensure!(
                Path::new(&path).exists(),
                "{path} is missing: cargo build --workspace, or cargo xtask test"
            );
        }
        let instance = format!(
            "t{}-{}",
            process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let cgroup = Cgroup::create(&format!("netd-{instance}"))?;
        let world = Self {
            host: Netns::create(&format!("{instance}-host"))?,
            lan: Netns::create(&format!("{instance}-lan"))?,
            disk: None,
            directory: tempfile::Builder::new().prefix("netd-").tempdir()?,
            memory: tempfile::Builder::new()
                .prefix("netd-")
                .tempdir_in("/dev/shm")?,
            cgroup,
            daemon: None,
            others: Vec::new(),
            config: None,
            closed: false,
            programs: None,
            wrapper: Vec::new(),
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
        for ns in [host, lan] {
            ns.ipv6_ready("uplink");
        }
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

    /// The cgroup of the host's programs, that netd's hooks hang on.
    pub fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// netd's run directory.
    pub fn run_directory(&self) -> PathBuf {
        self.memory.path().join("run")
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

    /// Runs netctl on the host.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn netctl(&self, words: &[&str]) -> Result<Output> {
        let netctl = self.program(1);
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
}

impl Drop for World {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        // The test harness shows this only when the test fails.
        eprintln!("--- netd's log\n{}---", self.log());
        match self.close() {
            Err(error) if thread::panicking() => eprintln!("and cleaning up: {error:#}"),
            Err(error) => panic!("cleaning up: {error:#}"),
            Ok(()) => {}
        }
    }
}
