//! Shows netd behind Docker's own clients, step by step: the main steps of Docker's tutorial of network commands and a Compose
//! project, on a real engine, through netd's socket. Each step prints its command, what came of it, and `ok` or `FAILED`.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Result, ensure};
use netd_tests::{
    Output, Scope,
    engine::{Cli, Compose, Front, Suite},
    wait_for,
    world::HOST_V4,
};

/// Two networks, aliases, fixed addresses, a link, published ports.
const PROJECT: &str = "services:
  web:
    image: web
    hostname: webhost
    ports: ['8080:80', '127.0.0.1:8443:80']
    networks:
      front: {aliases: [site], ipv4_address: 10.55.0.10, ipv6_address: 'fd55::10'}
      back: {}
  db:
    image: busybox
    command: sleep 100000
    stop_signal: SIGKILL
    networks: {back: {aliases: [database]}}
  client:
    image: busybox
    command: sleep 100000
    stop_signal: SIGKILL
    networks: [front]
    links: ['web:shop']
networks:
  front:
    enable_ipv6: true
    ipam: {config: [{subnet: 10.55.0.0/24}, {subnet: 'fd55::/64'}]}
  back: {internal: true}
";

/// Prints steps and remembers how many failed.
struct Show<'a> {
    cli: &'a Cli,
    steps: u32,
    failed: u32,
}

impl Show<'_> {
    fn title(&self, text: &str) {
        println!("\n== {text}");
    }

    fn told(&mut self, place: &str, line: &str, output: &str, ok: bool) {
        self.steps += 1;
        self.failed += u32::from(!ok);
        println!("{place}$ {line}");
        for line in output.lines().filter(|line| !line.trim().is_empty()) {
            println!("    {line}");
        }
        println!("    {}", if ok { "ok" } else { "FAILED" });
    }

    fn run(&mut self, line: &str, good: impl FnOnce(&Output) -> bool) -> Result<()> {
        let output = self.cli.shell(line)?;
        let ok = good(&output);
        self.told("host", line, &output.text(), ok);
        Ok(())
    }

    /// It must succeed.
    fn works(&mut self, line: &str) -> Result<()> {
        self.run(line, |output| output.ok)
    }

    /// It must succeed and print this.
    fn prints(&mut self, line: &str, word: &str) -> Result<()> {
        self.run(line, |output| output.ok && output.stdout.contains(word))
    }

    /// It must be refused, in these words.
    fn refused(&mut self, line: &str, word: &str) -> Result<()> {
        self.run(line, |output| !output.ok && output.stderr.contains(word))
    }

    /// It must get no answer.
    fn blocked(&mut self, line: &str) -> Result<()> {
        self.run(&format!("{line}   # must fail"), |output| {
            // 126 and 127: the probe itself could not run, which proves nothing.
            output.code.is_some_and(|code| code != 0 && code < 126)
        })
    }

    /// From another machine it must print this.
    fn outside(&mut self, lan: &Scope, line: &str, word: &str) -> Result<()> {
        let output = lan.run(&["sh", "-c", line])?;
        let ok = output.ok && output.stdout.contains(word);
        self.told("lan", line, &output.text(), ok);
        Ok(())
    }
}

fn main() -> ExitCode {
    match demo() {
        Ok((steps, 0)) => {
            println!("\nall {steps} steps passed, and nothing is left");
            ExitCode::SUCCESS
        }
        Ok((steps, failed)) => {
            println!("\n{steps} steps, {failed} FAILED");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How many steps there were, and how many failed.
fn demo() -> Result<(u32, u32)> {
    println!("Fetching what is missing, and starting an engine with netd in front of it …");
    let mut front = Front::start(Suite::Sid)?;
    let cli = front.cli()?;
    let lan = front.world().lan_scope();
    let mut show = Show {
        cli: &cli,
        steps: 0,
        failed: 0,
    };
    println!("Docker's API: unix://{}", front.socket().display());
    show.works("docker version --format 'client {{.Client.Version}}, engine {{.Server.Version}}'")?;
    let place = tempfile::tempdir()?;
    tutorial(&mut show)?;
    linked(&mut show)?;
    composed(&mut show, &lan, place.path())?;
    let (steps, failed) = (show.steps, show.failed);
    front.close()?;
    Ok((steps, failed))
}

const RUN: &str = "docker run -itd --stop-signal SIGKILL";
const PING: &str = "ping -q -c 1 -W 1";

fn tutorial(show: &mut Show<'_>) -> Result<()> {
    show.title("Networks");
    show.works("docker network create simple-network")?;
    show.prints(
        "docker network inspect simple-network",
        "\"Driver\": \"bridge\"",
    )?;
    show.works("docker network create -d bridge --subnet 172.25.0.0/16 isolated_nw")?;
    show.refused(
        "docker network create --subnet 172.25.3.0/24 other",
        "Pool overlaps",
    )?;
    show.prints("docker network ls", "isolated_nw")?;

    show.title("Containers join networks, at their start and later");
    show.works(&format!("{RUN} --name=container1 busybox"))?;
    show.works(&format!("{RUN} --name=container2 busybox"))?;
    show.works("docker network connect isolated_nw container2")?;
    show.works(&format!(
        "{RUN} --network=isolated_nw --ip=172.25.3.3 --name=container3 busybox"
    ))?;
    show.prints(
        "docker inspect --format='{{json .NetworkSettings.Networks}}' container3",
        "172.25.3.3",
    )?;
    show.prints("docker exec container2 ip -4 -o address", "172.25.0.")?;

    show.title("They meet on common networks, by address and by name");
    show.works(&format!("docker exec container2 {PING} 172.25.3.3"))?;
    show.works(&format!("docker exec container2 {PING} container3"))?;
    show.blocked(&format!("docker exec container1 {PING} 172.25.3.3"))?;
    show.blocked(&format!("docker exec container1 {PING} container3"))
}

fn linked(show: &mut Show<'_>) -> Result<()> {
    show.title("Links are one container's own names, aliases are for all");
    let on = format!("{RUN} --network=isolated_nw");
    show.works(&format!(
        "{on} --name=container4 --link container5:c5 busybox"
    ))?;
    show.works(&format!(
        "{on} --name=container5 --link container4:c4 busybox"
    ))?;
    show.works(&format!("docker exec container4 {PING} c5"))?;
    show.blocked(&format!("docker exec container2 {PING} c5"))?;
    show.works(&format!(
        "{on} --name=container6 --network-alias app busybox"
    ))?;
    show.works(&format!("docker exec container4 {PING} app"))?;
    show.works("docker network create -d bridge --subnet 172.26.0.0/24 local_alias")?;
    show.works("docker network connect --link container5:foo local_alias container4")?;
    show.works("docker network connect local_alias container5")?;
    show.works("docker network connect --alias scoped-app local_alias container6")?;
    show.works(&format!("docker exec container4 {PING} foo"))?;
    show.works(&format!("docker exec container4 {PING} scoped-app"))?;
    show.blocked(&format!("docker exec container2 {PING} scoped-app"))?;
    show.works(&format!(
        "{on} --name=container7 --network-alias app busybox"
    ))?;
    show.works("docker stop container6")?;
    show.works(&format!("docker exec container4 {PING} app"))?;

    show.title("And leave");
    show.refused("docker network rm isolated_nw", "has active endpoints")?;
    show.works("docker network disconnect isolated_nw container2")?;
    show.blocked(&format!("docker exec container2 {PING} 172.25.3.3"))?;
    show.works(
        "docker rm -f container1 container2 container3 container4 container5 container6 container7",
    )?;
    show.works("docker network rm isolated_nw local_alias simple-network")
}

fn composed(show: &mut Show<'_>, lan: &Scope, place: &Path) -> Result<()> {
    show.title("A Compose project: two networks, aliases, fixed addresses, a link, ports");
    let directory = place.join("shop");
    fs::create_dir(&directory)?;
    fs::write(directory.join("compose.yaml"), PROJECT)?;
    let file = directory.join("compose.yaml").display().to_string();
    show.works(&format!("cat {file}"))?;
    let compose = format!("docker compose -f {file}");
    show.works(&format!("{compose} up -d"))?;
    show.prints(&format!("{compose} ps"), "0.0.0.0:8080->80/tcp")?;
    let line = "exec -T client wget -qO- http://web/cgi-bin/name";
    wait_for("the service to answer", 20, || {
        let asked = show.cli.compose_any(Compose::V2, &directory, line);
        asked.ok()?.ok.then_some(())
    });
    for name in ["site", "shop", "web", "10.55.0.10", "[fd55::10]"] {
        show.prints(
            &format!("{compose} exec -T client wget -qO- http://{name}/cgi-bin/name"),
            "webhost",
        )?;
    }
    show.works(&format!("{compose} exec -T web {PING} database"))?;
    show.blocked(&format!("{compose} exec -T client {PING} database"))?;
    show.prints(&format!("{compose} port web 80"), "0.0.0.0:8080")?;
    show.prints("curl -sS http://127.0.0.1:8443/", "ok")?;
    show.outside(lan, &format!("curl -sS http://{HOST_V4}:8080/"), "ok")?;
    let asked = format!("curl -sS http://{HOST_V4}:8080/cgi-bin/client");
    show.outside(lan, &asked, &netd_tests::world::LAN_V4.to_string())?;
    show.works(&format!("{compose} down -v -t 1"))?;
    let left = show.cli.ok("ps -aq")?;
    ensure!(left.is_empty(), "left behind: {left}");
    show.run("docker network ls --format '{{.Name}}'", |output| {
        output.stdout == "bridge\nhost\nnone\n"
    })
}
