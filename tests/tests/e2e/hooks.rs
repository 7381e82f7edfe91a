//! C12, X03: what others do to the hooks, and what netd leaves on those of others.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, ensure};
use netd_tests::{Netns, World, probe::probe, world::HOST_V4};

use crate::Outcome;

/// Where the instance pins its links.
fn links(world: &World) -> anyhow::Result<PathBuf> {
    let root = PathBuf::from("/sys/fs/bpf/netd").join(&world.instance);
    let version = fs::read_dir(&root)?.flatten().next().context("no pins")?;
    Ok(version.path().join("links"))
}

/// Programs that the status lists, as name and target.
fn hangs(world: &World, name: &str) -> anyhow::Result<bool> {
    let status = world.ctl("status")?;
    let mut lines = status
        .lines()
        .filter(|line| !line.contains("does not hang"));
    Ok(lines.any(|line| line.split_whitespace().any(|word| word == name)))
}

/// A link that somebody detaches (`bpftool link detach`) keeps its pin. The status must not list it, and tell; a reconcile hangs the
/// program again.
#[test]
fn c12_links_that_others_detach_are_seen_and_hung_again() -> Outcome {
    let mut world = World::without_daemon()?;
    // Else the daemon may be first.
    world.start_with(&[("NETD_FAILPOINT_REFUSE", "sweep-hooks")])?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000")?;
    let outside = || probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 700);
    let inside = || probe(&world.host_scope(), "tcp", (HOST_V4, 8080).into(), 700);
    let pins = links(&world)?;
    let uplink = fs::read_dir(&pins)?.flatten().map(|e| e.path());
    let uplink = uplink
        .into_iter()
        .find(|p| p.display().to_string().contains("uplink-"))
        .context("no link of an uplink")?;
    let nothing = world.ctl("system reconcile")?;
    for (program, pin) in [
        ("from_uplink", uplink),
        ("from_loopback", pins.join("loopback")),
        ("connect4", pins.join("connect4")),
    ] {
        ensure!(hangs(&world, program)?, "{program} is not listed");
        outside().context("before")?;
        inside().context("before")?;
        let detached = world.host_scope().run(&[
            "bpftool",
            "link",
            "detach",
            "pinned",
            &pin.display().to_string(),
        ])?;
        ensure!(detached.ok, "bpftool: {}", detached.text());
        ensure!(
            !hangs(&world, program)?,
            "{program} is listed though it was detached"
        );
        let status = world.ctl("status")?;
        ensure!(
            status.contains(&format!("program {program} does not hang")),
            "{status}"
        );
        if program == "from_uplink" {
            ensure!(outside().is_err(), "the program has no effect");
        }
        let said = world.ctl("system reconcile")?;
        ensure!(said.contains(program), "{said}");
        ensure!(hangs(&world, program)?, "{program} was not hung again");
        outside().context("after")?;
        inside().context("after")?;
        ensure!(world.ctl("system reconcile")? == nothing, "mended twice");
    }
    Ok(())
}

/// What a namespace has of rules, routes and qdiscs.
fn shown(netns: &Netns) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for words in [
        "-4 rule show",
        "-6 rule show",
        "-4 route show table all",
        "-6 route show table all",
    ] {
        all.push(netns.ip(words)?);
    }
    let qdiscs = netns.scope().run(&["tc", "qdisc", "show"])?;
    ensure!(qdiscs.ok, "tc: {}", qdiscs.text());
    all.push(qdiscs.stdout);
    Ok(all)
}

/// A namespace that others made is left as it was found, when its sandbox is removed and when the instance is purged.
#[test]
fn b20_a_namespace_of_others_is_left_as_it_was() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    world.ctl("network create --ipv6 back")?;
    let guest = world.namespace("guest")?;
    let before = shown(&guest)?;
    let create = format!(
        "sandbox create --netns {} --network front --network back guest",
        guest.path().display()
    );
    for end in ["stop", "rm", "purge"] {
        world.ctl(&create)?;
        let rules = shown(&guest)?;
        ensure!(
            rules[0].contains("30001") && rules[4].contains("clsact"),
            "nothing to take away: {rules:?}"
        );
        match end {
            "purge" => {
                world.kill()?;
                let purged = world.netd(&["--purge"])?;
                ensure!(purged.ok, "{}", purged.text());
            }
            "stop" => {
                world.ctl("sandbox stop guest")?;
            }
            _ => {}
        }
        if end != "purge" {
            world.ctl("sandbox rm -f guest")?;
        }
        let after = shown(&guest)?;
        ensure!(after == before, "after {end}: {after:?} for {before:?}");
    }
    Ok(())
}

/// A limit that is too low is named as such, not the kernel's version.
#[test]
fn x03_too_few_open_files_are_named() -> Outcome {
    let world = World::without_daemon()?;
    let words = world.daemon_words(&[]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let limited = [&["prlimit", "--nofile=40:40"][..], &words].concat();
    let output = world.host_scope().run(&limited)?;
    let text = output.text();
    ensure!(!output.ok, "netd starts with 40 files");
    ensure!(
        text.contains("LimitNOFILE") && !text.contains("Linux 6.1"),
        "{text}"
    );
    Ok(())
}
