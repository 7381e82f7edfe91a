//! N: networks as objects.

use anyhow::{Context, ensure};
use netd_tests::World;
use serde_json::Value;

use crate::{Outcome, reaches};

fn inspect(world: &World, network: &str) -> anyhow::Result<Value> {
    let all: Value = serde_json::from_str(&world.ctl(&format!("network inspect {network}"))?)?;
    all.get(0).cloned().context("an empty array")
}

#[test]
fn n01_create_prints_a_64_hex_id_and_refuses_a_second_one() -> Outcome {
    let world = World::new()?;
    let id = world.ctl("network create front")?;
    ensure!(
        id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "not an id: {id}"
    );
    ensure!(
        inspect(&world, "front")?["Driver"] == "bridge",
        "the driver"
    );
    world.refused(
        "network create front",
        &["network with name front already exists"],
    )?;
    for name in ["-front", "fr/ont", ".front", "fr:ont"] {
        let output = world.netctl(&["network", "create", "--", name])?;
        ensure!(!output.ok, "the name {name} was taken");
    }
    Ok(())
}

#[test]
fn n03_ls_shows_docker_columns() -> Outcome {
    let world = World::new()?;
    let id = world.ctl("network create front")?;
    let text = world.ctl("network ls")?;
    let mut lines = text.lines();
    let head: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split("  ")
        .map(str::trim)
        .filter(|w| !w.is_empty())
        .collect();
    ensure!(
        head == ["NETWORK ID", "NAME", "DRIVER", "SCOPE"],
        "{head:?}"
    );
    let rows: Vec<Vec<&str>> = lines
        .map(|line| line.split_whitespace().collect())
        .collect();
    let short = id.get(..12).context("id")?;
    ensure!(
        rows.contains(&vec![short, "front", "bridge", "local"]),
        "{rows:?}"
    );
    for name in ["bridge", "host", "none"] {
        ensure!(
            rows.iter().any(|row| row.get(1) == Some(&name)),
            "{name} is not listed"
        );
    }
    ensure!(
        world
            .ctl("network ls -q --no-trunc")?
            .lines()
            .any(|line| line == id),
        "-q --no-trunc"
    );
    Ok(())
}

#[test]
fn n04_inspect_prints_docker_json() -> Outcome {
    let world = World::new()?;
    let id = world.ctl("network create --ipv6 --subnet 10.90.0.0/24 --label tier=web front")?;
    world.sandbox("web", &["front"])?;
    let network = inspect(&world, "front")?;
    let keys = [
        "Name",
        "Id",
        "Created",
        "Scope",
        "Driver",
        "EnableIPv4",
        "EnableIPv6",
        "IPAM",
        "Internal",
        "Attachable",
        "Ingress",
        "ConfigFrom",
        "ConfigOnly",
        "Containers",
        "Options",
        "Labels",
    ];
    for key in keys {
        ensure!(network.get(key).is_some(), "{key} is missing: {network:#}");
    }
    ensure!(
        network["Id"] == id.as_str()
            && network["Labels"]["tier"] == "web"
            && network["EnableIPv6"] == true
    );
    ensure!(
        network["IPAM"]["Config"][0]["Subnet"] == "10.90.0.0/24",
        "{network:#}"
    );
    let containers = network["Containers"].as_object().context("Containers")?;
    let one = containers.values().next().context("no container")?;
    ensure!(
        one["Name"] == "web" && one["IPv4Address"] == "10.90.0.2/24",
        "{one:#}"
    );
    // By id, by prefix, and a prefix that is not unique.
    ensure!(inspect(&world, id.get(..8).context("id")?)?["Name"] == "front");
    for number in 0..17 {
        world.ctl(&format!(
            "network create -o com.docker.network.bridge.name=many{number} many{number}"
        ))?;
    }
    let ids = world.ctl("network ls -q --no-trunc")?;
    let first: Vec<char> = ids.lines().filter_map(|line| line.chars().next()).collect();
    let twice = first
        .iter()
        .find(|c| first.iter().filter(|d| d == c).count() > 1)
        .context("no common digit")?;
    world.refused(&format!("network inspect {twice}"), &["ambiguous"])?;
    Ok(())
}

#[test]
fn n05_connect_takes_effect_at_once() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 --subnet 10.91.0.0/24 --subnet fd00:91::/64 front")?;
    let (web, _) = (
        world.sandbox("web", &["front"])?,
        world.ctl("sandbox create late")?,
    );
    let late = netd_tests::Sandbox::new(
        "late",
        netd_tests::Netns::at("late", world.run_directory().join("netns/late")),
        world.scope(&world.run_directory().join("netns/late")),
    );
    let _server = late.serve(7000)?;
    world.ctl("network connect --ip 10.91.0.77 --ip6 fd00:91::77 --alias later front late")?;
    ensure!(
        late.addresses("eth0")?
            == [
                "10.91.0.77".parse::<std::net::IpAddr>()?,
                "fd00:91::77".parse()?
            ]
    );
    for address in late.addresses("eth0")? {
        reaches(&web, address, 7000)?;
    }
    Ok(())
}

#[test]
fn n06_disconnect_leaves_the_other_networks() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create front")?;
    world.ctl("network create back")?;
    let both = world.sandbox("both", &["front", "back"])?;
    let (web, db) = (
        world.sandbox("web", &["front"])?,
        world.sandbox("db", &["back"])?,
    );
    let _server = both.serve(7000)?;
    let (front, back) = (both.v4("eth0")?, both.v4("eth1")?);
    reaches(&web, front.into(), 7000)?;
    world.ctl("network disconnect front both")?;
    ensure!(
        !web.ping(front.into())?,
        "still reachable on the network it left"
    );
    ensure!(
        both.netns.ip("link show eth0").is_err(),
        "eth0 is still there"
    );
    reaches(&db, back.into(), 7000)?;
    world.refused("network disconnect front both", &["front", "not connected"])?;
    // A sandbox whose namespace is gone.
    let gone = world.namespace("gone")?;
    world.ctl(&format!(
        "sandbox create stale --netns {}",
        gone.path().display()
    ))?;
    world.ctl("network connect front stale")?;
    gone.remove()?;
    world.forget(&gone);
    world.ctl("network disconnect -f front stale")?;
    world.ctl("sandbox rm stale")?;
    world.ctl("sandbox rm web")?;
    world.ctl("network rm front")?;
    Ok(())
}

#[test]
fn n07_rm_refuses_active_endpoints_and_names_them() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    world.ctl("network create back")?;
    world.sandbox("web", &["front"])?;
    world.refused("network rm front", &["front", "active endpoints", "web"])?;
    world.ctl("network disconnect front web")?;
    world.ctl("network rm front back")?;
    world.refused("network rm front", &["front", "not found"])?;
    world.ctl("network rm -f front")?;
    Ok(())
}

#[test]
fn n09_predefined_networks_stay() -> Outcome {
    let world = World::new()?;
    for name in ["bridge", "host", "none"] {
        world.refused(&format!("network rm {name}"), &[name, "pre-defined"])?;
    }
    world.refused(
        "network create -d host host2",
        &["only one instance of \"host\" network"],
    )?;
    world.refused(
        "network create -d null none2",
        &["only one instance of \"null\" network"],
    )?;
    Ok(())
}

#[test]
fn n10_everything_survives_restart_and_kill() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --ipv6 --subnet 10.92.0.0/24 front")?;
    let web = world.sandbox("web", &[])?;
    world.ctl("network connect --ip 10.92.0.9 front web")?;
    let peer = world.sandbox("peer", &["front"])?;
    world.ctl("port publish web 8080:7000")?;
    let _server = web.serve(7000)?;
    let address = web.v4("eth0")?.into();
    let before = [
        world.ctl("network inspect front")?,
        world.ctl("port ls")?,
        web.netns.ip("-br addr")?,
    ];
    for kill in [false, true] {
        if kill {
            world.kill()?
        } else {
            world.stop()?
        }
        reaches(&peer, address, 7000)?;
        world.start()?;
        reaches(&peer, address, 7000)?;
        let after = [
            world.ctl("network inspect front")?,
            world.ctl("port ls")?,
            web.netns.ip("-br addr")?,
        ];
        ensure!(before == after, "changed: {before:#?} -> {after:#?}");
        let new = world.sandbox("new", &["front"])?;
        reaches(&new, address, 7000)?;
        world.ctl("sandbox rm new")?;
    }
    Ok(())
}
