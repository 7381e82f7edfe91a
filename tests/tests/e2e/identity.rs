//! B1, B11: a namespace is known by what it is, never by its path alone; and what is no namespace is not touched.

use std::{
    fs::{self, File, OpenOptions},
    os::fd::AsRawFd as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netd_tests::{Netns, Process, World, wait_for, world::LAN_V4};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{Outcome, directories::at, reaches, show};

/// Which namespace a path leads to.
pub fn inode(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.ino())
}

/// What netd would change in a namespace that is not the sandbox's.
fn contents(netns: &Netns) -> Result<String> {
    let mut all = String::new();
    for words in ["-o link", "route show table all", "rule", "-6 rule"] {
        // Counters and times do not belong to it.
        all.push_str(&netns.ip(words)?);
    }
    Ok(all)
}

/// While netd is away, another namespace takes the path: the host's own, or a new one.
#[test]
fn b1_a_start_does_not_take_the_namespace_that_has_the_path_now() -> Outcome {
    for hosts in [false, true] {
        let mut world = World::new()?;
        world.ctl("network create --subnet 10.73.0.0/24 n")?;
        let first = world.namespace("theirs")?;
        let path = text(first.path());
        world.ctl(&format!(
            "sandbox create s --netns {path} --network name=n,ip=10.73.0.9"
        ))?;
        world.stop()?;
        let routes = contents(&world.host)?;
        first.remove()?;
        if hosts {
            fs::write(first.path(), "")?;
            bind(world.host.path(), first.path())?;
        } else {
            Netns::create(first.name())?;
        }
        let before = contents(&first)?;
        world.start()?;
        let shown = show::sandbox(&world, "s")?;
        ensure!(shown["Running"] == false, "{hosts}: {shown:#}");
        let after = contents(&first)?;
        if hosts {
            // The host's side of s has gone, as it stopped; nothing else has changed.
            let default = |text: &str| {
                let lines = text.lines().filter(|line| line.starts_with("default"));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            ensure!(
                default(&after) == default(&routes) && !after.contains("eth0"),
                "{routes}\nis now\n{after}"
            );
        } else {
            ensure!(before == after, "{before}\nis now\n{after}");
        }
        let filters = world
            .scope(first.path())
            .run(&["tc", "filter", "show", "dev", "lo", "egress"])?;
        ensure!(filters.stdout.trim().is_empty(), "{}", filters.stdout);
        // It can be started elsewhere, with what it had.
        world.ctl("sandbox start s")?;
        let (_, s) = at(&world, "s")?;
        ensure!(s.v4("eth0")?.to_string() == "10.73.0.9");
        if hosts {
            umount2(first.path(), MntFlags::MNT_DETACH)?;
            fs::remove_file(first.path())?;
            world.forget(&first);
        }
        world.close()?;
    }
    Ok(())
}

/// After a reboot neither path nor process is what it was.
#[test]
fn b1_a_reboot_stops_sandboxes_of_others_namespaces() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create n")?;
    let theirs = world.namespace("theirs")?;
    let mut process = apart(&world)?;
    world.ctl(&format!(
        "sandbox create a --netns {} --network n",
        text(theirs.path())
    ))?;
    world.ctl(&format!(
        "sandbox create b --pid {} --network n",
        process.pid()
    ))?;
    world.ctl("sandbox create c --network n")?;
    world.stop()?;
    world.forget_kernel_state()?;
    theirs.remove()?;
    Netns::create(theirs.name())?;
    process.close();
    ensure!(process.ended_within(Duration::from_secs(10)));
    let before = contents(&theirs)?;
    world.start()?;
    for (name, runs) in [("a", false), ("b", false), ("c", true)] {
        let shown = show::sandbox(&world, name)?;
        ensure!(shown["Running"] == runs, "{name}: {shown:#}");
    }
    ensure!(before == contents(&theirs)?, "the new one was changed");
    world.close()
}

/// The path that is handed out is netd's own, and leads to the sandbox whatever becomes of the one that was given.
#[test]
fn b1_a_sandbox_is_entered_by_a_path_of_netds_own() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create n")?;
    let theirs = world.namespace("theirs")?;
    let number = inode(theirs.path())?;
    world.ctl(&format!(
        "sandbox create s --netns {} --network n",
        text(theirs.path())
    ))?;
    let (path, s) = at(&world, "s")?;
    ensure!(
        path == world.run_directory().join("netns/s"),
        "{}",
        path.display()
    );
    ensure!(inode(&path)? == number, "another namespace");
    theirs.remove()?;
    Netns::create(theirs.name())?;
    ensure!(inode(theirs.path())? != number, "the same namespace");
    let entered = world.ctl("sandbox exec s -- readlink /proc/self/ns/net")?;
    ensure!(entered.contains(&number.to_string()), "{entered}");
    let _server = netd_tests::Server::start(&world.lan_scope(), 7000)?;
    reaches(&s, LAN_V4.into(), 7000)?;
    // It goes with the sandbox; theirs does not.
    world.ctl("sandbox rm s")?;
    ensure!(!path.exists() && theirs.path().exists());
    world.refused("sandbox exec s -- true", &["s"])?;
    world.close()
}

/// A process in a namespace of its own, which ends when its input does.
pub fn apart(world: &World) -> Result<Process> {
    let process = world.host_scope().spawn(&["unshare", "-n", "cat"])?;
    let own = PathBuf::from(format!("/proc/{}/ns/net", process.pid()));
    let host = inode(world.host.path())?;
    wait_for("the process to be apart", 10, || {
        inode(&own).is_ok_and(|now| now != host).then_some(())
    });
    Ok(process)
}

/// Whoever made the sandbox for a process hears nothing more of it: netd notices its end, running or at its start.
#[test]
fn b1_a_sandbox_stops_with_its_process() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create n")?;
    for (running, restarted) in [(true, false), (true, true), (false, true)] {
        let mut process = apart(&world)?;
        world.ctl(&format!(
            "sandbox create s --pid {} --network n --publish 8080:7000",
            process.pid()
        ))?;
        let (path, s) = at(&world, "s")?;
        let _server = netd_tests::Server::start(&world.lan_scope(), 7000)?;
        reaches(&s, LAN_V4.into(), 7000)?;
        // It outlives the daemon, with its process.
        if restarted {
            world.stop()?;
            world.start()?;
        }
        ensure!(show::sandbox(&world, "s")?["Running"] == true, "stopped");
        reaches(&s, LAN_V4.into(), 7000)?;
        if !running {
            world.stop()?;
        }
        process.close();
        ensure!(process.ended_within(Duration::from_secs(10)));
        if !running {
            world.start()?;
        }
        wait_for("the sandbox to stop", 10, || {
            let shown = show::sandbox(&world, "s").ok()?;
            (shown["Running"] == false).then_some(())
        });
        wait_for("its name to go", 10, || (!path.exists()).then_some(()));
        ensure!(show::members(&world, "n")?.is_empty(), "a stale endpoint");
        world.ctl("sandbox rm s")?;
    }
    // The kernel gives no such number.
    let none = "sandbox create s --pid 2147483647";
    world.refused(none, &["no process 2147483647", "running process"])?;
    world.close()
}

/// Requests about what is no namespace are refused at once, however many, and hold up no other.
#[test]
fn b11_what_is_no_namespace_holds_up_nobody() -> Outcome {
    let world = World::new()?;
    let fifo = world.directory().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    let file = world.directory().join("file");
    fs::write(&file, "x")?;
    for (index, path) in [&fifo; 8].into_iter().chain([&file]).enumerate() {
        let begin = Instant::now();
        let line = format!("sandbox create --netns {} s{index}", text(path));
        world.refused(&line, &[&text(path), "not a network namespace"])?;
        ensure!(begin.elapsed() < Duration::from_secs(4), "slow");
        world.ctl("status")?;
    }
    ensure!(!world.ctl("sandbox ls")?.contains("s0"), "half-made");
    Ok(())
}

/// A file system that never answers: who asks about it waits, nobody else does, and the daemon can end.
#[test]
fn b11_a_file_system_that_hangs_holds_up_nobody() -> Outcome {
    let mut world = World::new()?;
    let place = world.directory().join("hanging");
    fs::create_dir(&place)?;
    let Ok(server) = OpenOptions::new().read(true).write(true).open("/dev/fuse") else {
        // This kernel has none.
        return Ok(());
    };
    let hanging = Hanging::mount(place.clone(), server)?;
    let path = place.join("ns");
    let netctl = netd_tests::world::binary("netctl");
    let mut asking = Vec::new();
    for index in 0..8 {
        let (name, path) = (format!("h{index}"), text(&path));
        let words = [
            netctl.as_str(),
            "sandbox",
            "create",
            "--netns",
            &path,
            &name,
        ];
        let log = File::create(world.directory().join(&name))?;
        asking.push((name.clone(), world.host_scope().spawn_logged(&words, log)?));
    }
    world.ctl("network create n")?;
    world.sandbox("s", &["n"])?;
    for (name, process) in asking {
        ensure!(process.finish()?.code == Some(1), "{name}");
        let said = fs::read_to_string(world.directory().join(&name))?;
        ensure!(said.contains("no answer"), "{name}: {said}");
    }
    ensure!(!world.ctl("sandbox ls")?.contains("h0"), "half-made");
    world.stop()?;
    drop(hanging);
    world.close()
}

/// A FUSE mount whose server never answers.
struct Hanging {
    place: PathBuf,
    server: Option<File>,
}

impl Hanging {
    fn mount(place: PathBuf, server: File) -> Result<Self> {
        let data = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            server.as_raw_fd()
        );
        let kind = Some("fuse");
        mount(kind, &place, kind, MsFlags::empty(), Some(data.as_str()))
            .context("mounting what hangs")?;
        Ok(Self {
            place,
            server: Some(server),
        })
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Whoever waits hears that nobody will answer.
        drop(self.server.take());
        let _ = umount2(&self.place, MntFlags::MNT_DETACH);
    }
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).context("binding")
}

pub fn text(path: &Path) -> String {
    path.display().to_string()
}
