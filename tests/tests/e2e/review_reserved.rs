//! C12: the administrator's reserved ports, however many they are, stay and come back.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use netd_tests::World;

use crate::Outcome;

const KEY: &str = "net/ipv4/ip_local_reserved_ports";

/// Longer than a first read of the list need be.
const LIST: &str = "1000,2000-2010,3000,4000,5000,6000,7000,8001,9000,10000,11000";

/// What the list says, single ports only where it names them so.
fn parts(text: &str) -> BTreeSet<String> {
    let parts = text.trim().split(',').filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

fn keeps(world: &World, list: &str, when: &str) -> Outcome {
    let found = world.host.read_sysctl(KEY)?;
    let lost: Vec<String> = parts(list).difference(&parts(&found)).cloned().collect();
    ensure!(lost.is_empty(), "{when}: {lost:?} are lost: {found}");
    Ok(())
}

#[test]
fn c12_a_long_list_of_reserved_ports_is_kept() -> Outcome {
    let mut world = World::without_daemon()?;
    world.host.sysctl(KEY, LIST)?;
    world.start()?;
    let outcome = goes_on(&mut world);
    // A new namespace has none: so the world wants to end.
    world.stop()?;
    let purged = world.netd(&["--purge"])?;
    let after = world.host.read_sysctl(KEY)?;
    world.host.sysctl(KEY, "\n")?;
    outcome?;
    ensure!(purged.ok, "--purge: {}", purged.text());
    ensure!(
        parts(&after) == parts(&format!("{LIST},12000")),
        "after --purge: {after}"
    );
    Ok(())
}

/// Many ports are published and withdrawn, and the administrator adds one.
fn goes_on(world: &mut World) -> Outcome {
    keeps(world, LIST, "after the start")?;
    world.ctl("network create front")?;
    world.ctl("sandbox create --network front s")?;
    for port in [8100, 8200, 8300, 8400] {
        world.ctl(&format!("port publish s {port}:80"))?;
    }
    keeps(world, LIST, "with published ports")?;
    let found = world.host.read_sysctl(KEY)?;
    for port in ["8100", "8200", "8300", "8400"] {
        ensure!(
            parts(&found).contains(port),
            "{port} is not reserved: {found}"
        );
    }
    world.host.sysctl(KEY, &format!("{},12000", found.trim()))?;
    world.ctl("port unpublish s 8100:80")?;
    let more = format!("{LIST},12000");
    keeps(world, &more, "after the administrator's change")?;
    world.kill()?;
    world.start()?;
    keeps(world, &more, "after a restart")?;
    let found = world.host.read_sysctl(KEY)?;
    ensure!(
        !parts(&found).contains("8100"),
        "8100 is withdrawn: {found}"
    );
    world.ctl("sandbox rm s").context("the end").map(drop)
}
