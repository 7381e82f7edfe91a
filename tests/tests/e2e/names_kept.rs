//! What keeps the resolvers' sockets while the daemon is away: a keeper that is dead, frozen or none of ours, and a
//! service manager in its place. X01 holds for each.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hickory_proto::op::Message;
use netd_tests::{
    World,
    dns::{
        Client,
        client::{question, receive},
        dig, manager,
        manager::Manager,
    },
    wait_for,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    Outcome,
    names::{forwards, named_world},
    names_survival::{keeper, sockets},
    show,
};

fn signal(pid: i32, signal: Signal) -> Outcome {
    Ok(kill(Pid::from_raw(pid), signal)?)
}

/// Waits until another keeper than this one is there, and no second one.
fn another_keeper(world: &World, old: i32) -> i32 {
    wait_for("another keeper", 15, || {
        keeper(world).filter(|pid| *pid != old)
    })
}

#[test]
fn b12_a_dead_keeper_is_replaced_at_once() -> Outcome {
    let (mut world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let other = world.sandbox("other", &["front"])?;
    let before = [sockets(&web)?, sockets(&other)?];
    // Nothing is asked of the daemon, and the second keeper is replaced like the first.
    let first = keeper(&world).context("no keeper")?;
    signal(first, Signal::SIGKILL)?;
    let second = another_keeper(&world, first);
    signal(second, Signal::SIGKILL)?;
    let third = another_keeper(&world, second);
    // It has its sockets a moment after it is there.
    wait_for("the sockets at the keeper", 5, || {
        let held = fs::read_dir(format!("/proc/{third}/fd")).ok()?;
        let held = held
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok());
        let held = held.filter(|to| to.display().to_string().starts_with("socket:"));
        // Two of each sandbox, the one it listens on and the one to the daemon.
        (held.count() >= 6).then_some(())
    });
    world.kill()?;
    world.start()?;
    dig(&web.scope, "other A")?.is("A", &[other.v4("eth0")?])?;
    let after = [sockets(&web)?, sockets(&other)?];
    ensure!(after == before, "{before:?}, then {after:?}");
    ensure!(keeper(&world) == Some(third), "another keeper");
    Ok(())
}

#[test]
fn b12_a_frozen_keeper_holds_up_nobody() -> Outcome {
    let (mut world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let frozen = keeper(&world).context("no keeper")?;
    signal(frozen, Signal::SIGSTOP)?;
    // While the daemon runs.
    let begun = Instant::now();
    let new = world.sandbox("new", &["front"])?;
    dig(&new.scope, "web A")?.is("A", &[web.v4("eth0")?])?;
    world.ctl("sandbox rm new")?;
    ensure!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    // At a start: what it has is lost, and its port must not be. (One that is stopped when its parent ends dies of it.)
    signal(frozen, Signal::SIGCONT)?;
    world.kill()?;
    signal(frozen, Signal::SIGSTOP)?;
    let begun = Instant::now();
    world.start()?;
    ensure!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    dig(&web.scope, "web A")?.is("A", &[web.v4("eth0")?])?;
    forwards(&web, &upstream, "a.example")?;
    ensure!(
        !Path::new(&format!("/proc/{frozen}/fd/0")).exists(),
        "it is still there"
    );
    // The new one is as good.
    another_keeper(&world, frozen);
    let before = sockets(&web)?;
    world.kill()?;
    world.start()?;
    dig(&web.scope, "web A")?.is("A", &[web.v4("eth0")?])?;
    ensure!(sockets(&web)? == before, "other sockets than before");
    Ok(())
}

#[test]
fn b12_a_frozen_keeper_holds_up_no_purge() -> Outcome {
    let (mut world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    world.sandbox("web", &["front"])?;
    let frozen = keeper(&world).context("no keeper")?;
    world.stop()?;
    signal(frozen, Signal::SIGSTOP)?;
    let begun = Instant::now();
    let purged = world.netd(&["--purge"])?;
    ensure!(purged.ok, "{}", purged.text());
    ensure!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    wait_for("the keeper's end", 5, || {
        keeper(&world).is_none().then_some(())
    });
    Ok(())
}

#[test]
fn b12_the_keeper_serves_its_daemon_alone() -> Outcome {
    let mut world = World::without_daemon()?;
    let words = world.daemon_words(&[]);
    // As if no umask were set: the name must be closed to others all the same.
    let mut all = vec!["sh", "-c", "umask 0 && exec \"$@\"", "sh"];
    all.extend(words.iter().map(String::as_str));
    let log = fs::File::create(world.directory().join("umask.log"))?;
    let daemon = world.host_scope().spawn_logged(&all, log)?;
    wait_for("netd to answer", 30, || {
        world
            .netctl(&["status"])
            .is_ok_and(|out| out.ok)
            .then_some(())
    });
    world.ctl("sandbox create web")?;
    let path = world.run_directory().join("keeper.sock");
    let mode = wait_for("the keeper", 5, || fs::metadata(&path).ok()).mode();
    ensure!(mode & 0o7777 == 0o600, "{mode:o}");
    let pid = wait_for("the keeper", 5, || keeper(&world));
    // It serves one daemon at a time.
    daemon.stop(Signal::SIGKILL)?;
    fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    let run = world.run_directory();
    let stranger = manager::list_keeper(&run, 65_534)?;
    ensure!(
        stranger.is_none(),
        "a stranger was given {stranger:?} sockets"
    );
    let daemon = manager::list_keeper(&run, 0)?;
    ensure!(
        daemon == Some(2),
        "its own user was given {daemon:?} sockets"
    );
    ensure!(keeper(&world) == Some(pid), "another keeper");
    world.start()?;
    Ok(())
}

#[test]
fn x01_all_names_are_there_before_the_first_question() -> Outcome {
    let (mut world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    // In the order of their ids, in which a start comes to them.
    let mut all = std::collections::BTreeMap::new();
    for number in 0..24 {
        let sandbox = show::run(&world, &format!("--network front box{number}"))?;
        let id = show::sandbox(&world, &sandbox.name)?["Id"].to_string();
        all.insert(id, sandbox);
    }
    let last = all.values().last().context("a sandbox")?.name.clone();
    world.kill()?;
    // While nobody is there all ask for the one that a start comes to last.
    let mut waiting = Vec::new();
    for from in all.values() {
        let client = Client::inside(&from.netns).patience(20_000);
        for _ in 0..4 {
            let socket = client.socket()?;
            socket.send(&question(&last, "A")?)?;
            waiting.push((format!("{} for {last}", from.name), socket));
        }
    }
    world.start()?;
    for (what, socket) in waiting {
        let answer = Message::from_vec(&receive(&socket)?.unwrap_or_default())?;
        ensure!(answer.answers.len() == 1, "{what}: {answer}");
    }
    let seen = upstream.seen()?;
    ensure!(seen.is_empty(), "others were asked: {seen:?}");
    Ok(())
}

/// A world whose daemon is started by a service manager; the daemon's configuration names its resolvers.
fn managed(room: &str) -> anyhow::Result<(World, netd_tests::dns::Nameserver, Manager)> {
    let (mut world, upstream) = named_world("")?;
    world.stop()?;
    let manager = Manager::new(world.directory(), room)?;
    Ok((world, upstream, manager))
}

#[test]
fn b12_a_service_manager_keeps_the_sockets() -> Outcome {
    let (mut world, upstream, mut manager) = managed("64")?;
    let daemon = manager.start(&world)?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let other = world.sandbox("other", &["front"])?;
    let before = sockets(&web)?;
    wait_for("the sockets at the manager", 5, || {
        manager.take().ok()?;
        (manager.kept().len() == 2).then_some(())
    });
    for (name, held) in manager.kept() {
        ensure!(
            held == 2 && name.len() <= 255 && !name.contains(':'),
            "{name}: {held}"
        );
    }
    ensure!(keeper(&world).is_none(), "there is a keeper as well");
    daemon.stop(Signal::SIGKILL)?;
    // Questions wait where the manager keeps the sockets.
    let client = Client::inside(&web.netns).patience(20_000);
    let waits = client.socket()?;
    waits.send(&question("other", "A")?)?;
    // One that is of a sandbox that is gone, and one of somebody else.
    manager.put("netd-dns-0000-4-12345")?;
    manager.put("other.socket")?;
    let daemon = manager.start(&world)?;
    let answer = Message::from_vec(&receive(&waits)?.unwrap_or_default())?;
    ensure!(answer.answers.len() == 1, "{answer}");
    forwards(&web, &upstream, "a.example")?;
    ensure!(sockets(&web)? == before, "other sockets than before");
    wait_for("the end of what nobody wants", 5, || {
        manager.take().ok()?;
        let kept = manager.kept();
        (kept.len() == 3 && kept.iter().any(|(name, _)| name == "other.socket")).then_some(())
    });
    world.ctl("sandbox rm other")?;
    wait_for("the end of the sandbox's sockets", 5, || {
        manager.take().ok()?;
        (manager.kept().len() == 2).then_some(())
    });
    drop(other);
    // A daemon without a manager takes nothing amiss.
    let output = daemon.stop(Signal::SIGTERM)?;
    ensure!(output.ok, "{output:?}");
    drop(manager);
    world.start()?;
    dig(&web.scope, "web A")?.is("A", &[web.v4("eth0")?])
}

#[test]
fn b12_a_service_manager_takes_over_from_a_keeper() -> Outcome {
    let (mut world, _upstream, mut manager) = managed("64")?;
    world.start()?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let before = sockets(&web)?;
    ensure!(keeper(&world).is_some(), "no keeper");
    world.kill()?;
    let daemon = manager.start(&world)?;
    dig(&web.scope, "web A")?.is("A", &[web.v4("eth0")?])?;
    ensure!(sockets(&web)? == before, "other sockets than before");
    wait_for("the keeper's end", 5, || {
        manager.take().ok()?;
        (manager.kept().len() == 1 && keeper(&world).is_none()).then_some(())
    });
    daemon.stop(Signal::SIGKILL)?;
    let _daemon = manager.start(&world)?;
    dig(&web.scope, "web A")?.is("A", &[web.v4("eth0")?])?;
    ensure!(sockets(&web)? == before, "other sockets than before");
    Ok(())
}

#[test]
fn b12_a_service_manager_without_room_is_left_alone() -> Outcome {
    let (world, _upstream, mut manager) = managed("0")?;
    let _daemon = manager.start(&world)?;
    world.ctl("network create front")?;
    world.sandbox("web", &["front"])?;
    wait_for("a keeper", 5, || keeper(&world));
    manager.take()?;
    ensure!(manager.kept().is_empty(), "{:?}", manager.kept());
    Ok(())
}
