//! C01, C06: what publishing takes from the host, and gives back.

use anyhow::{Context, ensure};
use netd_tests::{
    Scope, Server, World,
    probe::probe,
    wait_for,
    world::{HOST_V4, LAN, LAN_V4},
};

use crate::{Outcome, PROTOCOLS};

/// Tries to bind in Python; prints what the kernel says.
const BIND: &str = "
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == 'tcp' else socket.SOCK_DGRAM
family = socket.AF_INET6 if ':' in sys.argv[2] else socket.AF_INET
s = socket.socket(family, kind)
try:
    s.bind((sys.argv[2], int(sys.argv[3])))
    print('bound', s.getsockname()[1])
except OSError as e:
    print(e.strerror)
";

fn bind(scope: &Scope, protocol: &str, address: &str, port: u16) -> anyhow::Result<String> {
    let words = [
        "/usr/bin/python3",
        "-c",
        BIND,
        protocol,
        address,
        &port.to_string(),
    ];
    Ok(scope.run(&words)?.text())
}

/// A process that comes later cannot take a published port, and can as soon as it is free.
#[test]
fn c01_a_later_process_cannot_take_a_published_port() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let host = world.host_scope();
    for (protocol, address) in [("tcp", "0.0.0.0"), ("udp", "::"), ("tcp", "127.0.0.1")] {
        let free = bind(&host, protocol, address, 8080)?;
        ensure!(
            free.contains("bound"),
            "{protocol} {address} before: {free}"
        );
    }
    world.ctl("port publish web 8080:7000 8080:7000/udp 127.0.0.1:8081:7000")?;
    for (protocol, address) in [
        ("tcp", "0.0.0.0"),
        ("tcp", "::"),
        ("tcp", "127.0.0.1"),
        ("udp", "0.0.0.0"),
        ("udp", "198.51.100.1"),
    ] {
        let refused = bind(&host, protocol, address, 8080)?;
        ensure!(
            refused.contains("already in use"),
            "{protocol} {address}: {refused}"
        );
    }
    let refused = bind(&host, "tcp", "127.0.0.1", 8081)?;
    ensure!(refused.contains("already in use"), "{refused}");
    // Other ports, chosen ports and other namespaces are nobody's business.
    ensure!(bind(&host, "tcp", "0.0.0.0", 8082)?.contains("bound"));
    ensure!(bind(&host, "tcp", "0.0.0.0", 0)?.contains("bound"));
    ensure!(bind(&web.scope, "tcp", "0.0.0.0", 8080)?.contains("bound"));
    world.ctl("port unpublish web 8080:7000 8080:7000/udp")?;
    ensure!(
        bind(&host, "tcp", "0.0.0.0", 8080)?.contains("bound"),
        "still taken"
    );
    Ok(())
}

/// Sixty thousand ports cost a few entries and no process, and each leads to its own.
#[test]
fn c06_a_range_of_sixty_thousand_ports() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _servers = [web.serve(2000)?, web.serve(30_000)?, web.serve(61_999)?];
    let before = children(&world)?;
    world.ctl("port publish web 2000-40000:2000-40000 61000-65535:61000-65535/udp")?;
    world.ctl("port unpublish web 61000-65535:61000-65535/udp")?;
    for port in [2000, 30_000] {
        let reply = probe(&world.lan_scope(), "tcp", (HOST_V4, port).into(), 1500)?;
        ensure!(reply.local.port() == port, "{reply:?}");
    }
    world.ctl("port unpublish web 2000-40000:2000-40000")?;
    // The masquerade pool is netd's own: the range spans it, and both work.
    world.ctl("port publish web 2000-61999:2000-61999")?;
    for port in [2000, 30_000, 61_999] {
        let reply = probe(&world.lan_scope(), "tcp", (HOST_V4, port).into(), 1500)?;
        ensure!(reply.local.port() == port, "{reply:?}");
    }
    let status = world.ctl("status")?;
    let line = status.lines().find(|l| l.contains("PUBLICATIONS"));
    let entries = line.and_then(|l| {
        l.split_whitespace()
            .find_map(|w| w.split('/').next()?.parse::<u32>().ok())
    });
    let entries = entries.with_context(|| format!("no count in {line:?}"))?;
    ensure!(entries <= 64, "{entries} entries for one range");
    ensure!(children(&world)? == before, "processes for ports");
    ensure!(web.ping(LAN_V4.into())?, "nothing left for masquerading");
    Ok(())
}

/// However much is published, the host's own sockets have ports to call from, and what they are told reaches them.
#[test]
fn c12_the_host_has_ports_to_call_from() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _inside = web.serve(7000)?;
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    let calls = |world: &World| -> Outcome {
        for protocol in PROTOCOLS {
            for to in LAN {
                probe(&world.host_scope(), protocol, (to, 7000).into(), 1500)?;
            }
        }
        for protocol in PROTOCOLS {
            let chosen = bind(&world.host_scope(), protocol, "0.0.0.0", 0)?;
            ensure!(chosen.contains("bound"), "{protocol}: {chosen}");
        }
        Ok(())
    };
    calls(&world)?;
    let said = world.refused(
        "port publish web 20000-59999:20000-59999/udp",
        &["4096", "32768-60999", "net.ipv4.ip_local_port_range"],
    )?;
    ensure!(said.contains("20000-59999/udp"), "{said}");
    calls(&world)?;
    // TCP needs none of them: only a first SYN meets a publication.
    world.ctl("port publish web 20000-59999:20000-59999 32768-40000:32768-40000/udp")?;
    calls(&world)?;
    world.stop()?;
    world.start()?;
    calls(&world)?;
    let reserved = world.host.read_sysctl("net/ipv4/ip_local_reserved_ports")?;
    ensure!(
        reserved.contains("32768-40000") && reserved.contains("49152-65535"),
        "not reserved: {reserved}"
    );
    // Enough is left where the host has more.
    world
        .host
        .sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
    world.ctl("port publish web 41000-49000:41000-49000/udp")?;
    calls(&world)?;
    // All of these are free again with the sandbox.
    world.ctl("sandbox stop web")?;
    let reserved = world.host.read_sysctl("net/ipv4/ip_local_reserved_ports")?;
    ensure!(
        reserved.trim() == "49152-65535",
        "still reserved: {reserved}"
    );
    Ok(())
}

const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";
const EPHEMERAL: &str = "net/ipv4/ip_local_port_range";

/// A host whose ephemeral range is the pool keeps enough of it, also when it is set while netd runs; and is told.
#[test]
fn c12_the_pool_leaves_the_host_ports() -> Outcome {
    let world = World::new()?;
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    let calls = || -> Outcome {
        for protocol in PROTOCOLS {
            for to in LAN {
                probe(&world.host_scope(), protocol, (to, 7000).into(), 1500)?;
            }
        }
        Ok(())
    };
    calls()?;
    let warned = || {
        world
            .ctl("status")
            .is_ok_and(|status| status.contains("of the pool"))
    };
    ensure!(!warned(), "warned without a reason");
    world.host.sysctl(EPHEMERAL, "49152 65535")?;
    wait_for("netd to leave the host some ports", 20, || {
        (warned() && calls().is_ok()).then_some(())
    });
    let reserved = world.host.read_sysctl(RESERVED)?;
    ensure!(reserved.trim() == "53248-65535", "{reserved}");
    world.host.sysctl(EPHEMERAL, "32768 60999")?;
    wait_for("netd to keep its pool again", 20, || {
        let reserved = world.host.read_sysctl(RESERVED).ok()?;
        (reserved.trim() == "49152-65535").then_some(())
    });
    Ok(())
}

/// What the administrator reserves, or no longer does, while netd runs stays so.
#[test]
fn c12_the_administrators_reserved_ports_stay() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create front")?;
    let _web = world.sandbox("web", &["front"])?;
    let reserved = |world: &World| world.host.read_sysctl(RESERVED);
    let now = reserved(&world)?;
    world
        .host
        .sysctl(RESERVED, &format!("3333,4444,{}", now.trim()))?;
    world.ctl("port publish web 8080:80")?;
    ensure!(
        reserved(&world)?.starts_with("3333,4444,8080,"),
        "{}",
        reserved(&world)?
    );
    world.stop()?;
    world.start()?;
    world
        .host
        .sysctl(RESERVED, &reserved(&world)?.replace("3333,", ""))?;
    world.ctl("port unpublish web 8080:80")?;
    ensure!(
        reserved(&world)?.starts_with("4444,49152-"),
        "{}",
        reserved(&world)?
    );
    // As it was before the purge, which restores what there is without netd.
    world
        .host
        .sysctl(RESERVED, &reserved(&world)?.replace("4444,", ""))?;
    world.ctl("system reconcile")?;
    Ok(())
}

/// Children of the daemon.
fn children(world: &World) -> anyhow::Result<String> {
    let pid = world.daemon_pid().context("no daemon")?;
    Ok(std::fs::read_to_string(format!(
        "/proc/{pid}/task/{pid}/children"
    ))?)
}

/// `-P`: every exposed port gets a host port, and loses it when the sandbox stops.
#[test]
fn c01_all_exposed_ports() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    world
        .ctl("sandbox create web --network front --expose 7000 --expose 7001/udp --publish-all")?;
    let shown = world.ctl("port ls web")?;
    ensure!(
        shown.contains("7000/tcp") && shown.contains("7001/udp"),
        "{shown}"
    );
    world.ctl("sandbox stop web")?;
    ensure!(
        bind(&world.host_scope(), "tcp", "0.0.0.0", 32768)?.contains("bound"),
        "kept"
    );
    world.ctl("sandbox start web")?;
    let path = world.run_directory().join("netns/web");
    let netns = netd_tests::Netns::at("web", &path);
    let web = netd_tests::Sandbox::new("web", netns, world.scope(&path));
    let _server = web.serve(7000)?;
    let shown = world.ctl("port ls web")?;
    let line = shown
        .lines()
        .find(|l| l.contains("7000/tcp"))
        .context("not published")?;
    let mut numbers = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|w| w.parse().ok());
    let port: u16 = numbers.find(|p| *p >= 32768).context("no host port")?;
    probe(&world.lan_scope(), "tcp", (HOST_V4, port).into(), 1500)?;
    Ok(())
}
