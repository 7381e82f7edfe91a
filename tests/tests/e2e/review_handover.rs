//! B3: what changes hands under concurrency belongs to the new holder once both requests are done: published ports and
//! addresses with their names.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use netd_proto::v1::{
    ConnectRequest, DisconnectRequest, PortSpec, Protocol, PublishRequest, StopSandboxRequest,
    UnpublishRequest, endpoint_service_client::EndpointServiceClient,
    port_service_client::PortServiceClient, sandbox_service_client::SandboxServiceClient,
};
use netd_tests::{
    Sandbox, World,
    dns::Client,
    probe::quick,
    world::{HOST_V4, HOST_V6},
};
use tonic::{Status, transport::Channel};

use crate::{Outcome, PROTOCOLS, api::channel, names::named_world, show};

/// The host's port that changes hands.
const PORT: u16 = 8080;

/// How long a request may be refused because the old holder has not let go yet.
const PATIENCE: Duration = Duration::from_secs(20);

/// TCP and UDP of [`PORT`], to a port of the sandbox that tells who answers.
fn specs(to: u16) -> Vec<PortSpec> {
    let spec = |protocol: Protocol| PortSpec {
        host_ip: String::new(),
        host_port_first: PORT.into(),
        host_port_last: PORT.into(),
        port_first: to.into(),
        port_last: to.into(),
        protocol: protocol.into(),
    };
    vec![spec(Protocol::Tcp), spec(Protocol::Udp)]
}

/// Asks until it is granted; whoever had the thing is just giving it away.
async fn insist<T, F: Future<Output = Result<T, Status>>>(
    mut ask: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(done) => return Ok(done),
            Err(status) if Instant::now() > end => return Err(status.into()),
            // In use still: the code is not this test's matter.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn publish(channel: &Channel, sandbox: &str, to: u16) -> anyhow::Result<()> {
    let request = PublishRequest {
        sandbox: sandbox.into(),
        specs: specs(to),
    };
    insist(|| {
        let (mut ports, request) = (PortServiceClient::new(channel.clone()), request.clone());
        async move { ports.publish(request).await }
    })
    .await
    .map(drop)
}

async fn unpublish(channel: &Channel, sandbox: &str, to: u16) -> anyhow::Result<()> {
    let request = UnpublishRequest {
        sandbox: sandbox.into(),
        specs: specs(to),
    };
    PortServiceClient::new(channel.clone())
        .unpublish(request)
        .await?;
    Ok(())
}

/// The published port leads to the sandbox that listens on `to`, by TCP and UDP and both families.
fn answers(world: &World, round: usize, to: u16) -> Outcome {
    // Both families in turn; both protocols always.
    let host = if round.is_multiple_of(2) {
        SocketAddr::new(HOST_V4.into(), PORT)
    } else {
        SocketAddr::new(HOST_V6.into(), PORT)
    };
    for protocol in PROTOCOLS {
        let reply = quick(&world.lan, protocol, host, 2000)
            .with_context(|| format!("round {round}: the new holder does not answer"))?;
        ensure!(
            reply.local.port() == to,
            "round {round}: {protocol} leads to the old holder"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b03_a_port_that_changes_hands_answers() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let sides = [("a", 7001), ("b", 7002)];
    let mut servers = Vec::new();
    for (name, port) in sides {
        servers.push(world.sandbox(name, &["front"])?.serve(port)?);
    }
    let channel = channel(&world).await?;
    publish(&channel, "a", 7001).await?;
    answers(&world, 0, 7001)?;
    for round in 0..300 {
        let [(old, old_port), (new, new_port)] = if round % 2 == 0 {
            sides
        } else {
            [sides[1], sides[0]]
        };
        let (given, taken) = tokio::join!(
            unpublish(&channel, old, old_port),
            publish(&channel, new, new_port)
        );
        given.with_context(|| format!("round {round}"))?;
        taken.with_context(|| format!("round {round}"))?;
        answers(&world, round, new_port)?;
    }
    Ok(())
}

/// The same where the old holder stops: both run in namespaces of their own, whose servers stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b03_a_port_of_a_sandbox_that_stops_goes_to_the_next() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let sides = [("a", 7001), ("b", 7002)];
    let mut servers = Vec::new();
    let mut starts = Vec::new();
    for (name, port) in sides {
        let netns = world.namespace(name)?;
        let sandbox = Sandbox::new(name, netns.clone(), world.scope(netns.path()));
        servers.push(sandbox.serve(port)?);
        let place = format!("--netns {}", netns.path().display());
        world.ctl(&format!("sandbox create {place} --network front {name}"))?;
        starts.push(format!("sandbox start {place} {name}"));
    }
    let channel = channel(&world).await?;
    publish(&channel, "a", 7001).await?;
    for round in 0..40 {
        let side = round % 2;
        let ((old, old_port), (new, new_port)) = (sides[side], sides[1 - side]);
        let stop = async {
            let request = StopSandboxRequest {
                sandbox: old.into(),
            };
            SandboxServiceClient::new(channel.clone())
                .stop_sandbox(request)
                .await
                .map(drop)
        };
        let (stopped, taken) = tokio::join!(stop, publish(&channel, new, new_port));
        stopped.with_context(|| format!("round {round}"))?;
        taken.with_context(|| format!("round {round}"))?;
        answers(&world, round, new_port)?;
        // It would want its port again.
        unpublish(&channel, old, old_port).await?;
        world.ctl(&starts[side])?;
        answers(&world, round, new_port)?;
    }
    Ok(())
}

/// A fixed address goes from one sandbox to the other while names and addresses are looked up all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b03_an_address_that_changes_hands_has_the_new_holders_name() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create --subnet 10.61.0.0/24 front")?;
    let mut servers = Vec::new();
    for (name, port) in [("a", 7001), ("b", 7002)] {
        servers.push(world.sandbox(name, &[])?.serve(port)?);
    }
    let asker = show::run(&world, "--network name=front,ip=10.61.0.5 asker")?;
    world.ctl("network connect --ip 10.61.0.77 front a")?;
    let channel = channel(&world).await?;
    let over = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        let noise = scope.spawn(|| {
            let client = Client::inside(&asker.netns);
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                for (name, kind) in [("77.0.61.10.in-addr.arpa", "PTR"), ("a", "A"), ("b", "A")] {
                    count += usize::from(client.ask(name, kind).is_ok());
                }
            }
            count
        });
        let handle = tokio::runtime::Handle::current();
        let outcome =
            tokio::task::block_in_place(|| handle.block_on(hand_over_address(&channel, &asker)));
        over.store(true, Ordering::Relaxed);
        let count = noise.join().unwrap_or_default();
        outcome.and_then(|()| {
            ensure!(count > 0, "nothing was looked up meanwhile");
            Ok(())
        })
    });
    done
}

async fn hand_over_address(channel: &Channel, asker: &Sandbox) -> Outcome {
    let sides = [("a", 7001), ("b", 7002)];
    for round in 0..100 {
        let ((old, _), (new, port)) = (sides[round % 2], sides[1 - round % 2]);
        let leave = async {
            let request = DisconnectRequest {
                network: "front".into(),
                sandbox: old.into(),
                ..Default::default()
            };
            EndpointServiceClient::new(channel.clone())
                .disconnect_sandbox(request)
                .await
                .map(drop)
        };
        let request = ConnectRequest {
            network: "front".into(),
            sandbox: new.into(),
            ipv4_address: "10.61.0.77".into(),
            ..Default::default()
        };
        let come = insist(|| {
            let mut endpoints = EndpointServiceClient::new(channel.clone());
            let request = request.clone();
            async move { endpoints.connect_sandbox(request).await }
        });
        let (left, come) = tokio::join!(leave, come);
        left.with_context(|| format!("round {round}"))?;
        come.with_context(|| format!("round {round}"))?;
        holds_address(asker, old, new, port).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

/// Both directions of the new holder's name, none of the old one's, and its answers.
fn holds_address(asker: &Sandbox, old: &str, new: &str, port: u16) -> Outcome {
    let client = Client::inside(&asker.netns);
    let data = |name: &str, kind: &str| -> anyhow::Result<Vec<String>> {
        let answer = client.ask(name, kind)?;
        Ok(answer.answers.iter().map(|r| r.data.to_string()).collect())
    };
    let names = data("77.0.61.10.in-addr.arpa", "PTR")?;
    ensure!(
        names == [format!("{new}.front.")],
        "the address is {names:?}, not {new}'s"
    );
    let found = data(new, "A")?;
    ensure!(found == ["10.61.0.77"], "{new} is at {found:?}");
    // Others may know the old one's name.
    let found = data(old, "A")?;
    ensure!(
        !found.contains(&"10.61.0.77".to_owned()),
        "{old}, which has left, is at {found:?}"
    );
    let to = SocketAddr::new([10, 61, 0, 77].into(), port);
    quick(&asker.netns, "tcp", to, 3000)?;
    Ok(())
}
