//! Changes of the host's addresses and routes.

use std::time::Duration;

use anyhow::Result;
use netd_tests::{
    load::now,
    world::{HOST_V4, HOST_V6},
};

use crate::{
    Soak,
    ledger::Tag,
    traffic::{FAR, SECOND_LAN},
};

/// How long the daemon may take until it has followed a change of the host, which nobody acknowledges: nanoseconds.
const FOLLOW: u64 = 1_000_000_000;

/// The host's other address while its own is away, and one that only comes and goes.
struct Addresses {
    own: String,
    other: String,
    idle: String,
    options: &'static str,
    /// Connections that have the host's address outside.
    source: Tag,
    /// Connections to the host's address.
    host: Tag,
}

/// IPv4: where the first address goes, the next one takes its place.
///
/// # Errors
/// When `ip` fails.
pub fn addresses_v4(soak: &Soak) -> Result<()> {
    let host = soak.control.world().host.clone();
    host.sysctl("net/ipv4/conf/uplink/promote_secondaries", "1")?;
    addresses(
        soak,
        &Addresses {
            own: format!("{HOST_V4}/24"),
            other: "198.51.100.9/24".into(),
            idle: "198.51.100.20/24".into(),
            options: "",
            source: "source4",
            host: "host4",
        },
    )
}

/// IPv6.
///
/// # Errors
/// When `ip` fails.
pub fn addresses_v6(soak: &Soak) -> Result<()> {
    addresses(
        soak,
        &Addresses {
            own: format!("{HOST_V6}/64"),
            other: "2001:db8:100::9/64".into(),
            idle: "2001:db8:100::20/64".into(),
            options: "nodad",
            source: "source6",
            host: "host6",
        },
    )
}

/// By when the daemon has followed what changed before this moment. One that is dead follows when it starts.
fn followed(soak: &Soak) -> u64 {
    soak.control.wait_until_up();
    now() + FOLLOW
}

/// A change that ends connections with this tag once the daemon has heard of it.
fn changed(soak: &Soak, what: &str, ends: Tag, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let begun = now();
    work()?;
    let ended = now();
    soak.ledger
        .interval(what, &[ends], (begun, ended), followed(soak));
    Ok(())
}

fn addresses(soak: &Soak, these: &Addresses) -> Result<()> {
    let Addresses {
        own,
        other,
        idle,
        options,
        source,
        host,
    } = these;
    // Not through the lock: the daemon may be dead.
    let netns = soak.control.world().host.clone();
    let ip = |line: String| netns.ip(&line).map(|_| ());
    let add = |address: &str| ip(format!("addr add {address} dev uplink {options}"));
    let del = |address: &str| ip(format!("addr del {address} dev uplink"));
    while !soak.over() {
        soak.ledger
            .change("another address added", &[], || add(idle))?;
        soak.pause(Duration::from_millis(800));
        soak.ledger
            .change("another address removed", &[], || del(idle))?;
        soak.pause(Duration::from_millis(800));
        soak.ledger
            .change("another address added", &[], || add(other))?;
        let away = now();
        changed(soak, "its source address removed", source, || del(own))?;
        soak.pause(Duration::from_millis(1500));
        add(own)?;
        let back = followed(soak);
        soak.ledger
            .interval("the host's address away", &[host], (away, back), back);
        soak.pause(Duration::from_millis(800));
        changed(soak, "its source address removed", source, || del(other))?;
        soak.pause(Duration::from_millis(1500));
    }
    Ok(())
}

/// The way to one destination changes from one uplink to another and back.
///
/// # Errors
/// When `ip` fails.
pub fn routes(soak: &Soak) -> Result<()> {
    let netns = soak.control.world().host.clone();
    let ip = |line: String| netns.ip(&line).map(|_| ());
    while !soak.over() {
        soak.pause(Duration::from_millis(1300));
        changed(soak, "its route changed", "far", || {
            ip(format!("route add {FAR}/32 via {SECOND_LAN} dev second"))
        })?;
        soak.pause(Duration::from_millis(1300));
        changed(soak, "its route changed", "far", || {
            ip(format!("route del {FAR}/32"))
        })?;
        // A route that nobody uses.
        soak.ledger.change("another route changed", &[], || {
            ip(format!("route add 203.0.113.128/25 via {SECOND_LAN}"))?;
            ip("route del 203.0.113.128/25".to_owned())
        })?;
    }
    Ok(())
}
