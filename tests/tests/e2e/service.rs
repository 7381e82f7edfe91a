//! P04: netd as a service: what it tells its manager, and signals.

use std::{
    os::unix::{fs::MetadataExt as _, net::UnixDatagram},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use netd_tests::{World, pki::config_path};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Outcome;

/// The words of the next message that holds this one; those before it are passed over.
fn told(manager: &UnixDatagram, word: &str) -> Result<Vec<String>> {
    let mut buffer = [0; 4096];
    loop {
        let length = manager
            .recv(&mut buffer)
            .with_context(|| format!("waiting for {word}"))?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let words: Vec<String> = text.lines().map(str::to_owned).collect();
        if words.iter().any(|said| said == word) {
            return Ok(words);
        }
    }
}

#[test]
fn p04_the_service_manager_is_told_what_netd_does() -> Outcome {
    let mut world = World::unstarted_with("")?;
    let path = world.directory().join("notify");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(Duration::from_secs(20)))?;
    world.start_with(&[("NOTIFY_SOCKET", &path.display().to_string())])?;
    told(&manager, "READY=1")?;
    let pid = Pid::from_raw(i32::try_from(world.daemon_pid().context("no daemon")?)?);
    kill(pid, Signal::SIGHUP)?;
    let words = told(&manager, "RELOADING=1")?;
    ensure!(
        words.iter().any(|word| word.starts_with("MONOTONIC_USEC=")),
        "{words:?}"
    );
    told(&manager, "READY=1")?;
    // A file that is refused is told, and the daemon goes on.
    std::fs::write(config_path(&world), "nonsense = 1\n")?;
    kill(pid, Signal::SIGHUP)?;
    told(&manager, "RELOADING=1")?;
    let words = told(&manager, "READY=1")?;
    ensure!(
        words
            .iter()
            .any(|word| word.starts_with("STATUS=") && word.contains("nonsense")),
        "{words:?}"
    );
    world.ctl("network create front")?;
    std::fs::write(config_path(&world), "")?;
    world.stop()?;
    told(&manager, "STOPPING=1")?;
    Ok(())
}

#[test]
fn p01_the_sockets_group_is_a_setting() -> Outcome {
    let mut world = World::unstarted_with("[listen]\ngroup = \"54321\"\n")?;
    world.start()?;
    let socket = || std::fs::metadata(world.run_directory().join("netd.sock"));
    let data = socket()?;
    ensure!(
        data.gid() == 54321 && data.mode() & 0o777 == 0o660,
        "{data:?}"
    );
    let as_member = |group: &str| {
        let netctl = netd_tests::world::binary("netctl");
        let user = [
            "setpriv",
            "--reuid",
            "54322",
            "--regid",
            group,
            "--clear-groups",
        ];
        // Of the build's directory only root may be sure to read.
        let copy = world.run_directory().join("netctl");
        let copy = copy.display().to_string();
        world.host_scope().install(&netctl, &copy)?;
        let run = [&user[..], &[copy.as_str(), "network", "ls"]].concat();
        world.host_scope().run(&run)
    };
    let parent = world.run_directory();
    let parent = parent.parent().context("no parent")?;
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o711))?;
    let member = as_member("54321")?;
    ensure!(member.ok, "{}", member.text());
    let stranger = as_member("54323")?;
    ensure!(
        stranger.code == Some(1) && stranger.stderr.contains("its group only"),
        "{}",
        stranger.text()
    );
    std::fs::remove_file(world.run_directory().join("netctl"))?;
    Ok(())
}
