//! X07: nobody outside speaks to the host itself with a container's voice.

use anyhow::{Result, ensure};
use netd_tests::{Process, World};

use crate::Outcome;

/// Tells what datagrams say that come to port 7001 of the host.
const LISTEN: &str = "
import socket as s
sock = s.socket(s.AF_INET6, s.SOCK_DGRAM)
sock.setsockopt(s.IPPROTO_IPV6, s.IPV6_V6ONLY, 0)
sock.bind(('::', 7001))
print('ready', flush=True)
while True:
    print(sock.recv(99).decode(), flush=True)
";

/// Sends from each address its text: `TO FROM…`.
const SEND: &str = "
import socket as s, sys
for source in sys.argv[2:]:
    sock = s.socket(s.AF_INET6 if ':' in source else s.AF_INET, s.SOCK_DGRAM)
    sock.bind((source, 0))
    sock.sendto(source.encode(), (sys.argv[1], 7001))
";

/// Which of these sources' datagrams reach the host's own port; the last one must.
fn arrive(world: &World, server: &mut Process, to: &str, sources: &[&str]) -> Result<Vec<String>> {
    let mut command = vec!["python3", "-c", SEND, to];
    command.extend(sources);
    let sent = world.lan_scope().run(&command)?;
    ensure!(sent.ok, "{}", sent.text());
    let mut came = Vec::new();
    while came.last().map(String::as_str) != sources.last().copied() {
        let line = server.line()?;
        ensure!(!line.is_empty(), "the server ended");
        came.push(line);
    }
    Ok(came)
}

#[test]
fn x07_a_container_s_address_from_outside() -> Outcome {
    let world = World::new()?;
    for devices in ["all", "default", "uplink"] {
        let key = format!("net/ipv4/conf/{devices}/rp_filter");
        world.host.sysctl(&key, "0")?;
    }
    let create = "network create --ipv6 --subnet 10.67.0.0/24 --subnet fd00:67::/64";
    let mut server = world.host_scope().spawn(&["python3", "-c", LISTEN])?;
    ensure!(server.line()? == "ready", "the server did not start");
    for (to, sources) in [
        ("198.51.100.1", ["10.67.0.77", "10.67.0.2", "10.68.0.9"]),
        (
            "2001:db8:100::1",
            ["fd00:67::77", "fd00:67::2", "fd00:68::9"],
        ),
    ] {
        for source in sources {
            world.lan.ip(&format!("addr add {source} dev lo"))?;
        }
        let all = sources.map(str::to_owned).to_vec();
        ensure!(
            arrive(&world, &mut server, to, &sources)? == all,
            "without a network"
        );
        world.ctl(&format!("{create} front"))?;
        let web = world.sandbox("web", &["front"])?;
        let before = world.drops("spoofed-address")?;
        let came = arrive(&world, &mut server, to, &sources)?;
        ensure!(came == all[2..], "{came:?}");
        let counted = world.drops("spoofed-address")? - before;
        ensure!(counted == 2, "{counted} were counted");
        // The container itself is heard.
        let sent = web.scope.run(&["python3", "-c", SEND, to, sources[1]])?;
        ensure!(sent.ok && server.line()? == sources[1], "{}", sent.text());
        // What the host itself routes to the outside comes from there.
        let prefix = if to.contains(':') {
            ("-6 ", 128)
        } else {
            ("", 32)
        };
        let route = format!("{}/{}", sources[0], prefix.1);
        world
            .host
            .ip(&format!("{}route add {route} dev uplink", prefix.0))?;
        let came = arrive(&world, &mut server, to, &sources)?;
        ensure!(came == [sources[0], sources[2]], "{came:?}");
        world
            .host
            .ip(&format!("{}route del {route} dev uplink", prefix.0))?;
        world.ctl("sandbox rm -f web")?;
        world.ctl("network rm front")?;
        // Addresses that are known outside may come back by a router.
        for option in [
            "-o com.docker.network.bridge.enable_ip_masquerade=false",
            "-o com.docker.network.bridge.gateway_mode_ipv4=routed -o com.docker.network.bridge.gateway_mode_ipv6=routed",
        ] {
            world.ctl(&format!("{create} {option} open"))?;
            let came = arrive(&world, &mut server, to, &sources)?;
            ensure!(came == all, "{option}: {came:?}");
            world.ctl("network rm open")?;
        }
    }
    Ok(())
}
