//! B7 and B13: a daemon that is killed, or a step that fails, in the middle of a request. After the next start a sandbox
//! is whole, or absent, or stopped as before; after a refusal everything is as before.

use anyhow::{Context, ensure};
use netd_tests::{
    World,
    picture::Picture,
    probe::probe,
    world::{HOST, LAN_V4},
};
use serde_json::json;

use crate::{Outcome, reaches, show};

/// Where creating a sandbox with networks and ports can end half-way, in order.
const POINTS: [&str; 7] = [
    "sandbox-stored",
    "namespace-made",
    "endpoint-stored",
    "endpoint-link-made",
    "endpoint-told",
    "endpoint-configured",
    "ports-stored",
];

/// Of these, where connecting a running sandbox can.
const CONNECTING: [&str; 4] = [
    "endpoint-stored",
    "endpoint-link-made",
    "endpoint-told",
    "endpoint-configured",
];

/// What the sandbox shall be.
const WORDS: &str = "--network front --network back --publish 8080:7000 --publish 8081:7001/udp s";

fn prepare(world: &World) -> Outcome {
    world.ctl("network create --ipv6 front")?;
    world.ctl("network create back")?;
    Ok(())
}

/// The sandbox `s` runs, and has all that it was asked to be.
fn is_whole(world: &World) -> Outcome {
    let shown = show::sandbox(world, "s")?;
    ensure!(shown["Running"] == json!(true), "not running: {shown:#}");
    let networks = shown["Endpoints"].as_array().map(Vec::len);
    let ports = shown["Ports"].as_array().context("Ports")?;
    ensure!(networks == Some(2), "it lacks networks: {shown:#}");
    ensure!(
        ports.len() == 2 && ports.iter().all(|port| port["Active"] == json!(true)),
        "it lacks ports: {shown:#}"
    );
    for key in ["ResolvConfPath", "HostsPath", "HostnamePath"] {
        let path = shown[key].as_str().with_context(|| key.to_owned())?;
        let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
        ensure!(!text.trim().is_empty(), "{key}: {path} is empty");
    }
    let sandbox = show::handle(world, "s")?;
    let resolver = sandbox.scope.run(&["ip", "-o", "link"])?.stdout;
    ensure!(
        resolver.lines().count() == 3,
        "lo, eth0 and eth1: {resolver}"
    );
    let _servers = [sandbox.serve(7000)?, sandbox.serve(7001)?];
    let _lan = netd_tests::Server::start(&world.lan_scope(), 7000)?;
    reaches(&sandbox, LAN_V4.into(), 7000)?;
    for host in HOST {
        for (protocol, port) in [("tcp", 8080), ("udp", 8081)] {
            probe(&world.lan_scope(), protocol, (host, port).into(), 2000)?;
        }
    }
    Ok(())
}

/// It is whole, or absent or stopped and can be had whole. `was_there`: it may not be absent.
fn is_whole_or_can_be(world: &World, was_there: bool) -> Outcome {
    let found = world.netctl(&["sandbox", "inspect", "s"])?;
    if !found.ok {
        ensure!(!was_there, "it is lost: {}", found.text());
        world
            .ctl(&format!("sandbox create {WORDS}"))
            .context("it is absent")?;
    } else if show::sandbox(world, "s")?["Running"] == json!(false) {
        world.ctl("sandbox start s").context("it is stopped")?;
    }
    is_whole(world)
}

/// Kills the daemon at each point of this command.
fn killed(points: &[&str], before: &[&str], command: &str, was_there: bool) -> Outcome {
    let mut world = World::without_daemon()?;
    let mut wrong = Vec::new();
    for (round, point) in points.iter().enumerate() {
        world.start_with(&[("NETD_FAILPOINT", point)])?;
        if round == 0 {
            prepare(&world)?;
        }
        for line in before {
            world.ctl(line)?;
        }
        let output = world.netctl(&command.split_whitespace().collect::<Vec<_>>())?;
        ensure!(!output.ok, "{point} was not met by: {command}");
        world.wait_for_end()?;
        world.start()?;
        let judged = is_whole_or_can_be(&world, was_there);
        if let Err(error) = judged {
            wrong.push(format!("after {point}: {error:#}"));
        }
        let mended = world.ctl("system reconcile")?;
        if mended.contains("anew") || mended.contains("left-over") {
            wrong.push(format!("after {point}, only reconcile: {mended}"));
        }
        world.ctl("sandbox rm -f s")?;
        world.stop()?;
    }
    ensure!(wrong.is_empty(), "{command}: {}", wrong.join("\n"));
    Ok(())
}

/// Each half of the points is a test of its own, so that none takes long.
const HALF: usize = 4;

#[test]
fn b07_a_create_killed_early_leaves_no_half_sandbox() -> Outcome {
    killed(
        &POINTS[..HALF],
        &[],
        &format!("sandbox create {WORDS}"),
        false,
    )
}

#[test]
fn b07_a_create_killed_late_leaves_no_half_sandbox() -> Outcome {
    killed(
        &POINTS[HALF..],
        &[],
        &format!("sandbox create {WORDS}"),
        false,
    )
}

// The first point is that of registering it.
#[test]
fn b07_a_start_killed_early_leaves_no_half_sandbox() -> Outcome {
    let registered = format!("sandbox create --stopped {WORDS}");
    killed(&POINTS[1..HALF], &[&registered], "sandbox start s", true)
}

#[test]
fn b07_a_start_killed_late_leaves_no_half_sandbox() -> Outcome {
    let registered = format!("sandbox create --stopped {WORDS}");
    killed(&POINTS[HALF..], &[&registered], "sandbox start s", true)
}

/// Makes the step at each point fail; `before` runs where nothing fails.
fn refused(points: &[&str], before: &[&str], commands: &[&str]) -> Outcome {
    let mut world = World::new()?;
    prepare(&world)?;
    for line in before {
        world.ctl(line)?;
    }
    let mut wrong = Vec::new();
    for point in points {
        world.stop()?;
        world.start_with(&[("NETD_FAILPOINT_REFUSE", point)])?;
        for command in commands {
            let picture = Picture::take(&world)?;
            let output = world.netctl(&command.split_whitespace().collect::<Vec<_>>())?;
            if output.ok {
                wrong.push(format!("{point} was not met by: {command}"));
            } else if output.text().contains("panicked") {
                wrong.push(format!("{point} in {command}: {}", output.text()));
            }
            if let Err(error) = picture.holds(&world) {
                wrong.push(format!("{point} in {command}: {error:#}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The same commands where nothing fails.
    world.stop()?;
    world.start()?;
    for command in commands {
        world.ctl(command)?;
    }
    Ok(())
}

#[test]
fn b07_a_create_that_fails_changes_nothing() -> Outcome {
    refused(&POINTS, &[], &[&format!("sandbox create {WORDS}")])
}

#[test]
fn b07_a_start_that_fails_changes_nothing() -> Outcome {
    let registered = format!("sandbox create --stopped {WORDS}");
    refused(&POINTS[1..], &[&registered], &["sandbox start s"])
}

/// The new network would lead the default route: it must lead where it led.
#[test]
fn b13_a_connect_that_fails_changes_nothing() -> Outcome {
    refused(
        &CONNECTING,
        &["sandbox create --network back --publish 8080:7000 s"],
        &["network connect --gw-priority 1 front s"],
    )
}

#[test]
fn b07_a_publish_that_fails_changes_nothing() -> Outcome {
    refused(
        &["ports-stored"],
        &["sandbox create --network back s"],
        &["port publish s 8080:7000"],
    )
}
