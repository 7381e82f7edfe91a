//! C02, C04, C12: sockets of the host's own processes and published ports, in all the ways that sockets are used.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use netd_tests::{Process, Sandbox, Scope, Server, World, wait_for};

use crate::{Outcome, PROTOCOLS};

/// Asks with one socket: `PROTOCOL FAMILY SOURCE DEVICE HOW PORT ADDRESS…`. Each line says from where the answer came, whom the
/// server saw, and what went wrong instead.
const ASK: &str = "
import errno, socket as s, sys
protocol, family, source, device, how, port = sys.argv[1:7]
kind = s.SOCK_STREAM if protocol == 'tcp' else s.SOCK_DGRAM
sock = s.socket(s.AF_INET if family == '4' else s.AF_INET6, kind)
sock.settimeout(2)
if how == 'errors':
    sock.setsockopt(0 if family == '4' else 41, 11 if family == '4' else 25, 1)
if device != '-':
    sock.setsockopt(s.SOL_SOCKET, s.SO_BINDTODEVICE, device.encode())
if source != '-':
    sock.bind((source, 0))
payload = b'?' * 5000 + b'\\n' if how == 'large' else b'?\\n'
for to in sys.argv[7:]:
    try:
        if how in ('connect', 'both'):
            sock.connect((to, int(port)))
            print('peer', sock.getpeername()[0], sock.getpeername()[1], end=' ')
        if how == 'connect':
            sock.send(payload)
        else:
            sock.sendto(payload, (to, int(port)))
        answer, origin = sock.recvfrom(9000)
        if protocol == 'udp':
            print('from', origin[0], origin[1], end=' ')
        print('saw', answer.decode().split()[0])
    except OSError as e:
        print(errno.errorcode.get(e.errno, repr(e)))
";

/// What [`ASK`] says, a line for each address.
pub fn ask(scope: &Scope, words: [&str; 5], port: u16, addresses: &[&str]) -> Result<Vec<String>> {
    let port = port.to_string();
    let mut command = vec!["python3", "-c", ASK];
    command.extend(words);
    command.push(&port);
    command.extend(addresses);
    let output = scope.run(&command)?;
    ensure!(output.ok, "{words:?}: {}", output.text());
    Ok(output.stdout.lines().map(str::to_owned).collect())
}

/// Whom the server saw, by a line of [`ASK`].
pub fn seen(line: &str) -> Result<IpAddr> {
    let (_, seen) = line.rsplit_once("saw ").with_context(|| line.to_owned())?;
    let address: std::net::SocketAddr = seen.parse().with_context(|| line.to_owned())?;
    Ok(address.ip())
}

/// A world with a server that is published, port 8080 for its 7000, on a network of both families.
fn published(options: &str) -> Result<(World, Sandbox, Server)> {
    let world = World::new()?;
    world.ctl(&format!("network create --ipv6 {options} front"))?;
    let web = world.sandbox("web", &["front"])?;
    let server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    Ok((world, web, server))
}

/// Of both families: the family, a loopback address, another one of the host.
pub const ADDRESSES: [(&str, &str, &str); 2] = [
    ("4", "127.0.0.1", "198.51.100.1"),
    ("6", "::1", "2001:db8:100::1"),
];

/// A socket that is bound to a loopback address: `curl --interface 127.0.0.1`, `nc -s`.
#[test]
fn c12_sockets_bound_to_loopback() -> Outcome {
    let (world, _web, _server) = published("")?;
    let host = world.host_scope();
    for (family, loopback, own) in ADDRESSES {
        for protocol in PROTOCOLS {
            for how in ["connect", "sendto"] {
                if (protocol, how) == ("tcp", "sendto") {
                    continue;
                }
                for to in [loopback, own] {
                    let words = [protocol, family, loopback, "-", how];
                    let said = ask(&host, words, 8080, &[to])?;
                    ensure!(!seen(&said[0])?.is_loopback(), "{words:?}: {said:?}");
                    let from = format!("from {to} 8080");
                    ensure!(
                        protocol == "tcp" || said[0].contains(&from),
                        "{words:?} to {to}: {said:?}"
                    );
                }
            }
        }
    }
    for (interface, url) in [
        ("127.0.0.1", "http://127.0.0.1:8080/"),
        ("::1", "http://[::1]:8080/"),
    ] {
        let curl = [
            "curl",
            "-sS",
            "--http0.9",
            "--max-time",
            "3",
            "--interface",
            interface,
            url,
        ];
        let said = host.run(&curl)?;
        // The server answers and goes on listening: what matters is that it answered.
        ensure!(said.stdout.contains(":7000"), "{curl:?}: {}", said.text());
    }
    Ok(())
}

/// A socket that is bound to the loopback device.
#[test]
fn c12_sockets_bound_to_the_loopback_device() -> Outcome {
    let (world, _web, _server) = published("")?;
    for (family, loopback, _) in ADDRESSES {
        for (protocol, how) in [("tcp", "connect"), ("udp", "connect"), ("udp", "sendto")] {
            let words = [protocol, family, "-", "lo", how];
            let said = ask(&world.host_scope(), words, 8080, &[loopback])?;
            ensure!(!seen(&said[0])?.is_loopback(), "{words:?}: {said:?}");
        }
    }
    Ok(())
}

/// One socket asks several of the host's addresses: each answer comes from the one that was asked, and the server sees
/// the host's own address where it was asked by that.
#[test]
fn c12_answers_come_from_the_address_that_was_asked() -> Outcome {
    let world = World::new()?;
    // As on hosts that check sources strictly.
    for devices in ["all", "default"] {
        let key = format!("net/ipv4/conf/{devices}/rp_filter");
        world.host.sysctl(&key, "1")?;
    }
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    world.host.ip("addr add 198.51.100.11/24 dev uplink")?;
    world
        .host
        .ip("addr add 2001:db8:100::11/64 dev uplink nodad")?;
    let host = world.host_scope();
    for (family, addresses) in [
        (
            "4",
            ["198.51.100.1", "127.0.0.1", "198.51.100.11", "198.51.100.1"],
        ),
        (
            "6",
            [
                "2001:db8:100::1",
                "::1",
                "2001:db8:100::11",
                "2001:db8:100::1",
            ],
        ),
    ] {
        // netd learns of the second address by an event.
        wait_for("the new address", 5, || {
            let words = ["udp", family, "-", "-", "sendto"];
            seen(ask(&host, words, 8080, &[addresses[2]]).ok()?.first()?).ok()
        });
        for how in ["sendto", "connect", "both"] {
            let said = ask(&host, ["udp", family, "-", "-", how], 8080, &addresses)?;
            for (line, asked) in said.iter().zip(addresses) {
                let from = format!("from {asked} 8080");
                ensure!(line.contains(&from), "{how} {asked}: {line}");
                let peer = format!("peer {asked} 8080");
                ensure!(
                    how == "sendto" || line.contains(&peer),
                    "{how} {asked}: {line}"
                );
                let saw = seen(line)?;
                ensure!(!saw.is_loopback(), "{how} {asked}: {line}");
                // The address that the kernel gives to a packet for the second one is the first.
                let own = addresses.contains(&saw.to_string().as_str());
                let kept = how == "sendto" && asked != addresses[1];
                ensure!(own || !kept, "{how} {asked}: {line}");
            }
        }
        // A datagram that only the loopback device takes whole.
        let said = ask(&host, ["udp", family, "-", "-", "large"], 8080, &addresses)?;
        for line in &said {
            seen(line)?;
        }
    }
    Ok(())
}

/// An IPv4-only endpoint by ::1: connected sockets reach it; to others it is as a port where nobody listens.
#[test]
fn c12_by_ipv6_to_an_ipv4_only_endpoint() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    let host = world.host_scope();
    for protocol in PROTOCOLS {
        let said = ask(&host, [protocol, "6", "-", "-", "connect"], 8080, &["::1"])?;
        ensure!(said[0].contains("peer ::1 8080"), "{protocol}: {said:?}");
        seen(&said[0])?;
    }
    for port in [8080, 8079] {
        let said = ask(&host, ["udp", "6", "-", "-", "errors"], port, &["::1"])?;
        ensure!(said[0] == "ECONNREFUSED", "port {port}: {said:?}");
    }
    Ok(())
}

/// The host has no address on the network: nothing of what its processes say to themselves leaves it.
#[test]
fn c12_without_a_gateway_address() -> Outcome {
    let (world, _web, _server) = published("-o com.docker.network.bridge.inhibit_ipv4=true")?;
    for (family, loopback, own) in ADDRESSES {
        for (protocol, how) in [("tcp", "connect"), ("udp", "connect"), ("udp", "sendto")] {
            for to in [loopback, own] {
                let words = [protocol, family, "-", "-", how];
                let said = ask(&world.host_scope(), words, 8080, &[to])?;
                ensure!(
                    !seen(&said[0])?.is_loopback(),
                    "{words:?} to {to}: {said:?}"
                );
            }
        }
    }
    Ok(())
}

/// A server of the host's at another loopback address, as systemd-resolved at 127.0.0.53, lives beside a publication of the same
/// port on all addresses.
#[test]
fn c12_other_loopback_addresses_are_the_host_s() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 53:7000 53:7000/udp")?;
    let host = world.host_scope();
    let serve = "
import socket as s
t = s.socket(); t.bind(('127.0.0.53', 53)); t.listen()
u = s.socket(s.AF_INET, s.SOCK_DGRAM); u.bind(('127.0.0.53', 53))
print('ready', flush=True)
c, _ = t.accept(); c.recv(9); c.send(b'own:1 x'); c.close()
for i in range(2):
    _, peer = u.recvfrom(9); u.sendto(b'own:1 x', peer)
";
    let mut own: Process = host.spawn(&["python3", "-c", serve])?;
    ensure!(own.line()? == "ready", "the host's server does not start");
    for (protocol, how) in [("tcp", "connect"), ("udp", "connect"), ("udp", "sendto")] {
        let words = [protocol, "4", "-", "-", how];
        let said = ask(&host, words, 53, &["127.0.0.53"])?;
        ensure!(said[0].ends_with("saw own:1"), "{words:?}: {said:?}");
        let said = ask(&host, words, 53, &["127.0.0.1"])?;
        seen(&said[0])?;
    }
    ensure!(own.finish()?.ok);
    // What the publication covers is taken.
    for (address, taken) in [
        ("127.0.0.1", true),
        ("0.0.0.0", true),
        ("198.51.100.1", true),
        ("127.0.0.54", false),
    ] {
        let code = format!("import socket as s; s.socket().bind(('{address}', 53))");
        let bound = host.run(&["python3", "-c", &code])?;
        ensure!(bound.ok != taken, "{address}: {}", bound.text());
        ensure!(
            !taken || bound.text().contains("Errno 98"),
            "{}",
            bound.text()
        );
    }
    Ok(())
}

/// A port where the endpoint does not listen, and one that is not published any more, refuse at once.
#[test]
fn c12_closed_ports_refuse() -> Outcome {
    let (world, _web, server) = published("")?;
    let host = world.host_scope();
    drop(server);
    for (family, loopback, own) in ADDRESSES {
        for to in [loopback, own] {
            for (protocol, source, how) in [("tcp", loopback, "connect"), ("udp", "-", "errors")] {
                let said = ask(&host, [protocol, family, source, "-", how], 8080, &[to])?;
                ensure!(said[0] == "ECONNREFUSED", "{protocol} to {to}: {said:?}");
            }
        }
    }
    world.ctl("port unpublish web 8080:7000 8080:7000/udp")?;
    for (family, loopback, _) in ADDRESSES {
        let said = ask(
            &host,
            ["udp", family, "-", "-", "errors"],
            8080,
            &[loopback],
        )?;
        ensure!(said[0] == "ECONNREFUSED", "{said:?}");
    }
    Ok(())
}
