//! B3: what changes hands under concurrency belongs to the new holder once both requests are done: published ports and
//! addresses with their names.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use netd_proto::v1::{
    ConnectSandboxRequest, DisconnectSandboxRequest, EndpointSpec, Namespace, PortSpec, Protocol,
    PublishRequest, StartSandboxRequest, StopSandboxRequest, UnpublishRequest,
    endpoint_service_client::EndpointServiceClient, namespace::Source,
    port_service_client::PortServiceClient, sandbox_service_client::SandboxServiceClient,
};
use netd_tests::{
    Netns, Sandbox, World,
    dns::Client,
    probe::quick,
    world::{HOST_V4, HOST_V6},
};
use tokio::task::JoinSet;
use tonic::{Status, transport::Channel};

use crate::{Outcome, PROTOCOLS, api::channel, names::named_world, show};

/// The host's first port that changes hands.
const PORT: u16 = 8080;

/// How many pairs of sandboxes take a port from each other.
const PAIRS: u16 = 4;

/// How long a request may be refused because the old holder has not let go yet.
const PATIENCE: Duration = Duration::from_secs(30);

/// KiB of the disk in memory that the state is on: what waits for a real disk hardly ever meets.
const DISK: u32 = 64 << 10;

fn quick_world() -> anyhow::Result<World> {
    let mut world = World::without_daemon()?;
    world.with_small_disk(DISK)?;
    world.start()?;
    Ok(world)
}

/// TCP and UDP of a port of the host, to a port of the sandbox that tells who answers.
fn specs(port: u16, to: u16) -> Vec<PortSpec> {
    let spec = |protocol: Protocol| PortSpec {
        host_ip: String::new(),
        host_port: Some(port.into()),
        port: to.into(),
        count: 1,
        protocol: protocol.into(),
        ..PortSpec::default()
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

async fn publish(channel: &Channel, sandbox: &str, port: u16, to: u16) -> anyhow::Result<()> {
    let request = PublishRequest {
        sandbox: sandbox.into(),
        specs: specs(port, to),
        ..Default::default()
    };
    insist(|| {
        let (mut ports, request) = (PortServiceClient::new(channel.clone()), request.clone());
        async move { ports.publish(request).await }
    })
    .await
    .map(drop)
}

async fn unpublish(channel: &Channel, sandbox: &str, port: u16, to: u16) -> anyhow::Result<()> {
    let request = UnpublishRequest {
        sandbox: sandbox.into(),
        specs: specs(port, to),
        ..Default::default()
    };
    PortServiceClient::new(channel.clone())
        .unpublish(request)
        .await?;
    Ok(())
}

/// The published port leads to the sandbox that listens on `to`, by TCP and UDP.
fn answers(lan: &Netns, round: usize, port: u16, to: u16) -> Outcome {
    // Both families in turn.
    let host: IpAddr = if round.is_multiple_of(2) {
        HOST_V4.into()
    } else {
        HOST_V6.into()
    };
    for protocol in PROTOCOLS {
        let reply = quick(lan, protocol, (host, port).into(), 2000)
            .with_context(|| format!("round {round}: the new holder does not answer"))?;
        ensure!(
            reply.local.port() == to,
            "round {round}: {protocol} leads to the old holder"
        );
    }
    Ok(())
}

/// Two sandboxes and the port that they take from each other. Several pairs do so at once: their changes share
/// transactions, and keep the daemon's threads busy right after.
#[derive(Clone)]
struct Pair {
    /// The host's port.
    port: u16,
    /// Names, and the ports that they listen on.
    sides: [(String, u16); 2],
    channel: Channel,
    lan: Netns,
}

impl Pair {
    async fn new(world: &World, number: u16) -> anyhow::Result<Self> {
        let side = |name: &str, port: u16| (format!("{name}{number}"), port);
        Ok(Self {
            port: PORT + number,
            sides: [side("a", 7001), side("b", 7002)],
            channel: channel(world).await?,
            lan: world.lan.clone(),
        })
    }

    /// The holder, and who takes over, in a round.
    fn roles(&self, round: usize) -> [&(String, u16); 2] {
        let [a, b] = &self.sides;
        if round.is_multiple_of(2) {
            [a, b]
        } else {
            [b, a]
        }
    }

    fn answers(&self, round: usize, to: u16) -> Outcome {
        tokio::task::block_in_place(|| answers(&self.lan, round, self.port, to))
    }

    async fn publish(&self, side: &(String, u16)) -> anyhow::Result<()> {
        publish(&self.channel, &side.0, self.port, side.1).await
    }

    async fn unpublish(&self, side: &(String, u16)) -> anyhow::Result<()> {
        unpublish(&self.channel, &side.0, self.port, side.1).await
    }

    /// The port is withdrawn here and published there at once, over and over.
    async fn swap(self, rounds: usize) -> Outcome {
        self.publish(&self.sides[0]).await?;
        for round in 0..rounds {
            let [old, new] = self.roles(round);
            let (given, taken) = tokio::join!(self.unpublish(old), self.publish(new));
            given.with_context(|| format!("round {round}"))?;
            taken.with_context(|| format!("round {round}"))?;
            self.answers(round, new.1)?;
        }
        Ok(())
    }

    /// The holder stops while the other publishes. Both run in namespaces of their own, whose servers stay.
    async fn swap_by_stopping(self, rounds: usize, namespaces: [PathBuf; 2]) -> Outcome {
        self.publish(&self.sides[0]).await?;
        for round in 0..rounds {
            let [old, new] = self.roles(round);
            let mut sandboxes = SandboxServiceClient::new(self.channel.clone());
            let stop = sandboxes.stop_sandbox(StopSandboxRequest {
                sandbox: old.0.clone(),
            });
            let (stopped, taken) = tokio::join!(stop, self.publish(new));
            stopped.with_context(|| format!("round {round}"))?;
            taken.with_context(|| format!("round {round}"))?;
            self.answers(round, new.1)?;
            // It would want its port again.
            self.unpublish(old).await?;
            let place = namespaces[round % 2].display().to_string();
            let request = StartSandboxRequest {
                sandbox: old.0.clone(),
                namespace: Some(Namespace {
                    source: Some(Source::Path(place)),
                }),
                ..Default::default()
            };
            sandboxes.start_sandbox(request).await?;
            self.answers(round, new.1)?;
        }
        Ok(())
    }
}

async fn all(mut tasks: JoinSet<Outcome>) -> Outcome {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b03_a_port_that_changes_hands_answers() -> Outcome {
    let world = quick_world()?;
    world.ctl("network create --ipv6 front")?;
    let (mut servers, mut swaps) = (Vec::new(), JoinSet::new());
    for number in 0..PAIRS {
        let pair = Pair::new(&world, number).await?;
        for (name, port) in &pair.sides {
            servers.push(world.sandbox(name, &["front"])?.serve(*port)?);
        }
        swaps.spawn(pair.swap(60));
    }
    all(swaps).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b03_a_port_of_a_sandbox_that_stops_goes_to_the_next() -> Outcome {
    let mut world = quick_world()?;
    world.ctl("network create --ipv6 front")?;
    let (mut servers, mut swaps) = (Vec::new(), JoinSet::new());
    for number in 0..PAIRS {
        let pair = Pair::new(&world, number).await?;
        let mut namespaces = Vec::new();
        for (name, port) in &pair.sides {
            let netns = world.namespace(name)?;
            let sandbox = Sandbox::new(name, netns.clone(), world.scope(netns.path()));
            servers.push(sandbox.serve(*port)?);
            let place = netns.path().display();
            world.ctl(&format!(
                "sandbox create --netns {place} --network front {name}"
            ))?;
            namespaces.push(netns.path().to_owned());
        }
        let [a, b] = namespaces.as_slice() else {
            anyhow::bail!("two sides")
        };
        swaps.spawn(pair.swap_by_stopping(20, [a.clone(), b.clone()]));
    }
    all(swaps).await
}

/// A fixed address goes from one sandbox to the other while names and addresses are looked up all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b03_an_address_that_changes_hands_has_the_new_holders_name() -> Outcome {
    let (mut world, _upstream) = named_world("")?;
    world.stop()?;
    let purged = world.netd(&["--purge"])?;
    ensure!(purged.ok, "--purge: {}", purged.text());
    world.with_small_disk(DISK)?;
    world.start()?;
    world.ctl("network create --subnet 10.61.0.0/24 front")?;
    let mut servers = Vec::new();
    for (name, port) in [("a", 7001), ("b", 7002)] {
        servers.push(world.sandbox(name, &[])?.serve(port)?);
    }
    let asker = show::run(&world, "--network name=front,ip=10.61.0.5 asker")?;
    world.ctl("network connect --ip 10.61.0.77 front a")?;
    let channel = channel(&world).await?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
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
    })
}

async fn hand_over_address(channel: &Channel, asker: &Sandbox) -> Outcome {
    let sides = [("a", 7001), ("b", 7002)];
    for round in 0..100 {
        let ((old, _), (new, port)) = (sides[round % 2], sides[1 - round % 2]);
        let leave = async {
            let request = DisconnectSandboxRequest {
                network: "front".into(),
                sandbox: old.into(),
                ..Default::default()
            };
            EndpointServiceClient::new(channel.clone())
                .disconnect_sandbox(request)
                .await
                .map(drop)
        };
        let request = ConnectSandboxRequest {
            sandbox: new.into(),
            spec: Some(EndpointSpec {
                network: "front".into(),
                ipv4_address: "10.61.0.77".into(),
                ..Default::default()
            }),
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

/// An endpoint that cannot leave comes back: nobody may have got its Ethernet address meanwhile.
#[test]
fn b03_an_ethernet_address_is_held_until_its_endpoint_is_gone() -> Outcome {
    let mut world = World::without_daemon()?;
    world.start_with(&[("NETD_FAILPOINT_REFUSE", "endpoint-removed")])?;
    world.ctl("network create front")?;
    world.ctl("sandbox create --network name=front,mac-address=02:00:00:00:00:33 a")?;
    world.ctl("sandbox create b")?;
    let leaving = AtomicBool::new(true);
    std::thread::scope(|threads| {
        let leaver = threads.spawn(|| {
            let tried = (0..40).try_for_each(|_| {
                let left = world.netctl(&["network", "disconnect", "front", "a"])?;
                ensure!(!left.ok, "it has left");
                Ok(())
            });
            leaving.store(false, Ordering::Relaxed);
            tried
        });
        let mut tries = 0;
        while leaving.load(Ordering::Relaxed) {
            world.refused(
                "network connect --mac-address 02:00:00:00:00:33 front b",
                &["02:00:00:00:00:33", "already in use"],
            )?;
            tries += 1;
        }
        ensure!(tries > 0, "nobody has asked");
        leaver.join().map_err(|_| anyhow::anyhow!("a panic"))?
    })?;
    // Once it has left, the next one gets it at the first try.
    world.stop()?;
    world.start()?;
    world.ctl("network disconnect front a")?;
    world.ctl("network connect --mac-address 02:00:00:00:00:33 front b")?;
    Ok(())
}
