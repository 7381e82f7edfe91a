//! Containers made through netd's socket keep its networks: through all that a container lives through, and through the deaths of the
//! engine, of netd and of the socket.

use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use netd_tests::{
    engine::{Cli, Front, Suite},
    wait_for, world,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::Outcome;

/// Two networks with both families; `web` is on both and published, `cli` and `bcli` on one each.
pub fn set_up(cli: &Cli, more: &str) -> Result<()> {
    cli.ok("network create --ipv6 front")?;
    cli.ok("network create --ipv6 back")?;
    run_web(cli, more)?;
    let sleeper = "--stop-signal KILL busybox sleep 100000";
    cli.ok(&format!(
        "run -d {more} --name cli --network front {sleeper}"
    ))?;
    cli.ok(&format!(
        "run -d {more} --name bcli --network back {sleeper}"
    ))?;
    Ok(())
}

fn run_web(cli: &Cli, more: &str) -> Result<()> {
    cli.ok(&format!(
        "run -d {more} --name web --network front --network-alias www -p 8080:80 web"
    ))?;
    cli.ok("network connect --alias behind back web")?;
    Ok(())
}

/// What is not as it should be: names, both families, both networks, the published port from the LAN.
pub fn wrong(front: &mut Front, web: &str) -> Result<Vec<String>> {
    let cli = front.cli()?;
    let script = format!(
        "for n in {web} www; do wget -T 3 -qO- http://$n/ | grep -qx ok || echo $n; done; for v in -4 -6; do ping $v -c1 -W2 {web} >/dev/null || echo ping $v; done"
    );
    let behind = "wget -T 3 -qO- http://behind/ | grep -qx ok || echo behind; ping -6 -c1 -W2 behind >/dev/null || echo ping -6 behind";
    let mut wrong = Vec::new();
    for (name, script) in [("cli", script.as_str()), ("bcli", behind)] {
        let output = cli.docker_words(&["exec", name, "sh", "-c", script])?;
        if !output.text().trim().is_empty() {
            wrong.push(format!("from {name}: {}", output.text().trim()));
        }
    }
    let lan = front.world().lan_scope();
    for host in [
        format!("http://{}:8080/", world::HOST_V4),
        format!("http://[{}]:8080/", world::HOST_V6),
    ] {
        let output = lan.run(&["curl", "-gsS", "-m", "3", &host])?;
        if output.stdout.trim() != "ok" {
            wrong.push(format!("{host}: {}", output.text().trim()));
        }
    }
    Ok(wrong)
}

/// Refuses when something is not as it should be.
pub fn check(front: &mut Front, what: &str) -> Result<()> {
    let wrong = wrong(front, "web")?;
    ensure!(wrong.is_empty(), "after {what}: {}", wrong.join("; "));
    Ok(())
}

/// Waits until all is as it should be.
fn comes_back(front: &mut Front, what: &str) {
    wait_for(&format!("the networks after {what}"), 40, || {
        wrong(front, "web")
            .is_ok_and(|w| w.is_empty())
            .then_some(())
    });
}

/// Names of netd's sandboxes.
fn sandboxes(front: &mut Front) -> Result<Vec<String>> {
    let said = front.world().ctl("sandbox ls")?;
    let rows = said.lines().skip(1);
    let names = rows.filter_map(|row| row.split_whitespace().nth(1));
    Ok(names.map(str::to_owned).collect())
}

fn pid_of(cli: &Cli, name: &str) -> Result<u32> {
    Ok(cli
        .ok(&format!("inspect -f {{{{.State.Pid}}}} {name}"))?
        .parse()?)
}

fn kill9(pid: u32) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?)
}

#[test]
fn p05_containers_keep_their_networks_through_their_lives() -> Outcome {
    let mut front = Front::start(Suite::Sid)?;
    let cli = front.cli()?;
    set_up(&cli, "")?;
    check(&mut front, "the start")?;
    for line in [
        "restart -t 0 web",
        "kill web",
        "start web",
        "pause web",
        "unpause web",
    ] {
        cli.ok(line)?;
        if line == "kill web" {
            cli.refused("exec cli nslookup web", &[])?;
        }
        if !line.starts_with("kill") && !line.starts_with("pause") {
            check(&mut front, line)?;
        }
    }
    // Names follow at once.
    cli.ok("rename web other")?;
    cli.refused("exec cli nslookup web", &[])?;
    ensure!(wrong(&mut front, "other")?.is_empty(), "renamed");
    cli.ok("rename other web")?;

    // Connected and left in each state.
    for (before, after) in [
        ("", ""),
        ("pause web", "unpause web"),
        ("stop -t 0 web", "start web"),
    ] {
        if !before.is_empty() {
            cli.ok(before)?;
        }
        cli.ok("network disconnect back web")?;
        if before.is_empty() {
            cli.refused("exec bcli nslookup behind", &[])?;
        }
        cli.ok("network connect --alias behind back web")?;
        if !after.is_empty() {
            cli.ok(after)?;
        }
        check(
            &mut front,
            &format!("connecting between {before:?} and {after:?}"),
        )?;
    }
    cli.ok("rm -f web")?;
    cli.ok("create --name web --network front --network-alias www -p 8080:80 web")?;
    cli.ok("network connect --alias behind back web")?;
    cli.ok("start web")?;
    check(&mut front, "connecting before the start")?;

    // Policies, without a request.
    cli.ok("update --restart always web")?;
    let pid = pid_of(&cli, "web")?;
    kill9(pid)?;
    wait_for("the policy to restart web", 20, || {
        pid_of(&cli, "web")
            .ok()
            .filter(|new| ![0, pid].contains(new))
    });
    comes_back(&mut front, "its first process was killed");
    let script = "ping -c1 cli; exit 3";
    let run = "run -d --name fails --restart on-failure:2 --network front busybox sh -c";
    let words: Vec<&str> = run.split(' ').chain([script]).collect();
    ensure!(cli.docker_words(&words)?.ok, "{words:?}");
    wait_for("the policy to give up", 20, || {
        let said = cli
            .ok("inspect -f {{.State.Status}}{{.RestartCount}} fails")
            .ok()?;
        (said == "exited2").then_some(())
    });
    let log = cli.docker("logs fails")?.text();
    ensure!(log.matches("1 packets received").count() == 3, "{log}");

    // A network that went while nothing runs on it, and came again.
    cli.ok("network create late")?;
    cli.ok("create --name later --network late busybox ping -c1 later")?;
    cli.ok("network rm late")?;
    cli.refused(
        "start later",
        &["failed to set up container networking: network late not found"],
    )?;
    cli.ok("network create late")?;
    cli.ok("start -a later")?;
    cli.ok("rm later fails")?;
    cli.ok("network rm late")?;

    // The engine's own container is left alone.
    let engine = front.engine()?.cli()?;
    engine.ok("run -d --name own busybox sleep 1000")?;
    cli.ok("exec own ping -c1 -W2 172.17.0.1")?;
    cli.refused(
        "network connect front own",
        &["was not made through netd's socket"],
    )?;
    cli.ok("rm -f own")?;
    engine.refused(
        "run --rm --network front busybox true",
        &["network front not found"],
    )?;
    front.close()
}

#[test]
fn p05_names_are_free_at_once_and_nothing_stays() -> Outcome {
    let mut front = Front::start(Suite::Sid)?;
    let cli = front.cli()?;
    cli.ok("network create front")?;
    cli.ok("run -d --name peer --network front --stop-signal KILL busybox sleep 100000")?;
    let links = |front: &mut Front| -> Result<usize> {
        Ok(front.world().host.ip("-o link show")?.lines().count())
    };
    let adapter = front.adapter_pid().context("no adapter")?;
    let files = || fs::read_dir(format!("/proc/{adapter}/fd")).map(Iterator::count);
    let before = (links(&mut front)?, files()?);
    for _ in 0..8 {
        cli.ok("run --rm --name loop --network front -p 8081:80 busybox ping -c1 -W2 peer")?;
    }
    // Ports that netd chooses are never given twice, however many begin at once.
    for _ in 0..2 {
        let all: Vec<Result<String>> = thread::scope(|scope| {
            let work = |i: usize| {
                let cli = &cli;
                scope.spawn(move || {
                    cli.ok(&format!(
                        "run --rm --name many{i} --network front -p 80 busybox ping -c1 -W5 peer"
                    ))
                })
            };
            let running: Vec<_> = (0..12).map(work).collect();
            let ended = running.into_iter().map(|thread| thread.join());
            ended
                .map(|r| r.unwrap_or_else(|_| Err(anyhow::anyhow!("panicked"))))
                .collect()
        });
        for one in all {
            one?;
        }
    }
    cli.ok("run --name stopped --network front busybox true")?;
    cli.ok("container prune -f")?;
    ensure!(
        !sandboxes(&mut front)?.contains(&"stopped".to_owned()),
        "pruned, and still there"
    );
    wait_for("the sandboxes to go", 10, || {
        (sandboxes(&mut front).ok()? == ["peer"]).then_some(())
    });
    wait_for("links and files to go", 10, || {
        (links(&mut front).ok()? == before.0 && files().ok()? <= before.1 + 2).then_some(())
    });
    front.close()
}

#[test]
fn p05_containers_outlive_netd_and_the_socket() -> Outcome {
    let mut front = Front::start(Suite::Sid)?;
    let cli = front.cli()?;
    set_up(&cli, "--restart always")?;
    cli.ok("run -d --name goes --network front --stop-signal KILL busybox sleep 100000")?;
    let address = cli.ok("inspect -f {{.NetworkSettings.Networks.front.IPAddress}} web")?;

    front.world().kill()?;
    // What needs no networks goes on, and containers keep talking.
    cli.ok(&format!("exec cli wget -T 3 -qO- http://{address}/"))?;
    cli.ok("logs web")?;
    ensure!(cli.ok("ps --format {{.Names}}")?.contains("web"), "ps");
    cli.refused(
        "run --rm --network front busybox true",
        &["netd cannot be reached"],
    )?;
    cli.ok("stop -t 0 goes")?;
    cli.ok("rm goes")?;
    cli.ok("rename bcli renamed")?;
    front.world().start()?;
    wait_for("netd to follow", 15, || {
        let names = sandboxes(&mut front).ok()?;
        let gone = !names.contains(&"goes".to_owned());
        (gone && names.contains(&"renamed".to_owned())).then_some(())
    });
    cli.ok("rename renamed bcli")?;
    check(&mut front, "netd was killed")?;

    // The socket is killed in the middle of creates: each container is whole, or does not start without networks.
    let api = front.api();
    let makers: Vec<_> = (0..16)
        .map(|i| {
            let api = api.clone();
            thread::spawn(move || {
                let body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "front"}});
                drop(api.post(&format!("/containers/create?name=half{i}"), &body));
            })
        })
        .collect();
    let engine = front.engine()?.api();
    wait_for("the first of them", 20, || {
        let all = engine
            .get("/containers/json?all=1&filters=%7B%22name%22%3A%5B%22half%22%5D%7D")
            .ok()?;
        (!all.as_array()?.is_empty()).then_some(())
    });
    front.unserve(Signal::SIGKILL)?;
    for maker in makers {
        ensure!(maker.join().is_ok(), "panicked");
    }
    front.serve(&[])?;
    let half = cli.ok("ps -aq --no-trunc --filter name=half")?;
    for id in half.lines() {
        let known = front.world().netctl(&["sandbox", "inspect", id])?.ok;
        match known {
            true => drop(cli.ok(&format!("start {id}"))?),
            false => drop(cli.refused(
                &format!("start {id}"),
                &["remove the container and create it again"],
            )?),
        }
        cli.ok(&format!("rm -f {id}"))?;
    }
    check(&mut front, "the socket was killed")?;
    front.close()
}

#[test]
fn p05_containers_come_back_with_the_engine() -> Outcome {
    let mut front = Front::start(Suite::Sid)?;
    let cli = front.cli()?;
    front.engine()?.configure(&json!({"live-restore": true}))?;
    front.engine()?.restart()?;
    set_up(&cli, "--restart always")?;

    // Left alive: the same processes, the published port meanwhile, no matter who dies.
    let pid = pid_of(&cli, "web")?;
    front.engine()?.kill9()?;
    front.world().kill()?;
    front.unserve(Signal::SIGKILL)?;
    let lan = front.world().lan_scope();
    let said = lan.run(&[
        "curl",
        "-sS",
        "-m",
        "3",
        &format!("http://{}:8080/", world::HOST_V4),
    ])?;
    ensure!(said.stdout.trim() == "ok", "{}", said.text());
    front.world().start()?;
    front.engine()?.launch()?;
    front.serve(&[])?;
    ensure!(pid_of(&cli, "web")? == pid, "another process");
    check(&mut front, "all three were killed")?;

    // The shim's death is the container's; the policy makes a new one.
    let parent = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let parent = parent.lines().find_map(|line| line.strip_prefix("PPid:"));
    kill9(parent.context("no parent")?.trim().parse()?)?;
    wait_for("the policy to restart web", 30, || {
        pid_of(&cli, "web")
            .ok()
            .filter(|new| ![0, pid].contains(new))
    });
    comes_back(&mut front, "the shim was killed");

    // As at boot, the engine before netd, which comes only after the engine has given up: it is told to start them again.
    front.engine()?.configure(&json!({"live-restore": false}))?;
    front.engine()?.restart()?;
    comes_back(&mut front, "the engine ended");
    front.engine()?.stop()?;
    front.world().kill()?;
    front.engine()?.launch()?;
    let engine = front.engine()?.cli()?;
    wait_for("the engine to give up", 40, || {
        let said = engine
            .ok("inspect -f {{.State.Status}}{{.State.Error}} web cli bcli")
            .ok()?;
        (said
            .lines()
            .filter(|l| l.starts_with("exited") && l.contains("cannot reach netd"))
            .count()
            == 3)
            .then_some(())
    });
    front.world().start()?;
    comes_back(&mut front, "netd came late");
    front.close()
}
