//! What netctl shows of networks and sandboxes, and handles of sandboxes that are there already.

use anyhow::{Context, Result};
use netd_tests::{Netns, Sandbox, World};
use serde_json::Value;

/// The object of `network inspect`.
pub fn network(world: &World, name: &str) -> Result<Value> {
    first(world, &format!("network inspect {name}"))
}

/// The object of `sandbox inspect`.
pub fn sandbox(world: &World, name: &str) -> Result<Value> {
    first(world, &format!("sandbox inspect {name}"))
}

fn first(world: &World, line: &str) -> Result<Value> {
    let all: Value = serde_json::from_str(&world.ctl(line)?)?;
    all.get(0)
        .cloned()
        .with_context(|| format!("{line}: an empty array"))
}

/// Names of the running sandboxes that `network inspect` shows, sorted.
pub fn members(world: &World, name: &str) -> Result<Vec<String>> {
    let network = network(world, name)?;
    let containers = network["Containers"].as_object().context("Containers")?;
    let names = containers
        .values()
        .map(|one| one["Name"].as_str().unwrap_or_default().to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// A sandbox's endpoint on a network, as `sandbox inspect` shows it.
pub fn endpoint(world: &World, name: &str, network: &str) -> Result<Option<Value>> {
    let shown = sandbox(world, name)?;
    let endpoints = shown["Endpoints"].as_array().context("Endpoints")?;
    let mut found = endpoints.iter().filter(|one| one["Network"] == network);
    Ok(found.next().cloned())
}

/// A sandbox whose namespace netd made.
pub fn handle(world: &World, name: &str) -> Result<Sandbox> {
    let path = world.run_directory().join("netns").join(name);
    let sandbox = Sandbox::new(name, Netns::at(name, &path), world.scope(&path));
    sandbox.netns.prepare()?;
    Ok(sandbox)
}

/// Runs `sandbox create` with these words behind and gives its handle; the last word is the name.
pub fn run(world: &World, words: &str) -> Result<Sandbox> {
    world.ctl(&format!("sandbox create {words}"))?;
    let name = words.split_whitespace().last().context("no name")?;
    handle(world, name)
}
