//! A shell in the host namespace of a fresh world, with netd running and `NETD_ADDRESS` set.

use std::env;

use anyhow::{Context, Result};
use netd_tests::{World, world::binary};

fn main() -> Result<()> {
    let mut world = World::new()?;
    let netctl = binary("netctl");
    let programs = std::path::Path::new(&netctl)
        .parent()
        .context("the binaries' directory")?;
    let path = format!(
        "{}:{}",
        programs.display(),
        env::var("PATH").unwrap_or_default()
    );
    let shell = env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into());
    println!("This shell is the host (198.51.100.1, 2001:db8:100::1); netd runs, netctl finds it.");
    println!(
        "The neighbour: nsenter --net={} COMMAND (198.51.100.2, 2001:db8:100::2)",
        world.lan.path().display()
    );
    println!(
        "netd's log: {}; exit ends the world.",
        world.directory().join("netd.log").display()
    );
    let scope = world.host_scope().env("PATH", &path).env("PS1", "lab# ");
    // How the shell ended is the user's business.
    let _ = scope
        .command(&[&shell])?
        .status()
        .with_context(|| shell.clone())?;
    world.close()
}
