//! N02, N04, N05, I03, D06, P02: the edges of what may be asked for, and what reconcile says.

use crate::{Outcome, show};
use anyhow::ensure;
use netd_tests::World;

#[test]
fn d06_the_tutorial_publishes_on_its_networks_own_address() -> Outcome {
    let world = &World::new()?;
    world.ctl("network create --subnet 172.23.0.0/16 -o com.docker.network.bridge.host_binding_ipv4=172.23.0.1 my-network")?;
    let redis = show::run(world, "-P --expose 6379/tcp --network my-network redis")?;
    let _server = redis.serve(6379)?;
    let ports = world.ctl("--output json port ls redis")?;
    let ports: serde_json::Value = serde_json::from_str(&ports)?;
    ensure!(
        ports[0]["HostIp"] == "172.23.0.1" && ports[0]["Port"] == "6379",
        "{ports}"
    );
    let port: u16 = ports[0]["HostPort"].as_str().unwrap_or_default().parse()?;
    ensure!(port >= 32768, "{port}");
    let to = "172.23.0.1".parse()?;
    netd_tests::probe::probe(
        &world.host_scope(),
        "tcp",
        std::net::SocketAddr::new(to, port),
        2000,
    )?;
    Ok(())
}

#[test]
fn p02_reconcile_says_what_it_mended() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 10.50.0.0/24 -o com.docker.network.bridge.name=brx back")?;
    let web = show::run(&world, "--network back web")?;
    for words in ["addr flush dev eth0", "route del default"] {
        web.netns.ip(words)?;
        let said = world.ctl("system reconcile")?;
        ensure!(
            said.contains("web") || said.contains("eth0"),
            "{words}: {said}"
        );
    }
    Ok(())
}

#[test]
fn p02_reconcile_restores_the_gateway_address() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 10.50.0.0/24 -o com.docker.network.bridge.name=brx back")?;
    let web = show::run(&world, "--network back web")?;
    world.host.ip("addr del 10.50.0.1/24 dev brx")?;
    world.ctl("system reconcile")?;
    ensure!(world.host.ip("addr show brx")?.contains("10.50.0.1/24"));
    ensure!(web.ping("10.50.0.1".parse()?)?);
    Ok(())
}

#[test]
fn i03_a_network_without_room_for_an_endpoint() -> Outcome {
    let world = World::new()?;
    world.refused("network create --subnet 10.31.0.0/32 n", &["10.31.0.0/32"])?;
    world.refused(
        "network create --ipv6 --subnet fd00:31::/128 n",
        &["fd00:31::/128"],
    )?;
    Ok(())
}

#[test]
fn n02_subnets_that_no_network_can_have() -> Outcome {
    let world = World::new()?;
    let mut wrong = Vec::new();
    for net in [
        "127.0.0.0/24",
        "224.0.0.0/24",
        "255.255.255.0/24",
        "0.0.0.0/24",
        "::1/128",
        "ff00::/64",
        "fe80::/64",
        "::ffff:0:0/96",
    ] {
        let output = world.netctl(&[
            "--output", "json", "network", "create", "--ipv6", "--subnet", net, "n",
        ])?;
        if output.ok {
            world.ctl("network rm n")?;
        }
        if !output.stderr.contains("INVALID_ARGUMENT") {
            wrong.push(format!("{net}: ok {} {}", output.ok, output.stderr));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join(""));
    Ok(())
}

#[test]
fn n02_ipv4_false_and_ipv6_not_asked_for() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet fd00:10::/64 a")?;
    let a = show::network(&world, "a")?;
    let b = world.netctl(&[
        "network",
        "create",
        "--ipv4=false",
        "--ipv6",
        "--subnet",
        "10.1.0.0/24",
        "b",
    ])?;
    ensure!(a["EnableIPv6"] == false, "EnableIPv6 {}", a["EnableIPv6"]);
    ensure!(
        !b.ok || show::network(&world, "b")?["EnableIPv4"] == false,
        "EnableIPv4"
    );
    Ok(())
}

#[test]
fn n02_operator_fields_of_configurations() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --config-only --subnet 10.30.0.0/24 conf0")?;
    world.ctl("network create --internal --config-from conf0 closed")?;
    ensure!(show::network(&world, "closed")?["Internal"] == true);
    Ok(())
}

#[test]
fn n02_operator_fields_of_configurations_refused() -> Outcome {
    let world = World::new()?;
    for flag in ["--internal", "--attachable"] {
        world.refused(
            &format!("network create --config-only {flag} conf0"),
            &["configuration network can only contain network specific fields"],
        )?;
    }
    Ok(())
}

#[test]
fn n04_host_sandboxes_are_shown() -> Outcome {
    let world = World::new()?;
    world.ctl("sandbox create --network host hosty")?;
    ensure!(show::members(&world, "host")? == ["hosty"]);
    Ok(())
}

#[test]
fn n05_stopped_sandbox_on_host_takes_no_other_network() -> Outcome {
    let world = World::new()?;
    world.ctl("sandbox create --stopped --network host s3")?;
    world.refused("network connect bridge s3", &["host"])?;
    Ok(())
}

#[test]
fn p02_reconcile_under_load() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    std::thread::scope(|scope| {
        for hand in 0..3 {
            let world = &world;
            scope.spawn(move || {
                for n in 0..15 {
                    let _ = world.ctl(&format!("sandbox create --network front h{hand}x{n}"));
                    let _ = world.ctl(&format!("sandbox rm h{hand}x{n}"));
                }
            });
        }
        let mut said = Vec::new();
        for _ in 0..40 {
            if let Err(error) = world.ctl("system reconcile") {
                said.push(error.to_string());
            }
        }
        ensure!(said.is_empty(), "{}", said.join("\n"));
        Ok(())
    })
}
