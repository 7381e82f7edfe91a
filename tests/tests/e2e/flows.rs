//! P02: flows as an operator sees them.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use netd_tests::{
    Process, Sandbox, Server, World,
    probe::hold,
    world::{HOST_V4, HOST_V6, LAN_V4, LAN_V6, binary},
};
use serde_json::Value;

use crate::Outcome;

/// The rows of `flows` with these flags.
pub fn flows(world: &World, flags: &str) -> Result<Vec<Value>> {
    let text = world.ctl(&format!("--output json flows {flags}"))?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

/// The one row that has these values.
fn row<'a>(rows: &'a [Value], wanted: &[(&str, &str)]) -> Result<&'a Value> {
    let has = |row: &Value| wanted.iter().all(|(name, value)| row[*name] == *value);
    let found: Vec<&Value> = rows.iter().filter(|row| has(row)).collect();
    ensure!(found.len() == 1, "{wanted:?}: {found:#?} of {rows:#?}");
    Ok(found[0])
}

/// `address:port` of one side of a row.
fn side(row: &Value, when: &str, end: &str) -> Result<(IpAddr, u64)> {
    let address = row[when][format!("{end}Address")].as_str();
    let address = address.with_context(|| row.to_string())?.parse()?;
    let port = row[when][format!("{end}Port")].as_u64();
    Ok((address, port.with_context(|| row.to_string())?))
}

pub fn number(row: &Value, name: &str) -> Result<f64> {
    row[name].as_f64().with_context(|| format!("{name}: {row}"))
}

/// A row's translated source and destination, counters and lifetime.
fn is_right(row: &Value, from: IpAddr, to: IpAddr, port: u64, most: f64) -> Outcome {
    let outside: IpAddr = if from.is_ipv4() {
        HOST_V4.into()
    } else {
        HOST_V6.into()
    };
    ensure!(side(row, "Original", "Source")?.0 == from, "{row:#}");
    ensure!(side(row, "Translated", "Source")?.0 == outside, "{row:#}");
    for when in ["Original", "Translated"] {
        ensure!(
            side(row, when, "Destination")? == (to, port),
            "{when}: {row:#}"
        );
    }
    ensure!(
        row["Sandbox"] == "web" && row["Network"] == "front",
        "{row:#}"
    );
    let left = number(row, "LeftSeconds")?;
    ensure!(left <= most && left > most - 30.0, "{left} s left: {row:#}");
    ensure!(number(row, "AgeSeconds")? < 30.0, "{row:#}");
    for name in ["Packets", "Bytes", "AnswerPackets", "AnswerBytes"] {
        ensure!(number(row, name)? >= 1.0, "{name}: {row:#}");
    }
    Ok(())
}

/// A world with the sandbox `web` on `front`, and servers in it and on the LAN, all on port 7000.
pub fn started() -> Result<(World, Sandbox, [Server; 2])> {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let servers = [web.serve(7000)?, Server::start(&world.lan_scope(), 7000)?];
    Ok((world, web, servers))
}

#[test]
fn p02_outgoing_flows_of_every_protocol() -> Outcome {
    let (world, web, _servers) = started()?;
    for (to, icmp) in [
        (IpAddr::from(LAN_V4), "icmp"),
        (IpAddr::from(LAN_V6), "icmpv6"),
    ] {
        let from = if to.is_ipv4() {
            web.v4("eth0")?.into()
        } else {
            web.v6("eth0")?.into()
        };
        let held = hold(&web.scope, (to, 7000).into())?;
        let seen = web.reach("udp", to, 7000)?.peer;
        ensure!(web.ping(to)?, "no echo from {to}");
        let rows = flows(&world, &format!("--ip {to}"))?;
        ensure!(rows.len() == 3, "{rows:#?}");
        let tcp = row(&rows, &[("Protocol", "tcp"), ("State", "established")])?;
        is_right(tcp, from, to, 7000, 7440.0)?;
        let udp = row(&rows, &[("Protocol", "udp"), ("State", "answered")])?;
        is_right(udp, from, to, 7000, 300.0)?;
        let outside = side(udp, "Translated", "Source")?;
        ensure!(
            outside == (seen.ip(), seen.port().into()),
            "the server saw {seen}: {udp:#}"
        );
        let echo = row(&rows, &[("Protocol", icmp)])?;
        is_right(echo, from, to, 0, 60.0)?;
        for row in [tcp, udp, echo] {
            ensure!(
                row["Direction"] == "outbound" && row["Published"] == false,
                "{row:#}"
            );
        }
        ensure!(held.finish()?.ok, "the connection broke");
        let text = world.ctl("flows")?;
        ensure!(
            text.contains("SOURCE -> DESTINATION") && text.contains(&to.to_string()),
            "{text}"
        );
    }
    let status: Value = serde_json::from_str(&world.ctl("--output json status")?)?;
    let totals = &status["Flows"];
    ensure!(
        totals["Capacity"] == 262_144 && number(totals, "Entries")? >= 8.0,
        "{totals}"
    );
    Ok(())
}

#[test]
fn p02_published_and_hairpinned_flows() -> Outcome {
    let (world, web, _servers) = started()?;
    world.ctl("network create --ipv6 back")?;
    let other = world.sandbox("other", &["back"])?;
    world.ctl("port publish web 8080:7000")?;
    for (host, inside) in [
        (IpAddr::from(HOST_V4), IpAddr::from(web.v4("eth0")?)),
        (HOST_V6.into(), web.v6("eth0")?.into()),
    ] {
        let _outside = hold(&world.lan_scope(), (host, 8080).into())?;
        let _inside = hold(&other.scope, (host, 8080).into())?;
        let rows = flows(&world, &format!("--published --ip {host}"))?;
        ensure!(rows.len() == 2, "{rows:#?}");
        let inbound = row(&rows, &[("Direction", "inbound"), ("Sandbox", "web")])?;
        let hairpin = row(
            &rows,
            &[
                ("Direction", "hairpin"),
                ("Sandbox", "other"),
                ("Network", "back"),
                ("Peer", "web"),
                ("PeerNetwork", "front"),
            ],
        )?;
        for row in [inbound, hairpin] {
            ensure!(row["State"] == "established", "{row:#}");
            ensure!(
                side(row, "Original", "Destination")? == (host, 8080),
                "{row:#}"
            );
            ensure!(
                side(row, "Translated", "Destination")? == (inside, 7000),
                "{row:#}"
            );
        }
    }
    Ok(())
}

#[test]
fn p02_filters() -> Outcome {
    let (world, web, _servers) = started()?;
    world.ctl("network create back")?;
    let other = world.sandbox("other", &["back"])?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    web.reach("udp", LAN_V4.into(), 7000)?;
    web.reach("udp", LAN_V6.into(), 7000)?;
    other.reach("udp", LAN_V4.into(), 7000)?;
    other.reach("udp", HOST_V4.into(), 8080)?;
    let _held = hold(&world.lan_scope(), (HOST_V4, 8080).into())?;
    for (flags, count) in [
        ("", 5),
        ("--sandbox web", 4),
        ("--sandbox other", 2),
        ("--network back", 2),
        ("--network front --sandbox other", 1),
        ("--protocol tcp", 1),
        ("--protocol 17", 4),
        ("--published", 2),
        ("--published --protocol udp", 1),
        ("--port 7000", 5),
        ("--port 8080", 2),
        ("--ip 198.51.100.2", 3),
        ("--ip 2001:db8:100::/64", 1),
        ("--ip 192.0.2.1", 0),
    ] {
        let found = flows(&world, flags)?;
        ensure!(found.len() == count, "{flags}: {found:#?}");
    }
    world.refused("flows --sandbox nosuch", &["nosuch"])?;
    world.refused("flows --network nosuch", &["nosuch"])?;
    world.refused("flows --ip zzz", &["zzz", "address"])?;
    Ok(())
}

/// netctl with these words, running.
fn netctl(world: &World, line: &str) -> Result<Process> {
    let netctl = binary("netctl");
    let mut words = vec![netctl.as_str()];
    words.extend(line.split_whitespace());
    world.host_scope().spawn(&words)
}

#[test]
fn p02_a_watch_shows_begin_and_end() -> Outcome {
    let (world, web, _servers) = started()?;
    let _before = hold(&web.scope, (LAN_V6, 7000).into())?;
    let mut watch = netctl(&world, "--output json flows --watch --sandbox web")?;
    let present = watch.until("\"Kind\":\"synced\"")?;
    ensure!(
        present.contains("\"Kind\":\"present\"") && present.contains(&LAN_V6.to_string()),
        "{present}"
    );
    let held = hold(&web.scope, (LAN_V4, 7000).into())?;
    let began = watch.until("\"Kind\":\"began\"")?;
    ensure!(began.contains(&LAN_V4.to_string()), "{began}");
    let updated = watch.until("\"Kind\":\"updated\"")?;
    ensure!(updated.contains("\"Sandbox\":\"web\""), "{updated}");
    let ended = world.ctl(&format!("flows rm --ip {LAN_V4}"))?;
    ensure!(ended == "1 flow ended", "{ended}");
    let last = watch.until("\"Kind\":\"ended\"")?;
    let last = last.lines().last().unwrap_or_default();
    ensure!(last.contains(&LAN_V4.to_string()), "{last}");
    drop(held);
    Ok(())
}

#[test]
fn p02_rm_ends_exactly_those() -> Outcome {
    let (world, web, _servers) = started()?;
    let other = world.sandbox("other", &["front"])?;
    world.ctl("port publish other 8080:7000")?;
    let _server = other.serve(7000)?;
    let (_one, two) = (
        hold(&web.scope, (LAN_V4, 7000).into())?,
        hold(&other.scope, (LAN_V4, 7000).into())?,
    );
    let (_three, four) = (
        hold(&web.scope, (LAN_V6, 7000).into())?,
        hold(&world.lan_scope(), (HOST_V4, 8080).into())?,
    );
    web.reach("udp", LAN_V4.into(), 7000)?;
    ensure!(world.netctl(&["flows", "rm"])?.stderr.contains("--sandbox"));
    ensure!(flows(&world, "")?.len() == 5, "refused, and yet");
    let said = world.ctl("flows rm --sandbox web --protocol tcp")?;
    ensure!(said == "2 flows ended", "{said}");
    let rows = flows(&world, "--sandbox web")?;
    row(&rows, &[("Protocol", "udp")])?;
    ensure!(rows.len() == 1, "{rows:#?}");
    ensure!(flows(&world, "--sandbox other")?.len() == 2, "other's");
    ensure!(two.finish()?.ok && four.finish()?.ok, "the others broke");
    // What was ended can begin anew.
    web.reach("tcp", LAN_V4.into(), 7000)?;
    world.ctl("flows rm --all")?;
    ensure!(flows(&world, "--protocol udp")?.is_empty(), "not all");
    let said = world.ctl("flows rm --sandbox web --protocol sctp")?;
    ensure!(said == "0 flows ended", "{said}");
    Ok(())
}
