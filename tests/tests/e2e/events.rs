//! N11: what is told of networks and sandboxes, to whom it concerns.

use std::fs;

use anyhow::ensure;
use netd_tests::{Process, World, wait_for, world::binary};
use serde_json::Value;

use crate::Outcome;

/// `netctl events` with these words, written to a file of the world.
struct Watcher {
    file: std::path::PathBuf,
    _process: Process,
}

impl Watcher {
    fn start(world: &World, name: &str, words: &[&str]) -> anyhow::Result<Self> {
        let file = world.directory().join(name);
        let netctl = binary("netctl");
        let words = [&[netctl.as_str(), "events"], words].concat();
        let process = world
            .host_scope()
            .spawn_logged(&words, fs::File::create(&file)?)?;
        Ok(Self {
            file,
            _process: process,
        })
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }

    fn waits_for(&self, part: &str) {
        wait_for(&format!("{part:?} among the events"), 10, || {
            self.text().contains(part).then_some(())
        });
    }
}

#[test]
fn n11_events() -> Outcome {
    let world = World::new()?;
    let web = world.ctl("sandbox create web")?;
    let all = Watcher::start(&world, "all", &["--format", "json"])?;
    let short = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
    let back = Watcher::start(
        &world,
        "back",
        &["--filter", "network=back", "--format", short],
    )?;
    let of_web = Watcher::start(
        &world,
        "web",
        &[
            "-f",
            "sandbox=web",
            "-f",
            "event=connect",
            "--format",
            short,
        ],
    )?;
    // Watching starts when the daemon says so: until something is seen.
    let mut number = 0;
    wait_for("the watchers", 20, || {
        number += 1;
        let made = world.ctl(&format!("network create --label probe probe{number}"));
        let connected = world.ctl(&format!("network connect probe{number} web"));
        world
            .ctl(&format!("network disconnect probe{number} web"))
            .ok()?;
        made.and(connected).ok()?;
        (!all.text().is_empty() && !of_web.text().is_empty()).then_some(())
    });
    world.ctl("network prune -f --filter label=probe")?;
    all.waits_for("\"prune\"");
    let known = all.text().lines().count();

    let front = world.ctl("network create front")?;
    world.ctl("network create back")?;
    world.ctl("network connect front web")?;
    world.ctl("network connect back web")?;
    world.ctl("network disconnect front web")?;
    world.ctl("network rm front")?;
    world.ctl("sandbox stop web")?;
    world.ctl("sandbox start web")?;
    world.ctl("sandbox rm web")?;
    world.ctl("network create unused")?;
    world.ctl("network prune -f")?;
    wait_for("both prunes", 10, || {
        (all.text().matches("\"prune\"").count() == 2).then_some(())
    });
    let events: Vec<Value> = all
        .text()
        .lines()
        .skip(known)
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let told: Vec<String> = events
        .iter()
        .map(|event| {
            let name = event["Actor"]["Attributes"]["name"]
                .as_str()
                .unwrap_or_default();
            let [kind, action] =
                ["Type", "Action"].map(|key| event[key].as_str().unwrap_or_default());
            format!("{kind} {action} {name}").trim().to_owned()
        })
        .collect();
    let wanted = [
        "network create front",
        "network create back",
        "network connect front",
        "network connect back",
        "network disconnect front",
        "network destroy front",
        "network disconnect back",
        "sandbox stop web",
        "network connect back",
        "sandbox start web",
        "network disconnect back",
        "sandbox destroy web",
        "network create unused",
    ];
    let (head, tail) = told.split_at(wanted.len().min(told.len()));
    ensure!(head == wanted, "{told:#?}");
    let mut tail = tail.to_vec();
    tail.sort();
    ensure!(
        tail == [
            "network destroy back",
            "network destroy unused",
            "network prune"
        ],
        "{told:#?}"
    );
    ensure!(
        told.last().is_some_and(|last| last == "network prune"),
        "{told:#?}"
    );
    for event in &events {
        let time = event["Time"].as_str().unwrap_or_default();
        ensure!(time.starts_with("20") && time.ends_with('Z'), "{event}");
    }
    ensure!(
        events[0]["Actor"]["ID"] == front.as_str()
            && events[0]["Actor"]["Attributes"]["type"] == "bridge",
        "{}",
        events[0]
    );
    ensure!(
        events[2]["Actor"]["Attributes"]["container"] == web.as_str(),
        "{}",
        events[2]
    );
    back.waits_for("network destroy back");
    let lines: Vec<String> = back.text().lines().map(str::to_owned).collect();
    let wanted = [
        "create",
        "connect",
        "disconnect",
        "connect",
        "disconnect",
        "destroy",
    ];
    ensure!(
        lines == wanted.map(|action| format!("network {action} back")),
        "{lines:#?}"
    );
    let lines = of_web.text();
    ensure!(
        lines.contains("network connect front")
            && !lines.contains("disconnect")
            && !lines.contains("create"),
        "{lines}"
    );
    Ok(())
}
