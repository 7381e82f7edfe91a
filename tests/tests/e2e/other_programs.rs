//! C12: other programs and filters on the host's interfaces see what is not netd's.

use anyhow::{Context, ensure};
use netd_tests::{
    Netns, Sandbox, Server, World,
    nat::nft,
    probe::probe,
    wait_for,
    world::{HOST, HOST_V4, LAN, LAN_V4},
};

use crate::Outcome;

fn tc(netns: &Netns, words: &[&str]) -> Outcome {
    let output = netns.scope().run(&[&["tc"], words].concat())?;
    ensure!(output.ok, "tc {words:?}: {}", output.text());
    Ok(())
}

/// A filter that drops what tcpdump's words mean and has no opinion about the rest. Made of a program, as other
/// kinds of filters and actions are missing in small kernels.
fn drop_filter(netns: &Netns, number: &str, meant: &str) -> Outcome {
    let compiled = netns
        .scope()
        .run(&["tcpdump", "-y", "EN10MB", "-ddd", meant])?;
    ensure!(compiled.ok, "tcpdump: {}", compiled.text());
    let mut lines = compiled.stdout.lines();
    let count = lines.next().context("a program")?;
    let steps: Vec<String> = lines
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            // The verdicts of a filter that acts directly: TC_ACT_UNSPEC and TC_ACT_SHOT.
            ["6", a, b, "0"] => format!("6 {a} {b} 4294967295"),
            ["6", a, b, _] => format!("6 {a} {b} 2"),
            _ => line.to_owned(),
        })
        .collect();
    let program = format!("{count},{},", steps.join(","));
    let words = "filter add dev uplink ingress protocol all pref";
    let mut words: Vec<&str> = words.split(' ').collect();
    words.extend([number, "bpf", "direct-action", "bytecode", &program]);
    tc(netns, &words)
}

/// Filters of the host's own, behind netd's program: with them, what they refuse does not pass, and all else does; without
/// them, all does.
#[test]
fn c12_filters_of_others_still_decide() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _servers = [
        web.serve(7000)?,
        Server::start(&world.lan_scope(), 7000)?,
        Server::start(&world.host_scope(), 7100)?,
    ];
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    tc(&world.host, &["qdisc", "add", "dev", "uplink", "clsact"])?;
    let seen = decide(&world, &web);
    // Whatever it came to, what others put there is not netd's to take away.
    tc(&world.host, &["qdisc", "del", "dev", "uplink", "clsact"])?;
    seen?;
    works(&world, &web)
}

fn decide(world: &World, web: &Sandbox) -> Outcome {
    let reaches = |protocol: &str, index: usize| {
        probe(
            &world.lan_scope(),
            protocol,
            (HOST[index], 7100).into(),
            700,
        )
        .is_ok()
    };
    for (meant, protocol, index) in [
        ("ip and tcp dst port 7100", "tcp", 0),
        ("ip and udp dst port 7100", "udp", 0),
        ("ip6 and tcp dst port 7100", "tcp", 1),
        ("ip6 and udp dst port 7100", "udp", 1),
    ] {
        ensure!(reaches(protocol, index), "{meant}: not reached before");
        drop_filter(&world.host, "7", meant)?;
        ensure!(
            !reaches(protocol, index),
            "{meant}: the filter has no effect"
        );
        works(world, web)?;
        tc(
            &world.host,
            &["filter", "del", "dev", "uplink", "ingress", "pref", "7"],
        )?;
        ensure!(reaches(protocol, index), "{meant}: not reached again");
    }
    // ARP is nobody's connection, and a filter's all the same.
    drop_filter(&world.host, "7", "arp")?;
    world.lan.ip("neigh flush dev uplink")?;
    ensure!(
        probe(&world.lan_scope(), "tcp", (HOST_V4, 7100).into(), 700).is_err(),
        "ARP is answered in spite of the filter"
    );
    tc(
        &world.host,
        &["filter", "del", "dev", "uplink", "ingress", "pref", "7"],
    )
}

fn works(world: &World, web: &Sandbox) -> Outcome {
    for protocol in crate::PROTOCOLS {
        for (host, lan) in HOST.into_iter().zip(LAN) {
            web.reach(protocol, lan, 7000)?;
            probe(&world.lan_scope(), protocol, (host, 8080).into(), 2000)?;
        }
    }
    Ok(())
}

/// Calls from twenty ports, one after the other; prints how many were answered.
const CALL: &str = "
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == 'tcp' else socket.SOCK_DGRAM
answered = 0
for port in range(int(sys.argv[3]), int(sys.argv[3]) + 20):
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(2)
        s.bind(('', port))
        try:
            s.connect((sys.argv[2], 7000))
            s.sendall(b'x')
            if kind == socket.SOCK_STREAM:
                s.shutdown(socket.SHUT_WR)
            answered += len(s.recv(100)) > 0
        except OSError:
            pass
print(answered)
";

/// Virtual machines, or another engine's containers, behind a NAT of the host's own that keeps their source ports.
#[test]
fn c12_another_nat_of_the_host_works() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _server = Server::start(&world.lan_scope(), 7000)?;
    let guest = world.namespace("guest")?;
    world.host.ip(&format!(
        "link add guest type veth peer name eth0 netns {}",
        guest.name()
    ))?;
    world.host.ip("addr add 10.77.0.1/24 dev guest")?;
    world.host.ip("link set guest up")?;
    guest.ip("addr add 10.77.0.2/24 dev eth0")?;
    guest.ip("link set eth0 up")?;
    guest.ip("route add default via 10.77.0.1")?;
    world.host.sysctl("net/ipv4/ip_forward", "1")?;
    for words in [
        "add table ip guest",
        "add chain ip guest out { type nat hook postrouting priority 100; }",
        "add rule ip guest out oifname uplink ip saddr 10.77.0.0/24 masquerade",
    ] {
        nft(&world.host, words)?;
    }
    for protocol in crate::PROTOCOLS {
        // The containers' own, beside it.
        web.reach(protocol, LAN_V4.into(), 7000)?;
        // Outside the pool, and in it.
        for port in ["40000", "50000"] {
            let to = LAN_V4.to_string();
            let words = ["/usr/bin/python3", "-c", CALL, protocol, &to, port];
            let output = guest.scope().run(&words)?;
            ensure!(
                output.stdout.trim() == "20",
                "{protocol} from {port} on: {}",
                output.text()
            );
        }
    }
    Ok(())
}

/// The host's own switches for forwarding change every device's; containers go on.
#[test]
fn c12_the_hosts_switches_change() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _servers = [web.serve(7000)?, Server::start(&world.lan_scope(), 7000)?];
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    works(&world, &web)?;
    for (switch, values) in [
        ("net/ipv4/ip_forward", ["1", "0"]),
        ("net/ipv6/conf/all/forwarding", ["1", "0"]),
        ("net/ipv4/conf/all/rp_filter", ["1", "0"]),
    ] {
        for value in values {
            world.host.sysctl(switch, value)?;
            let what = format!("containers to go on with {switch} = {value}");
            wait_for(&what, 20, || {
                let own = HOST.into_iter().all(|host| {
                    probe(&world.host_scope(), "udp", (host, 8080).into(), 500).is_ok()
                });
                (own && works(&world, &web).is_ok()).then_some(())
            });
        }
    }
    Ok(())
}
