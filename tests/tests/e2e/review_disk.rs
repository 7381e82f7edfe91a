//! B4: a disk that is full. What is refused has not happened, what is granted is on disk, health says that nothing can be
//! written, and room is all that it takes to go on.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use netd_proto::v1::{ListNetworksRequest, network_service_client::NetworkServiceClient};
use netd_tests::{World, picture::Picture, probe::probe, wait_for};
use serde_json::Value;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{Outcome, api::channel, show, state::existing};

/// KiB: enough for the store of a few networks.
pub const SMALL: u32 = 4 << 10;

/// KiB: more than any of these tests writes.
pub const LARGE: u32 = 64 << 10;

/// Texts of a label, bytes: large ones fill the disk soon, small ones to the last page.
const FILLERS: [usize; 3] = [1000, 100, 1];

/// Counts the sandboxes that fill disks.
static FILLED: AtomicUsize = AtomicUsize::new(0);

fn label(bytes: usize) -> String {
    format!("filler={}", "x".repeat(bytes))
}

/// What gRPC health says of the daemon as a whole.
pub fn health(world: &World) -> anyhow::Result<ServingStatus> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut client = HealthClient::new(channel(world).await?);
        let answer = client.check(HealthCheckRequest::default()).await?;
        Ok(answer.into_inner().status())
    })
}

/// Health by gRPC and by `netctl status` alike.
pub fn is_serving(world: &World, wanted: bool) -> Outcome {
    let mut last = String::new();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::time::Instant::now() < end {
        let grpc = health(world)? == ServingStatus::Serving;
        let status = world.netctl(&["--output", "json", "status"])?.stdout;
        let status: Value = serde_json::from_str(&status)?;
        let shown = status["Health"].as_str() == Some("serving");
        let text = world.netctl(&["status"])?.stdout;
        let text = text.to_lowercase().replace('_', " ");
        let text = !text.contains("not serving");
        if [grpc, shown, text] == [wanted; 3] {
            return Ok(());
        }
        last =
            format!("serving by gRPC: {grpc}, by netctl's JSON: {shown}, by netctl's text: {text}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    anyhow::bail!("{last}; wanted {wanted}")
}

/// What is listed, in JSON.
pub fn listed(world: &World) -> anyhow::Result<[Value; 3]> {
    let list = |line: &str| -> anyhow::Result<Value> {
        let mut list: Value = serde_json::from_str(&world.ctl(line)?)?;
        if let Some(list) = list.as_array_mut() {
            list.sort_by_key(ToString::to_string);
        }
        Ok(list)
    };
    Ok([
        list("--output json network ls")?,
        list("--output json sandbox ls")?,
        list("--output json port ls")?,
    ])
}

/// Whether a request was granted. One that was not must say why, and all must be as it was.
fn judged(world: &World, words: &[&str]) -> anyhow::Result<bool> {
    let before = Picture::take(world)?;
    let output = world.netctl(words)?;
    if output.ok {
        return Ok(true);
    }
    let shown = words.iter().map(|word| word.get(..40).unwrap_or(word));
    let shown = shown.collect::<Vec<_>>().join(" ");
    ensure!(
        output.stderr.to_lowercase().contains("store"),
        "{shown}: the store is not named: {}",
        output.stderr
    );
    before
        .holds(world)
        .with_context(|| format!("{shown} was refused"))?;
    Ok(false)
}

/// Of the list of networks.
fn revision(world: &World) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut client = NetworkServiceClient::new(channel(world).await?);
        let answer = client.list_networks(ListNetworksRequest::default()).await?;
        Ok(answer.into_inner().revision)
    })
}

/// Fills the disk by stopped sandboxes until not even a small one goes in.
pub fn fill(world: &World) -> Outcome {
    world.disk()?.fill()?;
    for bytes in FILLERS {
        let mut refused = false;
        for _ in 0..2000 {
            let serial = FILLED.fetch_add(1, Ordering::Relaxed);
            let (name, label) = (format!("f{serial}"), label(bytes));
            let words = ["sandbox", "create", "--stopped", "--label", &label, &name];
            // A picture for each would take longer than the filling.
            if !world.netctl(&words)?.ok {
                refused = true;
                break;
            }
        }
        ensure!(refused, "the disk does not fill");
    }
    Ok(())
}

/// Revisions begin anew with each start.
pub fn without_revisions(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.remove("Revision");
            for field in fields.values_mut() {
                *field = without_revisions(field.take());
            }
        }
        Value::Array(all) => all
            .iter_mut()
            .for_each(|one| *one = without_revisions(one.take())),
        _ => {}
    }
    value
}

/// The lists say the same after a restart.
fn survives(world: &mut World) -> Outcome {
    let listed = |world: &World| listed(world).map(|all| all.map(without_revisions));
    let before = listed(world)?;
    world.kill()?;
    world.start()?;
    let after = listed(world)?;
    for (before, after) in before.iter().zip(&after) {
        ensure!(
            before == after,
            "listed before the restart: {before:#}\nafter it: {after:#}"
        );
    }
    Ok(())
}

#[test]
fn b04_networks_until_the_disk_is_full() -> Outcome {
    let mut world = World::without_daemon()?;
    world.with_small_disk(SMALL)?;
    world.start()?;
    is_serving(&world, true)?;
    for name in ["old", "gone", "kept"] {
        world.ctl(&format!("network create {name}"))?;
    }
    world.disk()?.fill()?;
    let mut refused = None;
    for number in 0..200 {
        let (name, label) = (format!("n{number}"), label(4000));
        let output = world.netctl(&["network", "create", "--label", &label, &name])?;
        if !output.ok {
            refused = Some((name, output));
            break;
        }
    }
    let (name, output) = refused.context("the disk does not fill")?;
    ensure!(
        output.stderr.to_lowercase().contains("store"),
        "the store is not named: {}",
        output.stderr
    );
    is_serving(&world, false).context("after a write that failed")?;
    let networks = world.ctl("network ls --format {{.Name}}")?;
    ensure!(
        !networks.lines().any(|line| line == name),
        "{name} was refused and is listed"
    );
    // Removing: done or refused, but never half.
    for name in ["old", "gone"] {
        if judged(&world, &["network", "rm", name])? {
            let there = world.netctl(&["network", "inspect", name])?.ok;
            ensure!(!there, "{name} was removed and is there");
        }
    }
    survives(&mut world)?;
    Ok(())
}

#[test]
fn b04_room_is_all_that_it_takes() -> Outcome {
    let mut world = World::without_daemon()?;
    world.with_small_disk(SMALL)?;
    world.start()?;
    world.ctl("network create front")?;
    world.ctl("sandbox create --network front s")?;
    world.ctl("sandbox create --stopped spare")?;
    fill(&world)?;
    is_serving(&world, false).context("on a full disk")?;
    let pid = world.daemon_pid();
    world.disk()?.resize(LARGE)?;
    // What was just refused is asked again.
    wait_for("the daemon to write again", 20, || {
        let output = world.netctl(&["network", "create", "after"]).ok()?;
        output.ok.then_some(())
    });
    is_serving(&world, true).context("with room again")?;
    ensure!(
        pid == world.daemon_pid() && pid.is_some(),
        "it was started anew"
    );
    for line in [
        "network connect after s",
        "port publish s 8080:7000",
        "sandbox rm spare",
        "network disconnect front s",
    ] {
        world.ctl(line).context("with room again")?;
    }
    survives(&mut world)?;
    ensure!(
        show::members(&world, "after")? == ["s"] && show::members(&world, "front")?.is_empty(),
        "not as it was asked to be"
    );
    Ok(())
}

/// The records of these sandboxes are large, so that no change of them finds room.
#[test]
fn b04_changes_that_cannot_be_written_do_not_happen() -> Outcome {
    let mut world = World::without_daemon()?;
    world.with_small_disk(SMALL)?;
    world.start()?;
    for name in ["front", "back", "unused"] {
        world.ctl(&format!("network create {name}"))?;
    }
    let label = label(4000);
    for (name, more) in [
        ("stopped", "--stopped --network front"),
        ("running", "--network front -p 8080:7000"),
    ] {
        let mut words = vec!["sandbox", "create", "--label", &label];
        words.extend(more.split_whitespace());
        words.push(name);
        let output = world.netctl(&words)?;
        ensure!(output.ok, "{}", output.text());
    }
    fill(&world)?;
    let mut refused = 0;
    for line in [
        "network connect back stopped",
        "network disconnect front stopped",
        "port publish stopped 9090:90",
        "sandbox start stopped",
        "network connect back running",
        "network disconnect front running",
        "port publish running 9090:90",
        "port unpublish running 8080:7000",
        "sandbox stop running",
        "sandbox rm running",
        // The last two: with the room that they make, the others would not be refused.
        "network rm unused",
        "network prune -f",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        refused += usize::from(!judged(&world, &words)?);
    }
    ensure!(refused > 3, "there was room: {refused} were refused");
    survives(&mut world)?;
    // With room, all of it can be had.
    world.disk()?.resize(LARGE)?;
    wait_for("the daemon to write again", 20, || {
        let output = world.netctl(&["network", "create", "after"]).ok()?;
        output.ok.then_some(())
    });
    world.ctl("sandbox rm -f stopped running")?;
    survives(&mut world)?;
    Ok(())
}

/// A host that starts with a full disk: what runs on it has its networks, what is asked for is refused, and room is all that it
/// takes to go on.
#[test]
fn b04_a_start_on_a_full_disk_makes_what_is_stored() -> Outcome {
    let mut world = World::without_daemon()?;
    world.with_small_disk(SMALL)?;
    world.start()?;
    world.ctl("network create front")?;
    for name in ["web", "peer"] {
        world.sandbox(name, &["front"])?;
    }
    fill(&world)?;
    let before = listed(&world)?.map(without_revisions);
    let mut last = revision(&world)?;
    for _ in 0..3 {
        world.kill()?;
        // As after a reboot: all of it is to be made, and marked while it is.
        world.forget_kernel_state()?;
        world.start()?;
        ensure!(listed(&world)?.map(without_revisions) == before);
        let (web, peer) = (existing(&world, "web"), existing(&world, "peer"));
        let _server = web.serve(7000)?;
        probe(&peer.scope, "tcp", (web.v4("eth0")?, 7000).into(), 2000)?;
        let now = revision(&world)?;
        ensure!(now > last, "revision {now} after {last}");
        last = now;
        // What netd's file could still take.
        fill(&world)?;
        is_serving(&world, false).context("after a start on a full disk")?;
    }
    world.disk()?.resize(LARGE)?;
    is_serving(&world, true).context("with room again")?;
    world.ctl("network create after")?;
    ensure!(revision(&world)? > last);
    survives(&mut world)?;
    ensure!(revision(&world)? > last);
    Ok(())
}

/// Such a start that is killed half-way, before it could write down what it was making: the next one makes it whole.
#[test]
fn b07_a_start_on_a_full_disk_that_is_killed() -> Outcome {
    let mut world = World::without_daemon()?;
    world.with_small_disk(SMALL)?;
    world.start()?;
    world.ctl("network create front")?;
    for name in ["web", "peer"] {
        world.sandbox(name, &["front"])?;
    }
    fill(&world)?;
    world.kill()?;
    world.forget_kernel_state()?;
    let point = ("NETD_FAILPOINT_START", "endpoint-link-made");
    ensure!(world.start_with(&[point]).is_err(), "it was not killed");
    world.disk()?.resize(LARGE)?;
    world.start()?;
    let (web, peer) = (existing(&world, "web"), existing(&world, "peer"));
    let _server = web.serve(7000)?;
    probe(&peer.scope, "tcp", (web.v4("eth0")?, 7000).into(), 2000)?;
    is_serving(&world, true)
}
