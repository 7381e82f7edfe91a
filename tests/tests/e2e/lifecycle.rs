//! N05, N06, N10: sandboxes that stop and start, and namespaces that get lost.

use std::net::IpAddr;

use anyhow::{Context, ensure};
use netd_tests::World;
use serde_json::json;

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
