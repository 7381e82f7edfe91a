//! B14: the MTU of the way out changes while endpoints come and go.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use netd_tests::{Netns, World};
use serde_json::Value;

use crate::{Outcome, show};

/// How long the churn lasts.
const CHURN: Duration = Duration::from_secs(8);

/// MTUs that the uplink takes in turn, and the last one.
const MTUS: [u32; 3] = [1400, 1300, 1450];
const LAST: u32 = 1350;

/// Entries of the maps that know endpoints, by the status and by the kernel.
fn entries(world: &World) -> anyhow::Result<Vec<(String, u64)>> {
    let status: Value = serde_json::from_str(&world.ctl("--output json status")?)?;
    let mut found = Vec::new();
    for map in status["Maps"].as_array().context("Maps")? {
        let name = map["Name"].as_str().unwrap_or_default();
        if ["DEVICES", "ADDRESSES", "NETWORKS", "PUBLICATIONS"].contains(&name) {
            found.push((name.to_owned(), map["Entries"].as_u64().unwrap_or(u64::MAX)));
        }
    }
    for name in ["DEVICES", "ADDRESSES", "MEMBERS"] {
        found.push((format!("{name} in the kernel"), world.map_entries(name)?));
    }
    found.push((
        "Endpoints".into(),
        status["Endpoints"].as_u64().unwrap_or(u64::MAX),
    ));
    Ok(found)
}

/// Interfaces that have another MTU than this.
fn others(netns: &Netns, prefixes: &[&str], mtu: u32) -> anyhow::Result<Vec<String>> {
    let links: Value = serde_json::from_str(&netns.ip("-j link")?)?;
    let links = links.as_array().context("links")?;
    let ours = links.iter().filter(|link| {
        let name = link["ifname"].as_str().unwrap_or_default();
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    });
    let wrong = ours.filter(|link| link["mtu"].as_u64() != Some(mtu.into()));
    Ok(wrong
        .map(|link| format!("{} {} {}", netns.name(), link["ifname"], link["mtu"]))
        .collect())
}

/// All that follow the way out have this MTU, within ten seconds.
fn have_mtu(world: &World, sandboxes: &[String], mtu: u32) -> Outcome {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let mut wrong = others(&world.host, &["nd-", "np-", "br-", "netd0"], mtu)?;
        for name in sandboxes {
            wrong.extend(others(&show::handle(world, name)?.netns, &["eth"], mtu)?);
        }
        if wrong.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "not {mtu}: {wrong:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn b14_the_mtu_changes_while_endpoints_come_and_go() -> Outcome {
    let world = World::new()?;
    let networks = ["one", "two"];
    for name in networks {
        world.ctl(&format!("network create --ipv6 {name}"))?;
    }
    let mut stay = Vec::new();
    for number in 0..4 {
        let name = format!("stays{number}");
        show::run(&world, &format!("--network one --network two {name}"))?;
        stay.push(name);
    }
    let before = entries(&world)?;
    have_mtu(&world, &stay, 1500)?;
    let (over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let outcome = thread::scope(|scope| {
        let churn = |number: usize| {
            let (world, over, made) = (&world, &over, &made);
            scope.spawn(move || -> Outcome {
                let name = format!("comes{number}");
                while !over.load(Ordering::Relaxed) {
                    world.ctl(&format!(
                        "sandbox create --network one --network two {name}"
                    ))?;
                    world.ctl(&format!("network disconnect one {name}"))?;
                    world.ctl(&format!("network connect one {name}"))?;
                    world.ctl(&format!("sandbox rm {name}"))?;
                    made.fetch_add(1, Ordering::Relaxed);
                }
                // These must have the last MTU, too.
                world
                    .ctl(&format!(
                        "sandbox create --network one --network two {name}"
                    ))
                    .map(drop)
            })
        };
        let threads: Vec<_> = (0..3).map(churn).collect();
        let end = Instant::now() + CHURN;
        let mut changed = Ok(String::new());
        for mtu in MTUS.iter().cycle() {
            if Instant::now() > end || changed.is_err() {
                break;
            }
            changed = world.host.ip(&format!("link set uplink mtu {mtu}"));
        }
        changed = changed.and_then(|_| world.host.ip(&format!("link set uplink mtu {LAST}")));
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread
                .join()
                .unwrap_or_else(|p| std::panic::resume_unwind(p))?;
        }
        changed.map(drop)
    });
    outcome?;
    ensure!(made.load(Ordering::Relaxed) > 3, "nothing came and went");
    let mut all = stay.clone();
    all.extend((0..3).map(|number| format!("comes{number}")));
    have_mtu(&world, &all, LAST)?;
    world.ctl("sandbox rm comes0 comes1 comes2")?;
    let after = entries(&world)?;
    ensure!(
        before == after,
        "before the churn {before:?}, after it {after:?}"
    );
    Ok(())
}
