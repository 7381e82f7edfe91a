//! X01: flushed rules, a killed, restarted and replaced daemon disturb no flow.

use anyhow::{Context, ensure};
use netd_tests::{
    Process, Sandbox, Server, World,
    probe::{hold, probe},
    world::{HOST_V4, HOST_V6, LAN_V4, LAN_V6},
};

use crate::{Outcome, reaches};

/// Flows of every kind: inside a network, to the LAN, from the LAN and from the host.
struct Flows {
    running: Vec<(&'static str, Process)>,
    _servers: [Server; 2],
    web: Sandbox,
}

impl Flows {
    fn start(world: &World) -> anyhow::Result<Self> {
        world.ctl("network create --ipv6 front")?;
        let (web, peer) = (
            world.sandbox("web", &["front"])?,
            world.sandbox("peer", &["front"])?,
        );
        let servers = [web.serve(7000)?, Server::start(&world.lan_scope(), 7000)?];
        world.ctl("port publish web 8080:7000")?;
        let running = vec![
            (
                "inside, IPv4",
                hold(&peer.scope, (web.v4("eth0")?, 7000).into())?,
            ),
            (
                "inside, IPv6",
                hold(&peer.scope, (web.v6("eth0")?, 7000).into())?,
            ),
            ("to the LAN, IPv4", hold(&web.scope, (LAN_V4, 7000).into())?),
            ("to the LAN, IPv6", hold(&web.scope, (LAN_V6, 7000).into())?),
            (
                "published, IPv4",
                hold(&world.lan_scope(), (HOST_V4, 8080).into())?,
            ),
            (
                "published, IPv6",
                hold(&world.lan_scope(), (HOST_V6, 8080).into())?,
            ),
            (
                "from the host",
                hold(&world.host_scope(), ([127, 0, 0, 1], 8080).into())?,
            ),
        ];
        Ok(Self {
            running,
            _servers: servers,
            web,
        })
    }

    /// New flows of the same kinds.
    fn fresh(&self, world: &World) -> Outcome {
        reaches(&self.web, LAN_V4.into(), 7000)?;
        reaches(&self.web, LAN_V6.into(), 7000)?;
        probe(&world.lan_scope(), "tcp", (HOST_V4, 8080).into(), 2000)?;
        probe(
            &world.host_scope(),
            "tcp",
            ([127, 0, 0, 1], 8080).into(),
            2000,
        )?;
        Ok(())
    }

    fn end(self) -> Outcome {
        for (name, flow) in self.running {
            let output = flow.finish()?;
            let lines: u64 = output
                .stdout
                .trim()
                .parse()
                .with_context(|| format!("the flow {name} broke"))?;
            ensure!(output.ok && lines > 0, "the flow {name}: {lines} lines");
        }
        Ok(())
    }
}

#[test]
fn x01_flushed_rules_change_nothing() -> Outcome {
    let world = World::new()?;
    let flows = Flows::start(&world)?;
    for line in [
        "nft flush ruleset",
        "iptables -F",
        "iptables -t nat -F",
        "iptables -X",
        "ip6tables -F",
    ] {
        let output = world
            .host_scope()
            .run(&line.split(' ').collect::<Vec<_>>())?;
        ensure!(output.ok, "{line}: {}", output.text());
        flows.fresh(&world)?;
    }
    flows.end()
}

#[test]
fn x01_the_hosts_rules_stay_as_they_were() -> Outcome {
    let mut world = World::without_daemon()?;
    let host = world.host_scope();
    let rules =
        "add table inet mine; add chain inet mine in { type filter hook input priority 0 ; }";
    ensure!(host.run(&["nft", rules])?.ok, "nft");
    let state = || -> anyhow::Result<String> {
        let forwarding = [
            "net/ipv4/ip_forward",
            "net/ipv6/conf/all/forwarding",
            "net/ipv4/conf/all/route_localnet",
        ];
        let mut text = world.host_scope().run(&["nft", "list", "ruleset"])?.stdout;
        for key in forwarding {
            text += &world.host.read_sysctl(key)?;
        }
        Ok(text)
    };
    let before = state()?;
    world.start()?;
    let flows = Flows::start(&world)?;
    flows.fresh(&world)?;
    let after = world.host_scope().run(&["nft", "list", "ruleset"])?.stdout;
    ensure!(before.starts_with(&after), "the rules changed: {after}");
    for key in [
        "net/ipv4/ip_forward",
        "net/ipv6/conf/all/forwarding",
        "net/ipv4/conf/all/route_localnet",
    ] {
        ensure!(world.host.read_sysctl(key)?.trim() == "0", "{key} changed");
    }
    flows.end()
}

#[test]
fn x01_kill_and_restart() -> Outcome {
    let mut world = World::new()?;
    let flows = Flows::start(&world)?;
    for _ in 0..2 {
        world.kill()?;
        flows.fresh(&world)?;
        world.start()?;
        flows.fresh(&world)?;
    }
    world.stop()?;
    flows.fresh(&world)?;
    // Upgrade in place: another process takes over maps, programs and links while traffic runs.
    world.start()?;
    flows.fresh(&world)?;
    flows.end()
}

#[test]
fn x01_no_policy_gap_while_the_daemon_restarts() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create front")?;
    world.ctl("network create back")?;
    let (web, db) = (
        world.sandbox("web", &["front"])?,
        world.sandbox("db", &["back"])?,
    );
    // An echo request every 2 ms the whole time: not a single answer may come.
    let to = web.v4("eth0")?.to_string();
    let ping = db.scope.spawn(&["ping", "-q", "-i", "0.002", &to])?;
    for _ in 0..3 {
        world.kill()?;
        world.start()?;
    }
    let text = ping.stop(nix::sys::signal::Signal::SIGINT)?.stdout;
    ensure!(text.contains(" 0 received"), "{text}");
    ensure!(
        web.ping(web.v4("eth0")?.into())?,
        "the target does not answer at all"
    );
    Ok(())
}
