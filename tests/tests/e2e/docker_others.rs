//! The Docker socket leaves alone what is not its engine's: sandboxes that others made, and containers of another engine.

use anyhow::ensure;
use netd_tests::{
    engine::{Api, Front, Suite},
    wait_for,
    world::binary,
};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::Outcome;

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
    front.world().ctl("sandbox rm mine")?;

    let web = front.api().sleeper("web", &json!({}))?;
    // A socket before another engine: it knows none of these containers.
    let other = front.plain()?.socket();
    let socket = front.world().directory().join("other.sock");
    let (program, upstream, at) = (
        binary("netd-docker"),
        format!("unix://{}", other.display()),
        socket.display().to_string(),
    );
    let address = front.world().address();
    let words = [
        &program,
        "--docker-socket",
        &at,
        "--docker-upstream",
        &upstream,
        "--address",
        &address,
    ];
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
