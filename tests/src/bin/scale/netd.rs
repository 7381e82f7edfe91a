//! netd's figures, over gRPC as an orchestrator would ask.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result};
use netd_proto::v1::{
    ConnectSandboxRequest, CreateNetworkRequest, CreateSandboxRequest, DisconnectSandboxRequest,
    EndpointSpec, Ipam, IpamPool, RemoveNetworkRequest,
    endpoint_service_client::EndpointServiceClient, network_service_client::NetworkServiceClient,
    sandbox_service_client::SandboxServiceClient,
};
use netd_tests::World;
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

use crate::Figures;

/// Rounds of attaching alone.
const ALONE: usize = 200;
/// Attachments of a round with many in flight.
const MANY: usize = 600;

/// Everything, on two worlds: one for endpoints, one for networks.
pub fn measure(endpoints: usize, networks: usize) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    println!("netd");
    let mut world = World::new()?;
    runtime.block_on(few(&world))?;
    runtime.block_on(fill(&world, endpoints))?;
    memory(&world, &format!("{endpoints} endpoints"))?;
    restart(&mut world, &format!("{endpoints} endpoints"))?;
    memory(&world, "the same, after the restart")?;
    let begun = Instant::now();
    world.close()?;
    println!("  all removed in {:.1} s", begun.elapsed().as_secs_f64());
    let mut world = World::new()?;
    runtime.block_on(many_networks(&world, networks))?;
    memory(&world, &format!("{networks} networks"))?;
    restart(&mut world, &format!("{networks} networks"))?;
    world.close()
}

async fn channel(world: &World) -> Result<Channel> {
    Ok(Endpoint::from_shared(world.address())?.connect().await?)
}

async fn network(channel: &Channel, name: &str, subnet: &str) -> Result<()> {
    let mut client = NetworkServiceClient::new(channel.clone());
    let pools = match subnet {
        "" => Vec::new(),
        subnet => vec![IpamPool {
            subnet: subnet.into(),
            ..IpamPool::default()
        }],
    };
    client
        .create_network(CreateNetworkRequest {
            name: name.into(),
            ipam: Some(Ipam {
                pools,
                ..Ipam::default()
            }),
            ..CreateNetworkRequest::default()
        })
        .await?;
    Ok(())
}

async fn sandbox(channel: Channel, name: String, networks: &[&str]) -> Result<()> {
    let connect = |network: &&str| EndpointSpec {
        network: (*network).into(),
        ..EndpointSpec::default()
    };
    SandboxServiceClient::new(channel)
        .create_sandbox(CreateSandboxRequest {
            name,
            endpoints: networks.iter().map(connect).collect(),
            ..CreateSandboxRequest::default()
        })
        .await?;
    Ok(())
}

async fn attach(channel: Channel, sandbox: String) -> Result<()> {
    EndpointServiceClient::new(channel)
        .connect_sandbox(ConnectSandboxRequest {
            sandbox,
            spec: Some(EndpointSpec {
                network: "front".into(),
                ..EndpointSpec::default()
            }),
            ..ConnectSandboxRequest::default()
        })
        .await?;
    Ok(())
}

async fn detach(channel: Channel, sandbox: String) -> Result<()> {
    EndpointServiceClient::new(channel)
        .disconnect_sandbox(DisconnectSandboxRequest {
            network: "front".into(),
            sandbox,
            ..DisconnectSandboxRequest::default()
        })
        .await?;
    Ok(())
}

/// Runs `count` pieces of work with so many in flight; latencies are those of each piece alone.
async fn in_flight<F>(
    what: &str,
    count: usize,
    at_once: usize,
    work: impl Fn(usize) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for index in 0..count {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let piece = work(index);
        tasks.spawn(async move {
            let begun = Instant::now();
            piece.await?;
            drop(slot);
            anyhow::Ok(begun.elapsed())
        });
    }
    let mut figures = Figures::default();
    while let Some(done) = tasks.join_next().await {
        figures.add(done??);
    }
    figures.print(what);
    println!(
        "    {:.0} a second",
        count as f64 / begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Attach and detach, alone and with many in flight.
async fn few(world: &World) -> Result<()> {
    let channel = channel(world).await?;
    network(&channel, "front", "10.200.0.0/16").await?;
    in_flight("  sandbox create (a namespace), alone", ALONE, 1, |n| {
        let channel = channel.clone();
        async move { sandbox(channel, format!("s{n}"), &[]).await }
    })
    .await?;
    in_flight("  sandbox create, 64 in flight", MANY - ALONE, 64, |n| {
        let channel = channel.clone();
        async move { sandbox(channel, format!("s{}", ALONE + n), &[]).await }
    })
    .await?;
    for (at_once, count) in [(1, ALONE), (64, MANY), (100, MANY)] {
        let name = |n: usize| format!("s{n}");
        in_flight(
            &format!("  attach, {at_once} in flight"),
            count,
            at_once,
            |n| attach(channel.clone(), name(n)),
        )
        .await?;
        in_flight(
            &format!("  detach, {at_once} in flight"),
            count,
            at_once,
            |n| detach(channel.clone(), name(n)),
        )
        .await?;
    }
    Ok(())
}

/// The whole network.
async fn fill(world: &World, endpoints: usize) -> Result<()> {
    let channel = channel(world).await?;
    let there = endpoints.min(MANY);
    in_flight(
        "  attach to fill the network, 64 in flight",
        there,
        64,
        |n| attach(channel.clone(), format!("s{n}")),
    )
    .await?;
    in_flight(
        "  sandbox create with a network, 64 in flight",
        endpoints - there,
        64,
        |n| {
            let channel = channel.clone();
            async move { sandbox(channel, format!("s{}", there + n), &["front"]).await }
        },
    )
    .await?;
    sandbox(channel.clone(), "last".into(), &[]).await?;
    let mut figures = (Figures::default(), Figures::default());
    for _ in 0..50 {
        let begun = Instant::now();
        attach(channel.clone(), "last".into()).await?;
        figures.0.add(begun.elapsed());
        let begun = Instant::now();
        detach(channel.clone(), "last".into()).await?;
        figures.1.add(begun.elapsed());
    }
    figures
        .0
        .print(&format!("  attach, alone, beside {endpoints} endpoints"));
    figures
        .1
        .print(&format!("  detach, alone, beside {endpoints} endpoints"));
    Ok(())
}

async fn many_networks(world: &World, networks: usize) -> Result<()> {
    let channel = channel(world).await?;
    let mut first = Figures::default();
    for n in 0..50 {
        let begun = Instant::now();
        network(&channel, &format!("alone{n}"), "").await?;
        first.add(begun.elapsed());
    }
    first.print("  network create, alone");
    in_flight(
        "  network create, 16 in flight",
        networks.saturating_sub(50),
        16,
        |n| {
            let channel = channel.clone();
            async move { network(&channel, &format!("n{n}"), "").await }
        },
    )
    .await?;
    let mut removal = Figures::default();
    for n in 0..50 {
        let begun = Instant::now();
        NetworkServiceClient::new(channel.clone())
            .remove_network(RemoveNetworkRequest {
                network: format!("alone{n}"),
                ..RemoveNetworkRequest::default()
            })
            .await?;
        removal.add(begun.elapsed());
    }
    removal.print(&format!("  network rm, alone, beside {networks} networks"));
    Ok(())
}

/// What the daemon holds, from procfs.
fn memory(world: &World, when: &str) -> Result<()> {
    let pid = world.daemon_pid().context("the daemon is not running")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    println!(
        "  RSS of the daemon, {when}: {}",
        line.unwrap_or("?").trim()
    );
    Ok(())
}

/// From the start of the process until it answers.
fn restart(world: &mut World, when: &str) -> Result<()> {
    let mut figures = Figures::default();
    for _ in 0..3 {
        world.kill()?;
        let begun = Instant::now();
        world.start()?;
        figures.add(begun.elapsed());
    }
    figures.print(&format!("  kill -9, then start until it answers, {when}"));
    Ok(())
}
