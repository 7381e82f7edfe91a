//! C02, C12: what goes by the host's loopback device to published ports, and the program there.

use std::{fs, net::IpAddr, path::Path};

use anyhow::{Context, Result, ensure};
use netd_tests::World;

use crate::{
    Outcome,
    host_sockets::{ADDRESSES, ask, seen},
};

/// SCTP, for which the kernel has no hook at sockets: a packet of it, as a raw socket sends it, comes to the endpoint from
/// an address that the endpoint can answer, and the answer to the process.
#[test]
fn c02_sctp_from_the_host() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    world.ctl("port publish web 9000:9000/sctp")?;
    // Sends the first packet back with the ports exchanged; the checksum is nobody's business here.
    let echo = "
import socket as s, sys
family, skip = (s.AF_INET, 20) if sys.argv[1] == '4' else (s.AF_INET6, 0)
raw = s.socket(family, s.SOCK_RAW, 132)
raw.settimeout(5)
print('ready', flush=True)
data, peer = raw.recvfrom(9000)
data = data[skip:]
print('got', peer[0], flush=True)
raw.sendto(data[2:4] + data[:2] + data[4:], peer)
";
    let init = "
import socket as s, struct, sys
family, source, to = sys.argv[1:4]
family, skip = (s.AF_INET, 20) if family == '4' else (s.AF_INET6, 0)
raw = s.socket(family, s.SOCK_RAW, 132)
raw.settimeout(5)
raw.bind((source, 0))
packet = struct.pack('!HHII', 40001, 9000, 0, 0) + struct.pack('!BBHIIHHI', 1, 0, 20, 7, 65536, 1, 1, 1)
raw.sendto(packet, (to, 0))
while True:
    data, peer = raw.recvfrom(9000)
    if data[skip:skip + 4] == struct.pack('!HH', 9000, 40001):
        print('answer', peer[0])
        break
";
    for (family, loopback, own) in ADDRESSES {
        for to in [loopback, own] {
            let mut inside = web.scope.spawn(&["python3", "-c", echo, family])?;
            ensure!(inside.line()? == "ready");
            let asked = world
                .host_scope()
                .run(&["python3", "-c", init, family, to, to])?;
            ensure!(
                asked.stdout.trim() == format!("answer {to}"),
                "{to}: {}",
                asked.text()
            );
            let got = inside.line()?;
            let peer: IpAddr = got.trim_start_matches("got ").parse().context(got)?;
            ensure!(!peer.is_loopback(), "seen as {peer}");
            ensure!(
                to == loopback || peer.to_string() == to,
                "{to}: seen as {peer}"
            );
        }
    }
    Ok(())
}

/// Much data and large datagrams, whole and in order.
#[test]
fn c12_much_data_by_the_loopback_device() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    let echo = "
import socket as s, threading
t = s.socket(s.AF_INET6); t.bind(('::', 7000)); t.listen()
u = s.socket(s.AF_INET6, s.SOCK_DGRAM); u.bind(('::', 7000))
def datagrams():
    while True:
        data, peer = u.recvfrom(70000)
        u.sendto(data, peer)
threading.Thread(target=datagrams, daemon=True).start()
print('ready', flush=True)
while True:
    c, _ = t.accept()
    while True:
        data = c.recv(1 << 16)
        if not data:
            break
        c.sendall(data)
    c.close()
";
    let client = "
import os, socket as s, sys, threading
family, source = (s.AF_INET6 if ':' in sys.argv[1] else s.AF_INET), sys.argv[1]
c = s.socket(family); c.settimeout(20); c.bind((source, 0)); c.connect((source, 8080))
data = os.urandom(8 << 20)
def send():
    c.sendall(data)
    c.shutdown(s.SHUT_WR)
threading.Thread(target=send).start()
got = b''
while True:
    part = c.recv(1 << 20)
    if not part:
        break
    got += part
assert got == data, len(got)
u = s.socket(family, s.SOCK_DGRAM); u.settimeout(5)
for size in (0, 1400, 1473, 5000, 60000):
    u.sendto(data[:size], (source, 8080))
    try:
        got, peer = u.recvfrom(70000)
    except TimeoutError:
        sys.exit(f'no answer of {size} bytes')
    assert got == data[:size] and peer[:2] == (source, 8080), (size, len(got), peer)
print('whole')
";
    let mut server = web.scope.spawn(&["python3", "-c", echo])?;
    ensure!(server.line()? == "ready", "the server does not start");
    for (_, loopback, _) in ADDRESSES {
        let said = world
            .host_scope()
            .run(&["python3", "-c", client, loopback])?;
        ensure!(said.stdout.trim() == "whole", "{loopback}: {}", said.text());
    }
    Ok(())
}

/// Whether the program hangs on the loopback device.
fn hangs(world: &World, tcx: bool) -> Result<bool> {
    if tcx {
        let root = Path::new("/sys/fs/bpf/netd").join(&world.instance);
        let mut versions = fs::read_dir(&root)?.flatten();
        return Ok(versions.any(|version| version.path().join("links/loopback").exists()));
    }
    let shown = ["tc", "filter", "show", "dev", "lo", "ingress"];
    let shown = world.host_scope().run(&shown)?;
    Ok(shown.stdout.contains("from_loopback"))
}

/// The program stays while no daemon runs, is there once after a restart, and goes with the last publication; with TCX, and
/// without it (before Linux 6.6).
#[test]
fn c12_the_loopback_program_comes_and_goes() -> Outcome {
    for refuse in [None, Some(("NETD_FAILPOINT_REFUSE_START", "no-tcx"))] {
        let mut world = World::without_daemon()?;
        let tcx = refuse.is_none();
        let environment: Vec<(&str, &str)> = refuse.into_iter().collect();
        world.start_with(&environment)?;
        world.ctl("network create --ipv6 front")?;
        let web = world.sandbox("web", &["front"])?;
        let _server = web.serve(7000)?;
        let host = world.host_scope();
        let answers = || -> Outcome {
            for (family, loopback, _) in ADDRESSES {
                let words = ["udp", family, "-", "-", "sendto"];
                seen(&ask(&host, words, 8080, &[loopback])?[0])?;
            }
            Ok(())
        };
        ensure!(!hangs(&world, tcx)?, "hangs");
        world.ctl("port publish web 8080:7000/udp")?;
        ensure!(hangs(&world, tcx)?, "does not hang, TCX: {tcx}");
        answers()?;
        world.kill()?;
        ensure!(hangs(&world, tcx)?, "does not hang, TCX: {tcx}");
        answers()?;
        world.start_with(&environment)?;
        ensure!(hangs(&world, tcx)?, "does not hang, TCX: {tcx}");
        answers()?;
        world.ctl("port unpublish web 8080:7000/udp")?;
        ensure!(!hangs(&world, tcx)?, "hangs");
        world.ctl("port publish web 8080:7000/udp")?;
        ensure!(hangs(&world, tcx)?, "does not hang, TCX: {tcx}");
        world.ctl("sandbox rm web")?;
        ensure!(!hangs(&world, tcx)?, "hangs");
    }
    Ok(())
}
