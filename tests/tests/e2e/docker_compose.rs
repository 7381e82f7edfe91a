//! Docker Compose of three ages against netd's socket, and the same against an engine without netd: both must come to the same.

use std::{collections::BTreeSet, fs, path::PathBuf, thread};

use anyhow::{Context as _, Result, ensure};
use netd_tests::{
    Output,
    engine::{Api, Cli, Compose, Front, Suite},
    wait_for,
    world::HOST_V4,
};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

use crate::Outcome;

/// A project with nearly all that Compose knows of networks.
const PROJECT: &str = include_str!("docker_compose/compose.yaml");

/// A client with its project, on one of the engines.
struct Site<'a> {
    cli: &'a Cli,
    api: Api,
    which: Compose,
    directory: PathBuf,
}

impl Site<'_> {
    fn compose(&self, line: &str) -> Result<String> {
        Ok(self.cli.compose(self.which, &self.directory, line)?.stdout)
    }

    /// Writes the project, with one text for another.
    fn write(&self, from: &str, to: &str) -> Outcome {
        let head = match self.which {
            // What came later has no use for a version.
            Compose::V1 => "version: '2.4'\n",
            _ => "",
        };
        let text = format!("{head}{}", PROJECT.replace(from, to));
        Ok(fs::write(self.directory.join("compose.yaml"), text)?)
    }

    /// Runs a line in a service's container.
    fn exec(&self, service: &str, line: &str) -> Result<Output> {
        let ids = self.ids()?;
        let id = ids.get(service).and_then(Value::as_str).unwrap_or_default();
        self.cli.docker(&format!("exec {id} {line}"))
    }

    /// Asks the web service by one of its names.
    fn ask(&self, name: &str) -> Outcome {
        let line = format!("wget -qO- http://{name}/cgi-bin/name");
        wait_for(name, 20, || {
            let asked = self.exec("client", &line).ok()?;
            (asked.ok && asked.stdout == "webhost\n").then_some(())
        });
        Ok(())
    }

    /// The ids of the project's containers by service.
    fn ids(&self) -> Result<Map<String, Value>> {
        let all = self.api.get("/containers/json?all=1")?;
        let rows = all.as_array().context("no list")?.iter();
        let rows = rows.filter_map(|row| {
            let service = row["Labels"]["com.docker.compose.service"].as_str()?;
            Some((service.to_owned(), row["Id"].clone()))
        });
        Ok(rows.collect())
    }

    /// What is told of the containers and networks, without what differs from run to run.
    fn shown(&self) -> Result<Value> {
        let mut all = Map::new();
        for (service, id) in self.ids()? {
            let id = id.as_str().unwrap_or_default();
            let shown = self.api.get(&format!("/containers/{id}/json"))?;
            let mut networks = shown["NetworkSettings"]["Networks"].clone();
            for settings in networks
                .as_object_mut()
                .context("no networks")?
                .values_mut()
            {
                plain(settings, &id[..12]);
            }
            let host = &shown["HostConfig"];
            let mode = host["NetworkMode"].as_str().unwrap_or_default();
            let mode = mode.split(':').next().unwrap_or_default();
            // Compose 1 leaves and joins each network after the container was made: an engine remembers the address of before.
            let mac_address = match self.which {
                Compose::V1 => None,
                _ => shown["Config"].get("MacAddress"),
            };
            all.insert(
                service,
                json!({
                    "Networks": networks, "Ports": shown["NetworkSettings"]["Ports"], "NetworkMode": mode,
                    "Runtime": host["Runtime"], "Annotations": host.get("Annotations"),
                    "Dns": [host["Dns"], host["DnsSearch"], host["DnsOptions"]], "Hosts": host["ExtraHosts"],
                    "PortBindings": host["PortBindings"], "MacAddress": mac_address,
                    "Hostname": shown["Config"]["Hostname"].as_str().filter(|name| *name == "webhost"),
                }),
            );
        }
        for name in ["front", "back"] {
            let mut network = self.api.get(&format!("/networks/shop_{name}"))?;
            let mut members: Vec<String> = Vec::new();
            for (_, member) in network["Containers"].as_object().into_iter().flatten() {
                members.push(member["Name"].as_str().unwrap_or_default().to_owned());
            }
            members.sort();
            network["Containers"] = members.into();
            for key in ["Id", "Created"] {
                network[key] = Value::Null;
            }
            if name == "back" {
                network["IPAM"] = Value::Null;
            }
            all.insert(format!("network {name}"), network);
        }
        Ok(all.into())
    }
}

/// Empties what differs from run to run, but not addresses that were asked for.
fn plain(settings: &mut Value, short: &str) {
    let asked = settings["IPAMConfig"].clone();
    for (key, wanted) in [
        ("IPAddress", &asked["IPv4Address"]),
        ("GlobalIPv6Address", &asked["IPv6Address"]),
    ] {
        if settings[key] != *wanted && settings[key] != "" {
            settings[key] = "chosen".into();
        }
    }
    for key in ["NetworkID", "EndpointID", "Gateway", "IPPrefixLen"] {
        let there = settings[key] != "" && settings[key] != 0;
        settings[key] = there.into();
    }
    if settings["MacAddress"] != "02:42:0a:4d:00:4d" {
        settings["MacAddress"] = Value::Null;
    }
    // Of an object without fields only nothing remains.
    if asked == json!({}) {
        settings["IPAMConfig"] = Value::Null;
    }
    // Clients give them in an order of their own.
    for key in ["Aliases", "DNSNames", "Links"] {
        let Some(names) = settings[key].as_array_mut() else {
            continue;
        };
        names.retain(|name| name != short);
        names.sort_by_key(Value::to_string);
    }
}

/// Both at once.
fn both<T: Send>(
    sites: [&Site<'_>; 2],
    work: impl Fn(&Site<'_>) -> Result<T> + Sync,
) -> Result<[T; 2]> {
    let [ours, plain] = sites;
    thread::scope(|scope| {
        let theirs = scope.spawn(|| work(plain).context("the engine"));
        let ours = work(ours).context("netd's socket")?;
        let theirs = theirs.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        Ok([ours, theirs])
    })
}

/// Everything that a client does with the project, from up to down; returns what was told on the way.
fn project(site: &Site<'_>) -> Result<Vec<Value>> {
    let mut told = Vec::new();
    site.cli.ok("network create outernet")?;
    site.write("", "")?;
    site.compose("up -d")?;
    let ids = site.ids()?;
    told.push(site.shown()?);
    site.compose("up -d")?;
    ensure!(site.ids()? == ids, "the second up made containers anew");
    for name in [
        "site",
        "shopfront",
        "shop",
        "web",
        "web.shop_front",
        "10.77.0.10",
        "[fd77::10]",
    ] {
        site.ask(name)?;
    }
    let said = site
        .exec("side", "nslookup -type=a database 127.0.0.11")?
        .text();
    ensure!(said.contains("Address: "), "beside the database: {said}");
    let resolv = site.compose("exec -T web cat /etc/resolv.conf")?;
    for part in ["nameserver 127.0.0.11", "search example.test", "timeout:1"] {
        ensure!(resolv.contains(part), "{resolv}");
    }
    let hosts = site.exec("web", "cat /etc/hosts")?.stdout;
    ensure!(hosts.contains("192.0.2.7\telsewhere"), "{hosts}");
    let mut ways = site.exec("web", "ip route")?.stdout;
    ways.truncate(ways.find(" dev").unwrap_or_default());
    told.push(json!([
        site.exec("lonely", "ip -o link")?.stdout.lines().count(),
        ways
    ]));
    told.push(json!([
        site.compose("port web 80")?,
        site.compose("port web 8091")?,
        site.compose("port --protocol udp web 53")?,
        site.compose("ps -q")?.lines().count(),
    ]));
    let page = site
        .cli
        .shell("curl -sS http://127.0.0.1:18080/ http://[::1]:18080/")?;
    ensure!(page.stdout == "ok\nok\n", "published: {}", page.text());

    site.compose("pause client")?;
    site.compose("unpause client")?;
    site.compose("restart -t 1 web")?;
    site.ask("site")?;
    site.compose("up -d --scale client=2")?;
    told.push(json!([
        site.compose("ps -q client")?.lines().count(),
        site.ids()?["web"] == ids["web"]
    ]));
    let said = site.compose("run --rm -T client nslookup -type=a shopfront 127.0.0.11")?;
    ensure!(said.contains("10.77.0.10"), "run: {said}");
    site.compose("kill client")?;
    site.compose("up -d client")?;
    // Made anew with the same fixed addresses, while the old one is still there.
    site.write("TRY:-1", "TRY:-2")?;
    if site.which == Compose::V1 {
        // It cannot do so itself with engines since 25, whose images have no `ContainerConfig`.
        site.compose("rm -sf web client")?;
    }
    site.compose("up -d")?;
    ensure!(
        site.ids()?["web"] != ids["web"],
        "the changed service was not made anew"
    );
    site.ask("10.77.0.10")?;
    told.push(site.shown()?);
    if site.which != Compose::V1 {
        site.write("10.77.0.128/25", "10.77.0.192/26")?;
        site.compose("up -d")?;
        told.push(site.api.get("/networks/shop_front")?["IPAM"].clone());
    }
    site.compose("down -v -t 1")?;
    attached(site)?;
    site.compose("down -t 1")?;
    site.cli.ok("network rm outernet")?;
    told.push(json!([
        site.cli.ok("ps -aq")?,
        site.cli.ok("network ls --format {{.Name}}")?
    ]));
    Ok(told)
}

/// `up` that stays, its logs, and an end by ctrl-C.
fn attached(site: &Site<'_>) -> Outcome {
    let loud = "['sh', '-c', \"trap 'exit 0' INT TERM; echo here I am; sleep 100000 & wait\"]";
    site.write(
        "image: busybox\n    command: sleep 100000\n    networks: [front",
        &format!("image: busybox\n    command: {loud}\n    networks: [front"),
    )?;
    let up = site
        .cli
        .compose_spawn(site.which, &site.directory, "up client")?;
    wait_for("the service to say something", 60, || {
        let logs = site
            .cli
            .compose_any(site.which, &site.directory, "logs client");
        logs.ok()?.stdout.contains("here I am").then_some(())
    });
    up.signal(Signal::SIGINT)?;
    let output = up.finish()?;
    ensure!(
        output.stdout.contains("here I am"),
        "attached: {}",
        output.text()
    );
    let left = site
        .cli
        .ok("ps -q --filter label=com.docker.compose.service=client")?;
    ensure!(left.is_empty(), "after ctrl-C {left} still runs");
    Ok(())
}

fn works(front: &mut Front, which: Compose) -> Outcome {
    let ours = front.cli()?;
    let plain = front.plain()?.cli()?;
    let (api, plain_api) = (front.api(), front.plain()?.api());
    let place = tempfile::tempdir()?;
    let site = |side: &str, cli, api| -> Result<Site<'_>> {
        // The directory names the project.
        let directory = place.path().join(side).join("shop");
        fs::create_dir_all(&directory)?;
        Ok(Site {
            cli,
            api,
            which,
            directory,
        })
    };
    let sites = [site("ours", &ours, api)?, site("plain", &plain, plain_api)?];
    let [said, theirs] = both([&sites[0], &sites[1]], project)?;
    let mut all = Vec::new();
    for (at, (said, theirs)) in said.iter().zip(&theirs).enumerate() {
        differ(&at.to_string(), said, theirs, &mut all);
    }
    ensure!(all.is_empty(), "{}", all.join("\n"));
    Ok(())
}

/// Tells where two values differ.
fn differ(path: &str, ours: &Value, theirs: &Value, all: &mut Vec<String>) {
    if let (Some(a), Some(b)) = (ours.as_object(), theirs.as_object()) {
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            differ(&format!("{path}/{key}"), &ours[key], &theirs[key], all);
        }
    } else if ours != theirs {
        all.push(format!("{path}: netd {ours}, the engine {theirs}"));
    }
}

#[test]
fn p05_compose_of_all_ages_works() -> Outcome {
    let mut front = Front::start(Suite::Sid)?;
    for which in Compose::ALL {
        works(&mut front, which).with_context(|| format!("Compose {which:?}"))?;
    }
    // From outside nothing is published any more.
    let page = front.world().lan_scope().run(&[
        "curl",
        "-sS",
        "-m",
        "1",
        &format!("http://{HOST_V4}:18080/"),
    ])?;
    ensure!(!page.ok, "{}", page.text());
    front.close()
}
