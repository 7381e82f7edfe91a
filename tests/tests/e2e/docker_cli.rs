//! The docker CLI against netd's socket, and the same lines against the engine by itself: exit code, output and messages
//! must be the same. What differs by intent is asked of netd's socket alone.

use std::time::Instant;

use anyhow::ensure;
use netd_tests::{
    engine::{Cli, Front, Pair, Suite},
    wait_for,
    world::HOST_V4,
};

use crate::Outcome;

/// Lines of a shell for both sides, by what they are about.
const LINES: [(&str, &str); 5] = [
    ("network", include_str!("docker_cli/network.sh")),
    ("run", include_str!("docker_cli/run.sh")),
    ("ports", include_str!("docker_cli/ports.sh")),
    ("connect", include_str!("docker_cli/connect.sh")),
    ("lifecycle", include_str!("docker_cli/lifecycle.sh")),
];

#[test]
fn p04_the_cli_answers_as_before_the_engine_itself() -> Outcome {
    let mut front = Front::start(Suite::Sid)?;
    let plain = front.plain()?.cli()?;
    let ours = front.cli()?;
    let mut pair = Pair::new(&ours, &plain);
    for (name, lines) in LINES {
        let begun = Instant::now();
        pair.same(lines)?;
        front.clear()?;
        eprintln!("{name}: {:?}", begun.elapsed());
    }
    pair.judged()?;
    ports(&mut front, &ours)?;
    front.clear()?;
    events(&ours)?;
    front.clear()?;
    stuck(&ours)?;
    front.close()
}

/// What is published is reached from the LAN, and what a filter, `port` and `ps` say of it is where it is.
fn ports(front: &mut Front, ours: &Cli) -> Outcome {
    ours.ok("run -d --name web1 -p 9000-9010:80 web")?;
    ours.ok("run -d --name web2 -p 9000-9010:80 web")?;
    let listed = ours.ok("ps --filter publish=9001 --format {{.Names}}")?;
    ensure!(
        listed == "web2",
        "the second one has the next port: {listed}"
    );
    ours.ok("run -d --name sctp -p 86/sctp web")?;
    let said = ours.ok("port sctp")?;
    // Its checksum covers the port, so that another number could not be its own.
    ensure!(said.contains("86/sctp -> 0.0.0.0:86"), "{said}");
    let name = |port: u16| {
        let url = format!("http://{HOST_V4}:{port}/cgi-bin/name");
        let lan = front.world().lan_scope();
        wait_for("a web server to answer the LAN", 10, || {
            let output = lan.run(&["curl", "-sS", "-m", "2", &url]).ok()?;
            output.ok.then(|| output.stdout.trim().to_owned())
        })
    };
    let mut name = name;
    let (first, second) = (name(9000), name(9001));
    let ids = ours.ok("ps -q --filter name=web1")? + &ours.ok("ps -q --filter name=web2")?;
    ensure!(
        first.clone() + &second == ids,
        "{first} and {second}, not {ids}"
    );
    let said = ours.refused(
        "run --rm -p 9000-9001:80 busybox true",
        &["all ports are allocated of 9000-9001:80/tcp"],
    )?;
    ensure!(!said.contains("OCI runtime"), "{said}");
    ours.refused(
        "run --name late -p 9000:80 busybox true",
        &["connectivity on endpoint late: Bind for 0.0.0.0:9000 failed: port is already allocated by web1"],
    )?;
    let said = ours.ok("inspect -f {{.State.Error}} late")?;
    ensure!(
        said.starts_with("failed to set up container networking: driver failed"),
        "{said}"
    );
    ours.refused(
        "run --rm -p 192.0.2.9:80:80 busybox true",
        &["failed to bind host port for 192.0.2.9:80:80/tcp: cannot assign requested address"],
    )?;
    Ok(())
}

/// The engine's own network `none`, which containers are on behind the scenes, is in no event; what happened before is told
/// of containers, too, that are gone by now.
fn events(ours: &Cli) -> Outcome {
    ours.ok("network create --subnet 10.63.0.0/24 ev")?;
    ours.ok("run --rm --name box --network ev busybox true")?;
    ours.ok("run --rm --name alone --network none busybox true")?;
    ours.ok("network rm ev")?;
    // To the nanosecond: of `0s` the CLI makes whole seconds.
    let said = ours.shell(
        "docker events --since 1h --until $(date +%s.%N) --filter type=network \
         --format '{{.Action}} {{.Actor.Attributes.name}}'",
    )?;
    let told: Vec<&str> = said.stdout.lines().collect();
    let wanted = [
        "create ev",
        "connect ev",
        "disconnect ev",
        "connect none",
        "disconnect none",
        "destroy ev",
    ];
    ensure!(told.ends_with(&wanted), "{}", said.text());
    Ok(())
}

/// A container whose network is gone can be taken off it, and starts then.
fn stuck(ours: &Cli) -> Outcome {
    ours.ok("network create gone")?;
    ours.ok("create --name box --network gone busybox sleep 100000")?;
    ours.ok("network rm gone")?;
    ours.refused("start box", &["network gone not found"])?;
    ours.ok("network disconnect gone box")?;
    ours.refused("network disconnect gone box", &["network gone not found"])?;
    ours.ok("network connect bridge box")?;
    ours.ok("start box")?;
    Ok(())
}
