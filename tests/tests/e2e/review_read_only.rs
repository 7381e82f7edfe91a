//! B4: a store that is read-only, at a start or while the daemon runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use netd_tests::{World, picture::Picture};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{
    Outcome,
    review_disk::{LARGE, SMALL, fill, is_serving, listed, without_revisions},
};

/// A bind mount of a file or directory onto itself, read-only; it ends with this.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn new(file: PathBuf) -> anyhow::Result<Self> {
        mount(
            Some(&file),
            &file,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
        let own = Self(file);
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(None::<&str>, &own.0, None::<&str>, flags, None::<&str>)?;
        Ok(own)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// A store that cannot be written, its directory or its file alone: netd does not start, says which and what to do, and all is as
/// it was once it can.
#[test]
fn b04_a_read_only_store_is_named_at_the_start() -> Outcome {
    let mut world = World::without_daemon()?;
    world.with_small_disk(SMALL)?;
    world.start()?;
    world.ctl("network create n")?;
    world.ctl("sandbox create --network n -p 8080:80 s")?;
    let before = listed(&world)?.map(without_revisions);
    let (directory, file) = (
        world.state_directory(),
        world.state_directory().join("netd.redb"),
    );
    world.stop()?;
    let refused = |what: &Path| -> Outcome {
        let output = world.netd(&[])?;
        let text = output.text();
        ensure!(
            !output.ok && output.code == Some(1),
            "{:?}: {text}",
            output.code
        );
        for part in [&*what.display().to_string(), "read-only", "writable"] {
            ensure!(
                text.to_lowercase().contains(&part.to_lowercase()),
                "{part:?}: {text}"
            );
        }
        ensure!(
            !text.contains("panicked") && !text.contains("damaged"),
            "{text}"
        );
        Ok(())
    };
    for what in [directory, file] {
        let _read_only = ReadOnly::new(what.clone())?;
        refused(&what)?;
    }
    world.start()?;
    let after = listed(&world)?.map(without_revisions);
    ensure!(after == before, "{before:#?}\n{after:#?}");
    Ok(())
}

/// The file system of a running daemon's store becomes read-only (as the kernel makes it after an error): what would be written is
/// refused and names the store, nothing changes, and it goes on once it can.
#[test]
fn b04_a_store_that_becomes_read_only_refuses_changes() -> Outcome {
    let mut world = World::without_daemon()?;
    world.with_small_disk(SMALL)?;
    world.start()?;
    world.ctl("network create n")?;
    world.ctl("network create empty")?;
    world.ctl("sandbox create --network n -p 8080:80 s")?;
    // An open file is written as before; one that had an error is opened again, which is refused.
    let guard = ReadOnly::new(world.state_directory().join("netd.redb"))?;
    fill(&world)?;
    for line in [
        "network create m",
        "network rm empty",
        "sandbox create --network n t",
        "sandbox stop s",
        "sandbox rm s",
        "network disconnect n s",
        "port publish s 9090:90",
        "port unpublish s 8080:80",
        // Wrong in itself.
        "network create --subnet 10.0.0.0/33 m",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let before = Picture::take(&world)?;
        let output = world.netctl(&words)?;
        ensure!(!output.ok, "{line}: granted");
        let bad = line.contains("/33");
        let named = ["netd.redb", "Read-only"]
            .iter()
            .all(|part| output.stderr.contains(part));
        ensure!(bad || named, "{line}: {}", output.stderr);
        before.holds(&world).with_context(|| line.to_owned())?;
    }
    is_serving(&world, false)?;
    ensure!(!world.log().contains("panicked"), "{}", world.log());
    drop(guard);
    world.disk()?.resize(LARGE)?;
    is_serving(&world, true)?;
    world.ctl("sandbox rm s")?;
    world.ctl("network rm n")?;
    Ok(())
}
