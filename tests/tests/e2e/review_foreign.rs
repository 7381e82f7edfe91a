//! B20: a namespace of somebody else is left as it was found: no rules, tables or filters remain in it.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use netd_tests::{Netns, Sandbox, Server, World, world::LAN_V4};

use crate::{Outcome, reaches};

/// All that netd may have left in it.
fn state(netns: &Netns) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for words in [
        "rule",
        "-6 rule",
        "route show table all",
        "-6 route show table all",
        "-o link",
        "-o addr",
        "neigh",
    ] {
        let text = netns.ip(words)?;
        let lines = text.lines().map(str::trim);
        found.extend(lines.map(|line| format!("ip {words}: {line}")));
    }
    for device in ["lo"] {
        for hook in ["qdisc show", "filter show", "filter show egress"] {
            let (verb, place) = hook.split_at(hook.find("show").unwrap_or(0) + 4);
            let line = format!("tc {verb} dev {device}{place}");
            let output = netns
                .scope()
                .run(&line.split_whitespace().collect::<Vec<_>>())?;
            let lines = output.stdout.lines().map(str::trim);
            found.extend(lines.map(|text| format!("{line}: {text}")));
        }
        let shown = netns
            .scope()
            .run(&["bpftool", "net", "show", "dev", device])?;
        let mark = format!("{device}(");
        let lines = shown.stdout.lines().filter(|line| line.starts_with(&mark));
        found.extend(lines.map(|line| format!("bpftool {line}")));
    }
    Ok(found)
}

/// A namespace of somebody else with an address and a rule of its own.
fn theirs(world: &mut World, name: &str) -> anyhow::Result<(Netns, BTreeSet<String>)> {
    let netns = world.namespace(name)?;
    netns.ip("rule add from 192.0.2.7 lookup 77 priority 77")?;
    netns.ip("route add blackhole 192.0.2.0/24 table 77")?;
    let before = state(&netns)?;
    Ok((netns, before))
}

fn is_as_before(netns: &Netns, before: &BTreeSet<String>) -> Outcome {
    let after = state(netns)?;
    let new: Vec<_> = after.difference(before).collect();
    let gone: Vec<_> = before.difference(&after).collect();
    ensure!(
        new.is_empty() && gone.is_empty(),
        "left {new:#?}, took {gone:#?}"
    );
    Ok(())
}

fn on_two_networks(world: &World, netns: &Netns, before: &BTreeSet<String>) -> Outcome {
    let place = netns.path().display();
    world.ctl(&format!(
        "sandbox create --netns {place} --network front --network back guest"
    ))?;
    let guest = Sandbox::new("guest", netns.clone(), world.scope(netns.path()));
    reaches(&guest, LAN_V4.into(), 7000)?;
    ensure!(
        &state(netns)? != before,
        "it is not seen that netd was there"
    );
    Ok(())
}

#[test]
fn b20_a_namespace_of_others_is_left_as_it_was() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    world.ctl("network create --ipv6 back")?;
    let _server = Server::start(&world.lan_scope(), 7000)?;
    let (netns, before) = theirs(&mut world, "theirs")?;
    let mut wrong = Vec::new();
    for way in [
        "sandbox rm guest",
        "sandbox stop guest",
        "network disconnect front guest; network disconnect back guest; sandbox rm guest",
        "kill; sandbox rm guest",
    ] {
        on_two_networks(&world, &netns, &before)?;
        for line in way.split("; ") {
            if line == "kill" {
                world.kill()?;
                world.start()?;
            } else {
                world.ctl(line)?;
            }
        }
        if let Err(error) = is_as_before(&netns, &before) {
            wrong.push(format!("{way}: {error:#}"));
        }
        world.ctl("sandbox rm -f guest")?;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn b20_a_purge_leaves_a_namespace_of_others_as_it_was() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    world.ctl("network create --ipv6 back")?;
    let server = Server::start(&world.lan_scope(), 7000)?;
    let (netns, before) = theirs(&mut world, "theirs")?;
    on_two_networks(&world, &netns, &before)?;
    drop(server);
    world.stop()?;
    let purged = world.netd(&["--purge"])?;
    ensure!(purged.ok, "--purge: {}", purged.text());
    is_as_before(&netns, &before).context("after --purge")?;
    Ok(())
}
