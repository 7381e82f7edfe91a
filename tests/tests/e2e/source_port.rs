//! C02, C10, C11: one port of a client, several ways; and the port that a published service speaks from.

use std::net::IpAddr;

use anyhow::ensure;
use netd_tests::{
    Sandbox, World,
    nat::{Kind, Setup, Site, Transport},
    world::HOST,
};

use crate::{Outcome, PROTOCOLS};

/// From port 4000 to two addresses one after the other; the first socket is closed before, or kept. Prints whom each
/// server saw and which address answered.
const CLIENT: &str = "
import socket, sys
kind, keep, targets = sys.argv[1], sys.argv[2] == 'keep', sys.argv[3:]
kept = []
for target in targets:
    host, port = target.rsplit('/', 1)
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.settimeout(3)
    s.bind(('', 4000))
    s.connect((host, int(port)))
    s.sendall(b'?\\n')
    print(target, 'saw', s.recv(200).decode().split()[0], flush=True)
    if keep: kept.append((target, s))
    else: s.close()
for target, s in kept:
    s.sendall(b'?\\n')
    print(target, 'again', s.recv(200).decode().split()[0], flush=True)
print('done')
";

/// A client that reaches a server by its published port and by its own address, in both orders, from one port of its own.
#[test]
fn c02_c11_a_neighbour_directly_and_by_its_published_port() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let (web, peer) = (
        world.sandbox("web", &["front"])?,
        world.sandbox("peer", &["front"])?,
    );
    let _server = web.serve(5201)?;
    world.ctl("port publish web 5201:5201 5201:5201/udp")?;
    let mut failed = Vec::new();
    for (host, own) in HOST.into_iter().zip(web.addresses("eth0")?) {
        for protocol in PROTOCOLS {
            for keep in ["close", "keep"] {
                for order in [[host, own], [own, host]] {
                    let said = client(&peer, protocol, keep, &order)?;
                    if !said.contains("done") {
                        failed.push(format!("{protocol}, {keep}, {order:?}: {said}"));
                    }
                }
            }
        }
    }
    ensure!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

fn client(
    from: &Sandbox,
    protocol: &str,
    keep: &str,
    targets: &[IpAddr],
) -> anyhow::Result<String> {
    let targets: Vec<String> = targets.iter().map(|ip| format!("{ip}/5201")).collect();
    let mut words = vec!["/usr/bin/python3", "-c", CLIENT, protocol, keep];
    words.extend(targets.iter().map(String::as_str));
    Ok(from.scope.run(&words)?.text())
}

/// A published service that speaks first does so from its published port: whoever is told that port reaches it.
#[test]
fn c02_a_published_service_speaks_from_its_published_port() -> Outcome {
    let site = Site::new(Kind::Netd, &Setup::default())?;
    for (protocol, transport) in [("udp", Transport::Udp), ("tcp", Transport::Tcp)] {
        site.publish("a", protocol, 5000, 20_007)?;
        for ends in site.ends() {
            let from = |port| (ends.a, port);
            let out = site.map(transport, &site.a, from(20_007), (ends.lan, 20_100))?;
            ensure!(out == (ends.host, 5000), "{protocol}: appears as {out:?}");
            let back = site.back(transport, (ends.lan, 20_100), out, &site.a)?;
            ensure!(
                back == Some(from(20_007)),
                "{protocol}: the answer goes to {back:?}"
            );
            // Its other ports, and the same port of another container, have nothing to do with it.
            for (station, src) in [(&site.a, from(20_008)), (&site.b, (ends.b, 20_007))] {
                let out = site.map(transport, station, src, (ends.lan, 20_100))?;
                ensure!(out.1 >= 49_152, "{protocol}: {src:?} appears as {out:?}");
            }
        }
    }
    Ok(())
}
