//! C10: what has ended leaves room for what comes.

use std::time::Duration;

use anyhow::ensure;
use netd_tests::{
    Server, World,
    nat::{Kind, Packet, Setup, Site, Transport, exchange::mark, life::life, packet::flag},
    world::LAN,
};

use crate::Outcome;

/// Connections, or datagrams from a new socket each, one after the other.
const CLIENT: &str = "
import socket, sys
kind, host, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
family = socket.AF_INET6 if ':' in host else socket.AF_INET
for number in range(count):
    s = socket.socket(family, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
    s.settimeout(3)
    try:
        s.connect((host, port))
        s.sendall(b'?\\n')
        assert s.recv(200)
    except Exception as error:
        sys.exit(f'number {number}: {error}')
    s.close()
print('done')
";

/// Six thousand each: more than a container's share of the pool has ports.
#[test]
fn c10_thousands_of_exchanges_one_after_the_other() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _server = Server::start(&world.lan_scope(), 7000)?;
    for kind in ["tcp", "udp"] {
        for to in LAN {
            let output = web.scope.run(&[
                "/usr/bin/python3",
                "-c",
                CLIENT,
                kind,
                &to.to_string(),
                "7000",
                "6000",
            ])?;
            ensure!(
                output.stdout.contains("done"),
                "{kind} to {to}: {}",
                output.text()
            );
        }
    }
    Ok(())
}

/// The programs take back by themselves what is over: a dead daemon uses up nobody's share.
#[test]
fn c10_x01_shares_come_back_without_the_daemon() -> Outcome {
    let setup = Setup {
        lifetimes: vec![("udp", 1)],
        limits: vec![("flows_per_endpoint", 160), ("ports_per_endpoint", 80)],
        ..Setup::default()
    };
    let mut site = Site::new(Kind::Netd, &setup)?;
    site.world.kill()?;
    let ends = site.ends()[0];
    let peer = (ends.lan, 20_100);
    for round in 0..4_u16 {
        let first = 21_000 + round * 100;
        // All of the round's thirty leave, and then they are over.
        let over = life(
            Duration::from_secs(3),
            |number| site.map(Transport::Udp, &site.a, (ends.a, first + number), peer),
            |_, outside| {
                Ok(site
                    .back(Transport::Udp, peer, *outside, &site.a)?
                    .is_some())
            },
        )?;
        ensure!(over.is_some(), "round {round}: the flows live on");
    }
    Ok(())
}

/// A handshake that a client of a published port does not finish is forgotten soon, so that a flood of them holds nothing
/// for long; one that it finishes stays, however silent both sides are.
#[test]
fn c10_half_open_connections_from_outside_live_shortly() -> Outcome {
    let setup = Setup {
        lifetimes: vec![("tcp_inbound_opening", 1)],
        ..Setup::default()
    };
    let site = Site::new(Kind::Netd, &setup)?;
    site.publish("a", "tcp", 8080, 20_007)?;
    let both = flag::SYN | flag::ACK;
    for ends in site.ends() {
        let (server, public) = ((ends.a, 20_007), (ends.host, 8080));
        let begin = |port: u16| -> anyhow::Result<()> {
            let syn = site.packet(Transport::Tcp, (ends.lan, port), public);
            site.lan.send(&syn)?;
            site.a.wait("the SYN", |seen| mark(seen) == mark(&syn))?;
            Ok(())
        };
        let answers = |port: u16, flags: u8| -> anyhow::Result<bool> {
            let answer = Packet::tcp(server, (ends.lan, port), flags, (site.mark(), 1));
            let seen = site.leaves(&site.a, &answer)?;
            Ok(seen.is_some_and(|seen| (seen.src, seen.ports()) == (public.0, Some((8080, port)))))
        };
        begin(20_100)?;
        ensure!(answers(20_100, both)?, "the SYN-ACK does not leave");
        let ack = Packet::tcp((ends.lan, 20_100), public, flag::ACK, (site.mark(), 1));
        ensure!(
            site.enters(&site.a, &ack)?.is_some(),
            "the ACK does not enter"
        );
        let half_open = life(
            Duration::from_secs(5),
            |number| begin(20_200 + number),
            |number, ()| answers(20_200 + number, both),
        )?;
        ensure!(
            half_open.is_some_and(|life| life < Duration::from_secs(3)),
            "set to 1 s, lives {half_open:?}"
        );
        let data = flag::ACK | flag::PSH;
        ensure!(answers(20_100, data)?, "the established connection ended");
        let late = Packet::tcp((ends.lan, 20_100), public, data, (site.mark(), 1));
        ensure!(site.enters(&site.a, &late)?.is_some(), "nor does it enter");
    }
    Ok(())
}
