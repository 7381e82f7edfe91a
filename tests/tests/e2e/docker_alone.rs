//! Docker's API without an engine: networks, and sandboxes in the place of containers.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use anyhow::{Context as _, ensure};
use netd_tests::{
    World,
    engine::{Api, Cli, Suite},
    wait_for,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Outcome;

/// A world whose netd serves Docker's API itself, and the API.
struct Alone {
    world: World,
    socket: PathBuf,
    _directory: TempDir,
}

impl Alone {
    fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("docker.sock");
        let text = format!("[docker]\nsocket = \"{}\"\n", socket.display());
        let world = World::with_config(&text)?;
        let alone = Self {
            world,
            socket,
            _directory: directory,
        };
        wait_for("the Docker socket", 20, || alone.api().get("/info").ok());
        Ok(alone)
    }

    fn api(&self) -> Api {
        Api::new(&self.socket)
    }

    fn cli(&self) -> anyhow::Result<Cli> {
        Cli::new(Suite::Sid, &self.world.host, &self.socket)
    }
}

#[test]
fn p04_the_cli_manages_networks_without_an_engine() -> Outcome {
    let mut alone = Alone::start()?;
    let cli = alone.cli()?;
    let id = cli.ok("network create --ipv6 --subnet 10.61.0.0/24 --label tier=1 front")?;
    ensure!(id.len() == 64, "{id}");
    cli.ok("network create --internal back")?;
    ensure!(
        cli.ok("network ls --format {{.Name}}:{{.Driver}} --filter type=custom")?
            == "back:bridge\nfront:bridge"
    );
    ensure!(cli.ok("network ls -q --no-trunc --filter label=tier=1")? == id);
    ensure!(
        cli.ok("network inspect -f {{range.IPAM.Config}}{{.Subnet}},{{end}} front")?
            .starts_with("10.61.0.0/24,fd")
    );
    cli.refused(
        "network create front",
        &["network with name front already exists"],
    )?;
    cli.refused(
        "network rm bridge",
        &["bridge is a pre-defined network and cannot be removed"],
    )?;
    // A sandbox that somebody else made stands for a container, by packets, too.
    let web = alone.world.sandbox("web", &[])?;
    let client = alone.world.sandbox("client", &[])?;
    cli.ok("network connect --ip 10.61.0.9 --alias www front web")?;
    cli.ok("network connect front client")?;
    let at = web.v4("eth0")?.into();
    ensure!(client.ping(at)?, "the neighbour does not answer");
    cli.refused(
        "network connect front web",
        &["endpoint with name web already exists in network front"],
    )?;
    cli.refused(
        "network rm front",
        &["has active endpoints", "name:\"web\""],
    )?;
    let shown =
        cli.ok("network inspect -f {{range.Containers}}{{.Name}}={{.IPv4Address}},{{end}} front")?;
    ensure!(shown.contains("web=10.61.0.9/24"), "{shown}");
    ensure!(cli.ok("ps --format {{.Names}} --filter network=front")? == "client\nweb");
    let told = cli.ok("inspect -f {{.NetworkSettings.Networks.front.IPAddress}} web")?;
    ensure!(told == "10.61.0.9", "{told}");
    cli.ok("network disconnect front web")?;
    ensure!(!client.ping(at)?, "it is reached after it was disconnected");
    cli.refused(
        "network disconnect front web",
        &["is not connected to network front"],
    )?;
    cli.ok("rm -f web client")?;
    cli.refused("inspect web", &["no such object: web"])?;
    ensure!(cli.ok("network prune -f")?.contains("front"));
    ensure!(cli.ok("network ls -q --filter type=custom")?.is_empty());
    alone.world.close()
}

#[test]
fn p04_what_needs_an_engine_says_so() -> Outcome {
    let mut alone = Alone::start()?;
    let cli = alone.cli()?;
    ensure!(cli.ok("version --format {{.Server.APIVersion}}")? == "1.52");
    ensure!(cli.ok("info --format {{.Swarm.LocalNodeState}}")? == "inactive");
    ensure!(cli.ok("images -q")?.is_empty());
    cli.ok("system df")?;
    cli.refused(
        "run --rm busybox",
        &["no Docker engine stands behind this socket"],
    )?;
    cli.refused("node ls", &["This node is not a swarm manager"])?;
    let api = alone.api();
    let unknown = api.ask("GET", "/nosuch", &Value::Null)?;
    ensure!((unknown.status(), unknown.message()) == (404, "page not found".into()));
    for (version, status) in [("1.23", 400), ("1.24", 200), ("1.52", 200), ("1.53", 400)] {
        let answer = api
            .clone()
            .version(version)
            .ask("GET", "/networks", &Value::Null)?;
        ensure!(answer.status() == status, "{version}: {}", answer.status());
    }
    let mode = fs::metadata(&alone.socket)?.permissions().mode() & 0o777;
    ensure!(mode == 0o660, "{mode:o}");
    alone.world.close()
}

#[test]
fn n11_networks_tell_events_by_the_docker_socket() -> Outcome {
    let mut alone = Alone::start()?;
    let cli = alone.cli()?;
    let mut events =
        cli.spawn("events --format {{.Type}}/{{.Action}}/{{.Actor.Attributes.name}}")?;
    // The stream has begun when the first event is told.
    let path = alone.socket.display().to_string();
    let sockets = format!(
        "/proc/{}/net/unix",
        alone.world.daemon_pid().context("netd")?
    );
    wait_for("the stream of events", 20, || {
        let text = fs::read_to_string(&sockets).ok()?;
        let connected = text.lines().filter(|l| l.ends_with(&path));
        // The one that listens, and the client's.
        (connected.count() >= 2).then_some(())
    });
    alone.world.sandbox("web", &[])?;
    cli.ok("network create front")?;
    cli.ok("network connect front web")?;
    cli.ok("network disconnect front web")?;
    cli.ok("network rm front")?;
    for wanted in ["create", "connect", "disconnect", "destroy"] {
        let line = events.until(&format!("network/{wanted}/front"))?;
        eprintln!("{line}");
    }
    events.stop(Signal::SIGKILL)?;
    // What was is told, too.
    let now = later()?;
    let past = cli.ok(&format!("events --since 1 --until {now} --filter type=network --filter network=front --format {{{{.Action}}}}"))?;
    ensure!(past == "create\nconnect\ndisconnect\ndestroy", "{past}");
    alone.world.close()
}

/// Seconds since 1970, and one more: what was told lies before.
fn later() -> anyhow::Result<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(now.as_secs() + 1)
}

#[test]
fn p04_the_socket_goes_and_comes_with_the_daemon() -> Outcome {
    let mut alone = Alone::start()?;
    let made = alone
        .api()
        .post("/networks/create", &json!({ "Name": "front" }))?;
    alone.world.kill()?;
    ensure!(
        alone.api().get("/networks/front").is_err(),
        "nobody can answer"
    );
    alone.world.start()?;
    let again: Value = wait_for("the Docker socket", 20, || {
        alone.api().get("/networks/front").ok()
    });
    ensure!(again["Id"] == made["Id"], "{again}");
    alone.world.stop().context("stopping")?;
    ensure!(!alone.socket.exists(), "the socket stays behind a stop");
    alone.world.start()?;
    alone.world.close()
}
