//! The engines and clients that other tests build on run here: each engine by itself, driven by every client.

use std::{
    fs,
    path::Path,
    process,
    time::{Duration, Instant},
};

use anyhow::ensure;
use netd_tests::{
    Netns, World,
    engine::{Cli, Compose, Engine, Installed, Options, Suite, image},
    http::Connection,
    wait_for,
    world::{HOST_V4, LAN_V4},
};
use serde_json::{Value, json};

use crate::Outcome;

/// A namespace that goes with the test; declared before the engine in it, it goes after it.
struct Host(Netns);

impl Host {
    fn new(name: &str) -> anyhow::Result<Self> {
        Ok(Self(Netns::create(&format!(
            "engine-{}-{name}",
            process::id()
        ))?))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.remove();
    }
}

/// Says how long a step took.
struct Clock(&'static str, Instant);

impl Clock {
    fn step(&mut self, what: &str) {
        let time = self.1.elapsed().as_millis();
        eprintln!("{:>9} {time:>6} ms  {what}", self.0);
        self.1 = Instant::now();
    }
}

const PROJECT: &str = "
services:
  web:
    image: web
    ports: ['127.0.0.1:18080:80']
    networks: {front: {aliases: [site]}}
    stop_grace_period: 1s
  client:
    image: busybox
    command: sleep 100000
    networks: [front]
    stop_signal: SIGKILL
networks:
  front: {}
";

const PYTHON: &str = "
import docker
client = docker.from_env()
net = client.networks.create('py', driver='bridge')
box = client.containers.run('busybox', 'sleep 100000', name='py1', network='py', detach=True, stop_signal='SIGKILL')
net.reload()
assert [c.name for c in net.containers] == ['py1'], net.containers
code, out = box.exec_run('nslookup -type=a py1 127.0.0.11')
assert code == 0, out
box.remove(force=True)
net.remove()
print(client.version()['Version'])
";

fn composed(cli: &Cli, which: Compose, directory: &Path, clock: &mut Clock) -> Outcome {
    let project = directory.join(format!("{which:?}").to_lowercase());
    fs::create_dir(&project)?;
    let header = if which == Compose::V1 {
        "version: '3'"
    } else {
        ""
    };
    fs::write(project.join("compose.yaml"), format!("{header}{PROJECT}"))?;
    cli.compose(which, &project, "up -d")?;
    clock.step(&format!("compose {which:?} up"));
    let line = "exec -T client wget -qO- http://site/cgi-bin/name";
    wait_for("the service to answer", 10, || {
        cli.compose_any(which, &project, line)
            .ok()?
            .ok
            .then_some(())
    });
    clock.step(&format!("compose {which:?} exec"));
    let page = cli.shell("curl -sS http://127.0.0.1:18080/")?;
    ensure!(page.stdout == "ok\n", "published: {}", page.text());
    cli.compose(which, &project, "down -t 1")?;
    clock.step(&format!("compose {which:?} down"));
    Ok(())
}

fn works(suite: Suite, composes: &[Compose]) -> Outcome {
    let host = Host::new(suite.name())?;
    let mut clock = Clock(suite.name(), Instant::now());
    let mut engine = Engine::start(suite, &host.0, &Options::default())?;
    clock.step(&format!("start, with images ({})", engine.version()));
    let cli = engine.cli()?;
    let said = cli.ok("run --rm busybox echo hello")?;
    ensure!(said == "hello", "docker run: {said}");
    clock.step("docker run");
    let newest = Cli::new(Suite::Sid, &host.0, &engine.socket())?;
    newest.ok("network create one")?;
    newest.ok("run -d --name kept --network one --restart always web")?;
    newest.refused("network rm one", &["active endpoints"])?;
    clock.step("the newest docker: network and run -d");
    let version = newest.python(PYTHON)?;
    ensure!(
        version.starts_with(engine.version()),
        "docker-py: {version}"
    );
    clock.step("docker-py");
    for which in composes {
        let directory = engine.directory().to_owned();
        composed(&newest, *which, &directory, &mut clock)?;
    }
    image::variant(&engine.api(), "other", &["CMD [\"true\"]", "EXPOSE 53/udp"])?;
    let shown = engine.api().get("/images/other/json")?;
    ensure!(
        shown["Config"]["ExposedPorts"]["53/udp"] == json!({}),
        "{shown}"
    );
    engine.reload(&json!({"labels": ["a=b"]}))?;
    let labels = &engine.api().get("/info")?["Labels"];
    ensure!(*labels == json!(["a=b"]), "labels after a reload: {labels}");
    clock.step("another image, reload");
    engine.restart()?;
    clock.step("restart");
    engine.kill9()?;
    engine.launch()?;
    clock.step("kill and launch");
    wait_for("the container to be there again", 10, || {
        let up = cli.ok("ps -q --filter name=kept").ok()?;
        (!up.is_empty()).then_some(())
    });
    engine.kill9()?;
    engine.close()?;
    clock.step("kill and close");
    Ok(())
}

#[test]
fn the_engine_of_bookworm_runs_with_all_clients() -> Outcome {
    works(Suite::Bookworm, &Compose::ALL)
}

#[test]
fn the_engine_of_trixie_runs_with_all_clients() -> Outcome {
    works(Suite::Trixie, &Compose::ALL)
}

#[test]
fn the_engine_of_sid_runs_with_all_clients() -> Outcome {
    works(Suite::Sid, &Compose::ALL)
}

#[test]
fn bytes_of_a_socket_are_seen_as_they_come() -> Outcome {
    let host = Host::new("bytes")?;
    let engine = Engine::start(Suite::Sid, &host.0, &Options::default().bare())?;
    // Two requests at once, answered in order; then the end from this side.
    let mut connection = Connection::open(&engine.socket())?;
    let none = "GET /networks/none-such HTTP/1.1\r\nHost: x\r\n\r\n";
    connection.send(format!("GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n{none}"))?;
    connection.half_close()?;
    let (first, second) = (connection.answer()?, connection.answer()?);
    ensure!(first.status() == 200 && first.text() == "OK", "{first:?}");
    ensure!(first.head.header("api-version").is_some(), "{first:?}");
    let wanted = "network none-such not found";
    ensure!(second.message() == wanted, "{second:?}");
    ensure!(connection.closed_within(Duration::from_secs(5))?);
    // Events come in chunks, at once; a second one is later than the first.
    let mut events = Connection::open(&engine.socket())?;
    events.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n")?;
    ensure!(events.head()?.chunked());
    ensure!(!events.closed_within(Duration::from_millis(200))?);
    let api = engine.api();
    api.post("/networks/create", &json!({"Name": "a"}))?;
    let first = events.chunk()?.map(|chunk| (chunk.at, chunk.bytes));
    api.delete("/networks/a")?;
    let second = events.chunk()?.map(|chunk| (chunk.at, chunk.bytes));
    let (Some((one, bytes)), Some((two, _))) = (first, second) else {
        anyhow::bail!("the stream of events ended");
    };
    let event: Value = serde_json::from_slice(&bytes)?;
    ensure!(event["Action"] == "create" && one < two, "{event}");
    drop(events);
    let refused = api.ask("POST", "/networks/create", &json!({}))?;
    ensure!(refused.status() == 400, "{refused:?}");
    engine.close()
}

/// On a world's host, beside netd, with a runtime of its own; other sockets are reached by the same clients.
#[test]
fn an_engine_runs_on_the_host_of_a_world() -> Outcome {
    let world = World::new()?;
    let runc = Installed::of(Suite::Sid)?.program("runc")?;
    let options = Options::default()
        .inside(world.cgroup())
        .runtime("other", &runc, &["--debug"], true)
        .env("NETD_ADDRESS", &world.address());
    let engine = Engine::start(Suite::Sid, &world.host, &options)?;
    let cli = engine.cli()?;
    let id = cli.ok("run -d -p 8088:80 web")?;
    let runtime = cli.ok(&format!("inspect -f {{{{.HostConfig.Runtime}}}} {id}"))?;
    ensure!(runtime == "other", "runtime {runtime}");
    let url = format!("http://{HOST_V4}:8088/cgi-bin/client");
    let page = wait_for("the web server to answer the LAN", 10, || {
        let output = world.lan_scope().run(&["curl", "-sS", "-m", "2", &url]);
        output.ok().filter(|output| output.ok)
    });
    ensure!(page.stdout.trim() == LAN_V4.to_string(), "{page:?}");
    // Its programs are the host's: netd's hooks are on a cgroup above them.
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", engine.pid()?))?;
    ensure!(cgroup.contains(&world.instance), "{cgroup}");
    let relay = world.directory().join("relay.sock");
    let (from, to) = (relay.display(), engine.socket());
    let _relay = world.host_scope().spawn(&[
        "socat",
        &format!("UNIX-LISTEN:{from},fork"),
        &format!("UNIX-CONNECT:{}", to.display()),
    ])?;
    wait_for("the relay", 5, || relay.exists().then_some(()));
    let said = Cli::new(Suite::Bookworm, &world.host, &relay)?.ok("ps -q --no-trunc")?;
    ensure!(said == id, "docker ps: {said}");
    engine.close()
}
