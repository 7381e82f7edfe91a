//! The Docker socket leaves alone what is not its engine's: sandboxes that others made, and containers of another engine.

use std::path::Path;

use anyhow::ensure;
use netd_tests::{
    World,
    engine::{Api, Front, Suite},
    wait_for,
    world::binary,
};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::Outcome;

/// netd-docker's command line, for a socket of its own before an engine.
fn words(world: &World, socket: &Path, engine: &Path) -> Vec<String> {
    let unix = |path: &Path| format!("unix://{}", path.display());
    vec![
        binary("netd-docker"),
        "--docker-socket".into(),
        socket.display().to_string(),
        "--docker-upstream".into(),
        unix(engine),
        "--address".into(),
        world.address(),
    ]
}

#[test]
fn p05_what_is_not_the_engines_is_left_alone() -> Outcome {
    let mut front = Front::start(Suite::Sid)?;
    let cli = front.cli()?;
    front.world().ctl("sandbox create mine")?;
    cli.refused(
        "create --name mine busybox true",
        &["already in use by netd's sandbox", "netctl sandbox rm mine"],
    )?;
    let there = front.world().ctl("sandbox inspect mine")?;
    ensure!(there.contains("mine"), "{there}");
    // What was refused is not at the engine, either.
    ensure!(cli.ok("ps -aq")?.is_empty());
    // Nor is it by another name, or by a container of the same name that is not netd's.
    cli.ok("create --name other busybox true")?;
    cli.refused(
        "rename other mine",
        &["sandbox with name mine already exists"],
    )?;
    ensure!(cli.ok("ps -a --format {{.Names}}")? == "other");
    cli.ok("rm other")?;
    cli.ok("create --name mine --network host busybox true")?;
    cli.ok("network create front")?;
    cli.refused(
        "network connect front mine",
        &["container sharing network namespace with another container or host"],
    )?;
    cli.ok("rm mine")?;
    // What the engine has no container of is found by its own name.
    cli.ok("network connect front mine")?;
    cli.ok("network disconnect front mine")?;
    front.world().ctl("sandbox rm mine")?;

    let web = front.api().sleeper("web", &json!({}))?;
    // A socket before another engine: it knows none of these containers.
    let other = front.plain()?.socket();
    let socket = front.world().directory().join("other.sock");
    let words = words(front.world(), &socket, &other);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let adapter = front.world().host_scope().spawn(&words)?;
    let api = Api::new(&socket);
    wait_for("the other socket", 30, || api.get("/networks").ok());
    // Its first look at all containers is over when it hears of one that is removed.
    let made = api.sleeper(
        "passing",
        &json!({ "HostConfig": { "NetworkMode": "none" } }),
    )?;
    api.delete(&format!("/containers/{made}?force=1"))?;
    let again = api.post("/networks/create", &json!({ "Name": "n" }))?;
    ensure!(again["Id"].is_string(), "{again}");
    api.delete("/networks/n")?;
    adapter.stop(Signal::SIGTERM)?;
    let shown = front.api().get(&format!("/containers/{web}/json"))?;
    let ip = &shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"];
    ensure!(ip.as_str().is_some_and(|ip| !ip.is_empty()), "{shown}");
    front.close()
}

#[test]
fn p05_a_socket_is_not_its_own_engine() -> Outcome {
    let mut world = World::new()?;
    let socket = world.directory().join("front.sock");
    let link = world.directory().join("link.sock");
    std::os::unix::fs::symlink(&socket, &link)?;
    let words = words(&world, &socket, &link);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = world.host_scope().run(&words)?;
    ensure!(
        !ended.ok && ended.stderr.contains("this very socket"),
        "{}",
        ended.text()
    );
    ensure!(!socket.exists());
    world.close()
}
