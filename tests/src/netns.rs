//! Network namespaces: made, entered, removed.

use std::{
    fs::File,
    io::Read as _,
    os::fd::AsFd,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

use crate::{
    run::{Output, Scope},
    wait::wait_for,
};

/// A network namespace with a path.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
    path: PathBuf,
}

impl Netns {
    /// A new named namespace with loopback up, Reno congestion control and no duplicate address detection.
    ///
    /// # Errors
    /// Without root, or when the name exists.
    pub fn create(name: &str) -> Result<Self> {
        let output = Scope::machine().run(&["ip", "netns", "add", name])?;
        ensure!(output.ok, "ip netns add {name}: {}", output.text());
        let ns = Self {
            name: name.to_owned(),
            path: Path::new("/run/netns").join(name),
        };
        ns.ip("link set lo up")?;
        ns.prepare()?;
        Ok(ns)
    }

    /// A namespace that somebody else made.
    pub fn at(name: &str, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            path: path.into(),
        }
    }

    /// The settings that make measurements alike on every machine.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn prepare(&self) -> Result<()> {
        self.sysctl("net/ipv4/tcp_congestion_control", "reno")?;
        for interface in ["all", "default"] {
            self.sysctl(&format!("net/ipv6/conf/{interface}/accept_dad"), "0")?;
        }
        // So that the answer to one probe does not use up the next one's share.
        self.sysctl("net/ipv4/icmp_ratelimit", "0")
    }

    /// Writes `/proc/sys/<key>` as seen from the namespace.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let (path, value) = (format!("/proc/sys/{key}"), value.to_owned());
        self.enter(move || std::fs::write(&path, value).with_context(|| path.clone()))?
    }

    /// Reads `/proc/sys/<key>` as seen from the namespace.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn read_sysctl(&self, key: &str) -> Result<String> {
        let path = format!("/proc/sys/{key}");
        self.enter(move || -> Result<String> {
            // In one go: some of them end where the first read ends.
            let mut buffer = vec![0; 1 << 16];
            let mut file = File::open(&path).with_context(|| path.clone())?;
            let length = file.read(&mut buffer).with_context(|| path.clone())?;
            buffer.truncate(length);
            Ok(String::from_utf8_lossy(&buffer).into_owned())
        })?
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a thread of its own inside.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let file = File::open(&self.path).with_context(|| self.path.display().to_string())?;
        let thread = thread::spawn(move || -> Result<T> {
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET).context("setns")?;
            Ok(work())
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Programs started here, outside any cgroup of the world.
    pub fn scope(&self) -> Scope {
        Scope::machine().inside(&self.path)
    }

    /// Runs `ip` with these words; failure is an error.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut command = vec!["ip"];
        command.extend(words.split_whitespace());
        let output: Output = self.scope().run(&command)?;
        ensure!(output.ok, "in {}: ip {words}: {}", self.name, output.text());
        Ok(output.stdout)
    }

    /// Waits until IPv6 runs on a link that was set up: the kernel reports carriers at most once a second, and until
    /// then neighbour solicitations to the link's addresses are not heard.
    ///
    /// # Panics
    /// When it does not come within five seconds.
    pub fn ipv6_ready(&self, link: &str) {
        wait_for(&format!("IPv6 on {link} of {}", self.name), 5, || {
            let routes = self.ip(&format!("-6 route show table local dev {link}"));
            routes
                .is_ok_and(|text| text.contains("ff00::/8"))
                .then_some(())
        });
    }

    /// Removes the name; the namespace goes with its last process.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn remove(&self) -> Result<()> {
        let output = Scope::machine().run(&["ip", "netns", "delete", &self.name])?;
        ensure!(
            output.ok,
            "ip netns delete {}: {}",
            self.name,
            output.text()
        );
        Ok(())
    }
}
