//! Speed: netd against a bare veth pair, a Linux bridge and the kernel's own masquerading, in interleaved rounds.
//!
//! Prints medians and ratios; it judges nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use netd_tests::{Netns, Scope, World, wait_for, world::LAN_V4};

/// Rounds over all paths.
const ROUNDS: usize = 5;

/// A client, its server and how the client calls the server.
struct Path {
    name: &'static str,
    client: Scope,
    server: Scope,
    address: String,
}

fn main() -> Result<()> {
    let mut world = World::new()?;
    let paths = paths(&mut world)?;
    let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 1..=ROUNDS {
        for path in &paths {
            let rate = measure(path)?;
            println!("round {round}: {:28} {rate:7.2} Gbit/s", path.name);
            rates.entry(path.name).or_default().push(rate);
        }
    }
    println!("\nmedians of {ROUNDS} rounds, one TCP stream");
    let medians: BTreeMap<&str, f64> = rates
        .into_iter()
        .map(|(name, rates)| (name, median(rates)))
        .collect();
    for path in &paths {
        println!(
            "{:28} {:7.2} Gbit/s",
            path.name,
            medians.get(path.name).copied().unwrap_or_default()
        );
    }
    for (of, to) in [(NETD, VETH), (NETD, BRIDGE), (NETD_OUT, KERNEL_OUT)] {
        if let (Some(a), Some(b)) = (medians.get(of), medians.get(to)) {
            println!("{of} / {to}: {:.2}", a / b);
        }
    }
    world.close()
}

const NETD: &str = "netd";
const VETH: &str = "veth pair";
const BRIDGE: &str = "Linux bridge";
const NETD_OUT: &str = "netd to lan";
const KERNEL_OUT: &str = "kernel masquerade to lan";

fn paths(world: &mut World) -> Result<Vec<Path>> {
    world.ctl("network create front")?;
    let (a, b) = (
        world.sandbox("a", &["front"])?,
        world.sandbox("b", &["front"])?,
    );
    let [p, q, r, s] = ["p", "q", "r", "s"].map(|name| world.namespace(name));
    let (p, q, r, s) = (p?, q?, r?, s?);
    // The bare pair.
    p.ip(&format!(
        "link add eth0 type veth peer name eth0 netns {}",
        q.name()
    ))?;
    address(&p, "10.9.0.1/24")?;
    address(&q, "10.9.0.2/24")?;
    // The bridge, in a namespace of its own; its address is the gateway of the kernel's masquerading.
    let switch = world.namespace("switch")?;
    switch.ip("link add br0 type bridge")?;
    for (ns, port, own) in [(&r, "port-r", "10.8.0.2/24"), (&s, "port-s", "10.8.0.3/24")] {
        switch.ip(&format!(
            "link add {port} type veth peer name eth0 netns {}",
            ns.name()
        ))?;
        switch.ip(&format!("link set {port} master br0 up"))?;
        address(ns, own)?;
        ns.ip("route add default via 10.8.0.1")?;
    }
    switch.ip("addr add 10.8.0.1/24 dev br0")?;
    switch.ip("link set br0 up")?;
    switch.ip(&format!(
        "link add up0 type veth peer name bench netns {}",
        world.lan.name()
    ))?;
    switch.ip("addr add 192.0.2.1/24 dev up0")?;
    switch.ip("link set up0 up")?;
    world.lan.ip("addr add 192.0.2.2/24 dev bench")?;
    world.lan.ip("link set bench up")?;
    switch.sysctl("net/ipv4/ip_forward", "1")?;
    let rules = "add table ip nat; add chain ip nat post { type nat hook postrouting priority 100 ; }; \
                 add rule ip nat post oifname up0 masquerade";
    let output = switch.scope().run(&["nft", rules])?;
    ensure!(output.ok, "nft: {}", output.text());
    let lan = world.lan_scope();
    Ok(vec![
        Path {
            name: NETD,
            client: a.scope.clone(),
            server: b.scope.clone(),
            address: b.v4("eth0")?.to_string(),
        },
        Path {
            name: VETH,
            client: p.scope(),
            server: q.scope(),
            address: "10.9.0.2".into(),
        },
        Path {
            name: BRIDGE,
            client: r.scope(),
            server: s.scope(),
            address: "10.8.0.3".into(),
        },
        Path {
            name: NETD_OUT,
            client: a.scope,
            server: lan.clone(),
            address: LAN_V4.to_string(),
        },
        Path {
            name: KERNEL_OUT,
            client: r.scope(),
            server: lan,
            address: "192.0.2.2".into(),
        },
    ])
}

fn address(ns: &Netns, address: &str) -> Result<()> {
    ns.ip(&format!("addr add {address} dev eth0"))?;
    ns.ip("link set eth0 up").map(|_| ())
}

/// Two seconds of one TCP stream, Gbit/s as received.
fn measure(path: &Path) -> Result<f64> {
    let mut server = path.server.spawn(&["iperf3", "-s", "-1"])?;
    wait_for("iperf3", 5, || {
        path.server
            .run(&["sh", "-c", "ss -Hltn sport = 5201 | grep -q ."])
            .ok()?
            .ok
            .then_some(())
    });
    let output = path
        .client
        .run(&["iperf3", "-c", &path.address, "-t", "2", "-J"])?;
    ensure!(output.ok, "{}: {}", path.name, output.text());
    let report: serde_json::Value = serde_json::from_str(&output.stdout)?;
    let rate = report["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .context("no rate in iperf3's report")?;
    server.ended_within(std::time::Duration::from_secs(3));
    Ok(rate / 1e9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
