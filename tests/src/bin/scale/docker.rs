//! Docker's figures, over its API socket as an orchestrator would ask.

use std::time::Instant;

use anyhow::{Context, Result};
use netd_tests::docker::Docker;
use serde_json::{Value, json};

use crate::Figures;

/// Repetitions of each operation.
const ROUNDS: usize = 30;

/// Networks, connections and containers.
pub fn measure() -> Result<()> {
    println!("\nDocker Engine");
    let docker = Docker::start()?;
    let version = docker.get("/version")?;
    println!("  version {}", version["Version"].as_str().unwrap_or("?"));
    let mut create = Figures::default();
    for n in 0..ROUNDS {
        let body = json!({"Name": format!("n{n}"), "IPAM": {"Config": [{"Subnet": format!("10.201.{n}.0/24")}]}});
        let begun = Instant::now();
        docker.post("/networks/create", &body)?;
        create.add(begun.elapsed());
    }
    create.print("  network create, alone");
    let holder = docker.container("holder", &json!({"NetworkMode": "n0"}))?;
    docker.post(&format!("/containers/{holder}/start"), &Value::Null)?;
    let (mut connect, mut disconnect) = (Figures::default(), Figures::default());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        docker.post("/networks/n1/connect", &json!({"Container": holder}))?;
        connect.add(begun.elapsed());
        let begun = Instant::now();
        docker.post("/networks/n1/disconnect", &json!({"Container": holder}))?;
        disconnect.add(begun.elapsed());
    }
    connect.print("  connect, alone");
    disconnect.print("  disconnect, alone");
    for (what, host) in [
        ("none", json!({"NetworkMode": "none"})),
        ("a bridge network", json!({"NetworkMode": "n2"})),
        (
            "a bridge network and a port",
            json!({"NetworkMode": "n3", "PortBindings": {"80/tcp": [{"HostPort": "18080"}]}}),
        ),
    ] {
        let mut start = Figures::default();
        for n in 0..ROUNDS / 2 {
            let id = docker.container(&format!("c{n}"), &host)?;
            let begun = Instant::now();
            docker.post(&format!("/containers/{id}/start"), &Value::Null)?;
            start.add(begun.elapsed());
            docker.delete(&format!("/containers/{id}?force=1"))?;
        }
        start.print(&format!("  container start with {what}"));
    }
    docker.delete(&format!("/containers/{holder}?force=1"))?;
    let mut remove = Figures::default();
    for n in 0..ROUNDS {
        let begun = Instant::now();
        docker.delete(&format!("/networks/n{n}"))?;
        remove.add(begun.elapsed());
    }
    remove.print("  network rm, alone");
    docker.stop().context("stopping Docker")
}
