//! I: addresses and pools.

use std::{collections::HashSet, net::IpAddr};

use anyhow::{Context, ensure};
use netd_tests::{World, wait_for};
use serde_json::Value;

use crate::Outcome;

fn subnets(world: &World, network: &str) -> anyhow::Result<Vec<String>> {
    let all: Value = serde_json::from_str(&world.ctl(&format!("network inspect {network}"))?)?;
    let configs = all[0]["IPAM"]["Config"]
        .as_array()
        .cloned()
        .context("IPAM.Config")?;
    Ok(configs
        .iter()
        .filter_map(|config| config["Subnet"].as_str().map(str::to_owned))
        .collect())
}

#[test]
fn i01_automatic_pools_avoid_the_host() -> Outcome {
    let mut world = World::without_daemon()?;
    // An address, a route and a network of the host cover the first pools.
    world.host.ip("link add busy type veth peer name busy2")?;
    world.host.ip("addr add 172.17.3.1/24 dev busy")?;
    world.host.ip("link set busy up")?;
    world.host.ip("route add 172.18.0.0/20 via 198.51.100.2")?;
    world.start()?;
    let mut seen = HashSet::new();
    for number in 0..40 {
        world.ctl(&format!("network create auto{number}"))?;
        let subnet = subnets(&world, &format!("auto{number}"))?.remove(0);
        ensure!(
            !subnet.starts_with("172.17.") && subnet != "172.18.0.0/20",
            "{subnet} is the host's"
        );
        ensure!(seen.insert(subnet.clone()), "{subnet} twice");
    }
    Ok(())
}

#[test]
fn i01_pools_are_configurable() -> Outcome {
    let world = World::with_config("[[pools]]\nbase = \"10.200.0.0/22\"\nsize = 24\n")?;
    // The default network has one of the four.
    for number in 0..3 {
        world.ctl(&format!("network create auto{number}"))?;
        ensure!(subnets(&world, &format!("auto{number}"))?[0].starts_with("10.200."));
    }
    // I02: exhaustion names who holds the pools.
    world.refused("network create more", &["auto0"])?;
    Ok(())
}

#[test]
fn i02_overlapping_subnets_are_refused() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 10.93.0.0/16 front")?;
    for subnet in ["10.93.0.0/16", "10.93.7.0/24", "10.0.0.0/8"] {
        world.refused(
            &format!("network create --subnet {subnet} other"),
            &["pool overlaps with other one on this address space"],
        )?;
    }
    ensure!(!world.ctl("network ls")?.contains("other"), "half-made");
    Ok(())
}

#[test]
fn i03_gateway_aux_and_range() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 10.94.0.0/29 --aux-address a=10.94.0.3 small")?;
    // .1 gateway, .3 auxiliary, .0 and .7 network and broadcast: four are left.
    let mut seen = HashSet::new();
    for number in 0..4 {
        let sandbox = world.sandbox(&format!("s{number}"), &["small"])?;
        ensure!(sandbox.ping("10.94.0.1".parse()?)?, "no gateway");
        seen.insert(sandbox.v4("eth0")?.octets()[3]);
    }
    ensure!(seen == HashSet::from([2, 4, 5, 6]), "{seen:?}");
    world.ctl("sandbox create more")?;
    world.refused(
        "network connect small more",
        &["small", "no available ipv4 addresses"],
    )?;
    world.ctl(
        "network create --subnet 10.95.0.0/16 --gateway 10.95.9.9 --ip-range 10.95.5.0/24 ranged",
    )?;
    let one = world.sandbox("one", &["ranged"])?;
    ensure!(one.v4("eth0")?.octets()[2] == 5, "outside the range");
    ensure!(one.netns.ip("route")?.contains("default via 10.95.9.9"));
    world.ctl("network connect --ip 10.95.200.1 ranged more")?;
    Ok(())
}

#[test]
fn i04_fixed_addresses_three_different_errors() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 10.96.0.0/24 --aux-address a=10.96.0.7 chosen")?;
    world.ctl("network create automatic")?;
    world.sandbox("web", &["chosen"])?;
    world.ctl("sandbox create late")?;
    let taken = world.refused("network connect --ip 10.96.0.2 chosen late", &["10.96.0.2"])?;
    let outside = world.refused("network connect --ip 10.99.0.2 chosen late", &["10.99.0.2"])?;
    let reserved = world.refused("network connect --ip 10.96.0.7 chosen late", &["10.96.0.7"])?;
    world.refused("network connect --ip 10.96.0.1 chosen late", &["10.96.0.1"])?;
    world.refused(
        "network connect --ip 172.30.0.9 automatic late",
        &["configured subnets"],
    )?;
    let plain = |text: &str, address: &str| text.replace(address, "");
    let texts = [
        plain(&taken, "10.96.0.2"),
        plain(&outside, "10.99.0.2"),
        plain(&reserved, "10.96.0.7"),
    ];
    ensure!(
        texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2],
        "{texts:?}"
    );
    // Nothing half-made: the sandbox is still empty, and a free address works.
    let namespace = world.run_directory().join("netns/late");
    ensure!(
        !world
            .scope(&namespace)
            .run(&["ip", "-br", "link"])?
            .stdout
            .contains("eth0"),
        "a link is left"
    );
    world.ctl("network connect --ip 10.96.0.50 chosen late")?;
    Ok(())
}

#[test]
fn i05_ipv6_pools() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 automatic")?;
    let auto = world.sandbox("auto", &["automatic"])?;
    let address = auto.v6("eth0")?;
    ensure!(
        address.segments()[0] >> 8 == 0xfd,
        "not a unique local address: {address}"
    );
    for (name, subnet) in [
        ("wide", "fd00:96::/48"),
        ("usual", "fd00:97::/64"),
        ("narrow", "fd00:98::/120"),
    ] {
        world.ctl(&format!("network create --ipv6 --subnet {subnet} {name}"))?;
        let (a, b) = (
            world.sandbox(&format!("{name}a"), &[name])?,
            world.sandbox(&format!("{name}b"), &[name])?,
        );
        ensure!(a.ping(IpAddr::V6(b.v6("eth0")?))?, "{name}");
    }
    Ok(())
}

#[test]
fn i09_mac_addresses() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let mac = web.mac("eth0")?;
    let first = u8::from_str_radix(mac.get(..2).context("mac")?, 16)?;
    ensure!(first & 3 == 2, "{mac} is not locally administered unicast");
    world.stop()?;
    world.start()?;
    ensure!(web.mac("eth0")? == mac, "changed by a restart");
    world.ctl("sandbox create late")?;
    world.refused(
        &format!("network connect --mac-address {mac} front late"),
        &[&mac],
    )?;
    world.ctl("network connect --mac-address 02:00:00:00:00:99 front late")?;
    let late = world.run_directory().join("netns/late");
    ensure!(
        world
            .scope(&late)
            .run(&["ip", "link", "show", "eth0"])?
            .stdout
            .contains("02:00:00:00:00:99")
    );
    Ok(())
}

/// A VPN that comes up over a network's subnet is reported; one beside it is not.
#[test]
fn i01_an_overlap_that_comes_later_is_reported() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 10.60.0.0/24 n")?;
    world.host.ip("route add 10.61.0.0/24 via 198.51.100.2")?;
    world.host.ip("route add 10.60.0.128/25 via 198.51.100.2")?;
    let status = wait_for("the warning", 10, || {
        let status = world.ctl("status").ok()?;
        status.contains("10.60.0.128/25 overlaps").then_some(status)
    });
    ensure!(status.contains("network n"), "{status}");
    ensure!(!status.contains("10.61.0.0"), "{status}");
    // And automatic pools avoid what came later.
    world.host.ip("route add 172.18.0.0/15 via 198.51.100.2")?;
    wait_for("the route to be known", 10, || {
        world.netctl(&["network", "rm", "-f", "auto"]).ok()?;
        world.ctl("network create auto").ok()?;
        let shown = world.ctl("network inspect auto").ok()?;
        shown.contains("172.20.").then_some(())
    });
    Ok(())
}

/// Subnets of every size work, from two addresses to 2^64.
#[test]
fn i05_small_and_large_subnets() -> Outcome {
    let world = World::new()?;
    for (index, (subnet, room)) in [
        ("10.62.0.0/31", 1),
        ("10.62.1.0/30", 1),
        ("10.63.0.0/16", 3),
        ("fd00:62::/127", 1),
        ("fd00:62:1::/120", 3),
        ("fd00:62:2::/64", 3),
    ]
    .into_iter()
    .enumerate()
    {
        let family = if subnet.contains(':') {
            "--ipv4=false --ipv6"
        } else {
            ""
        };
        world.ctl(&format!(
            "network create {family} --subnet {subnet} n{index}"
        ))?;
        for n in 0..room {
            world.ctl(&format!("sandbox create s{index}-{n} --network n{index}"))?;
        }
        if room == 1 {
            world.refused(
                &format!("sandbox create full{index} --network n{index}"),
                &["no available", &format!("n{index}")],
            )?;
        } else {
            let to = world.ctl(&format!("sandbox exec s{index}-0 -- ip -o addr show eth0"))?;
            let to = to
                .split_whitespace()
                .filter_map(|w| w.split('/').next()?.parse::<std::net::IpAddr>().ok())
                .find(|a| {
                    a.is_ipv4() != subnet.contains(':') && !a.to_string().starts_with("fe80")
                });
            let to = to.context("no address")?.to_string();
            let pong = world.ctl(&format!("sandbox exec s{index}-1 -- ping -c 1 -W 2 {to}"))?;
            ensure!(pong.contains("1 received"), "{pong}");
        }
    }
    Ok(())
}
