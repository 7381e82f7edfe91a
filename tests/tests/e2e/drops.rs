//! X03: refused packets as they come.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use netd_common::abi::{Settings, VERSION, watch};
use netd_proto::v1::{WatchDropsRequest, system_service_client::SystemServiceClient};
use netd_tests::{
    Process, Sandbox, World,
    probe::probe,
    wait_for,
    world::{HOST_V4, LAN_V4, binary},
};
use serde_json::Value;

use crate::{Outcome, api::channel};

/// Whether the programs are told that somebody watches.
fn is_watched(world: &World) -> Result<bool> {
    let path = format!("/sys/fs/bpf/netd/{}/{VERSION}/SETTINGS", world.instance);
    let words = ["bpftool", "-j", "map", "dump", "pinned", &path];
    let dump = world.host_scope().run(&words)?;
    ensure!(dump.ok, "bpftool: {}", dump.text());
    let entries: Value = serde_json::from_str(&dump.stdout)?;
    let byte = |i: usize| {
        let byte = entries[0]["value"][i].as_str()?;
        u8::from_str_radix(byte.trim_start_matches("0x"), 16).ok()
    };
    let at = std::mem::offset_of!(Settings, watch);
    let bytes: Option<Vec<u8>> = (at..at + 4).map(byte).collect();
    let bytes = bytes.and_then(|b| b.try_into().ok());
    let bits = u32::from_ne_bytes(bytes.with_context(|| dump.stdout.clone())?);
    Ok(bits & watch::DROPS != 0)
}

fn wait_until_watched(world: &World, watched: bool) {
    wait_for("the programs to be told who watches", 10, || {
        is_watched(world)
            .is_ok_and(|is| is == watched)
            .then_some(())
    });
}

/// netctl with these words, watching.
fn follow(world: &World, line: &str) -> Result<Process> {
    let netctl = binary("netctl");
    let mut words = vec![netctl.as_str()];
    words.extend(line.split_whitespace());
    let process = world.host_scope().spawn(&words)?;
    wait_until_watched(world, true);
    Ok(process)
}

/// `web` on `front` and `db` on `back`, which do not reach each other.
fn started() -> Result<(World, Sandbox, Sandbox)> {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    world.ctl("network create --ipv6 back")?;
    let (web, db) = (
        world.sandbox("web", &["front"])?,
        world.sandbox("db", &["back"])?,
    );
    Ok((world, web, db))
}

/// Sends one datagram to each port.
const SEND: &str = "
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
for port in sys.argv[2:]:
    s.sendto(b'x', (sys.argv[1], int(port)))
print('sent')
";

fn send(from: &Sandbox, to: IpAddr, ports: &[&str]) -> Outcome {
    let to = to.to_string();
    let mut words = vec!["/usr/bin/python3", "-c", SEND, &to];
    words.extend(ports);
    let output = from.scope.run(&words)?;
    ensure!(output.stdout.contains("sent"), "{}", output.text());
    Ok(())
}

#[test]
fn x03_refused_packets_as_they_come() -> Outcome {
    let (world, web, db) = started()?;
    ensure!(!is_watched(&world)?, "told without a listener");
    // Before anybody looks.
    send(&web, db.v4("eth0")?.into(), &["6999"])?;
    let mut text = follow(&world, "drops --follow --sandbox web --reason isolated")?;
    // Neither the sandbox nor the reason that is meant.
    send(&db, web.v4("eth0")?.into(), &["6998"])?;
    let nobody = "192.0.2.1";
    world.host.ip(&format!("route add unreachable {nobody}"))?;
    send(&web, nobody.parse()?, &["6997"])?;
    for (i, address) in db.addresses("eth0")?.into_iter().enumerate() {
        send(&web, address, &["7000"])?;
        let said = text.line()?;
        for part in [
            " web udp ",
            &web.addresses("eth0")?[i].to_string(),
            &address.to_string(),
            ":7000 isolated: The address belongs to another network.",
        ] {
            ensure!(said.contains(part), "{part:?} is not in: {said}");
        }
    }
    world.refused("drops --follow --sandbox nosuch", &["nosuch"])?;
    let names = ["nosuch", "not-published"];
    world.refused("drops --follow --reason nosuch", &names)?;
    drop(text);
    wait_until_watched(&world, false);
    // While nobody looks.
    send(&web, db.v4("eth0")?.into(), &["6996"])?;
    let mut json = follow(&world, "--output json drops --follow --reason isolated")?;
    send(&web, db.v4("eth0")?.into(), &["7001"])?;
    let said = json.line()?;
    let event: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    for (name, wanted) in [
        ("Sandbox", Value::from("web")),
        ("Network", "front".into()),
        ("Reason", "isolated".into()),
        ("Protocol", "udp".into()),
        ("SourceAddress", web.v4("eth0")?.to_string().into()),
        ("DestinationAddress", db.v4("eth0")?.to_string().into()),
        ("DestinationPort", 7001.into()),
        ("Bytes", 43.into()),
        ("Lost", 0.into()),
    ] {
        ensure!(event[name] == wanted, "{name} is not {wanted}: {event:#}");
    }
    Ok(())
}

#[test]
fn x03_refused_packets_from_outside() -> Outcome {
    let (mut world, web, _db) = started()?;
    let inside = web.v4("eth0")?;
    world.lan.ip(&format!("route add {inside} via {HOST_V4}"))?;
    let mut follow = follow(&world, "drops --follow")?;
    let reply = probe(&world.lan_scope(), "tcp", (inside, 7000).into(), 500);
    ensure!(reply.is_err(), "reached: {reply:?}");
    let said = follow.until(" (host) tcp ")?;
    ensure!(
        said.contains(&LAN_V4.to_string()) && said.contains(":7000 [SYN] not-published: "),
        "{said}"
    );
    // A daemon that goes leaves nobody who reads.
    world.stop()?;
    ensure!(!is_watched(&world)?, "told without a listener");
    Ok(())
}

#[test]
fn x03_a_daemon_that_is_gone_is_named() -> Outcome {
    let (mut world, _web, _db) = started()?;
    let line = format!("{} drops --follow 2>&1", binary("netctl"));
    let mut follow = world.host_scope().spawn(&["/bin/sh", "-c", &line])?;
    wait_until_watched(&world, true);
    world.kill()?;
    follow.until("the connection to netd ended")?;
    Ok(())
}

/// Sends datagrams until it is ended.
const FLOOD: &str = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    s.sendto(b'x', (sys.argv[1], 7000))
";

#[test]
fn x03_a_flood_of_refused_packets_is_thinned_out() -> Outcome {
    let (world, web, db) = started()?;
    let mut json = follow(&world, "--output json drops --follow --sandbox web")?;
    let to = db.v4("eth0")?.to_string();
    let _sender = web.scope.spawn(&["/usr/bin/python3", "-c", FLOOD, &to])?;
    // What was left out is told with the next one of its processor.
    let mut told = 0;
    loop {
        let said = json.line()?;
        let event: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
        told += 1;
        if event["LeftOut"].as_u64().is_some_and(|count| count > 0) {
            return Ok(());
        }
        ensure!(told < 2000, "nothing was left out");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x03_who_does_not_read_holds_up_nobody() -> Outcome {
    let (world, web, db) = started()?;
    let mut service = SystemServiceClient::new(channel(&world).await?);
    let request = WatchDropsRequest::default;
    // One that never reads.
    let idle = service.watch_drops(request()).await?;
    let mut packets = service.watch_drops(request()).await?.into_inner();
    for round in 0..20_u32 {
        let port = (8000 + round).to_string();
        send(&web, db.v4("eth0")?.into(), &[port.as_str()])?;
        loop {
            let packet = packets.message().await?.context("the end")?;
            if packet.destination_port == 8000 + round {
                break;
            }
        }
    }
    drop(idle);
    ensure!(is_watched(&world)?, "one still watches");
    drop(packets);
    drop(service);
    wait_until_watched(&world, false);
    Ok(())
}
