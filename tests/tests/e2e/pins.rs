//! X01, C12: what netd pinned is removed behind its back: nothing goes wrong meanwhile, and it is pinned again.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use netd_tests::{
    Process, Sandbox, Server, World,
    probe::{hold, probe},
    wait_for,
    world::{HOST_V4, LAN_V4},
};
use nix::fcntl::{Flock, FlockArg};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::{Outcome, review_disk::health};

/// Only a request mends what others did to the hooks.
const NO_SWEEP: [(&str, &str); 1] = [("NETD_FAILPOINT_REFUSE", "sweep-hooks")];

/// Where the instance pins.
fn root(world: &World) -> PathBuf {
    Path::new("/sys/fs/bpf/netd").join(&world.instance)
}

/// All that is pinned, by path.
fn pinned(directory: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(pinned(&entry.path())?);
        } else {
            found.insert(entry.path());
        }
    }
    Ok(found)
}

/// A sandbox with a published port, and flows that send a line every 20 ms.
struct Busy {
    web: Sandbox,
    _servers: [Server; 2],
    flows: Vec<(&'static str, Process)>,
}

impl Busy {
    fn start(world: &World) -> Result<Self> {
        world.ctl("network create front")?;
        let web = world.sandbox("web", &["front"])?;
        let servers = [web.serve(7000)?, Server::start(&world.lan_scope(), 7000)?];
        world.ctl("port publish web 8080:7000")?;
        let (lan, host) = (world.lan_scope(), world.host_scope());
        let flows = vec![
            ("published", hold(&lan, (HOST_V4, 8080).into())?),
            ("masqueraded", hold(&web.scope, (LAN_V4, 7000).into())?),
            ("of the host", hold(&host, ([127, 0, 0, 1], 8080).into())?),
        ];
        Ok(Self {
            web,
            _servers: servers,
            flows,
        })
    }

    /// New flows of the same kinds.
    fn fresh(&self, world: &World) -> Outcome {
        probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 2000).context("from the LAN")?;
        let local = ([127, 0, 0, 1], 8080).into();
        probe(&world.host_scope(), "tcp", local, 2000).context("from the host")?;
        self.web
            .reach("tcp", LAN_V4.into(), 7000)
            .context("to the LAN")?;
        Ok(())
    }

    fn end(self) -> Outcome {
        for (name, flow) in self.flows {
            let output = flow.finish()?;
            let lines = output.stdout.trim().parse::<u64>();
            let lines = lines.with_context(|| format!("the flow {name} broke"))?;
            ensure!(output.ok && lines > 0, "the flow {name}: {lines} lines");
        }
        Ok(())
    }
}

#[test]
fn x01_removed_pins_are_made_again_by_reconcile() -> Outcome {
    let mut world = World::without_daemon()?;
    world.start_with(&NO_SWEEP)?;
    let busy = Busy::start(&world)?;
    let before = pinned(&root(&world))?;
    ensure!(world.ctl("system reconcile")? == "Nothing to mend.");
    fs::remove_dir_all(root(&world))?;
    busy.fresh(&world).context("without pins")?;
    let said = world.ctl("system reconcile")?;
    ensure!(said.contains("pin"), "not told: {said}");
    ensure!(pinned(&root(&world))? == before, "other pins");
    ensure!(world.ctl("system reconcile")? == "Nothing to mend.");
    let status = world.ctl("status")?;
    ensure!(!status.contains("does not hang"), "{status}");
    busy.fresh(&world).context("pinned again")?;
    // One alone, of each kind.
    let version = fs::read_dir(root(&world))?.next().context("no pins")??;
    for name in ["FLOWS", "links/connect4", "links/loopback"] {
        let path = version.path().join(name);
        fs::remove_file(&path)?;
        let said = world.ctl("system reconcile")?;
        ensure!(said.contains(name.trim_start_matches("links/")), "{said}");
        ensure!(path.exists(), "{name} is not pinned");
    }
    // The next daemon finds all of it.
    world.kill()?;
    busy.fresh(&world).context("without the daemon")?;
    world.start()?;
    busy.fresh(&world).context("restarted")?;
    busy.end()
}

#[test]
fn x01_removed_pins_are_made_again_without_a_request() -> Outcome {
    unasked(&[])
}

/// The same before Linux 6.6, where uplinks have filters.
#[test]
fn x01_removed_pins_are_made_again_without_tcx() -> Outcome {
    unasked(&[("NETD_FAILPOINT_REFUSE_START", "no-tcx")])
}

fn unasked(environment: &[(&str, &str)]) -> Outcome {
    let mut world = World::without_daemon()?;
    world.start_with(environment)?;
    let busy = Busy::start(&world)?;
    let before = pinned(&root(&world))?;
    for whole in [false, true] {
        if whole {
            fs::remove_dir_all(root(&world))?;
        } else {
            // The directory stays, and its lock.
            let version = fs::read_dir(root(&world))?.next().context("no pins")??;
            fs::remove_dir_all(version.path())?;
        }
        wait_for("the pins", 20, || {
            (pinned(&root(&world)).ok()? == before).then_some(())
        });
    }
    // The instance's name is still this daemon's: the directory that was locked is not there any more.
    let other = world.directory().join("other");
    let words = [
        world.daemon_words(&[])[0].clone(),
        "--instance".into(),
        world.instance.clone(),
        "--state".into(),
        other.join("state").display().to_string(),
        "--run".into(),
        other.join("run").display().to_string(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let second = world.host_scope().run(&words)?;
    ensure!(
        !second.ok && second.text().contains("another netd"),
        "{}",
        second.text()
    );
    // What is hung from now on is pinned, too.
    world.host.ip("link add later type veth peer name late2")?;
    wait_for("its program", 15, || {
        let status = world.ctl("status").ok()?;
        let hung = |line: &str| line.contains("from_uplink") && line.contains("later");
        status.lines().any(hung).then_some(())
    });
    let links = pinned(&root(&world))?.len() - before.len();
    ensure!((links > 0) == environment.is_empty(), "{links} new pins");
    let status = world.ctl("status")?;
    ensure!(!status.contains("does not hang"), "{status}");
    world.kill()?;
    world.start_with(environment)?;
    busy.fresh(&world)?;
    busy.end()
}

/// Publishing a port where the pins are gone: the hook that it needs is pinned, with all others.
#[test]
fn x01_a_hook_is_hung_where_the_pins_were_removed() -> Outcome {
    let mut world = World::without_daemon()?;
    world.start_with(&NO_SWEEP)?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let _server = web.serve(7000)?;
    let before = pinned(&root(&world))?;
    fs::remove_dir_all(root(&world))?;
    world.ctl("port publish web 8080:7000")?;
    let now = pinned(&root(&world))?;
    ensure!(
        now.is_superset(&before) && now.len() > before.len(),
        "{now:?}"
    );
    Ok(())
}

/// Another holds the directory: reconcile fails and says what, the status and the health service say so, until it is over.
#[test]
fn x01_pins_that_cannot_be_made_are_told() -> Outcome {
    let world = World::new()?;
    let busy = Busy::start(&world)?;
    let before = pinned(&root(&world))?;
    // The daemon looks now and then, and may be first.
    let theirs = wait_for("the lock", 20, || {
        let _ = fs::remove_dir_all(root(&world));
        fs::create_dir(root(&world)).ok()?;
        let directory = fs::File::open(root(&world)).ok()?;
        Flock::lock(directory, FlockArg::LockExclusiveNonblock).ok()
    });
    let said = world.refused(
        "system reconcile",
        &["another process", &world.instance, "fuser"],
    )?;
    ensure!(!said.contains("Nothing to mend"), "{said}");
    let status = world.ctl("status")?;
    ensure!(status.contains("Not serving: hooks: "), "{status}");
    wait_for("the health to say so", 10, || {
        (health(&world).ok()? == ServingStatus::NotServing).then_some(())
    });
    busy.fresh(&world).context("without pins")?;
    drop(theirs);
    wait_for("the pins", 20, || {
        let whole = pinned(&root(&world)).ok()? == before;
        let status = world.ctl("status").ok()?;
        let serving = health(&world).ok()? == ServingStatus::Serving;
        (whole && serving && !status.contains("Not serving")).then_some(())
    });
    ensure!(world.ctl("system reconcile")? == "Nothing to mend.");
    busy.end()
}
