//! B2: an instance has its name and its directories alone, and removes from them only what it has made.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path, path::PathBuf};

use anyhow::{Context, Result, ensure};
use netd_tests::{Netns, Sandbox, World, probe::probe, run::Output, wait_for, world::HOST_V4};
use nix::sys::signal::Signal;

use crate::{Outcome, reaches, show};

/// Runs netd to its end with other values of some options, and more words behind.
fn other(world: &World, changed: &[(&str, String)], more: &[&str]) -> Result<Output> {
    let mut words = world.daemon_words(more);
    change(&mut words, changed)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    world.host_scope().run(&words)
}

/// Gives options of a command line other values.
fn change(words: &mut [String], changed: &[(&str, String)]) -> Outcome {
    for (option, value) in changed {
        let at = words.iter().position(|word| word == option);
        words[at.context("no such option")? + 1] = value.clone();
    }
    Ok(())
}

/// It ends with a message that has these words and a way out.
fn refused(output: &Output, words: &[&str]) -> Outcome {
    let text = output.text();
    ensure!(output.code == Some(1) && text.contains('('), "{text}");
    for word in words {
        ensure!(text.contains(word), "{word:?} is not in: {text}");
    }
    Ok(())
}

/// All below a directory with what tells one from a copy of it.
fn tree(path: &Path) -> BTreeMap<PathBuf, (u64, u64, u32, u64)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if let Ok(meta) = fs::symlink_metadata(&path) {
            all.insert(
                path.clone(),
                (meta.dev(), meta.ino(), meta.mode(), meta.len()),
            );
            if meta.is_dir() {
                all.extend(tree(&path));
            }
        }
    }
    all
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// By name, by run directory, by state directory, and for a purge: all of the first one's goes on.
#[test]
fn b2_a_second_daemon_is_refused_and_disturbs_nothing() -> Outcome {
    let world = World::new()?;
    world.ctl("network create n")?;
    let (a, b) = (world.sandbox("a", &["n"])?, world.sandbox("b", &["n"])?);
    world.ctl("port publish b 8080:7000")?;
    let _server = b.serve(7000)?;
    let links = world.host.ip("-o link")?;
    let before = tree(&world.run_directory());
    let scratch = |name: &str| text(&world.directory().join(name));
    let name = || ("--instance", format!("{}-b", world.instance));
    let state = || ("--state", scratch("state-b"));
    let run = || ("--run", scratch("run-b"));
    let pid = format!("pid {}", world.daemon_pid().context("no daemon")?);
    for (changed, what) in [
        (vec![], "--instance"),
        (vec![state(), run()], "--instance"),
        (vec![name(), state()], "--run"),
        (vec![name(), run()], "--state"),
        (vec![state()], "--instance"),
    ] {
        for more in [&[] as &[&str], &["--purge"]] {
            let output = other(&world, &changed, more)?;
            refused(&output, &[&pid, &world.instance, what])
                .with_context(|| format!("{changed:?} {more:?}"))?;
            for made in ["state-b", "run-b"] {
                ensure!(!world.directory().join(made).exists(), "{made} is left");
            }
        }
    }
    ensure!(
        links == world.host.ip("-o link")?,
        "links of the first went"
    );
    ensure!(
        before == tree(&world.run_directory()),
        "files of the first changed"
    );
    ensure!(!world.log().contains("left-over"), "{}", world.log());
    reaches(&a, b.v4("eth0")?.into(), 7000)?;
    probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 2000)?;
    world.ctl("network connect bridge a")?;
    // One that is another in everything is not in its way: it lives beside it, but for the device that the first one has.
    let mut words = world.daemon_words(&[]);
    change(&mut words, &[name(), state(), run()])?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let log = world.directory().join("other.log");
    let beside = world
        .host_scope()
        .spawn_logged(&words, fs::File::create(&log)?)?;
    let socket = world.directory().join("run-b/netd.sock");
    wait_for("the other netd", 30, || socket.exists().then_some(()));
    let said = fs::read_to_string(&log)?;
    ensure!(
        said.contains("netd0") && !said.contains("another netd"),
        "{said}"
    );
    ensure!(
        beside.stop(Signal::SIGTERM)?.ok,
        "{}",
        fs::read_to_string(&log)?
    );
    let purged = other(&world, &[name(), state(), run()], &["--purge"])?;
    ensure!(purged.ok, "{}", purged.text());
    for made in ["state-b", "run-b"] {
        ensure!(!world.directory().join(made).exists(), "{made} is left");
    }
    reaches(&a, b.v4("eth0")?.into(), 7000)
}

/// The networks go on without the daemon; one that is started with another state would take them for left over.
#[test]
fn b2_a_start_with_another_state_does_not_remove_the_networks() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create n")?;
    let (a, b) = (world.sandbox("a", &["n"])?, world.sandbox("b", &["n"])?);
    let _server = b.serve(7000)?;
    world.stop()?;
    let scratch = |name: &str| text(&world.directory().join(name));
    let state = text(&world.state_directory());
    for more in [&[] as &[&str], &["--purge"]] {
        let changed = [("--state", scratch("state-b")), ("--run", scratch("run-b"))];
        let output = other(&world, &changed, more)?;
        refused(&output, &[&world.instance, &state, "--state"])?;
    }
    reaches(&a, b.v4("eth0")?.into(), 7000)?;
    world.start()?;
    reaches(&a, b.v4("eth0")?.into(), 7000)
}

/// Directories of others are no directories of netd's: neither a start nor a purge touches them.
#[test]
fn b2_directories_of_others_are_refused_and_stay() -> Outcome {
    let world = World::without_daemon()?;
    let app = world.directory().join("app");
    fs::create_dir_all(app.join("files/site"))?;
    fs::write(app.join("files/site/index.html"), "x")?;
    fs::create_dir_all(app.join("netns"))?;
    fs::write(app.join("netns/blue"), "")?;
    nix::mount::mount(
        Some(world.lan.path()),
        &app.join("netns/blue"),
        None::<&str>,
        nix::mount::MsFlags::MS_BIND,
        None::<&str>,
    )?;
    let before = tree(&app);
    let refusals = (|| {
        for (option, what) in [("--run", "run directory"), ("--state", "state directory")] {
            for more in [&[] as &[&str], &["--purge"]] {
                let output = other(&world, &[(option, text(&app))], more)?;
                refused(&output, &[what, &text(&app), option])?;
                ensure!(before == tree(&app), "{option} {more:?} changed it");
            }
        }
        ensure!(!world.run_directory().exists() && !world.state_directory().exists());
        // Too long for a socket: nothing is made on the way.
        let long = world.directory().join("deep").join("x".repeat(90));
        let output = other(&world, &[("--run", text(&long))], &[])?;
        refused(&output, &["--run", "bytes", "at most 95"])?;
        ensure!(!world.directory().join("deep").exists(), "half-made");
        Ok(())
    })();
    nix::mount::umount2(&app.join("netns/blue"), nix::mount::MntFlags::MNT_DETACH)?;
    refusals
}

/// What others put into netd's own directories stays at a start and at a purge, and a start does not fail by it.
#[test]
fn b2_what_others_put_into_the_directories_stays() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create n")?;
    let s = world.sandbox("s", &["n"])?;
    world.stop()?;
    let run = world.run_directory();
    fs::create_dir(run.join("netns/directory"))?;
    fs::write(run.join("netns/directory/theirs"), "x")?;
    fs::create_dir(run.join("files/site"))?;
    fs::write(run.join("files/site/index.html"), "x")?;
    fs::write(run.join("files/text"), "x")?;
    // What a daemon that was killed has left of a sandbox that is gone.
    let stray = run.join("files").join("5e".repeat(32));
    fs::create_dir(&stray)?;
    fs::write(stray.join("hosts"), "x")?;
    let theirs = [
        "netns/directory/theirs",
        "files/site/index.html",
        "files/text",
    ];
    let there = |when: &str| -> Outcome {
        for path in theirs {
            ensure!(run.join(path).exists(), "{path} went at the {when}");
        }
        Ok(())
    };
    world.start()?;
    there("start")?;
    ensure!(!stray.exists(), "the left-over files are still there");
    let server = s.serve(7000)?;
    let other = world.sandbox("t", &["n"])?;
    reaches(&other, s.v4("eth0")?.into(), 7000)?;
    drop(server);
    world.stop()?;
    let purged = world.netd(&["--purge"])?;
    ensure!(purged.ok, "{}", purged.text());
    there("purge")?;
    ensure!(!run.join("netns/s").exists() && !run.join("netd.lock").exists());
    for path in ["netns", "files"] {
        fs::remove_dir_all(run.join(path))?;
    }
    world.close()
}

/// The directory that names sandboxes is closed, whatever the umask; a purge leaves nothing, and needs no configuration.
#[test]
fn b2_directories_are_closed_and_go_with_a_purge() -> Outcome {
    let mut world = World::without_daemon()?;
    let words = world.daemon_words(&[]).join(" ");
    let script = format!("umask 000; exec {words}");
    let log = fs::File::create(world.directory().join("open.log"))?;
    let mut daemon = world
        .host_scope()
        .spawn_logged(&["sh", "-c", &script], log)?;
    netd_tests::wait_for("netd to answer", 30, || {
        let answers = world.netctl(&["status"]).is_ok_and(|output| output.ok);
        (answers || !daemon.running()).then_some(())
    });
    world.ctl("sandbox create --network bridge s")?;
    let run = world.run_directory();
    for (path, most) in [
        (run.clone(), 0o711),
        (run.join("netns"), 0o711),
        (world.state_directory(), 0o700),
    ] {
        let mode = fs::metadata(&path)?.mode() & 0o777;
        ensure!(mode & !most == 0, "{} has mode {mode:o}", path.display());
    }
    ensure!(fs::metadata(run.join("netd.sock"))?.mode() & 0o777 == 0o660);
    daemon.stop(nix::sys::signal::Signal::SIGTERM)?;
    let purged = world.netd(&["--purge", "--config", "/nonexistent/netd.toml"])?;
    ensure!(purged.ok, "{}", purged.text());
    ensure!(!run.exists() && !world.state_directory().exists());
    let name = format!("/sys/fs/bpf/netd/@{}", world.instance);
    ensure!(fs::symlink_metadata(&name).is_err(), "{name} is left");
    // A start does need it.
    let output = world.netd(&["--config", "/nonexistent/netd.toml"])?;
    ensure!(!output.ok && output.text().contains("/nonexistent/netd.toml"));
    world.close()
}

/// A filter that would silence the daemon is refused, and a file gets no colours.
#[test]
fn b2_what_is_logged() -> Outcome {
    let world = World::new()?;
    ensure!(world.log().contains("serving on"), "{}", world.log());
    ensure!(!world.log().contains('\u{1b}'), "colours: {}", world.log());
    for filter in ["inof", "netd=loud", ""] {
        let output = world.netd(&["--log", filter])?;
        refused(&output, &["--log", filter, "debug"])?;
    }
    let output = world.netd(&["--log", "warn,netd::engine=debug"])?;
    ensure!(output.text().contains("another netd"), "{}", output.text());
    Ok(())
}

/// A sandbox by the path that the daemon gives for it.
pub fn at(world: &World, name: &str) -> Result<(PathBuf, Sandbox)> {
    let shown = show::sandbox(world, name)?;
    let path = PathBuf::from(shown["NetnsPath"].as_str().context("no path")?);
    let netns = Netns::at(name, &path);
    Ok((path.clone(), Sandbox::new(name, netns, world.scope(&path))))
}
