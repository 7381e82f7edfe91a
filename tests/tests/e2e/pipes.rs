//! P02: who reads what netctl or netd writes may go at any time (`netctl network ls | head -1`).

use std::{
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use netd_tests::{World, wait_for, world::binary};

use crate::Outcome;

/// What a program that panics ends with.
const PANIC: i32 = 101;

/// A pipe that nobody reads.
fn closed() -> Result<OwnedFd> {
    let (reader, writer) = nix::unistd::pipe()?;
    drop(reader);
    Ok(writer)
}

/// Starts it with both outputs to nobody.
fn unread(mut command: Command) -> Result<Child> {
    Ok(command
        .stdin(Stdio::null())
        .stdout(closed()?)
        .stderr(closed()?)
        .spawn()?)
}

fn end(command: Command) -> Result<ExitStatus> {
    let mut child = unread(command)?;
    let status = wait_for("its end", 30, || child.try_wait().transpose());
    Ok(status?)
}

#[test]
fn p02_nobody_reads_what_is_said() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    let directory = world.directory().join("pki").display().to_string();
    let (netctl, netd) = (binary("netctl"), binary("netd"));
    let mut wrong = Vec::new();
    for (program, line, codes) in [
        (&netctl, "network ls", [0, 0]),
        (&netctl, "--output json network inspect front", [0, 0]),
        (&netctl, "network inspect nobody", [1, 1]),
        (&netctl, "network rm nobody", [1, 1]),
        (&netctl, "--output json network rm nobody", [1, 1]),
        (&netctl, "--output json network prune", [0, 1]),
        (&netctl, "--address unix:///nowhere status", [1, 1]),
        (&netctl, "system watch --nonsense", [2, 2]),
        (&netctl, "--help", [0, 0]),
        (&netctl, "man", [0, 0]),
        (&netctl, "completions bash", [0, 0]),
        (&netd, "--help", [0, 0]),
        (&netd, "--nonsense", [2, 2]),
        (&netd, "--log =nonsense=", [1, 1]),
        (&netd, "--instance no.dots", [1, 1]),
        (&netd, "pki init PKI --host ::1", [0, 0]),
        (&netd, "pki init /proc/nowhere --host ::1", [1, 1]),
    ] {
        let line = line.replace("PKI", &directory);
        let words: Vec<&str> = line.split(' ').collect();
        let command = world
            .host_scope()
            .command(&[&[program.as_str()][..], &words].concat())?;
        let status = end(command)?;
        let right = status.code().is_some_and(|code| codes.contains(&code));
        if !right {
            wrong.push(format!("{line}: {status}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The daemon lives on when the reader of its log goes.
#[test]
fn p02_nobody_reads_the_daemons_log() -> Outcome {
    let world = World::without_daemon()?;
    let words = world.daemon_words(&[]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut daemon = unread(world.host_scope().command(&words)?)?;
    let worked = (|| {
        let ended = wait_for("netd to answer", 30, || {
            if let Ok(Some(status)) = daemon.try_wait() {
                return Some(Some(status));
            }
            let status = world.netctl(&["status"]);
            status.is_ok_and(|output| output.ok).then_some(None)
        });
        ensure!(ended.is_none(), "netd ended: {ended:?}");
        // Each change is a line of the log.
        world.ctl("network create front")?;
        world.ctl("sandbox create --network front web")?;
        world.ctl("sandbox rm web")?;
        world.ctl("network rm front")?;
        Ok(())
    })();
    let pid = i32::try_from(daemon.id())?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    )?;
    let status = daemon.wait().context("its end")?;
    worked?;
    ensure!(status.code() != Some(PANIC) && status.success(), "{status}");
    Ok(())
}
