//! What is not about networks passes the Docker socket as it is: asked of it and of the engine behind, the same bytes come, and
//! streams begin, go on and end alike.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use netd_tests::{
    engine::{Front, Suite},
    http::Connection,
    wait_for,
};

use crate::Outcome;

/// What a peak of memory may be, kB: far less than what is sent.
const PEAK: u64 = 128 << 10;

/// Requests of one connection each, which ends with the last answer; `$` stands for a line's end.
const ALIKE: [&str; 38] = [
    "GET /_ping HTTP/1.1$Host: d$Connection: close$$",
    "HEAD /_ping HTTP/1.1$Host: d$Connection: close$$",
    "GET /v1.24/_ping HTTP/1.1$Host: d$Connection: close$$",
    "GET /v9.9/_ping HTTP/1.1$Host: d$Connection: close$$",
    "GET /_ping HTTP/1.0$$",
    "GET /_ping HTTP/1.2$Host: d$Connection: close$$",
    "GET http://docker/_ping HTTP/1.1$Host: d$Connection: close$$",
    "GET /version HTTP/1.1$Host: d$Connection: close$$",
    "GET /v1.24/version HTTP/1.1$Host: d$Connection: close$$",
    "GET /nope HTTP/1.1$Host: d$Connection: close$$",
    "POST /v1.51/nope HTTP/1.1$Host: d$Connection: close$Content-Length: 0$$",
    "GET /v1.51 HTTP/1.1$Host: d$Connection: close$$",
    "OPTIONS /networks HTTP/1.1$Host: d$Connection: close$$",
    "HEAD /networks HTTP/1.1$Host: d$Connection: close$$",
    "DELETE /networks HTTP/1.1$Host: d$Connection: close$$",
    "PUT /networks/x HTTP/1.1$Host: d$Connection: close$$",
    "GET /networks/nosuch HTTP/1.1$Host: d$Connection: close$$",
    "GET /networks/a%2Fb%00%ff HTTP/1.1$Host: d$Connection: close$$",
    "GET /networks?a;b HTTP/1.1$Host: d$Connection: close$$",
    "GET /networks?filters=%zz HTTP/1.1$Host: d$Connection: close$$",
    "GET /v1.23/networks HTTP/1.1$Host: d$Connection: close$$",
    "GET /v1.99/networks HTTP/1.1$Host: d$Connection: close$$",
    "GET /v1.51.1/networks HTTP/1.1$Host: d$Connection: close$$",
    "GET /v1.051./networks/nosuch HTTP/1.1$Host: d$Connection: close$$",
    "GET //networks?a=b HTTP/1.1$Host: d$Connection: close$$",
    "GET /v1.51/x/%2e%2e/networks HTTP/1.1$Host: d$Connection: close$$",
    "GET /containers/nosuch/json HTTP/1.1$Host: d$Connection: close$$",
    "POST /containers/nosuch/attach HTTP/1.1$Host: d$Connection: close$Content-Length: 0$$",
    "GET /events?since=0&until=1 HTTP/1.1$Host: d$Connection: close$$",
    "GET /_ping HTTP/1.1$$",
    "GET /_ping HTTP/2.0$Host: d$$",
    "GET /%zz HTTP/1.1$Host: d$$",
    "hello$$",
    "POST /networks/create HTTP/1.1$Host: d$Transfer-Encoding: gzip$$",
    "POST /networks/create HTTP/1.1$Host: d$Content-Length: 1$Content-Length: 2$$",
    "POST /networks/create HTTP/1.1$Host: d$Expect: x$Content-Length: 2$${}",
    "POST /networks/create HTTP/1.1$Host: d$Connection: close$Content-Type: application/json$Content-Length: 2$$[]",
    "GET /_ping HTTP/1.1$Host: d$$GET /networks/nosuch HTTP/1.1$Host: d$$GET /_ping HTTP/1.1$Host: d$Connection: close$$",
];

#[test]
fn p04_what_is_the_engines_passes_as_it_is() -> Outcome {
    let mut front = Front::start(Suite::Sid)?;
    let upstream = front.upstream().context("no engine")?;
    let sockets = [front.socket(), upstream];
    let [ours, theirs] = &sockets;
    for asked in ALIKE {
        let asked = asked.replace('$', "\r\n");
        let (ours, theirs) = (whole(ours, &asked)?, whole(theirs, &asked)?);
        ensure!(ours == theirs, "{asked}\n{ours}\ninstead of\n{theirs}");
    }
    let made = front.cli()?.shell(
        "docker run -d --name stream busybox sh -c 'while :; do echo line; sleep 0.2; done'",
    )?;
    ensure!(made.ok, "{made:?}");
    let id = made.stdout.trim().to_owned();
    for socket in &sockets {
        taken_over(socket, &id).with_context(|| format!("{}", socket.display()))?;
        pieces(socket, &id).with_context(|| format!("{}", socket.display()))?;
    }
    ended(&mut front, &id)?;
    copies(&mut front)?;
    exhausted(&mut front)?;
    front.cli()?.ok("rm -f stream")?;
    front.close()
}

/// All that a socket answers, without times, and with the headers in order.
fn whole(socket: &Path, asked: &str) -> Result<String> {
    let mut connection = Connection::open(socket)?;
    connection.send(asked)?;
    // As a shell does with printf and a pipe.
    if !asked.starts_with("POST") {
        connection.half_close()?;
    }
    let answer = String::from_utf8_lossy(&connection.rest()?).into_owned();
    let blocks = answer.split("\r\n\r\n").map(|block| {
        let mut lines: Vec<&str> = block.split("\r\n").collect();
        lines.retain(|line| !line.starts_with("Date: "));
        if let Some(headers) = lines.get_mut(1..) {
            headers.sort_unstable();
        }
        lines.join("\r\n")
    });
    Ok(blocks.collect::<Vec<_>>().join("\r\n\r\n"))
}

/// A command's id, which reads all its input before it says what it was.
fn command(socket: &Path, container: &str) -> Result<String> {
    let made = netd_tests::engine::Api::new(socket).post(
        &format!("/containers/{container}/exec"),
        &serde_json::json!({
            "AttachStdin": true, "AttachStdout": true,
            "Cmd": ["sh", "-c", "echo ready; cat; sleep 0.3; echo end"],
        }),
    )?;
    let id = made.get("Id").and_then(|id| id.as_str());
    Ok(id.context("no id")?.to_owned())
}

/// A command's streams with and without an upgrade: both directions, each ended by itself.
fn taken_over(socket: &Path, container: &str) -> Outcome {
    for (upgrade, status) in [("", 200), ("Connection: Upgrade\r\nUpgrade: tcp\r\n", 101)] {
        let id = command(socket, container)?;
        let mut stream = Connection::open(socket)?;
        stream.send(format!("POST /v1.51/exec/{id}/start HTTP/1.1\r\nHost: d\r\n{upgrade}Content-Type: application/json\r\nContent-Length: 28\r\n\r\n{{\"Detach\":false,\"Tty\":false}}"))?;
        let head = stream.head()?;
        ensure!(head.status == status, "{}", head.text);
        stream.send("early ")?;
        // Each piece has a head of 8 bytes.
        let said = stream.exactly(8 + 6)?;
        ensure!(said.ends_with(b"ready\n"), "{said:?}");
        stream.send("late")?;
        stream.half_close()?;
        let rest = String::from_utf8_lossy(&stream.rest()?).into_owned();
        ensure!(rest.contains("early ") && rest.contains("late"), "{rest:?}");
        ensure!(rest.ends_with("end\n"), "{rest:?}");
    }
    let mut stream = Connection::open(socket)?;
    stream.send(format!("GET /v1.51/containers/{container}/attach/ws?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nOrigin: http://d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))?;
    let head = stream.head()?;
    ensure!(head.status == 101, "{}", head.text);
    let frame = stream.exactly(7)?;
    ensure!(frame.ends_with(b"line\n"), "{frame:?}");
    let mut stream = Connection::open(socket)?;
    // Each session has an id of its own.
    let name = socket.display();
    stream.send(format!("POST /session HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: {name}\r\n\r\n"))?;
    ensure!(stream.head()?.status == 101);
    ensure!(stream.exactly(3)? == b"PRI");
    Ok(())
}

/// Pieces are there as they come, and heads before their bodies.
fn pieces(socket: &Path, container: &str) -> Outcome {
    let mut logs = Connection::open(socket)?;
    logs.send(format!("GET /v1.51/containers/{container}/logs?follow=1&stdout=1&tail=0 HTTP/1.1\r\nHost: d\r\n\r\n"))?;
    ensure!(logs.head()?.chunked());
    for _ in 0..2 {
        let chunk = logs.chunk()?.context("the log ended")?;
        ensure!(chunk.bytes.ends_with(b"line\n"), "{chunk:?}");
    }
    let mut wait = Connection::open(socket)?;
    wait.send(format!(
        "POST /v1.51/containers/{container}/wait HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n"
    ))?;
    let head = wait.head()?;
    ensure!(head.status == 200, "{}", head.text);
    ensure!(!wait.closed_within(Duration::from_millis(300))?);
    Ok(())
}

/// Open descriptors of a process.
fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Clients that go, wholly or by half, leave nothing behind at either side.
fn ended(front: &mut Front, container: &str) -> Outcome {
    let pids = [
        front.adapter_pid().context("no adapter")?,
        front.engine()?.pid()?,
    ];
    let before = [descriptors(pids[0])?, descriptors(pids[1])?];
    let (mut clients, mut halves) = (Vec::new(), Vec::new());
    for number in 0..60 {
        let target = match number % 4 {
            0 => "GET /events".to_owned(),
            1 => format!("GET /containers/{container}/logs?follow=1&stdout=1"),
            2 => format!("POST /containers/{container}/wait"),
            _ => format!("GET /containers/{container}/stats"),
        };
        let mut client = Connection::open(&front.socket())?;
        client.send(format!("{target} HTTP/1.1\r\nHost: d\r\n\r\n"))?;
        ensure!(client.head()?.status == 200);
        if number % 8 < 4 {
            client.half_close()?;
            halves.push(client);
        } else {
            clients.push(client);
        }
    }
    // The engine ends what a client asked for that has closed its side, and so it is ended here.
    for mut client in halves {
        ensure!(client.closed_within(Duration::from_secs(20))?);
    }
    drop(clients);
    wait_for("all of these to be closed", 30, || {
        let now = [descriptors(pids[0]).ok()?, descriptors(pids[1]).ok()?];
        let spare = 6;
        (now[0] <= before[0] + spare && now[1] <= before[1] + spare).then_some(())
    });
    Ok(())
}

/// Much goes through without being held.
fn copies(front: &mut Front) -> Outcome {
    let cli = front.cli()?;
    let done = cli.shell(
        "set -e; dir=$(mktemp -d); cd $dir
         head -c 300000000 /dev/urandom > a
         docker cp a stream:/a; docker cp stream:/a b; cmp a b
         docker exec -i stream sh -c 'cat > /c' < a; docker exec stream cat /c > d; cmp a d
         rm -r $dir",
    )?;
    ensure!(done.ok, "{done:?}");
    let pid = front.adapter_pid().context("no adapter")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .and_then(|line| line.trim().split(' ').next()?.parse().ok())
        .context("no VmHWM")?;
    ensure!(peak < PEAK, "{peak} kB");
    Ok(())
}

/// Without descriptors new clients wait; those that are there are served, and all are once others go.
fn exhausted(front: &mut Front) -> Outcome {
    let pid = front.adapter_pid().context("no adapter")?.to_string();
    let scope = front.world().host_scope();
    let limited = scope.run(&["prlimit", "--pid", &pid, "--nofile=64:64"])?;
    ensure!(limited.ok, "{limited:?}");
    let mut first = Connection::open(&front.socket())?;
    first.send("GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")?;
    ensure!(first.answer()?.status() == 200);
    let many: Vec<_> = (0..200)
        .map(|_| Connection::open(&front.socket()))
        .collect::<Result<_>>()?;
    first.send("GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")?;
    ensure!(first.answer()?.status() == 200);
    drop(many);
    let api = front.api();
    wait_for("the socket to answer again", 20, || {
        api.get("/version").ok()
    });
    Ok(())
}
