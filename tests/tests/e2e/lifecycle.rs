//! N05, N06, N10, N11: sandboxes that stop and start, and what is told of it.

use std::{fs, net::IpAddr};

use anyhow::{Context, ensure};
use netd_tests::{Process, World, wait_for, world::binary};
use serde_json::{Value, json};

use crate::{Outcome, reaches, show};

#[test]
fn n05_a_stopped_sandbox_is_connected_when_it_starts() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 --subnet 10.111.0.0/24 --subnet fd00:111::/64 front")?;
    world.ctl("network create --subnet 10.112.0.0/24 back")?;
    let peer = show::run(&world, "--network front peer")?;
    world.ctl("sandbox create --stopped --network front late")?;
    world.ctl("network disconnect front late")?;
    world.ctl(
        "network connect --ip 10.111.0.77 --ip6 fd00:111::77 --alias a --alias b --link peer:p --link-local-ip 169.254.7.7 \
         --driver-opt k=v --mac-address 02:00:00:00:00:77 --interface net7 front late",
    )?;
    world.ctl("network connect --gw-priority 5 back late")?;
    world.refused(
        "network connect front late",
        &["late", "already exists", "front"],
    )?;
    // Nothing of it is there yet.
    ensure!(
        show::members(&world, "front")? == ["peer"],
        "shown before it starts"
    );
    let idle = show::sandbox(&world, "late")?;
    ensure!(
        idle["Running"] == false && idle["Endpoints"] == json!([]),
        "{idle:#}"
    );
    let asked = &idle["Attachments"][0];
    for (key, wanted) in [
        ("Network", json!("front")),
        ("IPv4Address", json!("10.111.0.77")),
        ("IPv6Address", json!("fd00:111::77")),
        ("Aliases", json!(["a", "b"])),
        ("Links", json!(["peer:p"])),
        ("LinkLocalIPs", json!(["169.254.7.7"])),
        ("DriverOpts", json!({"k": "v"})),
        ("MacAddress", json!("02:00:00:00:00:77")),
        ("Interface", json!("net7")),
    ] {
        ensure!(asked[key] == wanted, "{key}: {asked:#}");
    }
    ensure!(
        world.ctl("sandbox ls")?.contains("stopped"),
        "the state in ls"
    );
    ensure!(!peer.ping("10.111.0.77".parse()?)?, "it answers already");

    ensure!(
        world.ctl("sandbox start late")? == "late",
        "the answer of start"
    );
    let late = show::handle(&world, "late")?;
    let _server = late.serve(7000)?;
    for address in ["10.111.0.77", "fd00:111::77"] {
        reaches(&peer, address.parse()?, 7000)?;
    }
    ensure!(
        late.mac("net7")? == "02:00:00:00:00:77",
        "{}",
        late.mac("net7")?
    );
    ensure!(
        late.netns.ip("addr show net7")?.contains("169.254.7.7"),
        "the link-local address"
    );
    let routes = late.netns.ip("route")?;
    ensure!(
        routes.contains("default via 10.112.0.1"),
        "gw-priority: {routes}"
    );
    ensure!(
        show::members(&world, "front")? == ["late", "peer"],
        "shown when it runs"
    );
    let made = show::endpoint(&world, "late", "front")?.context("no endpoint")?;
    ensure!(
        made["Aliases"] == json!(["a", "b"]) && made["Links"] == json!(["peer:p"]),
        "{made:#}"
    );
    ensure!(made["DriverOpts"] == json!({"k": "v"}), "{made:#}");

    // A running one at once, there and back.
    world.ctl("network create third")?;
    world.ctl("network connect third late")?;
    ensure!(
        late.netns.ip("link")?.matches("mtu").count() == 4,
        "{}",
        late.netns.ip("link")?
    );
    world.ctl("network disconnect back late")?;
    let routes = late.netns.ip("route")?;
    ensure!(
        routes.contains("default via") && !routes.contains("10.112.0.1"),
        "{routes}"
    );
    reaches(&peer, "10.111.0.77".parse()?, 7000)
}

#[test]
fn n05_start_takes_a_namespace_or_a_process() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create front")?;
    let peer = show::run(&world, "--network front peer")?;
    world.ctl("sandbox create --stopped --network front -p 8080:7000 guest")?;
    let own = world.namespace("own")?;
    world.ctl(&format!(
        "sandbox start --netns {} guest",
        own.path().display()
    ))?;
    let guest = netd_tests::Sandbox::new("guest", own.clone(), world.scope(own.path()));
    let _server = guest.serve(7000)?;
    reaches(&peer, guest.v4("eth0")?.into(), 7000)?;
    world.ctl("sandbox stop guest")?;
    ensure!(
        own.path().exists() && own.ip("link show eth0").is_err(),
        "the namespace is not netd's"
    );
    let process = own.scope().spawn(&["cat"])?;
    world.refused("sandbox start --pid 4194304 guest", &["4194304"])?;
    world.refused(
        "sandbox start --netns /proc/self/ns/pid guest",
        &["/proc/self/ns/pid"],
    )?;
    ensure!(
        show::sandbox(&world, "guest")?["Running"] == false,
        "started by half"
    );
    world.ctl(&format!("sandbox start --pid {} guest", process.pid()))?;
    reaches(&peer, guest.v4("eth0")?.into(), 7000)?;
    ensure!(world.ctl("port ls guest")?.contains("8080"), "the port");
    Ok(())
}

#[test]
fn n06_force_clears_what_a_lost_namespace_left() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --subnet 10.113.0.0/24 front")?;
    world.ctl("network create back")?;
    let (peer, other) = (
        show::run(&world, "--network front --network back peer")?,
        show::run(&world, "--network front other")?,
    );
    let gone = world.namespace("gone")?;
    world.ctl(&format!(
        "sandbox create --netns {} --network name=front,ip=10.113.0.50 --network back stale",
        gone.path().display()
    ))?;
    gone.remove()?;
    world.forget(&gone);
    world.ctl("network disconnect -f front stale")?;
    ensure!(
        !show::members(&world, "front")?.contains(&"stale".to_owned()),
        "front still shows it"
    );
    // Its address is free again, and the others never noticed.
    show::run(&world, "--network name=front,ip=10.113.0.50 heir")?;
    ensure!(
        peer.ping("10.113.0.50".parse()?)?,
        "the heir does not answer"
    );
    ensure!(other.ping(peer.v4("eth0")?.into())?, "the others");
    world.ctl("network disconnect -f back stale")?;
    world.refused(
        "network disconnect -f back stale",
        &["stale", "not connected", "back"],
    )?;
    world.ctl("sandbox rm peer other heir stale")?;
    world.ctl("network rm front back")?;
    Ok(())
}

#[test]
fn n10_addresses_are_kept_over_stop_and_start() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --ipv6 --subnet 10.114.0.0/24 --subnet fd00:114::/64 front")?;
    let peer = show::run(&world, "--network front peer")?;
    let chosen = show::run(
        &world,
        "--network name=front,ip=10.114.0.9,ip6=fd00:114::9 -p 8080:7000 chosen",
    )?;
    let automatic = show::run(&world, "--network front --label tier=db automatic")?;
    let before = [
        (chosen.addresses("eth0")?, chosen.mac("eth0")?),
        (automatic.addresses("eth0")?, automatic.mac("eth0")?),
    ];
    for round in 0..3 {
        ensure!(
            world.ctl("sandbox stop chosen automatic")? == "chosen\nautomatic",
            "the answer of stop"
        );
        ensure!(
            !world.run_directory().join("netns/chosen").exists(),
            "the namespace is left"
        );
        let port = world.ctl("port ls chosen")?;
        ensure!(!port.contains(" active"), "published while stopped: {port}");
        ensure!(
            !peer.ping("10.114.0.9".parse()?)?,
            "it answers while stopped"
        );
        match round {
            1 => {
                world.stop()?;
                world.start()?;
            }
            2 => {
                world.kill()?;
                world.start()?;
            }
            _ => {
                // Others come and go meanwhile.
                show::run(&world, "--network front new")?;
                world.ctl("sandbox rm new")?;
            }
        }
        let labels = show::sandbox(&world, "automatic")?;
        ensure!(
            labels["Running"] == false && labels["Labels"]["tier"] == "db",
            "{labels:#}"
        );
        world.ctl("sandbox stop chosen")?;
        world.ctl("sandbox start chosen")?;
        world.ctl("sandbox start automatic")?;
        let (chosen, automatic) = (
            show::handle(&world, "chosen")?,
            show::handle(&world, "automatic")?,
        );
        let after = [
            (chosen.addresses("eth0")?, chosen.mac("eth0")?),
            (automatic.addresses("eth0")?, automatic.mac("eth0")?),
        ];
        ensure!(before == after, "round {round}: {before:?} -> {after:?}");
        let _server = chosen.serve(7000)?;
        reaches(&peer, "10.114.0.9".parse()?, 7000)?;
        reaches(&peer, "fd00:114::9".parse()?, 7000)?;
        let host: IpAddr = netd_tests::world::HOST_V4.into();
        let to = std::net::SocketAddr::new(host, 8080);
        netd_tests::probe::probe(&world.lan_scope(), "tcp", to, 2000)?;
    }
    Ok(())
}

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
