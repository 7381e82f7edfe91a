//! P01: the Unix socket is there as long as the daemon serves.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::PathBuf,
};

use anyhow::{Context as _, ensure};
use netd_tests::{World, pki::config_path, wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Outcome;

fn path(world: &World) -> PathBuf {
    world.run_directory().join("netd.sock")
}

/// Waits until there is a socket again, and the daemon answers there.
fn answers(world: &World) {
    wait_for("a new socket", 20, || {
        world.netctl(&["status"]).is_ok_and(|s| s.ok).then_some(())
    });
}

/// Owner, group and mode.
fn rights(world: &World) -> anyhow::Result<(u32, u32, u32)> {
    let data = fs::symlink_metadata(path(world))?;
    ensure!(data.file_type().is_socket(), "{data:?}");
    Ok((data.uid(), data.gid(), data.mode() & 0o7777))
}

#[test]
fn p01_a_removed_socket_is_made_again() -> Outcome {
    let mut world = World::unstarted_with("[listen]\ngroup = \"54321\"\n")?;
    world.start()?;
    let before = rights(&world)?;
    ensure!(before == (0, 54321, 0o660), "{before:?}");
    // A request that began by the old one goes on.
    let netctl = netd_tests::world::binary("netctl");
    let words = [netctl.as_str(), "system", "watch"];
    let mut watch = world.host_scope().spawn(&words)?;
    world.ctl("network create early")?;
    watch.until("early")?;
    fs::remove_file(path(&world))?;
    answers(&world);
    ensure!(rights(&world)? == before, "{:?}", rights(&world)?);
    world.ctl("network create late")?;
    watch.until("late")?;
    let shown = path(&world).display().to_string();
    let told = |log: &str| {
        let mut lines = log.lines();
        lines.any(|l| l.contains(&shown) && l.contains("WARN") && l.contains("removed"))
    };
    ensure!(told(&world.log()), "not logged: {}", world.log());
    // The group is the one of the settings that count now.
    fs::write(config_path(&world), "[listen]\ngroup = \"54322\"\n")?;
    let pid = i32::try_from(world.daemon_pid().context("no daemon")?)?;
    kill(Pid::from_raw(pid), Signal::SIGHUP)?;
    wait_for("the other group", 10, || {
        (rights(&world).ok()?.1 == 54322).then_some(())
    });
    fs::remove_file(path(&world))?;
    answers(&world);
    ensure!(
        rights(&world)? == (0, 54322, 0o660),
        "{:?}",
        rights(&world)?
    );
    // Its end removes it.
    drop(watch);
    world.stop()?;
    ensure!(!path(&world).exists(), "it stayed");
    world.start()
}

/// What others put in its place is not netd's to remove.
#[test]
fn p01_what_stands_in_the_sockets_place_stays() -> Outcome {
    let world = World::new()?;
    fs::remove_file(path(&world))?;
    fs::write(path(&world), "mine")?;
    wait_for("a word of it", 20, || {
        let log = world.log();
        let mut lines = log.lines();
        lines
            .any(|l| l.contains("netd.sock") && l.contains("WARN"))
            .then_some(())
    });
    ensure!(fs::read(path(&world))? == b"mine");
    fs::remove_file(path(&world))?;
    answers(&world);
    Ok(())
}
