//! B13, B22 and small ones: a request that is refused late leaves all as it was, a request whose end fails tells what is
//! so, and nothing is accepted that could never start.

use anyhow::{Context, ensure};
use netd_tests::{
    World,
    picture::Picture,
    probe::probe,
    world::{HOST_V4, LAN_V4},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{Outcome, reaches, show};

/// The map of publications has room for two: a port of all addresses takes both.
const TWO: &str = "[limits]\npublications = 2\n";

#[test]
fn b13_a_connect_without_room_for_its_ports_changes_nothing() -> Outcome {
    let world = World::with_config(TWO)?;
    world.ctl("network create front")?;
    // A port is open at the endpoint's own addresses, too, for a trusted interface.
    let trusted = "-o com.docker.network.bridge.trusted_host_interfaces=uplink";
    world.ctl(&format!("network create --ipv6 {trusted} back"))?;
    let sandbox = show::run(&world, "--network front -p 8080:7000 s")?;
    let _servers = [
        sandbox.serve(7000)?,
        netd_tests::Server::start(&world.lan_scope(), 7000)?,
    ];
    let before = Picture::take(&world)?;
    for line in [
        "network connect --gw-priority -1 back s",
        "network connect back s",
        "network connect --gw-priority 1 --alias x --interface net7 back s",
    ] {
        let output = world.netctl(&line.split_whitespace().collect::<Vec<_>>())?;
        ensure!(!output.ok, "there was room: {line}");
        before.holds(&world).with_context(|| line.to_owned())?;
        probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 2000)?;
        reaches(&sandbox, LAN_V4.into(), 7000)?;
    }
    // The ports were the cause.
    world.ctl("port unpublish s 8080:7000")?;
    world.ctl("network connect --gw-priority 1 back s")?;
    Ok(())
}

/// Leaving the routed network would move the port to the host's addresses, which takes one entry more than there is.
#[test]
fn b13_a_disconnect_whose_end_fails_tells_what_is_so() -> Outcome {
    let mut world = World::with_config(TWO)?;
    world.ctl("network create front")?;
    world.ctl("network create -o com.docker.network.bridge.gateway_mode_ipv4=routed back")?;
    show::run(&world, "--network front -p 127.0.0.1:9000:7000 other")?;
    let sandbox = show::run(
        &world,
        "--network name=back,gw-priority=1 --network front -p 8080:7000 s",
    )?;
    let before = Picture::take(&world)?;
    let output = world.netctl(&["network", "disconnect", "back", "s"])?;
    if output.ok {
        ensure!(
            show::endpoint(&world, "s", "back")?.is_none() && sandbox.v4("eth1").is_ok(),
            "answered with success, and it is connected still"
        );
        let links = sandbox.netns.ip("-o link")?;
        ensure!(links.lines().count() == 2, "an interface is left: {links}");
        // A port that finds no room is not shown as one that answers.
        let _server = sandbox.serve(7000)?;
        let shown = show::sandbox(&world, "s")?;
        let active = shown["Ports"][0]["Active"] == json!(true);
        let answers = probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 1000).is_ok();
        ensure!(
            active == answers,
            "its port is shown as active: {active}, and answers: {answers}"
        );
    } else {
        before
            .holds(&world)
            .with_context(|| format!("refused: {}", output.text()))?;
    }
    let shown = show::sandbox(&world, "s")?;
    world.kill()?;
    world.start()?;
    let after = show::sandbox(&world, "s")?;
    for key in ["Endpoints", "Attachments", "Running"] {
        let plain = |value: &serde_json::Value| {
            let mut value = value.clone();
            for one in value.as_array_mut().into_iter().flatten() {
                // Revisions begin anew.
                one["Revision"] = json!(0);
            }
            value
        };
        ensure!(
            plain(&shown[key]) == plain(&after[key]),
            "{key} before the restart: {:#}\nafter it: {:#}",
            shown[key],
            after[key]
        );
    }
    Ok(())
}

#[test]
fn b22_a_port_is_published_once_for_a_stopped_sandbox() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    world.ctl("sandbox create --stopped --network front s")?;
    world.ctl("port publish s 8080:7000")?;
    let before = show::sandbox(&world, "s")?;
    for specs in [
        "8080:7000",
        "8080:7001",
        "0.0.0.0:8080:7000",
        "8075-8085:7000-7010",
        "9090:7000 9090:7001",
        "9091:7000 8080:7000",
    ] {
        let line = format!("port publish s {specs}");
        // The one that has it, or another one of the same request.
        let by = match specs {
            "9090:7000 9090:7001" => &["the same request"][..],
            _ => &[
                "sandbox s, which is stopped",
                "netctl port unpublish s 8080",
            ][..],
        };
        world.refused(&line, by).with_context(|| specs.to_owned())?;
        ensure!(before == show::sandbox(&world, "s")?, "{specs}: it changed");
    }
    // The same when it is made.
    for specs in ["-p 8080:7000 -p 8080:7001", "-p 8080:7000 -p 8080:7000"] {
        world.refused(&format!("sandbox create --stopped {specs} t"), &["8080"])?;
        world.refused(&format!("sandbox create {specs} t"), &["8080"])?;
        ensure!(
            !world.netctl(&["sandbox", "inspect", "t"])?.ok,
            "t is there"
        );
    }
    // Others that do not meet it are fine.
    world.ctl("port publish s 8080:7000/udp 127.0.0.1:9090:7000")?;
    world.ctl("sandbox start s")?;
    let sandbox = show::handle(&world, "s")?;
    let _server = sandbox.serve(7000)?;
    for protocol in crate::PROTOCOLS {
        probe(&world.lan_scope(), protocol, (HOST_V4, 8080).into(), 2000)?;
    }
    Ok(())
}

/// As Docker's, for a container that has lost its namespace while nobody looked.
#[test]
fn low_disconnect_by_force_clears_what_lost_its_namespace() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --subnet 10.62.0.0/24 front")?;
    let netns = world.namespace("gone")?;
    let process = netns.scope().spawn(&["cat"])?;
    let pid = process.pid();
    world.ctl(&format!(
        "sandbox create --pid {pid} --network name=front,ip=10.62.0.9 -p 8080:7000 stale"
    ))?;
    process.finish()?;
    netns.remove()?;
    world.forget(&netns);
    world.ctl("network disconnect -f front stale")?;
    let shown = show::sandbox(&world, "stale")?;
    ensure!(
        shown["Endpoints"] == json!([]) && shown["Attachments"] == json!([]),
        "{shown:#}"
    );
    // Address and port are free.
    let heir = show::run(&world, "--network name=front,ip=10.62.0.9 heir")?;
    world.ctl("sandbox rm stale")?;
    world.ctl("port publish heir 8080:7000")?;
    let _server = heir.serve(7000)?;
    probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 2000)?;
    world.refused("network disconnect -f front stale", &["stale"])?;
    Ok(())
}

#[test]
fn low_a_hangup_does_not_end_the_daemon() -> Outcome {
    let mut world = World::new()?;
    let pid = world.daemon_pid().context("no daemon")?;
    for _ in 0..3 {
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGHUP)?;
        // Whatever it does at that signal, it has done it once it has answered some requests.
        for name in ["one", "two", "three"] {
            world.ctl(&format!("network create {name}"))?;
        }
        world.ctl("network rm one two three")?;
        let status: Value = serde_json::from_str(&world.ctl("--output json status")?)?;
        ensure!(status["Pid"] == json!(pid), "another process: {status}");
    }
    world.stop()
}
