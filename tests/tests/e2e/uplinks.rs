//! C12: the host's interfaces, their other programs, and what hangs on them.

use anyhow::{Context, ensure};
use netd_tests::{
    Server, World,
    probe::probe,
    wait_for,
    world::{HOST, HOST_V4, HOST_V6, LAN, LAN_V4, LAN_V6},
};
use nix::sys::signal::Signal;

use crate::{Outcome, PROTOCOLS};

/// What hangs on an interface, as `netctl status` shows it.
fn hooks(world: &World, interface: &str) -> anyhow::Result<Vec<String>> {
    let status = world.ctl("status")?;
    let on = |line: &&str| line.split_whitespace().any(|word| word == interface);
    let lines = status.lines().filter(|line| line.contains("from_uplink"));
    Ok(lines.filter(on).map(str::to_owned).collect())
}

fn wait_for_uplink(world: &World, interface: &str, there: bool) {
    let what = format!("{interface} as an uplink: {there}");
    wait_for(&what, 15, || {
        let found = hooks(world, interface).ok()?;
        (found.is_empty() != there).then_some(())
    });
}

/// A published port, and the way out, in both families.
fn works(world: &World, web: &netd_tests::Sandbox) -> Outcome {
    for protocol in PROTOCOLS {
        for host in HOST {
            probe(&world.lan_scope(), protocol, (host, 8080).into(), 2000)
                .with_context(|| format!("{protocol} to {host}"))?;
        }
        for lan in LAN {
            web.reach(protocol, lan, 7000)?;
        }
    }
    Ok(())
}

fn published(world: &World) -> anyhow::Result<(netd_tests::Sandbox, [Server; 2])> {
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let servers = [web.serve(7000)?, Server::start(&world.lan_scope(), 7000)?];
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    Ok((web, servers))
}

/// An interface that joins a bridge hands its packets to it: the bridge is the uplink then.
#[test]
fn c12_a_port_of_a_bridge_is_no_uplink() -> Outcome {
    let world = World::new()?;
    let (web, _servers) = published(&world)?;
    works(&world, &web)?;
    wait_for_uplink(&world, "uplink", true);
    let host = &world.host;
    host.ip("link add wide type bridge")?;
    host.ip("link set wide up")?;
    host.ip("link set uplink master wide")?;
    host.ip("addr flush dev uplink scope global")?;
    host.ip(&format!("addr add {HOST_V4}/24 dev wide"))?;
    host.ip(&format!("addr add {HOST_V6}/64 dev wide nodad"))?;
    host.ip(&format!("route replace default via {LAN_V4}"))?;
    host.ip(&format!("-6 route replace default via {LAN_V6}"))?;
    host.ipv6_ready("wide");
    wait_for_uplink(&world, "wide", true);
    wait_for_uplink(&world, "uplink", false);
    let seen = host
        .scope()
        .run(&["bpftool", "net", "show", "dev", "uplink"])?;
    ensure!(
        !seen.stdout.contains("uplink("),
        "left there: {}",
        seen.stdout
    );
    // The neighbour still knows the addresses by the other Ethernet address.
    world.lan.ip("neigh flush all")?;
    works(&world, &web)?;
    host.ip("link del wide")?;
    wait_for_uplink(&world, "uplink", true);
    Ok(())
}

/// What cannot be attached to one interface keeps netd from nothing else, and is tried again.
#[test]
fn c12_one_interface_that_refuses_keeps_no_other_back() -> Outcome {
    let mut world = World::without_daemon()?;
    let host = world.host.clone();
    host.ip("link add refused index 900 type veth peer name later index 901")?;
    world.start_with(&[("NETD_FAILPOINT_REFUSE_START", "uplink-refused")])?;
    let (web, _servers) = published(&world)?;
    works(&world, &web)?;
    wait_for_uplink(&world, "later", true);
    ensure!(hooks(&world, "refused")?.is_empty());
    let status = world.ctl("status")?;
    ensure!(status.contains("uplink refused"), "not told: {status}");
    host.ip("link set refused name willing")?;
    wait_for_uplink(&world, "willing", true);
    // One that comes and goes is no matter.
    for _ in 0..5 {
        host.ip("link add brief type veth peer name short")?;
        host.ip("link del brief")?;
    }
    works(&world, &web)?;
    let warned = world.ctl("status")?;
    ensure!(
        !warned.contains("brief") && !warned.contains("short"),
        "{warned}"
    );
    Ok(())
}

/// Without TCX (before Linux 6.6): beside others' filters, replaced in place, and gone with the instance.
#[test]
fn c12_filters_of_others_stay() -> Outcome {
    let mut world = World::without_daemon()?;
    let seen = beside_others(&mut world);
    // Whatever it came to, what others put there is not netd's to take away.
    let _ = world
        .host
        .scope()
        .run(&["tc", "qdisc", "del", "dev", "uplink", "clsact"]);
    seen
}

fn beside_others(world: &mut World) -> Outcome {
    let host = world.host.clone();
    let tc = |line: &str| -> anyhow::Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = host.scope().run(&words)?;
        ensure!(done.ok, "{line}: {}", done.text());
        Ok(done.stdout)
    };
    tc("tc qdisc add dev uplink clsact")?;
    // Matches nothing: the next filter is asked.
    let foreign = "tc filter add dev uplink ingress prio 1 handle 1 protocol all bpf bytecode";
    let foreign: Vec<&str> = foreign.split(' ').chain(["1,6 0 0 0,"]).collect();
    let done = host.scope().run(&foreign)?;
    ensure!(done.ok, "{}", done.text());
    let shown = "tc filter show dev uplink ingress";
    let before = tc(shown)?;
    let refuse = [("NETD_FAILPOINT_REFUSE_START", "no-tcx")];
    world.start_with(&refuse)?;
    let (web, _servers) = published(world)?;
    works(world, &web)?;
    let row = hooks(world, "uplink")?;
    ensure!(row.len() == 1 && row[0].contains("clsact"), "{row:?}");
    world.stop()?;
    world.start_with(&refuse)?;
    works(world, &web)?;
    let count = |text: &str| text.matches("from_uplink direct-action").count();
    let now = tc(shown)?;
    ensure!(
        now.starts_with(before.trim_end()),
        "{before}\nis now\n{now}"
    );
    ensure!(count(&now) == 1, "not in place: {now}");
    // Another instance in the same namespace: each takes away its own.
    let path = |name: &str| world.directory().join(name).display().to_string();
    let name = format!("{}-b", world.instance);
    let mut words = world.daemon_words(&[]);
    for (option, value) in [
        ("--instance", name),
        ("--state", path("state-b")),
        ("--run", path("run-b")),
    ] {
        let at = words.iter().position(|word| word == option);
        words[at.context("no such option")? + 1] = value;
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let log = std::fs::File::create(path("other.log"))?;
    let scope = world.host_scope().env(refuse[0].0, refuse[0].1);
    let other = scope.spawn_logged(&words, log)?;
    let socket = world.directory().join("run-b/netd.sock");
    wait_for("the other netd", 30, || socket.exists().then_some(()));
    ensure!(other.stop(Signal::SIGTERM)?.ok, "the other netd");
    let both = tc(shown)?;
    ensure!(count(&both) == 2, "{both}");
    let purged = scope.run(&[words.as_slice(), &["--purge"]].concat())?;
    ensure!(purged.ok, "{}", purged.text());
    let now = tc(shown)?;
    ensure!(count(&now) == 1, "{now}");
    works(world, &web)?;
    world.stop()?;
    let purged = world.netd(&["--purge"])?;
    ensure!(purged.ok, "{}", purged.text());
    let after = tc(shown)?;
    ensure!(after == before, "{before}\nis now\n{after}");
    Ok(())
}
