//! Floods, one after the other: from outside with forged sources, and from sandboxes.

use std::time::Duration;

use anyhow::{Context, Result};
use netd_tests::{
    load::Flood,
    world::{HOST_V4, HOST_V6, LAN_V4},
};

use crate::{Soak, ledger::Tag};

/// Frames per second; others share two processors with it.
const RATE: f64 = 10_000.0;
/// Seconds of each.
const SECONDS: f64 = 2.0;

/// All of them again and again.
///
/// # Errors
/// When one cannot be sent.
pub fn floods(soak: &Soak) -> Result<()> {
    let (lan, scanner, greedy, mac, gateway, own) = {
        let world = soak.control.world();
        let scope = |name: &str| world.scope(&world.run_directory().join("netns").join(name));
        let (scanner, greedy) = (scope("scanner"), scope("greedy"));
        let output = scanner.run(&["ip", "-j", "neigh", "show", "dev", "eth0"])?;
        let neighbours: serde_json::Value = serde_json::from_str(&output.stdout)?;
        let gateway = neighbours[0]["lladdr"].as_str().context("no gateway")?;
        let address = |scope: &netd_tests::Scope| -> Result<String> {
            let text = scope.run(&["ip", "-4", "-j", "addr", "show", "dev", "eth0"])?;
            let links: serde_json::Value = serde_json::from_str(&text.stdout)?;
            let found = links[0]["addr_info"][0]["local"].as_str();
            Ok(found.context("no address")?.to_owned())
        };
        let own = [address(&scanner)?, address(&greedy)?];
        let links = world.host.ip("-j link show uplink")?;
        let links: serde_json::Value = serde_json::from_str(&links)?;
        let mac = links[0]["address"].as_str().context("no address")?;
        (
            world.lan_scope(),
            scanner.clone(),
            greedy.clone(),
            mac.to_owned(),
            gateway.to_owned(),
            own,
        )
    };
    let (host4, host6) = (HOST_V4.to_string(), HOST_V6.to_string());
    let outside = |kind: &str, from: &str, to: &str| Flood::new(kind, "uplink", &mac, from, to);
    let inside = |kind: &str, from: &str, to: &str| Flood::new(kind, "eth0", &gateway, from, to);
    let floods = [
        (
            "SYN, forged, to a published port",
            &lan,
            outside("syn", "11.0.0.0/8", &host4).ports("8085"),
        ),
        (
            "UDP, forged, to a published port",
            &lan,
            outside("udp", "11.0.0.0/8", &host4).ports("8085"),
        ),
        (
            "SYN, forged, to a published port, IPv6",
            &lan,
            outside("syn", "2001:db8:bad::/48", &host6).ports("8085"),
        ),
        (
            "SYN to all ports of the host",
            &lan,
            outside("syn", "11.0.0.0/8", &host4),
        ),
        (
            "UDP to all ports of the host",
            &lan,
            outside("udp", "11.0.0.0/8", &host4),
        ),
        (
            "a sandbox scans by SYN",
            &scanner,
            inside("syn", &own[0], "203.0.112.0/20").ports("1-1024"),
        ),
        (
            "a sandbox takes what it may by UDP",
            &greedy,
            inside("udp", &own[1], &LAN_V4.to_string()).ports("7000"),
        ),
        (
            "a sandbox takes what it may by SYN",
            &greedy,
            inside("syn", &own[1], "203.0.112.0/20"),
        ),
    ];
    while !soak.over() {
        for (what, scope, flood) in &floods {
            // Only at the flooded port itself; everybody else must not notice.
            let ends: &[Tag] = if what.contains("published port") {
                &["flooded"]
            } else {
                &[]
            };
            let sent = soak
                .ledger
                .change(what, ends, || flood.start(scope, RATE, SECONDS)?.end())?;
            soak.ledger.flood(what, sent);
            if soak.over() {
                break;
            }
            soak.pause(Duration::from_millis(500));
        }
    }
    Ok(())
}
