//! B17 and B18: records on disk that this version does not understand. What is unknown in them is kept; what cannot be
//! read is set aside and named, and all else starts; nothing that a record says is believed about what is not netd's.

use std::path::Path;

use anyhow::{Context, ensure};
use netd_tests::{Netns, Sandbox, Server, World, world::LAN_V4};
use serde_json::{Value, json};

use crate::{Outcome, does_not_reach, reaches, show};

const ICC: &str = "com.docker.network.bridge.enable_icc";
const MODE: &str = "com.docker.network.bridge.gateway_mode_ipv4";

/// An option of a stored network that no longer parses never turns the others into their defaults.
#[test]
fn b17_a_network_with_an_unknown_option_is_not_run_with_defaults() -> Outcome {
    for (option, unknown) in [
        // The option that forbids is itself unknown, in another version's words.
        (
            format!(r#""{ICC}":"false""#),
            format!(r#""{ICC}":"only-tuesdays""#),
        ),
        // Another one is.
        (format!(r#""{MODE}":"nat""#), format!(r#""{MODE}":"nat64""#)),
    ] {
        let mut world = World::new()?;
        world.ctl(&format!(
            "network create -o {ICC}=false -o {MODE}=nat strict"
        ))?;
        world.ctl("network create good")?;
        let (a, b) = (
            world.sandbox("a", &["strict", "good"])?,
            world.sandbox("b", &["strict", "good"])?,
        );
        let _server = b.serve(7000)?;
        let (forbidden, allowed) = (b.v4("eth0")?, b.v4("eth1")?);
        does_not_reach(&a, forbidden.into(), 7000)?;
        reaches(&a, allowed.into(), 7000)?;
        world.stop()?;
        world
            .records()?
            .replace("network", r#""strict""#, &option, &unknown)?;
        world.start().with_context(|| unknown.clone())?;
        // All that a start leaves undone is done by a reconcile.
        let _ = world.netctl(&["system", "reconcile"])?;
        does_not_reach(&a, forbidden.into(), 7000).with_context(|| unknown.clone())?;
        reaches(&a, allowed.into(), 7000).context("the other network")?;
        let text = world.ctl("status")?;
        let lower = text.to_lowercase();
        ensure!(
            lower.contains("degraded") && lower.contains("strict"),
            "{unknown}: not said: {text}"
        );
        // The way out.
        world.ctl("network rm strict")?;
    }
    Ok(())
}

/// A newer version was here and has gone again: what only it knows is still there when it comes back.
#[test]
fn b18_unknown_fields_are_kept() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --subnet 10.63.0.0/24 front")?;
    world.ctl("sandbox create --network front -p 8080:7000 s")?;
    world.stop()?;
    let marks = [
        ("network", r#""name":"front""#),
        ("sandbox", r#""name":"s""#),
        ("endpoint", r#""interface":"eth0""#),
    ];
    {
        let records = world.records()?;
        for (kind, mark) in marks {
            let more = format!(r#"{mark},"future_{kind}":{{"kept":[1,2]}}"#);
            records.replace(kind, mark, mark, &more)?;
        }
    }
    world.start().context("with fields of a newer version")?;
    let s = show::handle(&world, "s")?;
    let _server = Server::start(&world.lan_scope(), 7000)?;
    reaches(&s, LAN_V4.into(), 7000)?;
    // All of these are written anew.
    world.ctl("network create back")?;
    world.ctl("network connect back s")?;
    world.ctl("port publish s 9090:7000")?;
    show::run(&world, "--network front other")?;
    world.stop()?;
    {
        let records = world.records()?;
        for (kind, mark) in marks {
            let field = format!(r#""future_{kind}":{{"kept":[1,2]}}"#);
            let all = records.all()?;
            let kept = all.iter().any(|(_, text)| text.contains(&field));
            ensure!(kept, "{kind}: {field} is lost: {all:#?} ({mark})");
        }
    }
    world.start()?;
    Ok(())
}

/// The id of a sandbox or network.
fn id(world: &World, line: &str) -> anyhow::Result<String> {
    let all: Value = serde_json::from_str(&world.ctl(line)?)?;
    let id = all[0]["Id"].as_str().context("Id")?;
    Ok(id.to_owned())
}

/// A sandbox on a network that works, and its id.
fn witness(world: &World) -> anyhow::Result<(Sandbox, String)> {
    world.ctl("network create front")?;
    let witness = show::run(world, "--network front witness")?;
    Ok((witness, id(world, "sandbox inspect witness")?))
}

/// Others than the broken one are as they were.
fn all_else_works(world: &World, witness: &Sandbox) -> Outcome {
    let _server = Server::start(&world.lan_scope(), 7000)?;
    reaches(witness, LAN_V4.into(), 7000)?;
    let new = world.sandbox("new", &["front"])?;
    reaches(&new, LAN_V4.into(), 7000)?;
    world.ctl("sandbox rm new").map(drop)
}

#[test]
fn b18_records_that_cannot_be_read_are_set_aside() -> Outcome {
    let mut world = World::new()?;
    let (witness, _) = witness(&world)?;
    world.ctl("network create back")?;
    let back = id(&world, "network inspect back")?;
    world.ctl("sandbox create --network back lost")?;
    world.ctl("sandbox create --network front short")?;
    let short = id(&world, "sandbox inspect short")?;
    world.stop()?;
    {
        let records = world.records()?;
        let (key, text) = records.find("network", r#""back""#)?;
        // Cut off in the middle, as by a damaged disk.
        records.put(&key, text.get(..text.len() / 2).context("half")?)?;
        let (key, _) = records.find("sandbox", r#""short""#)?;
        for (number, garbage) in ["", "{", "null", "[]", "{}", "\"text\"", "1e999"]
            .iter()
            .enumerate()
        {
            for kind in ["network", "sandbox", "endpoint"] {
                let id = format!("{kind}feed{number}").repeat(5);
                let key = key
                    .replace("sandbox/", &format!("{kind}/"))
                    .replace(&short, &id);
                records.put(&key, garbage)?;
            }
        }
    }
    world.start().context("with records that are garbage")?;
    all_else_works(&world, &witness)?;
    let status = world.ctl("status")?;
    for named in [&back[..12], "networkfeed0", "sandboxfeed3", "endpointfeed6"] {
        ensure!(
            status.contains(named),
            "the status does not name {named}: {status}"
        );
    }
    // And so at every start.
    world.kill()?;
    world.start()?;
    all_else_works(&world, &witness)?;
    Ok(())
}

/// A lying copy of the witness's record: its name, its id, its namespace's path.
type Lie = (&'static str, String, String);

/// Adds the lies, starts, and sees that the witness is as it was and nothing of others was harmed.
fn lied(lies: impl FnOnce(&World, &Netns, &Path) -> Vec<Lie>, named: bool) -> Outcome {
    let mut world = World::new()?;
    let (witness, witness_id) = witness(&world)?;
    // What is not netd's: a mounted namespace, and a file.
    let victim = world.namespace("victim")?;
    let file = world.directory().join("precious");
    std::fs::write(&file, "precious")?;
    let lies = lies(&world, &victim, &file);
    let own = world.run_directory().join("netns/witness");
    let own = own.display().to_string();
    world.stop()?;
    {
        let records = world.records()?;
        let name_of = |name: &str| format!(r#""name":"{name}""#);
        let witness = name_of("witness");
        for (name, id, path) in &lies {
            let changes = [
                (witness_id.as_str(), id.as_str()),
                (own.as_str(), path.as_str()),
                (witness.as_str(), &name_of(name)),
            ];
            records.copy("sandbox", &witness, &changes)?;
        }
    }
    world.start().context("with records that lie")?;
    unharmed(&victim, &file)?;
    let status = world.ctl("status")?;
    for (name, ..) in lies.iter().filter(|_| named) {
        ensure!(
            status.contains(name),
            "the status does not name {name}: {status}"
        );
    }
    let shown = show::sandbox(&world, "witness")?;
    ensure!(
        shown["Running"] == json!(true),
        "the witness has stopped: {shown:#}"
    );
    all_else_works(&world, &witness)?;
    for (name, ..) in &lies {
        // Granted or refused: it may take nothing away that is not its own.
        world.netctl(&["sandbox", "stop", name])?;
        world.netctl(&["sandbox", "rm", name])?;
    }
    world.netctl(&["system", "reconcile"])?;
    unharmed(&victim, &file)?;
    all_else_works(&world, &witness)?;
    world.stop()?;
    let purged = world.netd(&["--purge"])?;
    ensure!(purged.ok, "--purge: {}", purged.text());
    unharmed(&victim, &file)
}

/// Paths of namespaces that netd made, by what the record says, and that lie elsewhere.
#[test]
fn b18_paths_that_lie_harm_nothing() -> Outcome {
    lied(
        |world, victim, file| {
            let netns = world.run_directory().join("netns");
            let up = "../".repeat(netns.components().count() - 1);
            let through = |path: &Path| {
                let path = path.display().to_string();
                format!("{}/{up}{}", netns.display(), path.trim_start_matches('/'))
            };
            let plain = |path: &Path| path.display().to_string();
            let lies = [
                ("evil0", plain(victim.path())),
                ("evil1", through(victim.path())),
                ("evil2", plain(file)),
                ("evil3", through(file)),
            ];
            let numbered = lies.into_iter().enumerate();
            numbered
                .map(|(number, (name, path))| (name, format!("e{number}").repeat(32), path))
                .collect()
        },
        true,
    )
}

/// Ids that are none: too short, none at all, paths, letters.
#[test]
fn b18_ids_that_lie_harm_nothing() -> Outcome {
    lied(
        |world, _, _| {
            let netns = world.run_directory().join("netns");
            let path = |name: &str| netns.join(name).display().to_string();
            vec![
                ("evil4", "e4".to_owned(), path("evil4")),
                ("evil5", String::new(), path("evil5")),
                ("evil6", "../../etc".to_owned(), path("evil6")),
                ("evil7", "é".repeat(32), path("evil7")),
                ("evil8", "E".repeat(64), path("evil8")),
            ]
        },
        false,
    )
}

#[test]
fn b18_short_ids_of_endpoints_and_networks_are_set_aside() -> Outcome {
    let mut world = World::new()?;
    let (witness, _) = witness(&world)?;
    world.stop()?;
    {
        let records = world.records()?;
        for (kind, mark) in [
            ("endpoint", r#""interface":"eth0""#),
            ("network", r#""name":"front""#),
        ] {
            let (key, text) = records.find(kind, mark)?;
            let id = key.rsplit('/').next().context("a key")?;
            let text = text.replace(&format!(r#""id":"{id}""#), r#""id":"ab""#);
            records.put(&key.replace(id, "ab"), &text)?;
        }
    }
    world.start().context("with short ids")?;
    all_else_works(&world, &witness)
}

fn unharmed(victim: &Netns, file: &Path) -> Outcome {
    victim
        .ip("link show lo")
        .context("the namespace of others")?;
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let path = victim.path().display().to_string();
    ensure!(
        mounts
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(&path)),
        "{path} was unmounted"
    );
    let text = std::fs::read_to_string(file).context("the file of others")?;
    ensure!(text == "precious", "the file of others: {text}");
    Ok(())
}
