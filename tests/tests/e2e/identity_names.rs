//! B1: the names by which a namespace is reached, netd's own and the one that it was given by: when they are lost or lead elsewhere,
//! nothing runs there, and it is told or mended.

use std::time::Duration;

use anyhow::ensure;
use netd_tests::{Netns, World};

use crate::{
    Outcome,
    directories::at,
    identity::{apart, inode, text},
    show,
};

/// netd's own name of a namespace is lost, or leads to another one: nothing is run there, and `system reconcile` mends it.
#[test]
fn b1_a_name_that_is_lost_or_replaced_is_not_entered_and_is_mended() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create n")?;
    let theirs = world.namespace("theirs")?;
    let foreign = world.namespace("foreign")?;
    world.ctl("sandbox create s --network n")?;
    world.ctl(&format!(
        "sandbox create f --netns {} --network n",
        text(foreign.path())
    ))?;
    for name in ["s", "f"] {
        let (path, _) = at(&world, name)?;
        let number = inode(&path)?;
        let shown = text(&path);
        let script = |script: String| -> Outcome {
            let done = world.host_scope().run(&["sh", "-c", &script])?;
            ensure!(done.ok, "{script}: {}", done.text());
            Ok(())
        };
        for spoil in [
            // Another namespace in its place, or above it; nothing, and not even the file.
            format!(
                "umount -l {shown} && mount --bind {} {shown}",
                text(theirs.path())
            ),
            format!("mount --bind {} {shown}", text(theirs.path())),
            format!("umount -l {shown}"),
            format!("umount -l {shown} && rm {shown}"),
        ] {
            script(spoil.clone())?;
            let exec = format!(
                "sandbox exec {name} -- touch {}/ran",
                text(world.directory())
            );
            let output = world.netctl(&exec.split(' ').collect::<Vec<_>>())?;
            ensure!(output.code == Some(125), "{spoil}: {}", output.text());
            ensure!(output.stderr.contains(&shown), "{spoil}: {}", output.stderr);
            ensure!(!world.directory().join("ran").exists(), "{spoil}: it ran");
            let mended = world.ctl("system reconcile")?;
            ensure!(
                mended.contains(&format!("sandbox {name}")),
                "{spoil}: {mended}"
            );
            ensure!(inode(&path)? == number, "{spoil}: another namespace");
            ensure!(world.ctl("system reconcile")?.contains("Nothing to mend"));
            let entered = world.ctl(&format!(
                "sandbox exec {name} -- readlink /proc/self/ns/net"
            ))?;
            ensure!(entered.contains(&number.to_string()), "{entered}");
        }
        // What is neither is left, and named.
        script(format!("umount -l {shown} && echo theirs > {shown}"))?;
        world.refused("system reconcile", &[&shown])?;
        let status = world.ctl("status")?;
        ensure!(
            status.contains("Degraded") && status.contains(&shown),
            "{status}"
        );
        ensure!(
            std::fs::read_to_string(&path)? == "theirs\n",
            "not netd's, and changed"
        );
        script(format!("rm {shown}"))?;
        world.ctl("system reconcile")?;
        ensure!(inode(&path)? == number);
    }
    world.close()
}

/// A path that is gone, or another's, when the daemon comes back: the sandbox has stopped, and why and what to do is told.
#[test]
fn b1_a_path_that_went_while_the_daemon_was_away_is_told() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create n")?;
    let gone = world.namespace("gone")?;
    let another = world.namespace("another")?;
    let mut process = apart(&world)?;
    let (gone_path, another_path) = (text(gone.path()), text(another.path()));
    world.ctl(&format!("sandbox create a --netns {gone_path} --network n"))?;
    world.ctl(&format!(
        "sandbox create b --netns {another_path} --network n"
    ))?;
    world.ctl(&format!(
        "sandbox create c --pid {} --network n",
        process.pid()
    ))?;
    world.stop()?;
    gone.remove()?;
    another.remove()?;
    Netns::create(another.name())?;
    let pid = process.pid().to_string();
    process.close();
    ensure!(process.ended_within(Duration::from_secs(10)));
    world.start()?;
    let status = world.ctl("status")?;
    for (name, parts) in [
        (
            "a",
            [
                &*gone_path,
                "is gone",
                "netctl sandbox start --netns PATH a",
            ],
        ),
        (
            "b",
            [
                &*another_path,
                "another namespace",
                "netctl sandbox start --netns PATH b",
            ],
        ),
        (
            "c",
            [&*pid, "has ended", "netctl sandbox start --pid PID c"],
        ),
    ] {
        let told = |line: &&str| {
            line.contains(&format!("sandbox {name} has stopped"))
                && parts.iter().all(|part| line.contains(part))
        };
        ensure!(
            status.lines().any(|line| told(&line)),
            "{name}: {parts:?}: {status}"
        );
        ensure!(
            show::sandbox(&world, name)?["Running"] == false,
            "{name} runs"
        );
    }
    world.forget(&gone);
    let again = world.namespace("again")?;
    world.ctl(&format!("sandbox start --netns {} a", text(again.path())))?;
    world.close()
}
