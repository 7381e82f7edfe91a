//! N10: whatever happens to the daemon, the host or netd's things in the kernel, nothing is lost and nothing is left over.

use anyhow::{Context, ensure};
use netd_tests::{
    Sandbox, World,
    probe::probe,
    wait_for,
    world::{HOST_V4, LAN_V4},
};

use crate::{Outcome, reaches};

/// Kills the daemon at a failpoint in the middle of `command`, starts it again, and sees that what was there works.
fn killed(
    point: &str,
    prepare: &[&str],
    command: &str,
    after: impl Fn(&World) -> Outcome,
) -> Outcome {
    let mut world = World::without_daemon()?;
    world.start_with(&[("NETD_FAILPOINT", point)])?;
    for line in prepare {
        world.ctl(line)?;
    }
    let output = world.netctl(&command.split_whitespace().collect::<Vec<_>>())?;
    ensure!(!output.ok, "{point} was not met by: {command}");
    world.wait_for_end()?;
    world.start()?;
    after(&world).with_context(|| format!("after {point} in: {command}"))?;
    // Nothing that the store does not know, nothing missing that it knows.
    let mended = world.ctl("system reconcile")?;
    ensure!(!mended.contains("anew"), "after {point}: {mended}");
    ensure!(!mended.contains("left-over"), "after {point}: {mended}");
    world.close().with_context(|| format!("after {point}"))
}

/// The network `n` exists whole or not at all, and can be made.
fn network_is_whole(world: &World) -> Outcome {
    if !world.netctl(&["network", "inspect", "n"])?.ok {
        world.ctl("network create --ipv6 n")?;
    }
    connected(world, "after")
}

/// A new sandbox on `n` reaches the LAN.
fn connected(world: &World, name: &str) -> Outcome {
    let _server = netd_tests::Server::start(&world.lan_scope(), 7000)?;
    let sandbox = world.sandbox(name, &["n"])?;
    reaches(&sandbox, LAN_V4.into(), 7000)
}

#[test]
fn n10_killed_while_networks_are_made_and_removed() -> Outcome {
    for point in ["network-stored", "network-device-made"] {
        killed(point, &[], "network create --ipv6 n", network_is_whole)?;
    }
    killed(
        "network-deleted",
        &["network create n"],
        "network rm n",
        network_is_whole,
    )
}

/// The sandbox `s` is on `n` with a working interface, or is not on it and can be.
fn attachment_is_whole(world: &World) -> Outcome {
    let shown = world.ctl("sandbox inspect s")?;
    if !shown.contains("eth0") {
        world.ctl("network connect n s")?;
    }
    let sandbox = existing(world, "s");
    let _server = netd_tests::Server::start(&world.lan_scope(), 7000)?;
    reaches(&sandbox, LAN_V4.into(), 7000)?;
    let links = sandbox.scope.run(&["ip", "-o", "link"])?.stdout;
    ensure!(links.lines().count() == 2, "more than lo and eth0: {links}");
    Ok(())
}

/// A sandbox that is there already.
pub fn existing(world: &World, name: &str) -> Sandbox {
    let path = world.run_directory().join("netns").join(name);
    let netns = netd_tests::Netns::at(name, &path);
    Sandbox::new(name, netns, world.scope(&path))
}

#[test]
fn n10_killed_while_sandboxes_are_connected() -> Outcome {
    let prepare = ["network create n", "sandbox create s"];
    for point in [
        "endpoint-stored",
        "endpoint-link-made",
        "endpoint-told",
        "endpoint-configured",
    ] {
        killed(point, &prepare, "network connect n s", attachment_is_whole)?;
    }
    Ok(())
}

#[test]
fn n10_killed_while_sandboxes_are_disconnected_made_and_removed() -> Outcome {
    let prepare = ["network create n", "sandbox create s --network n"];
    killed(
        "endpoint-deleted",
        &prepare,
        "network disconnect n s",
        attachment_is_whole,
    )?;
    let gone = |world: &World| {
        let listed = world.ctl("sandbox ls")?;
        if listed.contains(" s ") || listed.lines().any(|l| l.ends_with(" s")) {
            world.ctl("sandbox rm s")?;
        }
        connected(world, "s")
    };
    killed("sandbox-stopped", &prepare, "sandbox rm s", gone)?;
    for point in ["sandbox-stored", "namespace-made", "ports-stored"] {
        let command = "sandbox create s --network n --publish 8080:7000";
        killed(point, &["network create n"], command, gone)?;
    }
    Ok(())
}

#[test]
fn n10_killed_while_it_starts() -> Outcome {
    for point in ["network-device-made", "endpoint-link-made", "endpoint-told"] {
        let mut world = World::new()?;
        world.ctl("network create n")?;
        world.ctl("sandbox create s --network n")?;
        world.kill()?;
        let started = world.start_with(&[("NETD_FAILPOINT_START", point)]);
        ensure!(started.is_err(), "{point} was not met");
        world.start()?;
        attachment_is_whole(&world).with_context(|| format!("after {point}"))?;
        world.close()?;
    }
    Ok(())
}

/// A reboot: the store is full and the kernel is empty.
#[test]
fn n10_reboot() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --subnet 10.71.0.0/24 n")?;
    world.ctl("sandbox create s --network name=n,ip=10.71.0.77 --publish 8080:7000")?;
    world.stop()?;
    world.forget_kernel_state()?;
    world.start()?;
    attachment_is_whole(&world)?;
    let sandbox = existing(&world, "s");
    ensure!(
        sandbox.v4("eth0")?.to_string() == "10.71.0.77",
        "the address changed"
    );
    let _server = sandbox.serve(7000)?;
    probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 2000)?;
    Ok(())
}

/// A namespace of somebody else's that went away: its sandbox has stopped, and can be started in another one.
#[test]
fn n10_a_namespace_that_vanished() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --subnet 10.72.0.0/24 n")?;
    let netns = world.namespace("theirs")?;
    let path = netns.path().display().to_string();
    world.ctl(&format!(
        "sandbox create s --netns {path} --network name=n,ip=10.72.0.9"
    ))?;
    world.stop()?;
    netns.remove()?;
    world.forget(&netns);
    world.start()?;
    ensure!(
        world
            .ctl("network inspect n")?
            .contains("\"Containers\": {}"),
        "a stale endpoint"
    );
    ensure!(
        world.host.ip("-o link")?.matches("nd-").count() == 0,
        "a stale link"
    );
    let again = world.namespace("again")?;
    world.ctl(&format!(
        "sandbox start s --netns {}",
        again.path().display()
    ))?;
    let sandbox = Sandbox::new("s", again.clone(), world.scope(again.path()));
    ensure!(
        sandbox.v4("eth0")?.to_string() == "10.72.0.9",
        "the address was lost"
    );
    world.close()
}

/// Links that somebody deletes come back by themselves.
#[test]
fn n10_links_that_were_deleted_come_back() -> Outcome {
    let world = World::new()?;
    world.ctl("network create n")?;
    let (a, b) = (world.sandbox("a", &["n"])?, world.sandbox("b", &["n"])?);
    let _server = b.serve(7000)?;
    let to = b.v4("eth0")?;
    reaches(&a, to.into(), 7000)?;
    let links = world.host.ip("-o link")?;
    let named = |prefix: &str| -> Vec<String> {
        let names = links.lines().filter_map(|l| l.split(": ").nth(1));
        let names = names.filter_map(|n| n.split('@').next());
        names
            .filter(|n| n.starts_with(prefix))
            .map(Into::into)
            .collect()
    };
    for name in named("nd-") {
        world.host.ip(&format!("link del {name}"))?;
    }
    wait_for("the endpoints to be mended", 20, || {
        a.ping(to.into()).unwrap_or(false).then_some(())
    });
    reaches(&a, to.into(), 7000)?;
    for name in named("br-") {
        world.host.ip(&format!("link del {name}"))?;
    }
    let _lan = netd_tests::Server::start(&world.lan_scope(), 7000)?;
    wait_for("the device to be mended", 20, || {
        a.reach("tcp", LAN_V4.into(), 7000).is_ok().then_some(())
    });
    reaches(&a, LAN_V4.into(), 7000)?;
    reaches(&a, to.into(), 7000)?;
    Ok(())
}

/// Map entries that somebody deletes are written again on demand.
#[test]
fn n10_map_entries_that_were_deleted_are_written_again() -> Outcome {
    let world = World::new()?;
    world.ctl("network create n")?;
    let (a, b) = (world.sandbox("a", &["n"])?, world.sandbox("b", &["n"])?);
    let _server = b.serve(7000)?;
    let to = b.v4("eth0")?;
    reaches(&a, to.into(), 7000)?;
    let mut emptied = 0;
    for map in ["DEVICES", "ADDRESSES", "NETWORKS", "GATEWAYS", "MEMBERS"] {
        emptied += world.empty_map(map)?;
    }
    ensure!(emptied > 0, "no entry was there");
    ensure!(
        a.reach("tcp", to.into(), 7000).is_err(),
        "the maps were not needed"
    );
    let mended = world.ctl("system reconcile")?;
    ensure!(mended.contains("anew"), "nothing was mended: {mended}");
    reaches(&a, to.into(), 7000)?;
    let mended = world.ctl("system reconcile")?;
    ensure!(!mended.contains("anew"), "mended twice: {mended}");
    Ok(())
}
