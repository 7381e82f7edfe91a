//! S01 and S05: the resolver knows the sandboxes on user-defined networks, each in all its names, both families.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, ensure};
use netd_tests::{
    Sandbox, World,
    dns::{Answer, Client, Nameserver, answers, dig},
    world::LAN_V4,
};

use crate::{Outcome, show};

/// A world whose host asks a name server on the LAN, which keeps a log; `more` are lines of `[dns]`.
pub fn named_world(more: &str) -> anyhow::Result<(World, Nameserver)> {
    let world = World::with_resolvers(&[LAN_V4.into()], more)?;
    let upstream = world.lan_names(&[])?;
    Ok((world, upstream))
}

/// Wants that a question from here would reach the name server: the proof that silence elsewhere means something.
pub fn forwards(from: &Sandbox, upstream: &Nameserver, name: &str) -> Outcome {
    dig(&from.scope, &format!("{name} A"))?.is("A", &[answers::V4])?;
    let saw = upstream.saw(&format!("{name}."))?;
    ensure!(!saw.is_empty(), "{name} did not reach the name server");
    Ok(())
}

/// Wants that none of these names (with the dot at the end) reached the name server.
pub fn unheard(upstream: &Nameserver, names: &[&str]) -> Outcome {
    for name in names {
        let saw = upstream.saw(name)?;
        ensure!(saw.is_empty(), "{name} reached the name server: {saw:?}");
    }
    Ok(())
}

/// A name's addresses in a sandbox's eyes, both families; empty when it knows none.
pub fn addresses(from: &Sandbox, name: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for kind in ["A", "AAAA"] {
        found.extend(dig(&from.scope, &format!("{name} {kind}"))?.data(kind));
    }
    Ok(found)
}

/// Name, short id, host name and alias of `web`. The full id is longer than a label may be (RFC 1035, 2.3.4), so that no
/// question can hold it.
fn names_of_web(world: &World) -> anyhow::Result<Vec<String>> {
    let id = show::sandbox(world, "web")?["Id"].clone();
    let short = id.as_str().and_then(|id| id.get(..12)).context("an Id")?;
    Ok(["web", short, "web-host", "www"]
        .map(str::to_owned)
        .to_vec())
}

#[test]
fn s01_names_ids_host_names_and_aliases() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create --ipv6 front")?;
    let web = show::run(
        &world,
        "--hostname web-host --network name=front,alias=www web",
    )?;
    let peer = world.sandbox("peer", &["front"])?;
    let (v4, v6) = (web.v4("eth0")?, web.v6("eth0")?);
    for asker in [&peer, &web] {
        for name in names_of_web(&world)? {
            for name in [format!("{name}.front"), name] {
                let answer = dig(&asker.scope, &format!("{name} A"))?;
                answer.is("A", &[v4])?;
                ensure!(answer.flags == "qr rd ra", "flags: {}", answer.text);
                let record = answer.records.first().context("no record")?;
                ensure!(
                    record.ttl == 5 && record.name == format!("{name}."),
                    "{}",
                    answer.text
                );
                dig(&asker.scope, &format!("{name} AAAA"))?.is("AAAA", &[v6])?;
            }
        }
        for address in [IpAddr::V4(v4), v6.into()] {
            dig(&asker.scope, &format!("-x {address}"))?.is("PTR", &["web.front."])?;
        }
    }
    forwards(&peer, &upstream, "a.example")?;
    let seen = upstream.seen()?;
    ensure!(seen.len() == 1, "more than one question left: {seen:?}");
    Ok(())
}

#[test]
fn s01_the_same_by_tcp() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let peer = world.sandbox("peer", &["front"])?;
    dig(&peer.scope, "web A +tcp")?.is("A", &[web.v4("eth0")?])?;
    dig(&peer.scope, "web.front AAAA +tcp")?.is("AAAA", &[web.v6("eth0")?])?;
    // Several questions on one connection.
    let output = peer.scope.run(&[
        "dig",
        "@127.0.0.11",
        "+tcp",
        "+keepopen",
        "+short",
        "web",
        "A",
        "peer",
        "A",
        "a.example",
        "A",
    ])?;
    let lines: Vec<&str> = output.stdout.lines().collect();
    let wanted = [web.v4("eth0")?, peer.v4("eth0")?, answers::V4].map(|a| a.to_string());
    ensure!(lines == wanted, "{}", output.text());
    Ok(())
}

#[test]
fn s01_not_on_the_default_bridge() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["bridge"])?;
    let both = world.sandbox("both", &["bridge", "front"])?;
    let peer = world.sandbox("peer", &["front"])?;
    forwards(&both, &upstream, "a.example")?;
    // On both, it knows those of the one and not those of the other.
    dig(&both.scope, "peer A")?.is("A", &[peer.v4("eth0")?])?;
    for name in ["web", "web.bridge"] {
        let answer = dig(&both.scope, &format!("{name} A"))?;
        answer.is_empty("NXDOMAIN")?;
    }
    let backwards = dig(&both.scope, &format!("-x {}", web.v4("eth0")?))?;
    backwards.is("PTR", &[answers::HOST])?;
    // It is itself known on the one, by its address there.
    dig(&peer.scope, "both A")?.is("A", &[both.v4("eth1")?])?;
    // On the bridge alone: whatever answers there has no names of sandboxes.
    for name in ["web", "both", "peer", "both.bridge", "both.front"] {
        let answer = Client::inside(&web.netns).ask(name, "A");
        if let Ok(answer) = answer {
            ensure!(answer.answers.is_empty(), "{name}: {answer}");
        }
    }
    Ok(())
}

#[test]
fn s01_names_of_other_networks_are_unknown() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    world.ctl("network create back")?;
    let web = world.sandbox("web", &["front"])?;
    let gate = world.sandbox("gate", &["front", "back"])?;
    let db = world.sandbox("db", &["back"])?;
    for name in ["db", "db.back", "gate.back"] {
        dig(&web.scope, &format!("{name} A"))?.is_empty("NXDOMAIN")?;
        ensure!(
            !upstream.saw(&format!("{name}."))?.is_empty(),
            "{name} was not forwarded"
        );
    }
    let backwards = dig(&web.scope, &format!("-x {}", db.v4("eth0")?))?;
    backwards.is("PTR", &[answers::HOST])?;
    // Who is on both has an address on each, and is known on each by that alone.
    let (front, back) = (gate.v4("eth0")?, gate.v4("eth1")?);
    dig(&web.scope, "gate A")?.is("A", &[front])?;
    dig(&db.scope, "gate A")?.is("A", &[back])?;
    for (asker, address, name) in [
        (&web, front, "gate.front."),
        (&db, back, "gate.back."),
        (&gate, front, "gate.front."),
        (&gate, back, "gate.back."),
    ] {
        dig(&asker.scope, &format!("-x {address}"))?.is("PTR", &[name])?;
    }
    dig(&gate.scope, "gate.front A")?.is("A", &[front])?;
    dig(&gate.scope, "gate.back A")?.is("A", &[back])?;
    dig(&gate.scope, "db A")?.is("A", &[db.v4("eth0")?])?;
    dig(&gate.scope, "web A")?.is("A", &[web.v4("eth0")?])?;
    // Its own name without a network: one of its addresses, or both.
    let own = dig(&gate.scope, "gate A")?.data("A");
    ensure!(
        !own.is_empty()
            && own
                .iter()
                .all(|a| *a == front.to_string() || *a == back.to_string()),
        "{own:?}"
    );
    Ok(())
}

#[test]
fn s01_names_follow_connecting_and_disconnecting() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create --subnet 10.77.0.0/24 front")?;
    let peer = world.sandbox("peer", &["front"])?;
    let _web = world.sandbox("web", &[])?;
    dig(&peer.scope, "web A")?.is_empty("NXDOMAIN")?;
    let mut times = 0;
    for last in [10_u8, 20, 30] {
        let address = Ipv4Addr::new(10, 77, 0, last);
        world.ctl(&format!("network connect --ip {address} front web"))?;
        dig(&peer.scope, "web A")?.is("A", &[address])?;
        dig(&peer.scope, &format!("-x {address}"))?.is("PTR", &["web.front."])?;
        world.ctl("network disconnect front web")?;
        dig(&peer.scope, "web A")?.is_empty("NXDOMAIN")?;
        dig(&peer.scope, &format!("-x {address}"))?.is("PTR", &[answers::HOST])?;
        times += 1;
    }
    // The first question came before; each other one after a disconnect.
    let saw = upstream.saw("web.")?.len();
    ensure!(saw == times + 1, "{saw} questions for web were forwarded");
    world.ctl("sandbox rm web")?;
    // Made anew under the same name.
    let again = world.sandbox("web", &["front"])?;
    dig(&peer.scope, "web A")?.is("A", &[again.v4("eth0")?])?;
    Ok(())
}

#[test]
fn s01_on_networks_of_one_family() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create four")?;
    world.ctl("network create --ipv6 --ipv4=false six")?;
    for (network, v6) in [("four", false), ("six", true)] {
        let web = world.sandbox(&format!("web{network}"), &[network])?;
        let peer = world.sandbox(&format!("peer{network}"), &[network])?;
        let (there, missing): (IpAddr, _) = if v6 {
            (web.v6("eth0")?.into(), "A")
        } else {
            (web.v4("eth0")?.into(), "AAAA")
        };
        let kind = if v6 { "AAAA" } else { "A" };
        let name = &web.name;
        dig(&peer.scope, &format!("{name} {kind}"))?.is(kind, &[there])?;
        dig(&peer.scope, &format!("{name} {missing}"))?.is_empty("NOERROR")?;
        dig(&peer.scope, &format!("-x {there}"))?.is("PTR", &[format!("{name}.{network}.")])?;
        forwards(&peer, &upstream, &format!("a-{network}.example"))?;
        unheard(&upstream, &[&format!("{name}.")])?;
    }
    Ok(())
}

#[test]
fn s05_known_names_are_never_forwarded() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let _web = world.sandbox("web", &["front"])?;
    let peer = world.sandbox("peer", &["front"])?;
    for kind in [
        "AAAA",
        "MX",
        "TXT",
        "SRV",
        "NS",
        "SOA",
        "CNAME",
        "HTTPS",
        "SVCB",
        "CAA",
        "DS",
        "TYPE65280",
    ] {
        for name in ["web", "web.front", "WEB"] {
            dig(&peer.scope, &format!("{name} {kind}"))?.is_empty("NOERROR")?;
        }
    }
    forwards(&peer, &upstream, "a.example")?;
    unheard(&upstream, &["web.", "web.front."])
}

#[test]
fn s05_known_names_asked_for_ptr_are_not_forwarded() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    for name in ["web", "web.front"] {
        dig(&web.scope, &format!("{name} PTR"))?.is_empty("NOERROR")?;
    }
    forwards(&web, &upstream, "a.example")?;
    unheard(&upstream, &["web.", "web.front."])
}

#[test]
fn s05_known_addresses_asked_backwards_are_not_forwarded() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let [a, b, c, d] = web.v4("eth0")?.octets();
    let backwards = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
    dig(&web.scope, &format!("{backwards} PTR"))?.is("PTR", &["web.front."])?;
    for kind in ["A", "TXT", "NS"] {
        dig(&web.scope, &format!("{backwards} {kind}"))?.is_empty("NOERROR")?;
    }
    forwards(&web, &upstream, "a.example")?;
    unheard(&upstream, &[&format!("{backwards}.")])
}

#[test]
fn s05_any_is_both_families() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let peer = world.sandbox("peer", &["front"])?;
    for option in ["+notcp", "+tcp"] {
        let answer: Answer = dig(&peer.scope, &format!("web ANY {option}"))?;
        ensure!(
            answer.data("A") == [web.v4("eth0")?.to_string()],
            "{}",
            answer.text
        );
        ensure!(
            answer.data("AAAA") == [web.v6("eth0")?.to_string()],
            "{}",
            answer.text
        );
        ensure!(answer.records.len() == 2, "{}", answer.text);
    }
    unheard(&upstream, &["web."])
}

#[test]
fn s05_case_does_not_matter_and_is_echoed() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create Front")?;
    let web = show::run(
        &world,
        "--hostname Web-Host --network name=Front,alias=wWw Web",
    )?;
    let peer = world.sandbox("peer", &["Front"])?;
    let address = web.v4("eth0")?;
    for name in [
        "web",
        "WEB",
        "wEb",
        "www",
        "WWW",
        "web-host",
        "WEB-HOST",
        "web.front",
        "WEB.FRONT",
        "Web.Front",
    ] {
        let answer = dig(&peer.scope, &format!("{name} A"))?;
        answer.is("A", &[address])?;
        let record = answer.records.first().context("no record")?;
        let wanted = format!("{name}.");
        ensure!(
            answer.question == wanted && record.name == wanted,
            "asked {name}: {}",
            answer.text
        );
    }
    let id = show::sandbox(&world, "Web")?["Id"].clone();
    let id = id.as_str().and_then(|id| id.get(..12)).context("an Id")?;
    let id = id.to_uppercase();
    dig(&peer.scope, &format!("{id} A"))?.is("A", &[address])?;
    // The names are told as they were given.
    dig(&peer.scope, &format!("-x {address}"))?.is("PTR", &["Web.Front."])?;
    let seen = upstream.seen()?;
    ensure!(seen.is_empty(), "{seen:?}");
    Ok(())
}

#[test]
fn s05_the_time_to_live_is_set() -> Outcome {
    for (more, wanted) in [("ttl = 17", 17), ("ttl = 0", 0)] {
        let (world, _upstream) = named_world(more)?;
        world.ctl("network create front")?;
        let web = world.sandbox("web", &["front"])?;
        for question in ["web A".to_owned(), format!("-x {}", web.v4("eth0")?)] {
            let answer = dig(&web.scope, &question)?;
            let record = answer.records.first().context("no record")?;
            ensure!(record.ttl == wanted, "{}", answer.text);
        }
        // Others' answers keep theirs.
        let answer = dig(&web.scope, "a.example A")?;
        let record = answer.records.first().context("no record")?;
        ensure!(
            record.ttl <= answers::TTL && record.ttl > 200,
            "{}",
            answer.text
        );
    }
    Ok(())
}

#[test]
fn s01_names_work_on_internal_networks() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create --internal --ipv6 back")?;
    let db = world.sandbox("db", &["back"])?;
    let peer = world.sandbox("peer", &["back"])?;
    dig(&peer.scope, "db A")?.is("A", &[db.v4("eth0")?])?;
    dig(&peer.scope, "db.back AAAA")?.is("AAAA", &[db.v6("eth0")?])?;
    dig(&peer.scope, &format!("-x {}", db.v4("eth0")?))?.is("PTR", &["db.back."])
}
