//! Shows what netd does, step by step: each step prints its command, what came of it, and `ok` or `FAILED`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use netd_tests::{
    Output, Sandbox, Scope, Server, World, wait_for,
    world::{HOST_V4, HOST_V6, LAN_V4, LAN_V6, binary},
};

/// Prints steps and remembers whether one failed.
#[derive(Default)]
struct Show {
    steps: u32,
    failed: u32,
}

impl Show {
    fn title(&self, text: &str) {
        println!("\n== {text}");
    }

    /// One line of a command and its outcome.
    fn told(&mut self, place: &str, command: &str, output: &str, ok: bool) {
        self.steps += 1;
        self.failed += u32::from(!ok);
        println!("{place}$ {command}");
        for line in output.lines().filter(|line| !line.trim().is_empty()) {
            println!("    {line}");
        }
        println!("    {}", if ok { "ok" } else { "FAILED" });
    }

    /// Runs a shell line and judges its outcome.
    fn run(
        &mut self,
        place: &str,
        scope: &Scope,
        line: &str,
        good: impl FnOnce(&Output) -> bool,
    ) -> Result<()> {
        let output = scope.run(&["sh", "-c", line])?;
        let text = output.text();
        let ok = good(&output);
        self.told(place, line, &text, ok);
        Ok(())
    }

    /// It must succeed.
    fn works(&mut self, place: &str, scope: &Scope, line: &str) -> Result<()> {
        self.run(place, scope, line, |output| output.ok)
    }

    /// It must fail: nothing may get through.
    fn blocked(&mut self, place: &str, scope: &Scope, line: &str) -> Result<()> {
        self.run(place, scope, &format!("{line}   # must fail"), |output| {
            // 126 and 127: the probe itself could not run, which proves nothing.
            output.code.is_some_and(|code| code != 0 && code < 126)
        })
    }

    /// It must print this word.
    fn prints(&mut self, place: &str, scope: &Scope, line: &str, word: &str) -> Result<()> {
        self.run(place, scope, line, |output| {
            output.ok && output.text().contains(word)
        })
    }
}

fn main() -> ExitCode {
    let mut show = Show::default();
    let result = demo(&mut show);
    println!();
    if let Err(error) = &result {
        println!("FAILED: {error:#}");
    }
    println!("{} steps, {} failed", show.steps, show.failed);
    if result.is_ok() && show.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// netctl on the host, as the user would type it.
fn ctl(show: &mut Show, world: &World, line: &str) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = world.netctl(&words)?;
    show.told("host", &format!("netctl {line}"), &output.text(), output.ok);
    Ok(())
}

const GET: &str = "curl -gsS --max-time 3";
const PING: &str = "ping -n -q -c 2 -i 0.2 -W 1";

fn demo(show: &mut Show) -> Result<()> {
    println!("netd:   {}\nnetctl: {}", binary("netd"), binary("netctl"));
    show.title("A host with netd, and a neighbour on its LAN, each a network namespace");
    let mut world = World::new()?;
    let (host, lan) = (world.host_scope(), world.lan_scope());
    show.works("host", &host, "ip -br address")?;
    show.works("lan", &lan, "ip -br address")?;
    ctl(show, &world, "status")?;

    show.title("Two networks and an internal one; three sandboxes, one of them on both networks");
    ctl(show, &world, "network create --ipv6 front")?;
    ctl(show, &world, "network create --ipv6 back")?;
    ctl(show, &world, "network create --ipv6 --internal vault")?;
    let web = world.sandbox("web", &["front"])?;
    let gate = world.sandbox("gate", &["front", "back"])?;
    let db = world.sandbox("db", &["back"])?;
    let safe = world.sandbox("safe", &["vault"])?;
    let deposit = world.sandbox("deposit", &["vault"])?;
    ctl(show, &world, "network ls")?;
    ctl(show, &world, "sandbox ls")?;
    show.works("gate", &gate.scope, "ip -br address")?;

    inside(show, &web, &gate, &db)?;
    by_name(show, &world)?;
    internal(show, &safe, &deposit, &web)?;
    outside(show, &world, &web)?;
    published(show, &world, &web, &db)?;
    survives(show, &mut world, &web, &gate)?;

    show.title("Clean up: netd --purge, and nothing is left");
    let closed = world.close();
    let text = closed
        .as_ref()
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    show.told("host", "netd --purge", &text, closed.is_ok());
    Ok(())
}

fn inside(show: &mut Show, web: &Sandbox, gate: &Sandbox, db: &Sandbox) -> Result<()> {
    show.title("Inside a network: reachable by IPv4 and IPv6");
    show.works("web", &web.scope, &format!("{PING} {}", gate.v4("eth0")?))?;
    show.works("web", &web.scope, &format!("{PING} {}", gate.v6("eth0")?))?;
    show.works("gate", &gate.scope, &format!("{PING} {}", db.v4("eth0")?))?;
    let mut server = gate.scope.spawn(&["iperf3", "-s", "-1", "--forceflush"])?;
    listening(gate, 5201);
    show.works(
        "web",
        &web.scope,
        &format!("iperf3 -c {} -t 1 -f g | grep receiver", gate.v4("eth0")?),
    )?;
    server.ended_within(std::time::Duration::from_secs(3));

    show.title("Between networks: isolated, also through the sandbox that is on both");
    show.blocked("web", &web.scope, &format!("{PING} {}", db.v4("eth0")?))?;
    show.blocked("web", &web.scope, &format!("{PING} {}", db.v6("eth0")?))?;
    show.blocked("db", &db.scope, &format!("{PING} {}", web.v4("eth0")?))?;
    show.works(
        "web",
        &web.scope,
        &format!(
            "ip route add {}/32 via {}",
            db.v4("eth0")?,
            gate.v4("eth0")?
        ),
    )?;
    show.blocked("web", &web.scope, &format!("{PING} {}", db.v4("eth0")?))?;
    show.works(
        "web",
        &web.scope,
        &format!("ip route del {}/32", db.v4("eth0")?),
    )
}

fn by_name(show: &mut Show, world: &World) -> Result<()> {
    show.title("By name: known on common networks only");
    let host = world.host_scope();
    let netctl = binary("netctl");
    let inside = |name: &str, line: &str| format!("{netctl} sandbox exec {name} -- {line}");
    show.works("host", &host, &inside("web", "getent ahosts gate"))?;
    show.works("host", &host, &inside("db", &format!("{PING} gate.back")))?;
    show.blocked("host", &host, &inside("web", &format!("{PING} db")))
}

fn internal(show: &mut Show, safe: &Sandbox, deposit: &Sandbox, web: &Sandbox) -> Result<()> {
    show.title("An internal network: its own members only");
    show.works(
        "safe",
        &safe.scope,
        &format!("{PING} {}", deposit.v4("eth0")?),
    )?;
    show.works(
        "safe",
        &safe.scope,
        &format!("{PING} {}", deposit.v6("eth0")?),
    )?;
    show.blocked("safe", &safe.scope, &format!("{PING} {LAN_V4}"))?;
    show.blocked("safe", &safe.scope, &format!("{PING} {LAN_V6}"))?;
    show.blocked("safe", &safe.scope, &format!("{PING} {HOST_V4}"))?;
    show.blocked("web", &web.scope, &format!("{PING} {}", safe.v4("eth0")?))
}

fn outside(show: &mut Show, world: &World, web: &Sandbox) -> Result<()> {
    show.title("To the LAN: masqueraded; the neighbour sees the host's address");
    show.works("web", &web.scope, &format!("{PING} {LAN_V4}"))?;
    show.works("web", &web.scope, &format!("{PING} {LAN_V6}"))?;
    let _server = Server::start(&world.lan_scope(), 7000)?;
    let client = binary("netd-probe");
    for protocol in ["tcp", "udp"] {
        let line = format!("{client} {protocol} {LAN_V4}:7000 2000");
        show.prints("web", &web.scope, &line, &format!("{HOST_V4}:"))?;
        let line = format!("{client} {protocol} [{LAN_V6}]:7000 2000");
        show.prints("web", &web.scope, &line, &format!("[{HOST_V6}]:"))?;
    }
    Ok(())
}

/// An HTTP server that answers with the client's address.
const PEER_SERVER: &str = "
import http.server, socket
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(('you are ' + self.client_address[0].removeprefix('::ffff:') + '\\n').encode())
    def log_message(self, *words): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); super().server_bind()
Server(('::', 80), Answer).serve_forever()
";

fn published(show: &mut Show, world: &World, web: &Sandbox, db: &Sandbox) -> Result<()> {
    show.title("A published port: from the LAN, from the host and from another sandbox; the server sees who it is");
    ctl(show, world, "port publish web 8080:80")?;
    ctl(show, world, "port ls web")?;
    let server = web.scope.spawn(&["python3", "-c", PEER_SERVER])?;
    listening(web, 80);
    let (host, lan) = (world.host_scope(), world.lan_scope());
    show.prints(
        "lan",
        &lan,
        &format!("{GET} http://{HOST_V4}:8080/"),
        &format!("you are {LAN_V4}"),
    )?;
    show.prints(
        "lan",
        &lan,
        &format!("{GET} http://[{HOST_V6}]:8080/"),
        &format!("you are {LAN_V6}"),
    )?;
    show.prints(
        "host",
        &host,
        &format!("{GET} http://{HOST_V4}:8080/"),
        "you are ",
    )?;
    show.prints(
        "host",
        &host,
        &format!("{GET} http://127.0.0.1:8080/"),
        "you are ",
    )?;
    show.prints(
        "host",
        &host,
        &format!("{GET} http://[::1]:8080/"),
        "you are ",
    )?;
    let true_address = format!("you are {}", db.v4("eth0")?);
    show.prints(
        "db",
        &db.scope,
        &format!("{GET} http://{HOST_V4}:8080/"),
        &true_address,
    )?;
    show.blocked("lan", &lan, &format!("{GET} http://{HOST_V4}:80/"))?;
    drop(server);
    Ok(())
}

fn survives(show: &mut Show, world: &mut World, web: &Sandbox, gate: &Sandbox) -> Result<()> {
    show.title("kill -9 while iperf3 runs: to the LAN and inside a network");
    let (host, lan) = (world.host_scope(), world.lan_scope());
    let _in_lan = lan.spawn(&["iperf3", "-s", "-1"])?;
    let _in_gate = gate.scope.spawn(&["iperf3", "-s", "-1"])?;
    listening(gate, 5201);
    wait_for("iperf3 in lan", 5, || {
        lan.run(&["sh", "-c", "ss -Hltn sport = 5201 | grep -q ."])
            .ok()?
            .ok
            .then_some(())
    });
    let out = web.scope.spawn(&[
        "iperf3",
        "-c",
        &LAN_V4.to_string(),
        "-t",
        "4",
        "-i",
        "1",
        "--forceflush",
    ])?;
    let across = web.scope.spawn(&[
        "iperf3",
        "-c",
        &gate.v4("eth0")?.to_string(),
        "-t",
        "4",
        "-i",
        "1",
        "--forceflush",
    ])?;
    wait_for("traffic", 5, || {
        let flows = web
            .scope
            .run(&["ss", "-Htn", "state", "established", "dport", "=", "5201"])
            .ok()?;
        (flows.stdout.lines().count() >= 4).then_some(())
    });
    let pid = world.daemon_pid().context("the daemon is not running")?;
    world.kill()?;
    show.told("host", &format!("kill -9 {pid}   # netd"), "", true);
    show.works("web", &web.scope, &format!("{PING} {LAN_V4}"))?;
    show.works("web", &web.scope, &format!("{PING} {}", gate.v6("eth0")?))?;
    for (name, client) in [("the LAN", out), ("gate", across)] {
        let output = client.finish()?;
        let silent = output
            .stdout
            .lines()
            .any(|line| line.contains(" 0.00 bits/sec"));
        show.told(
            "web",
            &format!("iperf3 to {name}"),
            &output.stdout,
            output.ok && !silent,
        );
    }
    show.title("Restart: everything is still there");
    world.start()?;
    ctl(show, world, "network ls")?;
    ctl(show, world, "sandbox ls")?;
    show.works("web", &web.scope, &format!("{PING} {}", gate.v4("eth0")?))?;
    let server = web.scope.spawn(&["python3", "-c", PEER_SERVER])?;
    listening(web, 80);
    show.prints(
        "lan",
        &lan,
        &format!("{GET} http://{HOST_V4}:8080/"),
        &format!("you are {LAN_V4}"),
    )?;
    show.prints(
        "host",
        &host,
        &format!("{GET} http://127.0.0.1:8080/"),
        "you are ",
    )?;
    drop(server);
    ctl(show, world, "stats")?;
    ctl(show, world, "drops")
}

/// Waits until a TCP port is open in a sandbox.
fn listening(sandbox: &Sandbox, port: u16) {
    let line = format!("ss -Hltn sport = {port} | grep -q .");
    wait_for(&format!("port {port} in {}", sandbox.name), 10, || {
        sandbox
            .scope
            .run(&["sh", "-c", &line])
            .ok()?
            .ok
            .then_some(())
    });
}
