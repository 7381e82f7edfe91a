//! Docker's tutorial "Work with network commands", as it was written, by the docker CLI against netd's socket; the same
//! against the engine by itself. Its pings and what `inspect` shows are its statements.

use anyhow::{Context as _, ensure};
use netd_tests::engine::{Cli, Front, Pair, Suite};
use serde_json::{Value, json};

use crate::Outcome;

/// What a side of the tutorial runs on.
struct Side<'a> {
    who: &'static str,
    cli: &'a Cli,
}

impl Side<'_> {
    fn json(&self, words: &[&str]) -> anyhow::Result<Value> {
        let output = self.cli.docker_words(words)?;
        ensure!(output.ok, "{}: {words:?}: {}", self.who, output.text());
        serde_json::from_str(&output.stdout).with_context(|| format!("{words:?}"))
    }

    /// `docker network inspect`.
    fn network(&self, name: &str) -> anyhow::Result<Value> {
        Ok(self.json(&["network", "inspect", name])?[0].take())
    }

    /// `docker inspect --format='{{json .NetworkSettings.Networks}}'`.
    fn networks(&self, container: &str) -> anyhow::Result<Value> {
        let format = "--format={{json .NetworkSettings.Networks}}";
        self.json(&["inspect", format, container])
    }

    /// Names of the running containers that an inspected network shows, in order.
    fn members(&self, network: &str) -> anyhow::Result<Vec<String>> {
        let shown = self.network(network)?;
        let all = shown["Containers"].as_object().context("Containers")?;
        let names = all.values().filter_map(|c| c["Name"].as_str());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// Interfaces of a container with an IPv4 address, as `ifconfig` shows them: name and address.
    fn interfaces(&self, container: &str) -> anyhow::Result<Vec<(String, String)>> {
        let shown = self.cli.ok(&format!("exec {container} ifconfig"))?;
        let mut all: Vec<(String, String)> = Vec::new();
        for line in shown.lines() {
            if let Some(name) = line.split(' ').next().filter(|name| !name.is_empty()) {
                all.push((name.to_owned(), String::new()));
            }
            let address = line.trim().strip_prefix("inet addr:");
            let address = address.and_then(|rest| rest.split(' ').next());
            if let (Some(last), Some(address)) = (all.last_mut(), address) {
                last.1 = address.to_owned();
            }
        }
        Ok(all)
    }

    /// The address that a container has on a network.
    fn address(&self, container: &str, network: &str) -> anyhow::Result<String> {
        let shown = self.networks(container)?;
        let address = shown[network]["IPAddress"].as_str().unwrap_or_default();
        ensure!(
            !address.is_empty(),
            "{}: {container} on {network}: {shown}",
            self.who
        );
        Ok(address.to_owned())
    }

    /// A ping is answered, by this address.
    fn pings(&self, from: &str, to: &str, address: &str) -> Outcome {
        let output = self
            .cli
            .docker(&format!("exec {from} ping -c 1 -w 4 {to}"))?;
        let named = output.stdout.starts_with(&format!("PING {to} ({address})"));
        ensure!(
            output.ok && named,
            "{}: {from} to {to} at {address}: {}",
            self.who,
            output.text()
        );
        Ok(())
    }

    /// A name means nothing to a container.
    fn bad_address(&self, from: &str, to: &str) -> Outcome {
        let output = self
            .cli
            .docker(&format!("exec {from} ping -c 1 -w 4 {to}"))?;
        let wanted = format!("ping: bad address '{to}'");
        ensure!(
            !output.ok && output.stderr.contains(&wanted),
            "{}: {from} to {to}: {}",
            self.who,
            output.text()
        );
        Ok(())
    }

    /// An address does not answer.
    fn no_answer(&self, from: &str, to: &str) -> Outcome {
        let output = self
            .cli
            .docker(&format!("exec {from} ping -c 1 -w 1 {to}"))?;
        let lost = output.stdout.contains("100% packet loss");
        ensure!(
            !output.ok && lost,
            "{}: {from} to {to}: {}",
            self.who,
            output.text()
        );
        Ok(())
    }
}

#[test]
fn p04_the_tutorial_of_network_commands_runs_as_written() -> Outcome {
    let mut front = Front::start(Suite::Sid)?;
    let plain = front.plain()?.cli()?;
    let ours = front.cli()?;
    let pair = Pair::new(&ours, &plain);
    let sides = [("ours", &ours), ("the engine", &plain)].map(|(who, cli)| Side { who, cli });
    let each = |step: fn(&Side<'_>) -> Outcome| {
        std::thread::scope(|scope| {
            let all = sides.each_ref().map(|side| scope.spawn(move || step(side)));
            all.into_iter().try_for_each(|one| match one.join() {
                Ok(done) => done,
                Err(_) => anyhow::bail!("a side panics"),
            })
        })
    };
    pair.done(
        "docker network create simple-network
         docker network create -o com.docker.network.bridge.host_binding_ipv4=127.0.0.1 my-network
         docker run -d -P --name redis --network my-network web",
    )?;
    each(create_networks)?;
    pair.done(
        "docker run -itd --name=container1 --stop-signal=KILL busybox
         docker run -itd --name=container2 --stop-signal=KILL busybox
         docker network create -d bridge --subnet 172.25.0.0/16 isolated_nw
         docker network connect isolated_nw container2
         docker run --network=isolated_nw --ip=172.25.3.3 -itd --name=container3 --stop-signal=KILL busybox",
    )?;
    each(connect_containers)?;
    pair.done(
        "docker run --network=isolated_nw -itd --name=container4 --link container5:c5 --stop-signal=KILL busybox
         docker run --network=isolated_nw -itd --name=container5 --link container4:c4 --stop-signal=KILL busybox",
    )?;
    each(links)?;
    pair.done(
        "docker network create -d bridge --subnet 172.26.0.0/24 local_alias
         docker network connect --link container5:foo local_alias container4
         docker network connect --link container4:bar local_alias container5",
    )?;
    each(links_of_two_networks)?;
    pair.done("docker network disconnect isolated_nw container5")?;
    each(|side| {
        side.bad_address("container4", "c5")?;
        side.pings(
            "container4",
            "foo",
            &side.address("container5", "local_alias")?,
        )
    })?;
    pair.done(
        "docker run --network=isolated_nw -itd --name=container6 --network-alias app --stop-signal=KILL busybox
         docker network connect --alias scoped-app local_alias container6
         docker network connect isolated_nw container5
         docker network disconnect local_alias container5
         docker run --network=isolated_nw -itd --name=container7 --network-alias app --stop-signal=KILL busybox",
    )?;
    each(aliases)?;
    pair.done(
        "docker stop container6
         docker network disconnect isolated_nw container2",
    )?;
    each(disconnected)?;
    pair.done(
        "docker rm -f redis
         docker run -d --name redis --network my-network web
         docker network disconnect isolated_nw container3
         docker network disconnect isolated_nw container4
         docker network disconnect isolated_nw container5
         docker network disconnect isolated_nw container7",
    )?;
    each(|side| {
        let shown = side.network("isolated_nw")?;
        ensure!(shown["Containers"] == json!({}), "{}: {shown}", side.who);
        Ok(())
    })?;
    pair.done("docker network rm isolated_nw")?;
    each(|side| {
        let listed = side.cli.ok("network ls --format {{.Name}}")?;
        ensure!(!listed.contains("isolated_nw"), "{}: {listed}", side.who);
        ensure!(
            listed.contains("host") && listed.contains("none"),
            "{}: {listed}",
            side.who
        );
        Ok(())
    })?;
    front.close()
}

fn create_networks(side: &Side<'_>) -> Outcome {
    let shown = side.network("simple-network")?;
    for (key, wanted) in [
        ("Scope", json!("local")),
        ("Driver", json!("bridge")),
        ("Containers", json!({})),
        ("Options", json!({})),
    ] {
        ensure!(shown[key] == wanted, "{}: {key}: {shown}", side.who);
    }
    ensure!(
        shown["IPAM"]["Driver"] == "default",
        "{}: {shown}",
        side.who
    );
    let pools = shown["IPAM"]["Config"].as_array().map(Vec::len);
    ensure!(pools == Some(1), "{}: {shown}", side.who);
    let options = &side.network("my-network")?["Options"];
    let wanted = json!({"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"});
    ensure!(*options == wanted, "{}: {options}", side.who);
    let ports = side.cli.ok("ps --format {{.Ports}}")?;
    let bound = ports.starts_with("127.0.0.1:") && ports.ends_with("->80/tcp");
    ensure!(bound, "{}: docker ps: {ports}", side.who);
    Ok(())
}

fn connect_containers(side: &Side<'_>) -> Outcome {
    ensure!(side.members("isolated_nw")? == ["container2", "container3"]);
    let shown = side.networks("container3")?;
    let only = &shown["isolated_nw"];
    ensure!(
        shown.as_object().map(serde_json::Map::len) == Some(1),
        "{}: {shown}",
        side.who
    );
    for (key, wanted) in [
        ("IPAMConfig", json!({"IPv4Address": "172.25.3.3"})),
        ("Gateway", json!("172.25.0.1")),
        ("IPAddress", json!("172.25.3.3")),
        ("IPPrefixLen", json!(16)),
        ("GlobalIPv6Address", json!("")),
    ] {
        ensure!(only[key] == wanted, "{}: {key}: {only}", side.who);
    }
    let shown = side.networks("container2")?;
    let names: Vec<&String> = shown.as_object().context("networks")?.keys().collect();
    ensure!(
        names == ["bridge", "isolated_nw"],
        "{}: {names:?}",
        side.who
    );
    ensure!(
        shown["isolated_nw"]["IPAddress"] == "172.25.0.2",
        "{}: {shown}",
        side.who
    );
    let (one, isolated) = (
        side.address("container2", "bridge")?,
        "172.25.0.2".to_owned(),
    );
    let wanted = [
        ("eth0", one),
        ("eth1", isolated),
        ("lo", "127.0.0.1".into()),
    ];
    let wanted = wanted.map(|(name, address)| (name.to_owned(), address));
    ensure!(
        side.interfaces("container2")? == wanted,
        "{}: ifconfig",
        side.who
    );
    side.pings("container2", "container3", "172.25.3.3")?;
    // Names are not looked up on the default network, addresses are reached.
    side.bad_address("container2", "container1")?;
    let one = side.address("container1", "bridge")?;
    side.pings("container2", &one, &one)?;
    side.no_answer("container3", &one)
}

fn links(side: &Side<'_>) -> Outcome {
    let four = side.address("container4", "isolated_nw")?;
    let five = side.address("container5", "isolated_nw")?;
    side.pings("container4", "c5", &five)?;
    side.pings("container4", "container5", &five)?;
    side.pings("container5", "c4", &four)?;
    side.pings("container5", "container4", &four)?;
    // The name is the linking container's alone.
    side.bad_address("container3", "c5")
}

fn links_of_two_networks(side: &Side<'_>) -> Outcome {
    side.pings(
        "container4",
        "foo",
        &side.address("container5", "local_alias")?,
    )?;
    side.pings(
        "container4",
        "c5",
        &side.address("container5", "isolated_nw")?,
    )?;
    side.pings(
        "container5",
        "bar",
        &side.address("container4", "local_alias")?,
    )
}

fn aliases(side: &Side<'_>) -> Outcome {
    let six = side.address("container6", "isolated_nw")?;
    side.pings("container4", "container6", &six)?;
    side.pings(
        "container4",
        "scoped-app",
        &side.address("container6", "local_alias")?,
    )?;
    side.bad_address("container5", "scoped-app")?;
    let output = side.cli.docker("exec container4 ping -c 1 -w 4 app")?;
    let seven = side.address("container7", "isolated_nw")?;
    let one =
        [&six, &seven].map(|address| output.stdout.contains(&format!("PING app ({address})")));
    ensure!(
        output.ok && one.contains(&true),
        "{}: {}",
        side.who,
        output.text()
    );
    Ok(())
}

fn disconnected(side: &Side<'_>) -> Outcome {
    // The next one that has the alias answers for it.
    side.pings(
        "container4",
        "app",
        &side.address("container7", "isolated_nw")?,
    )?;
    // Only running containers are shown.
    let wanted = ["container3", "container4", "container5", "container7"];
    ensure!(
        side.members("isolated_nw")? == wanted,
        "{}: members",
        side.who
    );
    let shown = side.networks("container2")?;
    let names: Vec<&String> = shown.as_object().context("networks")?.keys().collect();
    ensure!(names == ["bridge"], "{}: {names:?}", side.who);
    let interfaces = side.interfaces("container2")?;
    let names: Vec<&str> = interfaces.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(names == ["eth0", "lo"], "{}: {names:?}", side.who);
    side.bad_address("container2", "container3")?;
    side.no_answer("container2", "172.25.3.3")?;
    let one = side.address("container1", "bridge")?;
    side.pings("container2", &one, &one)?;
    side.cli
        .refused("network rm isolated_nw", &["has active endpoints"])?;
    let said = side
        .cli
        .docker("network disconnect -f isolated_nw container2")?;
    ensure!(!said.ok, "{}: {}", side.who, said.text());
    Ok(())
}
