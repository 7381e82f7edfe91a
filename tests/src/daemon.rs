//! The daemon of a world: started, killed, stopped; and the end of the world, with nothing left behind.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    residue,
    run::{Output, Process},
    wait_for,
    world::World,
};

impl World {
    /// netd's command line, with more words behind.
    pub fn daemon_words(&self, more: &[&str]) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut words = vec![
            self.program(0),
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
        self.start_with(&[])
    }

    /// As [`World::start`], with more environment.
    ///
    /// # Errors
    /// As [`World::start`].
    pub fn start_with(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        let words = [self.wrapper.clone(), self.daemon_words(&[])].concat();
        let log = self.log_path();
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut scope = self.host_scope().env("RUST_BACKTRACE", "1");
        for (name, value) in environment {
            scope = scope.env(name, value);
        }
        let mut process = scope.spawn_logged(&words, file)?;
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

    /// Waits until the daemon has ended by itself.
    ///
    /// # Errors
    /// When it runs on.
    pub fn wait_for_end(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon is not running")?;
        let ended = daemon.ended_within(Duration::from_secs(20));
        ensure!(ended, "netd runs on");
        Ok(())
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

    /// Ends the daemon, purges the instance, removes the namespaces and says what is left behind.
    ///
    /// # Errors
    /// When something is left, or a step fails.
    pub fn close(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.closed, true) {
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
        let end = Instant::now() + Duration::from_secs(5);
        while let Err(error) = self.cgroup.remove() {
            if Instant::now() > end {
                left.push(format!("cgroup {}: {error}", self.cgroup.path().display()));
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        if self.programs.is_some() && self.wrapper.is_empty() {
            // Another build, which is measured: what it leaves behind is no fault of this one.
            return Ok(());
        }
        let purged = purged?;
        ensure!(purged.ok, "netd --purge: {}", purged.text());
        ensure!(left.is_empty(), "left behind: {}", left.join("; "));
        Ok(())
    }
}

/// What befalls a host.
impl World {
    /// Takes away what a reboot takes away: links, programs, maps and namespaces. The daemon must not run.
    ///
    /// # Errors
    /// When a step fails.
    pub fn forget_kernel_state(&self) -> Result<()> {
        ensure!(self.daemon.is_none(), "the daemon runs");
        let pins = Path::new("/sys/fs/bpf/netd").join(&self.instance);
        fs::remove_dir_all(&pins).with_context(|| pins.display().to_string())?;
        let namespaces = self.run_directory().join("netns");
        for entry in fs::read_dir(&namespaces)?.flatten() {
            // An unmounted file stays on a disk, but RUN is usually a tmpfs.
            nix::mount::umount2(&entry.path(), nix::mount::MntFlags::MNT_DETACH)?;
            fs::remove_file(entry.path())?;
        }
        let links = self.host.ip("-o link show type veth")?;
        let alias = format!("alias netd:{}:", self.instance);
        for line in links.lines().filter(|line| line.contains(&alias)) {
            let name = line.split(": ").nth(1).unwrap_or_default();
            let name = name.split('@').next().unwrap_or_default();
            // The other end of one that went has gone with it.
            let _ = self.host.ip(&format!("link del {name}"));
        }
        Ok(())
    }

    /// Removes every entry of one of the data plane's maps; returns how many there were.
    ///
    /// # Errors
    /// When bpftool cannot read it.
    pub fn empty_map(&self, name: &str) -> Result<usize> {
        let (path, entries) = self.map(name)?;
        for entry in &entries {
            let bytes = entry["key"].as_array().context("an entry without a key")?;
            let mut words = vec!["bpftool", "map", "delete", "pinned", &path, "key", "hex"];
            let bytes: Vec<&str> = bytes.iter().filter_map(|b| b.as_str()).collect();
            let bytes: Vec<&str> = bytes.iter().map(|b| b.trim_start_matches("0x")).collect();
            words.extend(bytes);
            let done = self.host_scope().run(&words)?;
            ensure!(done.ok, "bpftool: {}", done.text());
        }
        Ok(entries.len())
    }

    /// How many entries one of the data plane's maps has.
    ///
    /// # Errors
    /// When bpftool cannot read it.
    pub fn map_entries(&self, name: &str) -> Result<u64> {
        Ok(self.map(name)?.1.len() as u64)
    }

    /// Path and entries of one of the data plane's maps.
    fn map(&self, name: &str) -> Result<(String, Vec<serde_json::Value>)> {
        let root = Path::new("/sys/fs/bpf/netd").join(&self.instance);
        let version = fs::read_dir(&root)?
            .flatten()
            .next()
            .context("no pinned maps")?;
        let path = version.path().join(name).display().to_string();
        let dump = self
            .host_scope()
            .run(&["bpftool", "-j", "map", "dump", "pinned", &path])?;
        ensure!(dump.ok, "bpftool: {}", dump.text());
        Ok((path, serde_json::from_str(&dump.stdout)?))
    }
}
