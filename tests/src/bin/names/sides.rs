//! Both sides: a sandbox of netd and a container of Docker, each with the same names around it and the same name server
//! behind it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use netd_tests::{
    Netns, World,
    dns::{Nameserver, dig},
    docker::Docker,
    run::Scope,
    world::LAN_V4,
};
use serde_json::{Value, json};

/// Where Docker's host is on its link to the name server, and where the server is on it.
const DOCKERS: [&str; 2] = ["198.51.101.1", "198.51.101.2"];

/// Names on the network beside the asker's own; each has an alias, too.
const NAMES: [&str; 4] = ["web", "db", "cache", "queue"];

/// Who is measured.
pub struct Side {
    /// Programs that ask.
    pub scope: Scope,
    /// The daemon that answers.
    pub pid: u32,
}

/// netd first, then Docker.
pub struct Sides {
    both: [Side; 2],
    docker: Docker,
    _names: Nameserver,
    local: PathBuf,
    forwarded: PathBuf,
    world: World,
}

impl Sides {
    /// Starts everything and asks each side for one name of each kind.
    pub fn new() -> Result<Self> {
        let world = World::with_resolvers(&[LAN_V4.into()], "")?;
        let docker = Docker::start()?;
        docker.netns().ip(&format!(
            "link add names type veth peer name docker netns {}",
            world.lan.name()
        ))?;
        for (ns, link, address) in [
            (docker.netns(), "names", DOCKERS[0]),
            (&world.lan, "docker", DOCKERS[1]),
        ] {
            ns.ip(&format!("addr add {address}/24 dev {link}"))?;
            ns.ip(&format!("link set {link} up"))?;
        }
        let listen = [(LAN_V4, 53).into(), format!("{}:53", DOCKERS[1]).parse()?];
        let names = Nameserver::start(&world.lan, &world.lan_scope(), &listen, &["--quiet"])?;
        let local = world.directory().join("local.txt");
        let lines: String = NAMES
            .iter()
            .flat_map(|name| [format!("{name} A\n"), format!("{name}-alias A\n")])
            .collect();
        fs::write(&local, lines)?;
        let forwarded = world.directory().join("forwarded.txt");
        let lines: String = (0..1000).map(|n| format!("n{n}.example A\n")).collect();
        fs::write(&forwarded, lines)?;
        let both = [netd(&world)?, docks(&docker)?];
        for side in &both {
            for name in ["web A", "db-alias A", "n7.example A"] {
                let answer = dig(&side.scope, name)?;
                anyhow::ensure!(answer.has_addresses(), "{}", answer.text);
            }
        }
        Ok(Self {
            both,
            docker,
            _names: names,
            local,
            forwarded,
            world,
        })
    }

    /// netd, Docker.
    pub fn both(&self) -> &[Side; 2] {
        &self.both
    }

    /// Questions for names of the network.
    pub fn local(&self) -> &Path {
        &self.local
    }

    /// Questions for others.
    pub fn forwarded(&self) -> &Path {
        &self.forwarded
    }

    /// Ends both; nothing is left.
    pub fn end(self) -> Result<()> {
        let mut world = self.world;
        self.docker.stop().context("stopping Docker")?;
        world.close()
    }
}

fn netd(world: &World) -> Result<Side> {
    world.ctl("network create front")?;
    for name in NAMES {
        world.ctl(&format!(
            "sandbox create --network name=front,alias={name}-alias {name}"
        ))?;
    }
    let asker = world.sandbox("asker", &["front"])?;
    Ok(Side {
        scope: asker.scope,
        pid: world.daemon_pid().context("netd does not run")?,
    })
}

fn docks(docker: &Docker) -> Result<Side> {
    docker.post("/networks/create", &json!({"Name": "front"}))?;
    let host = json!({"NetworkMode": "none", "Dns": [DOCKERS[1]]});
    for name in NAMES {
        start(docker, name, &host, &[&format!("{name}-alias")])?;
    }
    let asker = start(docker, "asker", &host, &[])?;
    let shown = docker.get(&format!("/containers/{asker}/json"))?;
    let pid = shown["State"]["Pid"].as_u64().context("no Pid")?;
    let inside = Netns::at("asker", format!("/proc/{pid}/ns/net"));
    Ok(Side {
        scope: inside.scope(),
        pid: docker.pid()?,
    })
}

/// A container on the network.
fn start(docker: &Docker, name: &str, host: &Value, aliases: &[&str]) -> Result<String> {
    let id = docker.container(name, host)?;
    docker.post("/networks/none/disconnect", &json!({"Container": id}))?;
    let wanted = json!({"Container": id, "EndpointConfig": {"Aliases": aliases}});
    docker.post("/networks/front/connect", &wanted)?;
    docker.post(&format!("/containers/{id}/start"), &Value::Null)?;
    Ok(id)
}
