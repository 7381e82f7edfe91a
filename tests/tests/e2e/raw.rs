//! P01: requests that netctl would never send, straight to the API: refused by code and message, and nothing changed.

use anyhow::ensure;
use netd_proto::v1::{
    ConnectSandboxRequest, CreateNetworkRequest, CreateSandboxRequest, EndpointSpec, Ipam,
    IpamPool, LabelSelector, Link, Namespace, PortSpec, PruneNetworksRequest, PublishRequest,
    endpoint_service_client::EndpointServiceClient, namespace::Source,
    network_service_client::NetworkServiceClient, port_service_client::PortServiceClient,
    sandbox_service_client::SandboxServiceClient,
};
use netd_tests::World;
use tonic::{Code, Status};

use crate::{Outcome, api::channel, refusals::state, show};

/// The refusal has one of the codes and holds all parts.
fn says<T>(outcome: Result<T, Status>, codes: &[Code], parts: &[&str]) -> Outcome {
    let Err(status) = outcome else {
        anyhow::bail!("not refused; wanted {parts:?}")
    };
    let text = status.message().to_lowercase();
    let all = parts.iter().all(|part| text.contains(&part.to_lowercase()));
    ensure!(
        all && codes.contains(&status.code()),
        "{codes:?} {parts:?}: {status:?}"
    );
    Ok(())
}

fn pool(subnet: &str, ip_range: &str, gateway: &str, aux: &[(&str, &str)]) -> CreateNetworkRequest {
    let aux = aux.iter().map(|&(name, ip)| (name.into(), ip.into()));
    let pool = IpamPool {
        subnet: subnet.into(),
        ip_range: ip_range.into(),
        gateway: gateway.into(),
        aux_addresses: aux.collect(),
    };
    CreateNetworkRequest {
        name: "n".into(),
        ipam: Some(Ipam {
            pools: vec![pool],
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn p01_i03_pools_that_do_not_fit() -> Outcome {
    let world = World::new()?;
    let before = state(&world)?;
    let mut networks = NetworkServiceClient::new(channel(&world).await?);
    let bad = [Code::InvalidArgument];
    let either = [Code::InvalidArgument, Code::FailedPrecondition];
    let net = "10.88.0.0/24";
    for (request, codes, parts) in [
        (
            pool(net, "", "", &[("a", "10.99.0.9")]),
            &either[..],
            &["auxiliary address", "a:10.99.0.9", net][..],
        ),
        (
            pool("", "", "", &[("a", "10.88.0.1")]),
            &either,
            &["subnet"],
        ),
        (pool("", "", "10.88.0.1", &[]), &either, &["subnet"]),
        (pool("", "10.88.0.0/24", "", &[]), &either, &["subnet"]),
        (pool(net, "", "", &[("a", "zzz")]), &bad, &["zzz"]),
        (
            pool(net, "", "10.99.0.1", &[]),
            &either,
            &["failed to allocate gateway (10.99.0.1)", "out of range"],
        ),
        (
            pool(net, "", "banana", &[]),
            &bad,
            &["invalid gateway address banana"],
        ),
        (pool(net, "zzz", "", &[]), &bad, &["zzz"]),
        (
            pool(net, "10.99.0.0/24", "", &[]),
            &either,
            &["10.99.0.0/24", net],
        ),
        (
            pool(net, "10.0.0.0/8", "", &[]),
            &either,
            &["10.0.0.0/8", net],
        ),
        (pool(net, "", "fd00::1", &[]), &bad, &["fd00::1"]),
        (pool("10.88.0.0/-1", "", "", &[]), &bad, &["10.88.0.0/-1"]),
    ] {
        let shown = format!("{request:?}");
        let outcome = says(networks.create_network(request).await, codes, parts);
        ensure!(outcome.is_ok(), "{outcome:?}: {shown}");
    }
    for name in [
        "",
        " ",
        " front",
        "fr ont",
        "föhn",
        "a/b",
        "\0",
        &"x".repeat(5000),
    ] {
        let request = CreateNetworkRequest {
            name: name.into(),
            ..Default::default()
        };
        says(networks.create_network(request).await, &bad, &["name"])?;
    }
    ensure!(before == state(&world)?, "something changed");
    Ok(())
}

#[tokio::test]
async fn p01_n05_endpoints_that_are_none() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 --subnet 10.96.0.0/24 --subnet fd00:96::/64 front")?;
    show::run(&world, "web")?;
    let before = state(&world)?;
    let mut endpoints = EndpointServiceClient::new(channel(&world).await?);
    let spec = || EndpointSpec {
        network: "front".into(),
        ..Default::default()
    };
    let link = |target: &str, alias: &str| Link {
        target: target.into(),
        alias: alias.into(),
    };
    let text = |text: &str| text.to_owned();
    for (spec, part) in [
        (
            EndpointSpec {
                ipv4_address: text("zzz"),
                ..spec()
            },
            "zzz",
        ),
        (
            EndpointSpec {
                ipv4_address: text("fd00:96::9"),
                ..spec()
            },
            "fd00:96::9",
        ),
        (
            EndpointSpec {
                ipv6_address: text("zzz"),
                ..spec()
            },
            "zzz",
        ),
        (
            EndpointSpec {
                ipv6_address: text("10.96.0.9"),
                ..spec()
            },
            "10.96.0.9",
        ),
        (
            EndpointSpec {
                mac_address: text("01:00:00:00:00:01"),
                ..spec()
            },
            "01:00:00:00:00:01",
        ),
        (
            EndpointSpec {
                mac_address: text("02:00:00:00:01"),
                ..spec()
            },
            "02:00:00:00:01",
        ),
        (
            EndpointSpec {
                links: vec![link("a:", "")],
                ..spec()
            },
            "a:",
        ),
        (
            EndpointSpec {
                links: vec![link("", "a")],
                ..spec()
            },
            "link",
        ),
        (
            EndpointSpec {
                link_local_addresses: vec![text("zzz")],
                ..spec()
            },
            "zzz",
        ),
        (
            EndpointSpec {
                interface_name: text("lo"),
                ..spec()
            },
            "lo",
        ),
        (
            EndpointSpec {
                interface_name: text("e/0"),
                ..spec()
            },
            "e/0",
        ),
    ] {
        let request = ConnectSandboxRequest {
            sandbox: "web".into(),
            spec: Some(spec),
            ..Default::default()
        };
        says(
            endpoints.connect_sandbox(request).await,
            &[Code::InvalidArgument],
            &[part],
        )?;
    }
    for (network, sandbox, codes) in [
        ("", "web", [Code::InvalidArgument, Code::NotFound]),
        ("front", "", [Code::InvalidArgument, Code::NotFound]),
    ] {
        let request = ConnectSandboxRequest {
            sandbox: sandbox.into(),
            spec: Some(EndpointSpec {
                network: network.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        says(endpoints.connect_sandbox(request).await, &codes, &[])?;
    }
    ensure!(before == state(&world)?, "something changed");
    Ok(())
}

#[tokio::test]
async fn p01_c01_sandboxes_and_ports_that_are_none() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    show::run(&world, "--network front web")?;
    let before = state(&world)?;
    let channel = channel(&world).await?;
    let (mut ports, mut sandboxes) = (
        PortServiceClient::new(channel.clone()),
        SandboxServiceClient::new(channel),
    );
    let good = PortSpec {
        host_port: Some(8080),
        port: 80,
        count: 1,
        ..Default::default()
    };
    for spec in [
        PortSpec::default(),
        PortSpec {
            port: 70000,
            ..good.clone()
        },
        PortSpec {
            host_port: Some(65536),
            ..good.clone()
        },
        PortSpec {
            host_port: Some(0),
            ..good.clone()
        },
        PortSpec {
            host_port: Some(65535),
            count: 2,
            ..good.clone()
        },
        PortSpec {
            count: u32::MAX,
            ..good.clone()
        },
        PortSpec {
            host_ip: "zzz".into(),
            ..good.clone()
        },
        PortSpec {
            protocol: 99,
            ..good.clone()
        },
    ] {
        let request = PublishRequest {
            sandbox: "web".into(),
            specs: vec![good.clone(), spec.clone()],
            ..Default::default()
        };
        let outcome = says(ports.publish(request).await, &[Code::InvalidArgument], &[]);
        ensure!(outcome.is_ok(), "{outcome:?}: {spec:?}");
        let request = CreateSandboxRequest {
            name: "n".into(),
            ports: vec![spec.clone()],
            stopped: true,
            ..Default::default()
        };
        let outcome = says(
            sandboxes.create_sandbox(request).await,
            &[Code::InvalidArgument],
            &[],
        );
        ensure!(outcome.is_ok(), "stopped, {outcome:?}: {spec:?}");
    }
    let named = |name: &str| CreateSandboxRequest {
        name: name.into(),
        ..Default::default()
    };
    let namespace = |source| Some(Namespace { source });
    for request in [
        named(""),
        named("../n"),
        named(".."),
        named("n/n"),
        named(&"x".repeat(5000)),
        CreateSandboxRequest {
            stopped: true,
            namespace: namespace(Some(Source::Pid(1))),
            ..named("n")
        },
        CreateSandboxRequest {
            namespace: namespace(Some(Source::Path("run/netns/x".into()))),
            ..named("n")
        },
        CreateSandboxRequest {
            namespace: namespace(Some(Source::Pid(0))),
            ..named("n")
        },
    ] {
        let shown = format!("{request:?}");
        let codes = [Code::InvalidArgument, Code::NotFound];
        let outcome = says(sandboxes.create_sandbox(request).await, &codes, &[]);
        ensure!(outcome.is_ok(), "{outcome:?}: {shown}");
    }
    ensure!(before == state(&world)?, "something changed");
    Ok(())
}

#[tokio::test]
async fn p01_n08_prune_of_any_time() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    let before = state(&world)?;
    let mut networks = NetworkServiceClient::new(channel(&world).await?);
    for (seconds, nanos) in [
        (0, 0),
        (-1, 0),
        (i64::MIN, 0),
        (i64::MIN, i32::MIN),
        (-1, i32::MAX),
        (1, -1),
    ] {
        let request = PruneNetworksRequest {
            created_before: Some(prost_types::Timestamp { seconds, nanos }),
            ..Default::default()
        };
        // Refused or without effect: no network is as old.
        if let Ok(pruned) = networks.prune_networks(request).await {
            ensure!(
                pruned.get_ref().names.is_empty(),
                "{seconds} {nanos}: {pruned:?}"
            );
        }
        ensure!(
            before == state(&world)?,
            "{seconds} {nanos}: something changed"
        );
    }
    let request = PruneNetworksRequest {
        labels: vec![
            LabelSelector::default(),
            LabelSelector {
                key: String::new(),
                value: Some(String::new()),
            },
        ],
        ..Default::default()
    };
    let pruned = networks.prune_networks(request).await?;
    ensure!(pruned.get_ref().names.is_empty(), "{pruned:?}");
    let request = PruneNetworksRequest {
        created_before: Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: i32::MAX,
        }),
        ..Default::default()
    };
    match networks.prune_networks(request).await {
        Ok(pruned) => ensure!(pruned.get_ref().names == ["front"], "{pruned:?}"),
        Err(status) => ensure!(status.code() == Code::InvalidArgument, "{status:?}"),
    }
    world.ctl("status")?;
    Ok(())
}
