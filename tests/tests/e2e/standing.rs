//! C01, D14, N05, P02: ports and interfaces that were asked for stand through stop and start, and through what others break.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, ensure};
use netd_tests::{World, probe::probe, wait_for, world::HOST_V4};
use serde_json::Value;

use crate::{Outcome, reaches, show};

fn ports(world: &World, name: &str) -> anyhow::Result<Vec<Value>> {
    let text = world.ctl(&format!("--output json port ls {name}"))?;
    let all: Value = serde_json::from_str(&text)?;
    Ok(all.as_array().context("not an array")?.clone())
}

#[test]
fn c01_publish_all_and_ports_of_stopped_sandboxes() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    let web = show::run(
        &world,
        "--network front -P --expose 7000 --expose 7100-7102/udp -p 9090:7000 web",
    )?;
    let server = web.serve(7000)?;
    let shown = ports(&world, "web")?;
    // What -p names already is not published twice.
    ensure!(shown.len() == 2, "{shown:#?}");
    ensure!(
        shown[0]["HostPort"] == "9090" && shown[0]["Port"] == "7000",
        "{shown:#?}"
    );
    ensure!(
        shown[1]["Port"] == "7100-7102" && shown[1]["Protocol"] == "udp",
        "{shown:#?}"
    );
    let first = shown[1]["HostPort"].as_str().unwrap_or_default().to_owned();
    ensure!(
        first
            .split('-')
            .next()
            .is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port >= 32768)),
        "{first}"
    );
    let host: IpAddr = HOST_V4.into();
    let reach = |port: u16| probe(&world.lan_scope(), "tcp", SocketAddr::new(host, port), 1000);
    reach(9090)?;
    drop(server);

    world.ctl("sandbox stop web")?;
    ensure!(
        ports(&world, "web")?
            .iter()
            .all(|one| one["Active"] == false),
        "active while stopped"
    );
    // The port is free for others meanwhile, and for netd's own check.
    let other = show::run(&world, "--network front -p 9090:7000 other")?;
    world.refused("sandbox start web", &["9090", "already allocated", "other"])?;
    ensure!(
        show::sandbox(&world, "web")?["Running"] == false,
        "started by half"
    );
    ensure!(
        !world.run_directory().join("netns/web").exists(),
        "its namespace is left"
    );
    drop(other);
    world.ctl("sandbox rm other")?;
    world.ctl("port publish web 9191:7000")?;
    world.ctl("port unpublish web 9090:7000")?;
    ensure!(reach(9191).is_err(), "open before it runs");
    world.ctl("sandbox start web")?;
    let web = show::handle(&world, "web")?;
    let _server = web.serve(7000)?;
    reach(9191)?;
    ensure!(reach(9090).is_err(), "still published");
    let shown = ports(&world, "web")?;
    ensure!(
        shown.len() == 2 && shown.iter().all(|one| one["Active"] == true),
        "{shown:#?}"
    );
    Ok(())
}

#[test]
fn d14_interface_names() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    world.ctl("network create back")?;
    world.ctl("network create -o com.docker.network.container_iface_prefix=net third")?;
    world.ctl("network create fourth")?;
    let web = show::run(&world, "--network front web")?;
    let names = || -> anyhow::Result<String> {
        let text = web.netns.ip("-br link")?;
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(['@', ' ']).next())
            .collect();
        names.sort_unstable();
        Ok(names.join(" "))
    };
    world.refused(
        "network connect --interface eth0 back web",
        &["web", "eth0"],
    )?;
    world.ctl("network connect --interface eth1 back web")?;
    world.ctl("network connect third web")?;
    world.ctl("network connect fourth web")?;
    ensure!(names()? == "eth0 eth1 eth2 lo net0", "{}", names()?);
    world.ctl("network disconnect back web")?;
    world
        .ctl("network connect --driver-opt com.docker.network.endpoint.ifname=uplink9 back web")?;
    ensure!(names()? == "eth0 eth2 lo net0 uplink9", "{}", names()?);
    // The same names after a restart, though one of them was the first free one once.
    world.ctl("network disconnect front web")?;
    world.ctl("sandbox stop web")?;
    world.ctl("sandbox start web")?;
    let after = show::handle(&world, "web")?.netns.ip("-br link")?;
    for name in ["net0", "uplink9", "eth0"] {
        ensure!(after.contains(name), "{name}: {after}");
    }
    Ok(())
}

#[test]
fn p02_reconcile_mends_what_others_broke() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 --subnet 10.115.0.0/24 --subnet fd00:115::/64 front")?;
    let (web, peer) = (
        show::run(&world, "--network front -p 8080:7000 web")?,
        show::run(&world, "--network front peer")?,
    );
    let _server = web.serve(7000)?;
    let endpoint = show::endpoint(&world, "web", "front")?.context("no endpoint")?;
    let link = endpoint["HostInterface"]
        .as_str()
        .context("HostInterface")?
        .to_owned();
    let whole = || -> Outcome {
        for address in ["10.115.0.2", "fd00:115::2"] {
            reaches(&peer, address.parse()?, 7000)?;
        }
        let port = SocketAddr::new(HOST_V4.into(), 8080);
        let reply = probe(&world.lan_scope(), "tcp", port, 2000)?;
        ensure!(
            reply.peer.ip() == IpAddr::from(netd_tests::world::LAN_V4),
            "{reply:?}"
        );
        ensure!(
            web.netns.ip("route")?.contains("default via 10.115.0.1"),
            "the default route"
        );
        ensure!(web.ping(netd_tests::world::LAN_V4.into())?, "no way out");
        Ok(())
    };
    whole().context("before")?;
    let said = world.ctl("system reconcile")?;
    ensure!(said == "Nothing to mend.", "something was wrong: {said}");
    for (inside, words) in [
        (true, "addr flush dev eth0"),
        (true, "route del default"),
        (true, "link set eth0 down"),
        (false, "link set LINK down"),
        (true, "link del eth0"),
    ] {
        let words = words.replace("LINK", &link);
        if inside {
            web.netns.ip(&words)?;
        } else {
            world.host.ip(&words)?;
        }
        world.ctl("system reconcile")?;
        // netd sees some of it by itself and may be at it already.
        wait_for(&format!("{words} to be mended"), 10, || whole().ok());
    }
    let names = || {
        netd_tests::dns::Client::inside(&peer.netns)
            .patience(300)
            .ask("web", "A")
    };
    ensure!(names()?.answers.len() == 1, "no names before");
    let cleared = peer
        .scope
        .run(&["tc", "qdisc", "del", "dev", "lo", "clsact"])?;
    ensure!(cleared.ok && names().is_err(), "{}", cleared.text());
    let said = world.ctl("system reconcile")?;
    ensure!(said.contains("way to the resolver"), "{said}");
    ensure!(names()?.answers.len() == 1, "no names after");
    ensure!(
        world.ctl("system reconcile")? == "Nothing to mend.",
        "it is never content"
    );
    Ok(())
}

/// Random numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// N05, N10: starts, stops, connections and disconnections by many at once end in a state where kernel and answers agree.
#[test]
fn n05_many_hands_at_once() -> Outcome {
    let world = World::new()?;
    for number in 1..=3 {
        world.ctl(&format!(
            "network create --subnet 10.12{number}.0.0/24 n{number}"
        ))?;
    }
    for number in 1..=4 {
        world.ctl(&format!(
            "sandbox create --stopped -p 808{number}:80 s{number}"
        ))?;
    }
    std::thread::scope(|scope| {
        for hand in 0..4 {
            let world = &world;
            scope.spawn(move || {
                let mut dice = Dice(hand);
                for _ in 0..40 {
                    let (sandbox, network) = (dice.roll(4) + 1, dice.roll(3) + 1);
                    let line = match dice.roll(5) {
                        0 => format!("sandbox start s{sandbox}"),
                        1 => format!("sandbox stop s{sandbox}"),
                        2 => format!("network disconnect n{network} s{sandbox}"),
                        _ => {
                            let host = 5 + dice.roll(3);
                            format!(
                                "network connect --ip 10.12{network}.0.{host} n{network} s{sandbox}"
                            )
                        }
                    };
                    // Many are refused, as they should be; but only for reasons of the user's.
                    let output = world.netctl(&line.split_whitespace().collect::<Vec<_>>());
                    let output = output.unwrap_or_else(|error| panic!("{line}: {error:#}"));
                    let said = output.stderr;
                    let known = ["already", "not connected", "running"];
                    assert!(
                        output.ok || known.iter().any(|part| said.contains(part)),
                        "{line}: {said}"
                    );
                }
            });
        }
    });
    for number in 1..=4 {
        let name = format!("s{number}");
        let shown = show::sandbox(&world, &name)?;
        let there = world.run_directory().join("netns").join(&name).exists();
        ensure!(shown["Running"] == there, "{shown:#}");
        let mut told = Vec::new();
        for endpoint in shown["Endpoints"].as_array().context("Endpoints")? {
            let address = endpoint["IPv4Address"].as_str().unwrap_or_default();
            told.push(address.split('/').next().unwrap_or_default().to_owned());
        }
        let mut found = Vec::new();
        if there {
            let text = show::handle(&world, &name)?
                .netns
                .ip("-4 -o addr show scope global")?;
            let words = text
                .lines()
                .filter_map(|line| line.split_whitespace().nth(3));
            found.extend(words.filter_map(|word| Some(word.split('/').next()?.to_owned())));
        }
        told.sort();
        found.sort();
        ensure!(
            told == found,
            "{name}: {told:?} told, {found:?} in the kernel"
        );
    }
    ensure!(
        world.ctl("system reconcile")? == "Nothing to mend.",
        "something was left to mend"
    );
    world.ctl("sandbox rm s1 s2 s3 s4")?;
    world.ctl("network rm n1 n2 n3")?;
    let links = world.host.ip("-br link")?;
    ensure!(!links.contains("nd-") && !links.contains("br-"), "{links}");
    Ok(())
}

#[test]
fn n05_link_local_addresses_are_reached() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 --subnet 10.70.0.0/24 --subnet fd00:70::/64 back")?;
    show::run(
        &world,
        "--network name=back,link-local-ip=169.254.9.9,link-local-ip=fe80::99 one",
    )?;
    let two = show::run(&world, "--network name=back,link-local-ip=169.254.9.10 two")?;
    ensure!(
        two.ping("169.254.9.9".parse()?)?,
        "IPv4: netctl drops says spoofed-neighbour"
    );
    let v6 = two.scope.run(&["ping", "-c1", "-W1", "fe80::99%eth0"])?;
    ensure!(v6.ok, "IPv6");
    Ok(())
}
