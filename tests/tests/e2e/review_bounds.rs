//! B19: requests with thousands of parts are refused or done within seconds, and hold up nobody else.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use netd_proto::v1::{
    ConnectSandboxRequest, CreateNetworkRequest, CreateSandboxRequest, EndpointSpec, Link,
    PortSpec, PublishRequest, endpoint_service_client::EndpointServiceClient,
    network_service_client::NetworkServiceClient, port_service_client::PortServiceClient,
    sandbox_service_client::SandboxServiceClient,
};
use netd_tests::World;
use prost::Message as _;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{Outcome, api::channel, api_bounds::call};

/// Within this a request must be over.
const LIMIT: Duration = Duration::from_secs(10);

/// Within this anybody else must have an answer meanwhile: a program's start, on a busy machine.
const OTHERS: Duration = Duration::from_secs(3);

/// How long the slowest `network ls` took, and how many were answered.
struct Others {
    slowest: Duration,
    count: usize,
}

/// Lists networks over and over while `work` is done.
fn meanwhile<T: Send>(
    world: &World,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<(T, Others)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let lister = scope.spawn(|| -> anyhow::Result<Others> {
            let mut others = Others {
                slowest: Duration::ZERO,
                count: 0,
            };
            while !over.load(Ordering::Relaxed) || others.count == 0 {
                let begin = Instant::now();
                world.ctl("network ls")?;
                others.slowest = others.slowest.max(begin.elapsed());
                others.count += 1;
            }
            Ok(others)
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        let others = lister
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((done?, others))
    })
}

/// Sends a request, wants its end in time, a proper refusal if it is one, and others answered meanwhile.
fn bounded<T: Send, F: Future<Output = Result<T, Status>>>(
    world: &World,
    what: &str,
    send: impl FnOnce(Channel) -> F + Send,
) -> Outcome {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let channel = channel(world).await?;
            let begin = Instant::now();
            let answer = tokio::time::timeout(LIMIT * 4, send(channel)).await;
            Ok((answer.map(|answer| answer.map(drop)), begin.elapsed()))
        })
    };
    let ((answer, time), others) = meanwhile(world, work)?;
    println!(
        "{what}: {time:?}, {} others, the slowest {:?}: {}",
        others.count,
        others.slowest,
        match &answer {
            Ok(Ok(())) => "done".to_owned(),
            Ok(Err(status)) => format!("{:?} {:.200}", status.code(), status.message()),
            Err(_) => "no answer".to_owned(),
        }
    );
    ensure!(answer.is_ok() && time < LIMIT, "{what}: took {time:?}");
    if let Ok(Err(status)) = &answer {
        let codes = [
            Code::InvalidArgument,
            Code::ResourceExhausted,
            Code::FailedPrecondition,
            Code::OutOfRange,
        ];
        ensure!(
            codes.contains(&status.code()),
            "{what}: refused with {:?}: {}",
            status.code(),
            status.message()
        );
    }
    ensure!(
        others.slowest < OTHERS,
        "{what}: somebody else waited {:?}",
        others.slowest
    );
    // Nothing is left over that takes longer still.
    let begin = Instant::now();
    world.ctl("network ls").context("afterwards")?;
    ensure!(begin.elapsed() < OTHERS, "{what}: slow afterwards");
    Ok(())
}

fn spec(host: u32, to: u32) -> PortSpec {
    PortSpec {
        host_port: (host != 0).then_some(host),
        port: to,
        ..Default::default()
    }
}

fn place() -> anyhow::Result<World> {
    let world = World::new()?;
    world.ctl("network create front")?;
    world.ctl("sandbox create --network front s")?;
    Ok(world)
}

fn publish(world: &World, what: &str, specs: Vec<PortSpec>) -> Outcome {
    let request = PublishRequest {
        sandbox: "s".into(),
        specs,
        ..Default::default()
    };
    bounded(world, what, |channel| async move {
        PortServiceClient::new(channel).publish(request).await
    })
}

#[test]
fn b19_thousands_of_ports_at_chosen_ports() -> Outcome {
    let world = place()?;
    let specs = (1..=5000).map(|n| spec(20_000 + n, n)).collect();
    publish(&world, "5,000 host ports", specs)
}

#[test]
fn b19_thousands_of_ports_at_any_port() -> Outcome {
    let world = place()?;
    let specs = (1..=5000).map(|n| spec(0, n)).collect();
    publish(&world, "5,000 free ports", specs)
}

fn numbered(count: usize, prefix: &str) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

fn labels(count: usize) -> HashMap<String, String> {
    let keys = numbered(count, "label").into_iter();
    keys.map(|key| (key, "x".to_owned())).collect()
}

#[test]
fn b19_a_hundred_thousand_labels() -> Outcome {
    let world = place()?;
    let request = CreateNetworkRequest {
        name: "labelled".into(),
        labels: labels(100_000),
        ..Default::default()
    };
    bounded(&world, "labels of a network", |channel| async move {
        NetworkServiceClient::new(channel)
            .create_network(request)
            .await
    })?;
    let request = CreateSandboxRequest {
        name: "labelled".into(),
        labels: labels(100_000),
        ..Default::default()
    };
    bounded(&world, "labels of a sandbox", |channel| async move {
        SandboxServiceClient::new(channel)
            .create_sandbox(request)
            .await
    })
}

#[test]
fn b19_a_hundred_thousand_aliases_links_and_options() -> Outcome {
    let world = place()?;
    world.ctl("sandbox create t")?;
    let request = || EndpointSpec {
        network: "front".into(),
        ..Default::default()
    };
    let links = numbered(50_000, "link").into_iter();
    let addresses = (0..50_000_u32).map(|n| {
        let address = std::net::Ipv6Addr::from((0xfe80 << 112) | u128::from(n + 1));
        address.to_string()
    });
    for (what, request) in [
        (
            "aliases",
            EndpointSpec {
                aliases: numbered(100_000, "alias"),
                ..request()
            },
        ),
        (
            "links",
            EndpointSpec {
                links: links
                    .map(|alias| Link {
                        target: "s".into(),
                        alias,
                    })
                    .collect(),
                ..request()
            },
        ),
        (
            "link-local addresses",
            EndpointSpec {
                link_local_addresses: addresses.collect(),
                ..request()
            },
        ),
        (
            "driver options",
            EndpointSpec {
                driver_options: labels(100_000),
                ..request()
            },
        ),
    ] {
        bounded(&world, what, |channel| async move {
            let request = ConnectSandboxRequest {
                sandbox: "t".into(),
                spec: Some(request),
                ..Default::default()
            };
            EndpointServiceClient::new(channel)
                .connect_sandbox(request)
                .await
        })?;
        world.netctl(&["network", "disconnect", "front", "t"])?;
    }
    Ok(())
}

#[test]
fn b19_thousands_of_networks_of_one_sandbox() -> Outcome {
    let world = place()?;
    let networks = numbered(20_000, "net")
        .into_iter()
        .map(|network| EndpointSpec {
            network,
            ..Default::default()
        });
    let mut networks: Vec<EndpointSpec> = networks.collect();
    // The first one is there, so that it is not over at once.
    networks.insert(
        0,
        EndpointSpec {
            network: "front".into(),
            ..Default::default()
        },
    );
    let same = vec![networks.first().cloned().unwrap_or_default(); 20_000];
    for (what, networks) in [("networks", networks), ("times one network", same)] {
        let request = CreateSandboxRequest {
            name: "wide".into(),
            endpoints: networks,
            ..Default::default()
        };
        let outcome = bounded(&world, what, |channel| async move {
            let answer = SandboxServiceClient::new(channel)
                .create_sandbox(request)
                .await;
            match answer {
                // Of a network that does not exist, that is the answer.
                Err(status) if status.code() == Code::NotFound => Ok(()),
                other => other.map(drop),
            }
        });
        outcome?;
        ensure!(
            !world.netctl(&["sandbox", "inspect", "wide"])?.ok,
            "{what}: it was made"
        );
    }
    Ok(())
}

/// The figures of docs/api.md and docs/access.md.
#[tokio::test]
async fn b19_how_long_a_request_may_be() -> Outcome {
    let world = World::new()?;
    let channel = channel(&world).await?;
    let mut networks = NetworkServiceClient::new(channel.clone());
    let last = "k255".to_owned();
    let mut request = CreateNetworkRequest {
        name: "front".into(),
        labels: (0..255)
            .map(|n| (format!("k{n:03}"), "x".repeat(4085)))
            .chain([(last.clone(), "x".repeat(3000))])
            .collect(),
        ..Default::default()
    };
    while request.encoded_len() < 1 << 20 {
        request.labels.entry(last.clone()).or_default().push('x');
    }
    ensure!(
        request.encoded_len() == 1 << 20,
        "{}",
        request.encoded_len()
    );
    networks.create_network(request.clone()).await?;
    request.name = "fronts".into();
    let status = networks.create_network(request).await.err();
    let status = status.context("a byte more was taken")?;
    let details = status.get_error_details();
    let info = details.error_info().context("no details")?;
    ensure!(
        info.reason == "TOO_MANY" && info.metadata["limit"] == "1048576",
        "{status:?}"
    );
    // What is much longer is not read, whatever it is. A field that no message has:
    let mut long = vec![0xc2, 0x3e];
    prost::encoding::encode_varint(4 << 20, &mut long);
    long.resize(long.len() + (4 << 20), 0);
    for (name, code) in [
        ("CreateNetwork", Code::ResourceExhausted),
        ("ListNetworks", Code::OutOfRange),
    ] {
        let path = format!("/netd.v1.NetworkService/{name}");
        let status = call(&channel, &path, long.clone()).await.err();
        let status = status.with_context(|| format!("{name} was taken"))?;
        ensure!(status.code() == code, "{name}: {status:?}");
    }
    Ok(())
}
