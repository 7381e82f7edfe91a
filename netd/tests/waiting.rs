//! B16: who waits for a turn at the kernel's configuration holds up nobody else. As root, in a namespace of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    pin::pin,
    process::{self, Command},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use netd::{
    config::{Config, Instance},
    dataplane::{Dataplane, NetworkSpec},
    directories,
    kernel::{Netns, rtnl},
};
use nix::sched::{CloneFlags, unshare};

/// What goes with the test: a cgroup for the hooks, directories, pins.
struct Place {
    directory: tempfile::TempDir,
    cgroup: PathBuf,
    pins: PathBuf,
}

impl Place {
    fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mut mounts = mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>());
        let root = mounts.find(|fields| fields.get(2) == Some(&"cgroup2"));
        let root = root.context("no cgroup v2 hierarchy is mounted")?[1].to_owned();
        let cgroup = Path::new(&root).join(name);
        fs::create_dir(&cgroup)?;
        Ok(Self {
            directory: tempfile::tempdir()?,
            cgroup,
            pins: Path::new("/sys/fs/bpf/netd").join(name),
        })
    }

    fn instance(&self, name: &str) -> Instance {
        Instance {
            name: name.into(),
            state: self.directory.path().join("state"),
            run: self.directory.path().join("run"),
            cgroup: Some(self.cgroup.clone()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.pins);
        let name = self.pins.file_name().unwrap_or_default();
        let mark = format!("@{}", name.to_string_lossy());
        let _ = fs::remove_file(self.pins.with_file_name(mark));
        let _ = fs::remove_dir(&self.cgroup);
    }
}

fn network() -> NetworkSpec {
    NetworkSpec {
        number: 7,
        flags: 0,
        gateway_ifindex: 1,
        peer_ifindex: 1,
        gateway_mac: [2, 0, 0, 0, 0, 1],
        gateways: Vec::new(),
        host_addresses: Vec::new(),
        trusted: Vec::new(),
    }
}

fn ip(line: &str) -> Result<()> {
    let output = Command::new("ip").args(line.split_whitespace()).output()?;
    ensure!(output.status.success(), "ip {line}: {output:?}");
    Ok(())
}

/// The one worker of a runtime without others attaches a veth and leads to a resolver, neither of which has its turn: it goes on,
/// and the maps are written meanwhile.
#[test]
fn b16_waiting_for_a_turn_holds_no_lock_and_no_worker() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    ip("link add nd-test type veth peer name inside")?;
    let name = format!("b16-{}", process::id());
    let place = Place::new(&name)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let instance = place.instance(&name);
        let held = directories::hold(&instance)?;
        let dataplane = Dataplane::open(&instance, &Config::default(), held.name())?;
        let dataplane = Arc::new(dataplane);
        let ifindex = nix::net::if_::if_nametoindex("nd-test")?;
        // Of this thread: the process has another.
        let netns = Netns::open(Path::new("/proc/thread-self/ns/net"))?;
        ensure!(
            netns.inode()? != Netns::current()?.inode()?,
            "not of the test's own"
        );
        let somebody = rtnl::turn().await;
        let mut attaching = pin!(dataplane.attach_endpoint(ifindex, false));
        let mut leading = pin!(dataplane.attach_resolver(&netns));
        ensure!(futures::poll!(attaching.as_mut()).is_pending());
        ensure!(futures::poll!(leading.as_mut()).is_pending());
        let other = Arc::clone(&dataplane);
        let written = tokio::task::spawn_blocking(move || {
            other.set_network(&network())?;
            other.remove_network(network().number);
            Ok::<(), netd::error::Error>(())
        });
        // No lock is held that this would wait for; the time only ends a test that fails.
        tokio::time::timeout(Duration::from_secs(30), written).await???;
        ensure!(futures::poll!(attaching.as_mut()).is_pending());
        drop(somebody);
        ensure!(attaching.await?, "the veth had its program");
        ensure!(leading.await?, "the way to the resolver was there");
        Ok(())
    })
}
