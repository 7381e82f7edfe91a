//! Docker's tutorial "Work with network commands", each step that is not about overlays, in its order and with its
//! names. N01 to N07 in one life; pings go by address.

use anyhow::{Context, ensure};
use netd_tests::{Sandbox, World};
use serde_json::json;

use crate::{Outcome, show};

/// The tutorial's world after a step, and who lives in it.
struct Tutorial {
    world: World,
    containers: Vec<Sandbox>,
}

impl Tutorial {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            world: World::new()?,
            containers: Vec::new(),
        })
    }

    /// `docker run -itd --name=NAME …`
    fn run(&mut self, words: &str) -> Outcome {
        self.containers.push(show::run(&self.world, words)?);
        Ok(())
    }

    fn container(&self, number: usize) -> anyhow::Result<&Sandbox> {
        let name = format!("container{number}");
        let mut all = self.containers.iter();
        all.find(|one| one.name == name)
            .with_context(|| format!("{name} is not there yet"))
    }

    /// The address that netctl shows for a container on a network.
    fn address(&self, number: usize, network: &str) -> anyhow::Result<std::net::IpAddr> {
        let name = format!("container{number}");
        let endpoint = show::endpoint(&self.world, &name, network)?;
        let endpoint = endpoint.with_context(|| format!("{name} is not on {network}"))?;
        let text = endpoint["IPv4Address"].as_str().unwrap_or_default();
        Ok(text.split('/').next().unwrap_or_default().parse()?)
    }

    fn pings(&self, from: usize, to: usize, network: &str) -> Outcome {
        let address = self.address(to, network)?;
        let answered = self.container(from)?.ping(address)?;
        ensure!(answered, "container{from} gets no echo from {address}");
        Ok(())
    }

    fn does_not_ping(&self, from: usize, to: std::net::IpAddr) -> Outcome {
        let answered = self.container(from)?.ping(to)?;
        ensure!(!answered, "container{from} gets an echo from {to}");
        Ok(())
    }

    fn create_networks(&mut self) -> Outcome {
        let world = &self.world;
        let id = world.ctl("network create simple-network")?;
        ensure!(id.len() == 64, "{id}");
        let simple = show::network(world, "simple-network")?;
        for (key, wanted) in [
            ("Name", json!("simple-network")),
            ("Id", json!(id)),
            ("Scope", json!("local")),
            ("Driver", json!("bridge")),
            ("Containers", json!({})),
            ("Options", json!({})),
        ] {
            ensure!(simple[key] == wanted, "{key}: {simple:#}");
        }
        let pool = &simple["IPAM"]["Config"][0];
        ensure!(simple["IPAM"]["Driver"] == "default", "{simple:#}");
        ensure!(
            pool["Subnet"].is_string() && pool["Gateway"].is_string(),
            "{pool}"
        );
        // In the tutorial 172.23.0.0/16 happens to be the next free pool.
        world.ctl("network create --subnet 172.23.0.0/16 -o com.docker.network.bridge.host_binding_ipv4=172.23.0.1 my-network")?;
        let options = &show::network(world, "my-network")?["Options"];
        ensure!(
            *options == json!({"com.docker.network.bridge.host_binding_ipv4": "172.23.0.1"}),
            "{options}"
        );
        Ok(())
    }

    fn connect_containers(&mut self) -> Outcome {
        self.run("--network bridge container1")?;
        self.run("--network bridge container2")?;
        let world = &self.world;
        world.ctl("network create -d bridge --subnet 172.25.0.0/16 isolated_nw")?;
        world.ctl("network connect isolated_nw container2")?;
        let network = show::network(world, "isolated_nw")?;
        let containers = network["Containers"].as_object().context("Containers")?;
        let one = containers.values().next().context("no container")?;
        ensure!(
            containers.len() == 1 && one["Name"] == "container2",
            "{network:#}"
        );
        ensure!(
            one["IPv4Address"] == "172.25.0.2/16" && one["IPv6Address"] == "",
            "{one}"
        );
        ensure!(
            one["EndpointID"].as_str().map(str::len) == Some(64),
            "{one}"
        );

        self.run("--network name=isolated_nw,ip=172.25.3.3 container3")?;
        let world = &self.world;
        let third = show::endpoint(world, "container3", "isolated_nw")?.context("container3")?;
        ensure!(
            third["IPv4Address"] == "172.25.3.3/16" && third["IPv4Gateway"] == "172.25.0.1",
            "{third}"
        );
        let second = show::sandbox(world, "container2")?;
        let networks: Vec<_> = second["Endpoints"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| one["Network"].clone())
            .collect();
        ensure!(
            networks == [json!("bridge"), json!("isolated_nw")],
            "{networks:?}"
        );
        let links = self.container(2)?.netns.ip("-br link")?;
        let mut names: Vec<&str> = links
            .lines()
            .filter_map(|line| line.split(['@', ' ']).next())
            .collect();
        names.sort_unstable();
        ensure!(names == ["eth0", "eth1", "lo"], "{links}");

        self.pings(2, 3, "isolated_nw")?;
        self.pings(2, 1, "bridge")?;
        self.does_not_ping(3, self.address(1, "bridge")?)?;
        // Stopped ones may be connected, and are not shown.
        self.world.ctl("sandbox create --stopped sleeping")?;
        self.world.ctl("network connect isolated_nw sleeping")?;
        let shown = show::members(&self.world, "isolated_nw")?;
        ensure!(shown == ["container2", "container3"], "{shown:?}");
        self.world.ctl("sandbox rm sleeping")?;
        Ok(())
    }

    fn link_containers(&mut self) -> Outcome {
        // container5 is not there yet.
        self.run("--network name=isolated_nw,link=container5:c5 container4")?;
        self.run("--network name=isolated_nw,link=container4:c4 container5")?;
        self.pings(4, 5, "isolated_nw")?;
        self.pings(5, 4, "isolated_nw")?;
        let world = &self.world;
        let fourth = show::endpoint(world, "container4", "isolated_nw")?.context("container4")?;
        ensure!(fourth["Links"] == json!(["container5:c5"]), "{fourth}");
        world.ctl("network create -d bridge --subnet 172.26.0.0/24 local_alias")?;
        world.ctl("network connect --link container5:foo local_alias container4")?;
        world.ctl("network connect --link container4:bar local_alias container5")?;
        self.pings(4, 5, "local_alias")?;
        self.pings(4, 5, "isolated_nw")?;
        let before = self.address(5, "isolated_nw")?;
        self.world
            .ctl("network disconnect isolated_nw container5")?;
        self.does_not_ping(4, before)?;
        self.pings(4, 5, "local_alias")
    }

    fn alias_containers(&mut self) -> Outcome {
        self.run("--network name=isolated_nw,alias=app container6")?;
        self.pings(4, 6, "isolated_nw")?;
        self.world
            .ctl("network connect --alias scoped-app local_alias container6")?;
        self.pings(4, 6, "local_alias")?;
        let world = &self.world;
        for (network, alias) in [("isolated_nw", "app"), ("local_alias", "scoped-app")] {
            let sixth = show::endpoint(world, "container6", network)?.context("container6")?;
            ensure!(sixth["Aliases"] == json!([alias]), "{sixth}");
        }
        self.run("--network name=isolated_nw,alias=app container7")?;
        let before = self.address(6, "isolated_nw")?;
        self.pings(4, 6, "isolated_nw")?;
        self.world.ctl("sandbox stop container6")?;
        self.does_not_ping(4, before)?;
        self.pings(4, 7, "isolated_nw")
    }

    fn disconnect_containers(&mut self) -> Outcome {
        self.world
            .ctl("network disconnect isolated_nw container2")?;
        let second = show::sandbox(&self.world, "container2")?;
        let endpoints = second["Endpoints"].as_array().context("Endpoints")?;
        ensure!(
            endpoints.len() == 1 && endpoints[0]["Network"] == "bridge",
            "{second:#}"
        );
        let shown = show::members(&self.world, "isolated_nw")?;
        ensure!(
            shown == ["container3", "container4", "container7"],
            "{shown:?}"
        );
        ensure!(
            self.container(2)?.netns.ip("link show eth1").is_err(),
            "eth1 is still there"
        );
        self.does_not_ping(2, self.address(3, "isolated_nw")?)?;
        self.pings(2, 1, "bridge")?;
        // A stale endpoint: its namespace went away without a word.
        let world = &mut self.world;
        world.ctl("network create multihost")?;
        let gone = world.namespace("redis")?;
        let path = gone.path().display().to_string();
        world.ctl(&format!(
            "sandbox create --netns {path} --network multihost redis_db"
        ))?;
        gone.remove()?;
        world.forget(&gone);
        world.ctl("network disconnect -f multihost redis_db")?;
        world.ctl("sandbox rm redis_db")?;
        show::run(world, "--network multihost redis_db")?;
        Ok(())
    }

    fn remove_a_network(&self) -> Outcome {
        let world = &self.world;
        world.refused(
            "network rm isolated_nw",
            &["isolated_nw", "active endpoints", "container3"],
        )?;
        for number in [3, 4, 7] {
            world.ctl(&format!("network disconnect isolated_nw container{number}"))?;
        }
        let network = show::network(world, "isolated_nw")?;
        ensure!(network["Containers"] == json!({}), "{network:#}");
        // container6 is stopped and holds nothing back.
        ensure!(
            world.ctl("network rm isolated_nw")? == "isolated_nw",
            "the answer of rm"
        );
        let names = world.ctl("network ls --format {{.Name}}")?;
        let names: Vec<&str> = names.lines().collect();
        ensure!(!names.contains(&"isolated_nw"), "{names:?}");
        for name in ["host", "bridge", "none"] {
            ensure!(names.contains(&name), "{name} is not in {names:?}");
        }
        world.refused("sandbox start container6", &["isolated_nw", "not found"])?;
        Ok(())
    }
}

#[test]
fn n01_n07_the_tutorial() -> Outcome {
    let mut tutorial = Tutorial::new()?;
    tutorial.create_networks().context("create networks")?;
    tutorial
        .connect_containers()
        .context("connect containers")?;
    tutorial.link_containers().context("links")?;
    tutorial.alias_containers().context("aliases")?;
    tutorial.disconnect_containers().context("disconnect")?;
    tutorial.remove_a_network().context("remove a network")
}
