//! docker-py: each example of its two pages about networks, and what its own integration tests check, against netd's socket
//! and against an engine without netd. Both must say the same, line by line.

use std::{path::Path, thread};

use anyhow::{Context as _, Result, ensure};
use netd_tests::{
    engine::{Api, Cli, Front, Suite},
    wait_for,
    world::binary,
};

use crate::Outcome;

/// What all scripts begin with.
const COMMON: &str = include_str!("docker_py/common.py");
/// The page "Networks".
const CLIENT: &str = include_str!("docker_py/client_networks.py");
/// The page "Using Networks", of the low-level client.
const LOW_LEVEL: &str = include_str!("docker_py/low_level.py");
/// docker-py's own tests.
const INTEGRATION: &str = include_str!("docker_py/integration.py");

fn script(text: &str) -> String {
    format!("{COMMON}\n{text}")
}

/// The first line in which two outputs differ.
fn same(ours: &str, theirs: &str) -> Outcome {
    let pairs = ours.lines().zip(theirs.lines());
    for (ours, theirs) in pairs {
        ensure!(ours == theirs, "netd:   {ours}\nengine: {theirs}");
    }
    let (ours, theirs) = (ours.lines().count(), theirs.lines().count());
    ensure!(
        ours == theirs && ours > 5,
        "{ours} lines, of the engine {theirs}"
    );
    Ok(())
}

/// Runs a script against both at once.
fn both(ours: &Cli, plain: &Cli, text: &str) -> Result<[String; 2]> {
    let text = script(text);
    thread::scope(|scope| {
        let theirs = scope.spawn(|| plain.python(&text).context("the engine"));
        let ours = ours.python(&text).context("netd's socket")?;
        let theirs = theirs.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        Ok([ours, theirs])
    })
}

#[test]
fn p04_docker_pys_pages_hold() -> Outcome {
    let mut front = Front::start(Suite::Sid)?;
    let ours = front.cli()?;
    let plain = front.plain()?.cli()?;
    let [said, client] = both(&ours, &plain, CLIENT)?;
    same(&said, &client).context("the page Networks")?;
    let [said, theirs] = both(&ours, &plain, LOW_LEVEL)?;
    same(&said, &theirs).context("the page Using Networks")?;
    let [said, theirs] = both(&ours, &plain, INTEGRATION)?;
    same(&said, &theirs).context("docker-py's own tests")?;
    // The same netd once more, this time without an engine: sandboxes stand for containers.
    let said = alone(&mut front)?;
    same(&said, &client).context("the page Networks, without an engine")?;
    front.close()
}

fn alone(front: &mut Front) -> Result<String> {
    let world = front.world();
    let _boxes = [world.sandbox("box1", &[])?, world.sandbox("box2", &[])?];
    let socket = world.directory().join("alone.sock");
    let path = socket.display().to_string();
    let words = [
        &binary("netd-docker"),
        "--docker-socket",
        &path,
        "--address",
        &world.address(),
    ];
    let _adapter = world.host_scope().spawn(&words)?;
    wait_for("netd-docker to answer", 20, || {
        Api::new(Path::new(&path)).get("/_ping").ok()
    });
    let cli = Cli::new(Suite::Sid, &world.host, &socket)?.env("ALONE", "yes");
    let said = cli.python(&script(CLIENT))?;
    for name in ["box1", "box2"] {
        world.ctl(&format!("sandbox rm {name}"))?;
    }
    Ok(said)
}
