//! P01: clients that take what they can, and daemons that do not answer.

use std::{
    io::Read as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use netd_proto::v1::{CreateNetworkRequest, network_service_client::NetworkServiceClient};
use netd_tests::{
    World,
    pki::{PORT, access},
    wait_for,
    world::{HOST_V4, LAN_V4},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::Code;

use crate::{Outcome, access::served, api::channel};

#[test]
fn p01_connections_that_say_nothing_leave_room_and_are_closed() -> Outcome {
    let (world, pki) = served(&["admin"], &access("admin", "write"))?;
    // From one address of the neighbour, more than it may have at once; each is open, none says anything.
    world.lan.ip("addr add 198.51.100.3/24 dev uplink")?;
    let idle = world.lan.enter(move || {
        (0..100)
            .map(|_| TcpStream::connect((HOST_V4, PORT)))
            .collect::<std::io::Result<Vec<_>>>()
    })??;
    ensure!(
        idle.iter()
            .all(|s| s.local_addr().is_ok_and(|a| a.ip() == LAN_V4))
    );
    // Another address comes in meanwhile.
    let output = pki.netctl(&world.host_scope(), "admin", "network ls")?;
    ensure!(output.ok, "{}", output.text());
    let begun = Instant::now();
    for mut stream in idle {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let read = stream.read(&mut [0; 64]);
        ensure!(
            matches!(&read, Ok(0))
                || read
                    .as_ref()
                    .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
            "after {:?}: {read:?}",
            begun.elapsed()
        );
    }
    let output = pki.netctl(&world.lan_scope(), "admin", "network ls")?;
    ensure!(output.ok, "{}", output.text());
    Ok(())
}

#[test]
fn p01_one_clients_connections_leave_room_for_others() -> Outcome {
    let roles = access("greedy", "read") + &access("admin", "write");
    let (world, pki) = served(&["admin", "greedy"], &roles)?;
    let lan = world.lan_scope();
    let mut held = Vec::new();
    // More than it may have: of those that come in at the same moment some are refused.
    for _ in 0..40 {
        held.push(pki.spawn(&lan, "greedy", "events")?);
    }
    wait_for("the client's connections to be used up", 20, || {
        let output = pki.netctl(&lan, "greedy", "network ls").ok()?;
        if output.ok {
            // Those that were refused have gone: more come.
            held.push(pki.spawn(&lan, "greedy", "events").ok()?);
        }
        (!output.ok).then_some(())
    });
    let output = pki.netctl(&lan, "admin", "network create front")?;
    ensure!(output.ok, "{}", output.text());
    drop(held);
    wait_for("the client's connections to be free again", 20, || {
        let output = pki.netctl(&lan, "greedy", "network ls").ok()?;
        output.ok.then_some(())
    });
    Ok(())
}

#[tokio::test]
async fn p01_requests_have_a_longest_length() -> Outcome {
    let world = World::new()?;
    let mut networks = NetworkServiceClient::new(channel(&world).await?);
    let labels = |count: usize| CreateNetworkRequest {
        name: "front".into(),
        labels: (0..count)
            .map(|n| (format!("{n:010}"), "x".repeat(1000)))
            .collect(),
        ..Default::default()
    };
    let refused = networks
        .create_network(labels(5000))
        .await
        .err()
        .context("five megabytes were taken")?;
    ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
    ensure!(refused.message().contains("longer than"), "{refused:?}");
    networks.create_network(labels(20)).await?;
    Ok(())
}

#[test]
fn p02_a_daemon_that_does_not_answer_is_not_waited_for() -> Outcome {
    let (world, pki) = served(&["admin"], &access("admin", "write"))?;
    let pid = Pid::from_raw(i32::try_from(world.daemon_pid().context("no daemon")?)?);
    kill(pid, Signal::SIGSTOP)?;
    let over_socket = world.netctl(&["--timeout", "2", "network", "ls"]);
    let over_tcp = pki.netctl(&world.lan_scope(), "admin", "--timeout 2 network ls");
    kill(pid, Signal::SIGCONT)?;
    let over_socket = over_socket?;
    ensure!(over_socket.code == Some(1), "{}", over_socket.text());
    ensure!(
        over_socket.stderr.contains("no sign of life") && over_socket.stderr.contains("--timeout"),
        "{}",
        over_socket.stderr
    );
    let over_tcp = over_tcp?;
    ensure!(over_tcp.code == Some(1), "{}", over_tcp.text());
    ensure!(
        over_tcp.stderr.contains("198.51.100.1:7433"),
        "{}",
        over_tcp.stderr
    );
    world.ctl("--timeout 2 network ls")?;
    Ok(())
}
