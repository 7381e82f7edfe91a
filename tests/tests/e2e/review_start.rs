//! B5 and B6: a start sees what the host changes meanwhile, and one object that cannot be realized keeps nothing else
//! from working: it is shown as degraded, with its reason, and mended once the reason is gone.

use std::{net::Ipv4Addr, path::Path, thread};

use anyhow::{Context, ensure};
use netd_tests::{
    Sandbox, Server, World,
    probe::probe,
    wait_for,
    world::{HOST_V4, LAN_V4, LAN_V6},
};

use crate::{Outcome, reaches, show};

/// Networks that each of the many sandboxes is on, and how many sandboxes there are: two hundred endpoints.
const MANY: (usize, usize) = (8, 25);

/// Makes them, several at a time.
fn many_endpoints(world: &World) -> Outcome {
    let mut networks = String::new();
    for number in 0..MANY.0 {
        world.ctl(&format!("network create many{number}"))?;
        networks += &format!("--network many{number} ");
    }
    let networks = &networks;
    thread::scope(|scope| {
        let makers = (0..4).map(|maker| {
            scope.spawn(move || -> Outcome {
                for number in (maker..MANY.1).step_by(4) {
                    world.ctl(&format!("sandbox create {networks} s{number}"))?;
                }
                Ok(())
            })
        });
        let makers: Vec<_> = makers.collect();
        makers.into_iter().try_for_each(|maker| {
            maker
                .join()
                .unwrap_or_else(|p| std::panic::resume_unwind(p))
        })
    })
}

/// What the host does meanwhile: addresses and an uplink come and go. The uplink's address is the last that is given.
fn change_the_host(host: &netd_tests::Netns) -> anyhow::Result<Ipv4Addr> {
    for number in 0..6 {
        host.ip(&format!(
            "addr add 198.51.100.{}/24 dev uplink",
            100 + number
        ))?;
        host.ip("link add late0 type veth peer name late1")?;
        host.ip("link set late0 up")?;
        host.ip(&format!("addr add 203.0.113.{}/24 dev late0", 1 + number))?;
        if number < 5 {
            host.ip(&format!(
                "addr del 198.51.100.{}/24 dev uplink",
                100 + number
            ))?;
            host.ip("link del late0")?;
        }
    }
    // What the containers left by until now goes; 198.51.100.105 is the only one that is left.
    host.ip("addr flush dev uplink to 198.51.100.1")?;
    host.ip("addr replace 198.51.100.105/24 dev uplink")?;
    host.ip(&format!("route replace default via {LAN_V4}"))?;
    Ok(Ipv4Addr::new(198, 51, 100, 105))
}

fn links_made(host: &netd_tests::Netns) -> usize {
    let links = host.ip("-o link").unwrap_or_default();
    links.matches(": nd-").count()
}

#[test]
fn b05_what_the_host_changes_during_a_start_is_seen() -> Outcome {
    let mut world = World::new()?;
    many_endpoints(&world)?;
    world.stop()?;
    // All links have to be made, as after a reboot: the start takes long enough.
    world.forget_kernel_state()?;
    let host = world.host.clone();
    let changer = thread::spawn(move || -> anyhow::Result<(Ipv4Addr, usize)> {
        // The daemon has looked at the host before it makes the first endpoint.
        wait_for("the first endpoint", 30, || {
            (links_made(&host) > 0).then_some(())
        });
        let last = change_the_host(&host)?;
        Ok((last, links_made(&host)))
    });
    world.start()?;
    let (last, made) = match changer.join() {
        Ok(changed) => changed?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let all = MANY.0 * MANY.1;
    ensure!(made < all, "the start was over before the host's changes");
    wait_for("all uplinks in the status", 15, || {
        let status = world.ctl("status").ok()?;
        let on = |name: &str| {
            let lines = status.lines().filter(|line| line.contains("from_uplink"));
            lines
                .into_iter()
                .any(|line| line.split_whitespace().any(|word| word == name))
        };
        (on("late0") && on("uplink")).then_some(())
    });
    let _server = Server::start(&world.lan_scope(), 7000)?;
    let sandbox = show::handle(&world, "s0")?;
    for protocol in crate::PROTOCOLS {
        let reply = sandbox.reach(protocol, LAN_V4.into(), 7000)?;
        ensure!(
            reply.peer.ip() == last,
            "{protocol} leaves from {}, not {last}",
            reply.peer.ip()
        );
    }
    Ok(())
}

/// What `network inspect` and `status` say of a network, in lower case.
fn said(world: &World, network: &str) -> anyhow::Result<String> {
    let inspected = world.netctl(&["network", "inspect", network])?;
    let status = world.netctl(&["status"])?;
    // Of the status, only the lines that name it.
    let lines = status.stdout.lines().filter(|line| line.contains(network));
    let lines = lines.collect::<Vec<_>>().join("\n");
    Ok(format!("{}\n{lines}", inspected.stdout).to_lowercase())
}

/// How far from the word its reason may stand, bytes.
const NEAR: usize = 300;

/// It is degraded, and the reason beside that holds this.
fn is_degraded(world: &World, network: &str, reason: &str) -> Outcome {
    let text = said(world, network)?;
    let near = text.match_indices("degraded").any(|(at, _)| {
        let around = at.saturating_sub(NEAR)..text.len().min(at + NEAR);
        let around = text.as_bytes().get(around).unwrap_or_default();
        String::from_utf8_lossy(around).contains(&reason.to_lowercase())
    });
    ensure!(near, "not said: degraded, {reason}: {text}");
    Ok(())
}

/// The rest works: a new sandbox on another network reaches the LAN.
fn the_rest_works(world: &World, network: &str) -> Outcome {
    let _server = Server::start(&world.lan_scope(), 7000)?;
    let sandbox = world.sandbox("witness", &[network])?;
    reaches(&sandbox, LAN_V4.into(), 7000)?;
    world.ctl("sandbox rm witness").map(drop)
}

/// The reason is gone: one `system reconcile` mends it.
fn recovers(world: &World, network: &str) -> Outcome {
    world.ctl("system reconcile")?;
    let text = said(world, network)?;
    ensure!(!text.contains("degraded"), "still: {text}");
    Ok(())
}

/// The Ethernet address of an interface that is not netd's.
const THEIRS: &str = "02:00:00:00:0f:00";

/// Somebody else's interface by the name of a network's device, which is gone.
fn foreign_device(world: &World) -> Outcome {
    let host = &world.host;
    host.ip("link del foo0")?;
    host.ip(&format!(
        "link add foo0 address {THEIRS} type veth peer name foo1"
    ))
    .map(drop)
}

#[test]
fn b06_a_network_whose_device_name_is_taken() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create good")?;
    world.ctl("network create -o com.docker.network.bridge.name=foo0 bad")?;
    world.ctl("sandbox create --network bad -p 8080:7000 inside")?;
    let inside = show::handle(&world, "inside")?;
    let _server = inside.serve(7000)?;
    probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 2000)?;
    world.stop()?;
    foreign_device(&world)?;
    world.start().context("with a foreign foo0")?;
    the_rest_works(&world, "good")?;
    is_degraded(&world, "bad", "foo0")?;
    ensure!(
        world.host.ip("link show foo0")?.contains(THEIRS),
        "the foreign interface"
    );
    // What cannot be mended yet keeps nothing else from being mended, and is told.
    let mended = world.netctl(&["system", "reconcile"])?;
    ensure!(
        mended.text().contains("foo0"),
        "reconcile says nothing of it: {}",
        mended.text()
    );
    world.host.ip("link del foo0")?;
    recovers(&world, "bad")?;
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    reaches(&inside, LAN_V4.into(), 7000)?;
    probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 2000)?;
    Ok(())
}

fn set_ipv6(world: &World, on: bool) -> Outcome {
    for key in ["all", "default"] {
        let value = if on { "0" } else { "1" };
        let key = format!("net/ipv6/conf/{key}/disable_ipv6");
        world.host.sysctl(&key, value)?;
    }
    Ok(())
}

#[test]
fn b06_an_ipv6_network_on_a_host_without_ipv6() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create good")?;
    world.ctl("network create --ipv6 bad")?;
    world.ctl("sandbox create --network bad inside")?;
    world.stop()?;
    world.forget_kernel_state()?;
    set_ipv6(&world, false)?;
    world.start().context("without IPv6")?;
    the_rest_works(&world, "good")?;
    is_degraded(&world, "bad", "ipv6")?;
    set_ipv6(&world, true)?;
    // The kernel has taken the host's own addresses away with it.
    world.host.ip(&format!(
        "addr replace {}/64 dev uplink nodad",
        netd_tests::world::HOST_V6
    ))?;
    world
        .host
        .ip(&format!("-6 route replace default via {LAN_V6}"))?;
    world.host.ipv6_ready("uplink");
    recovers(&world, "bad")?;
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    let inside = show::handle(&world, "inside")?;
    for to in netd_tests::world::LAN {
        reaches(&inside, to, 7000)?;
    }
    Ok(())
}

#[test]
fn b06_no_default_pool_is_left_at_the_first_start() -> Outcome {
    let mut world = World::without_daemon()?;
    let taken = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
    for route in taken {
        world.host.ip(&format!("route add {route} via {LAN_V4}"))?;
    }
    world.start().context("where all default pools are taken")?;
    is_degraded(&world, "bridge", "pool").or_else(|_| is_degraded(&world, "bridge", "subnet"))?;
    world.ctl("network create --subnet 100.64.7.0/24 good")?;
    the_rest_works(&world, "good")?;
    // Still so after another start.
    world.stop()?;
    world.start()?;
    the_rest_works(&world, "good")?;
    for route in taken {
        world.host.ip(&format!("route del {route}"))?;
    }
    recovers(&world, "bridge")?;
    let _server = Server::start(&world.lan_scope(), 7000)?;
    let sandbox: Sandbox = world.sandbox("late", &["bridge"])?;
    reaches(&sandbox, LAN_V4.into(), 7000)?;
    Ok(())
}

#[test]
fn b06_a_directory_among_the_namespaces() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create good")?;
    world.ctl("sandbox create --network good s")?;
    world.stop()?;
    let theirs = world.run_directory().join("netns/theirs");
    std::fs::create_dir(&theirs)?;
    std::fs::write(theirs.join("file"), "theirs")?;
    let outcome = stands_a_directory(&mut world, &theirs);
    // What a failure leaves, too.
    std::fs::remove_dir_all(&theirs)?;
    outcome
}

fn stands_a_directory(world: &mut World, theirs: &Path) -> Outcome {
    world.start().context("with a directory in RUN/netns")?;
    the_rest_works(world, "good")?;
    ensure!(
        theirs.join("file").exists(),
        "it is not netd's, and is gone"
    );
    world.stop()?;
    let purged = world.netd(&["--purge"])?;
    ensure!(purged.ok, "--purge: {}", purged.text());
    ensure!(theirs.join("file").exists(), "purged, and not netd's");
    Ok(())
}

/// What many endpoints lack for one cause is told once, of the cause, and shown of each.
#[test]
fn b06_one_cause_is_told_once() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create -o com.docker.network.bridge.name=foo0 bad")?;
    world.ctl("network create good")?;
    for name in ["s0", "s1", "s2"] {
        world.ctl(&format!(
            "sandbox create --network bad --network good {name}"
        ))?;
    }
    world.stop()?;
    foreign_device(&world)?;
    world.start().context("with a foreign foo0")?;
    for _ in 0..2 {
        let status = world.ctl("status")?;
        let told: Vec<&str> = status
            .lines()
            .filter(|l| l.starts_with("Degraded"))
            .collect();
        ensure!(
            matches!(told.as_slice(), [one] if one.contains("network bad") && one.contains("foo0")),
            "told of one network: {told:#?}"
        );
        for name in ["s0", "s1", "s2"] {
            let bad = show::endpoint(&world, name, "bad")?.context("an endpoint")?;
            let why = bad["Degraded"].to_string();
            ensure!(
                why.contains("network bad") && why.contains("foo0"),
                "{name}: {bad:#}"
            );
            let good = show::endpoint(&world, name, "good")?.context("an endpoint")?;
            ensure!(!good.to_string().contains("foo0"), "{name}: {good:#}");
        }
        // Another look finds the same, and says so.
        world.refused("system reconcile", &["network bad", "foo0"])?;
    }
    let log = world.log();
    let told = log.lines().filter(|l| l.contains("is degraded: ")).count();
    ensure!(told == 1, "told {told} times:\n{log}");
    world.host.ip("link del foo0")?;
    recovers(&world, "bad")?;
    for name in ["s0", "s1", "s2"] {
        let bad = show::endpoint(&world, name, "bad")?.context("an endpoint")?;
        ensure!(!bad.to_string().contains("foo0"), "{name}: {bad:#}");
    }
    Ok(())
}

/// The way out of it that needs no reconcile.
#[test]
fn b06_a_network_can_be_removed_while_it_is_degraded() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create -o com.docker.network.bridge.name=foo0 bad")?;
    world.ctl("sandbox create --network bad inside")?;
    world.stop()?;
    foreign_device(&world)?;
    world.start().context("with a foreign foo0")?;
    world.ctl("sandbox rm inside")?;
    world.ctl("network rm bad")?;
    ensure!(
        world.host.ip("link show foo0")?.contains(THEIRS),
        "the foreign interface went with the network"
    );
    let status = world.ctl("status")?.to_lowercase();
    ensure!(!status.contains("degraded"), "still degraded: {status}");
    Ok(())
}
