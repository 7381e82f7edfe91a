//! C05, C08: connected sockets of the host's own processes end with the publication or the endpoint that they were led to.

use anyhow::{Context as _, Result, ensure};
use netd_tests::{Process, Scope, World, wait_for};

use crate::{Outcome, PROTOCOLS};

/// Holds one socket: `PROTOCOL FAMILY TO PORT`. For each line `ask` it asks once more by it, for `again` it connects it anew
/// before (TCP: a new one). It says what came back, or what went wrong.
const HOLD: &str = "
import errno, socket as s, sys
protocol, family, to, port = sys.argv[1:5]
def fresh():
    sock = s.socket(s.AF_INET if family == '4' else s.AF_INET6, s.SOCK_STREAM if protocol == 'tcp' else s.SOCK_DGRAM)
    sock.settimeout(2)
    return sock
sock = fresh()
sock.connect((to, int(port)))
print('connected', flush=True)
for line in sys.stdin:
    try:
        if line.strip() == 'again':
            # A UDP socket lives on, once what went wrong was told.
            sock.getsockopt(s.SOL_SOCKET, s.SO_ERROR)
            if protocol == 'tcp':
                sock = fresh()
            sock.connect((to, int(port)))
        sock.send(b'?\\n')
        answer = sock.recv(9000).decode().strip()
        print('answer ' + answer if answer else 'EOF', flush=True)
    except OSError as e:
        print(errno.errorcode.get(e.errno, 'TIMEOUT'), flush=True)
";

/// What a process is told by a socket that was ended: by the send that names no destination any more, or by what waits.
const ENDED: [&str; 3] = ["ECONNABORTED", "EDESTADDRREQ", "EPIPE"];

struct Client {
    what: String,
    process: Process,
}

impl Client {
    fn new(scope: &Scope, protocol: &str, family: &str, to: &str, port: u16) -> Result<Self> {
        let port = port.to_string();
        let mut process = scope.spawn(&["python3", "-c", HOLD, protocol, family, to, &port])?;
        ensure!(process.line()? == "connected", "{protocol} to {to} {port}");
        Ok(Self {
            what: format!("{protocol} to {to} {port}"),
            process,
        })
    }

    fn say(&mut self, word: &str) -> Result<String> {
        self.process.say(word)?;
        self.process.line()
    }

    /// The port of the server that answered, by the socket as it is or connected anew.
    fn answers(&mut self, word: &str) -> Result<u16> {
        let said = self.say(word)?;
        let server = said
            .strip_prefix("answer ")
            .and_then(|a| a.split(' ').nth(1)?.parse::<std::net::SocketAddr>().ok());
        let server = server.with_context(|| format!("{}: {said}", self.what))?;
        Ok(server.port())
    }

    fn is_ended(&mut self) -> Outcome {
        let said = self.say("ask")?;
        ensure!(ENDED.contains(&said.as_str()), "{}: {said}", self.what);
        Ok(())
    }
}

/// Of all kinds: both protocols, both families, by a loopback address and by another one of the host.
fn clients(world: &World, port: u16) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for protocol in PROTOCOLS {
        for (family, to) in [
            ("4", "127.0.0.1"),
            ("4", "198.51.100.1"),
            ("6", "::1"),
            ("6", "2001:db8:100::1"),
            ("6", "::ffff:127.0.0.1"),
        ] {
            let client = Client::new(&world.host_scope(), protocol, family, to, port)?;
            clients.push(client);
        }
    }
    for client in &mut clients {
        client.answers("ask")?;
    }
    Ok(clients)
}

fn published(world: &World) -> Result<(netd_tests::Sandbox, netd_tests::Server)> {
    world.ctl("network create --ipv6 --subnet 10.64.0.0/24 --subnet fd00:64::/64 front")?;
    let web = world.sandbox("web", &["front"])?;
    let server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 8080:7000/udp 8081:7000 8081:7000/udp")?;
    Ok((web, server))
}

/// A port that is published no more answers nobody, and the sockets that were led there hear of it; those of another port of
/// the same container's port do not.
#[test]
fn c05_host_sockets_end_with_their_publication() -> Outcome {
    let world = World::new()?;
    let (web, _server) = published(&world)?;
    let mut meant = clients(&world, 8080)?;
    let mut others = clients(&world, 8081)?;
    // One that asks the container itself was led nowhere.
    let inside = web.v4("eth0")?.to_string();
    others.push(Client::new(&world.host_scope(), "udp", "4", &inside, 7000)?);
    others.push(Client::new(&world.host_scope(), "tcp", "4", &inside, 7000)?);
    world.ctl("port unpublish web 8080:7000 8080:7000/udp")?;
    for client in &mut meant {
        client.is_ended()?;
    }
    for client in &mut others {
        client.answers("ask")?;
    }
    // Of one protocol alone.
    world.ctl("port unpublish web 8081:7000/udp")?;
    for client in &mut others {
        if client.what.contains("udp") && !client.what.contains(&inside) {
            client.is_ended()?;
        } else {
            client.answers("ask")?;
        }
    }
    Ok(())
}

/// A container that is removed: its host clients do not go on to whoever gets its address next, and reach its successor
/// when they connect again.
#[test]
fn c08_host_sockets_end_with_their_endpoint() -> Outcome {
    for how in [
        "sandbox rm -f web",
        "network disconnect -f front web",
        "sandbox stop web",
    ] {
        let world = World::new()?;
        let (web, _server) = published(&world)?;
        let (v4, v6) = (web.v4("eth0")?, web.v6("eth0")?);
        let mut meant = clients(&world, 8080)?;
        world.ctl(how)?;
        if !how.contains("rm") {
            world.ctl("sandbox rm -f web")?;
        }
        // Somebody else gets the address.
        world.ctl("sandbox create stranger")?;
        world.ctl(&format!(
            "network connect --ip {v4} --ip6 {v6} front stranger"
        ))?;
        let path = world.run_directory().join("netns/stranger");
        let _other = netd_tests::Server::start(&world.scope(&path), 7000)?;
        for client in &mut meant {
            // They are ended soon after, whether they ask meanwhile or not.
            let said = wait_for("the end of a socket", 5, || {
                let said = client.say("ask").ok()?;
                (said != "TIMEOUT").then_some(said)
            });
            let ended = ENDED.contains(&said.as_str()) || said == "ECONNRESET";
            ensure!(ended, "{how}: {}: {said}", client.what);
        }
        let web = world.sandbox("next", &["front"])?;
        let _server = web.serve(7001)?;
        world.ctl("port publish next 8080:7001 8080:7001/udp")?;
        for client in &mut meant {
            let port = client.answers("again")?;
            ensure!(port == 7001, "{how}: {}: {port}", client.what);
        }
    }
    Ok(())
}

/// What the daemon did not get to before it died is done by the next one.
#[test]
fn c05_host_sockets_end_after_a_crash() -> Outcome {
    let mut world = World::without_daemon()?;
    world.start_with(&[("NETD_FAILPOINT", "publications-withdrawn")])?;
    let (_web, _server) = published(&world)?;
    let mut meant = clients(&world, 8080)?;
    ensure!(
        world
            .ctl("port unpublish web 8080:7000 8080:7000/udp")
            .is_err()
    );
    world.wait_for_end()?;
    world.start()?;
    for client in &mut meant {
        wait_for("the end of a socket", 10, || client.is_ended().ok());
    }
    Ok(())
}

/// What stays as it is touches no socket: other ports, a restart of the daemon, a kill.
#[test]
fn c11_host_sockets_live_on() -> Outcome {
    let mut world = World::new()?;
    let (_web, _server) = published(&world)?;
    let mut meant = clients(&world, 8080)?;
    world.ctl("port publish web 8082:7000")?;
    world.ctl("port unpublish web 8082:7000")?;
    world.ctl("sandbox create other --network front")?;
    world.ctl("port publish other 8083:7000")?;
    world.ctl("sandbox rm -f other")?;
    world.kill()?;
    world.start()?;
    world.ctl("port unpublish web 8081:7000")?;
    for client in &mut meant {
        client.answers("ask")?;
    }
    Ok(())
}
