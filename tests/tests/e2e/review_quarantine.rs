//! Records that cannot be used: what can be read of them is nobody else's until they are removed.

use anyhow::{Context, ensure};
use netd_tests::World;

use crate::{Outcome, show};

/// Makes a network's or a sandbox's record one that this version does not read, and starts again.
fn spoil(world: &mut World, kind: &str, mark: &str, from: &str, to: &str) -> Outcome {
    world.stop()?;
    world.records()?.replace(kind, mark, from, to)?;
    world.start()
}

/// The id of a network or sandbox.
fn id(world: &World, kind: &str, name: &str) -> anyhow::Result<String> {
    world.ctl(&format!("{kind} inspect --format {{{{.Id}}}} {name}"))
}

#[test]
fn b18_a_sandbox_that_cannot_be_used_keeps_what_it_has() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --subnet 10.83.0.0/29 n")?;
    world.ctl(
        "sandbox create --network name=n,ip=10.83.0.3,mac-address=02:00:00:00:00:33 -p 8080:80 held",
    )?;
    let held = id(&world, "sandbox", "held")?;
    // Wrong in one field, or all of a later form.
    spoil(
        &mut world,
        "sandbox",
        r#""name":"held""#,
        r#""name":"held""#,
        r#""name":"../held""#,
    )?;
    refused_what_is_held(&world, &held)?;
    world.stop()?;
    let records = world.records()?;
    records.replace("sandbox", "../held", "../held", "held")?;
    records.replace("sandbox", r#""held""#, r#""format":2"#, r#""format":99"#)?;
    drop(records);
    world.start()?;
    refused_what_is_held(&world, &held)?;
    // The way out.
    world.ctl(&format!("sandbox rm {held}"))?;
    world.ctl(
        "sandbox create --network name=n,ip=10.83.0.3,mac-address=02:00:00:00:00:33 -p 8080:80 next",
    )?;
    world.ctl("sandbox rm next").map(drop)
}

fn refused_what_is_held(world: &World, held: &str) -> Outcome {
    let refused = [
        ("--network name=n,ip=10.83.0.3", "10.83.0.3"),
        (
            "--network name=n,mac-address=02:00:00:00:00:33",
            "02:00:00:00:00:33",
        ),
        ("--network n -p 8080:80", "8080"),
        ("--network n -p 127.0.0.1:8080:81", "8080"),
    ];
    for (more, named) in refused {
        let line = format!("sandbox create {more} other");
        world.refused(&line, &[named, "cannot be used", held])?;
    }
    // Nor is the address given out unasked: 10.83.0.2 and 4 to 6 are left.
    for number in 0..4 {
        world.ctl(&format!("sandbox create --network n auto{number}"))?;
    }
    let refusal = world.refused("sandbox create --network n auto4", &["no available"])?;
    for number in 0..4 {
        let endpoint = show::endpoint(world, &format!("auto{number}"), "n")?;
        let endpoint = endpoint.context("an endpoint")?.to_string();
        ensure!(!endpoint.contains("10.83.0.3/"), "{endpoint}\n{refusal}");
        world.ctl(&format!("sandbox rm auto{number}"))?;
    }
    Ok(())
}

fn subnet(world: &World, network: &str) -> anyhow::Result<String> {
    let shown = show::network(world, network)?;
    let subnet = shown["IPAM"]["Config"][0]["Subnet"].as_str();
    subnet.map(str::to_owned).context("a subnet")
}

#[test]
fn b18_a_network_that_cannot_be_used_keeps_its_subnets() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --subnet 10.84.0.0/24 --subnet fd84::/64 --ipv6 chosen")?;
    world.ctl("network create auto")?;
    let (chosen, auto) = (
        id(&world, "network", "chosen")?,
        id(&world, "network", "auto")?,
    );
    let before = subnet(&world, "auto")?;
    world.stop()?;
    for name in ["chosen", "auto"] {
        let mark = format!(r#""name":"{name}""#);
        let records = world.records()?;
        records.replace("network", &mark, r#""format":2"#, r#""format":99"#)?;
    }
    world.start()?;
    for inside in ["10.84.0.0/25", "10.0.0.0/8", "fd84::/48 --ipv6"] {
        let line = format!("network create --subnet {inside} other");
        world.refused(&line, &["overlaps", "cannot be used", &chosen])?;
    }
    world.ctl("network create other")?;
    let other = subnet(&world, "other")?;
    ensure!(other != before, "{other} is the subnet of auto");
    for id in [&chosen, &auto] {
        world.ctl(&format!("network rm {id}"))?;
    }
    world.ctl("network create --subnet 10.84.0.0/25 again")?;
    Ok(())
}

/// Of what is not even JSON nothing can be held, and the reason says so; what its endpoints tell is held all the same.
#[test]
fn b18_garbage_is_told_to_hold_nothing() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --subnet 10.85.0.0/24 n")?;
    world.ctl("sandbox create --network n s")?;
    world.ctl("network create --subnet 10.86.0.0/24 alone")?;
    let [with, alone] = [id(&world, "network", "n")?, id(&world, "network", "alone")?];
    world.stop()?;
    {
        let records = world.records()?;
        for mark in [r#""name":"n""#, r#""name":"alone""#] {
            let (key, text) = records.find("network", mark)?;
            records.put(&key, text.get(..text.len() / 2).context("half")?)?;
        }
    }
    world.start()?;
    let status = world.ctl("status")?;
    for id in [&with, &alone] {
        let told = |line: &&str| line.contains(&id[..12]) && line.contains("nothing can be read");
        ensure!(status.lines().any(|line| told(&line)), "{id}: {status}");
    }
    let line = "network create --subnet 10.85.0.0/16 other";
    world.refused(line, &["overlaps", "cannot be used"])?;
    // Its device stands there with the gateway's address, until the record is removed.
    let line = "network create --subnet 10.86.0.0/24 other";
    world.refused(line, &["10.86.0.1", "cannot be used"])?;
    world.ctl(&format!("network rm {alone}"))?;
    world.ctl(line)?;
    world.ctl(&format!("network rm {with}"))?;
    world.ctl("network create --subnet 10.85.0.0/24 again")?;
    Ok(())
}

/// An endpoint whose own record is wrong goes with its sandbox or its network.
#[test]
fn b18_an_endpoint_that_cannot_be_used_goes_with_its_sandbox() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --subnet 10.87.0.0/24 n")?;
    world.ctl("sandbox create --network name=n,ip=10.87.0.9 s")?;
    spoil(
        &mut world,
        "endpoint",
        r#""interface":"eth0""#,
        r#""interface":"eth0""#,
        r#""interface":"../eth0""#,
    )?;
    let line = "sandbox create --network name=n,ip=10.87.0.9 other";
    world.refused(line, &["10.87.0.9", "cannot be used"])?;
    world.ctl("sandbox rm s")?;
    world.ctl(line)?;
    ensure!(!world.ctl("status")?.contains("degraded"), "still there");
    Ok(())
}
