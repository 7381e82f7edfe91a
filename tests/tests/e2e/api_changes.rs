//! P01: what others build on: requests that may come twice, changes of what exists, watches without a gap, names as the resolver
//! knows them, checks; and a driver that is one file.

use anyhow::{Context, ensure};
use netd_proto::v1::{
    CheckEndpointRequest, ConnectSandboxRequest, CreateNetworkRequest, CreateSandboxRequest,
    EndpointReference, EndpointSpec, EndpointUpdate, ListNamesRequest, ListNetworksRequest,
    NetworkUpdate, PortSpec, PublishRequest, RemoveNetworkRequest, ResolveRequest, SandboxUpdate,
    UpdateEndpointRequest, UpdateNetworkRequest, UpdateSandboxRequest, WatchRequest,
    endpoint_service_client::EndpointServiceClient, event_service_client::EventServiceClient,
    name_service_client::NameServiceClient, network_service_client::NetworkServiceClient,
    object_change, port_service_client::PortServiceClient, resolve_response::Outcome as Found,
    sandbox_service_client::SandboxServiceClient, watch_response::Kind,
};
use netd_tests::World;
use tonic::Code;

use crate::{Outcome, api::channel};

#[tokio::test]
async fn p01_a_request_that_comes_twice_is_done_once() -> Outcome {
    let world = World::new()?;
    let channel = channel(&world).await?;
    let mut networks = NetworkServiceClient::new(channel.clone());
    let mut sandboxes = SandboxServiceClient::new(channel.clone());
    let mut endpoints = EndpointServiceClient::new(channel.clone());
    let mut ports = PortServiceClient::new(channel);
    let network = CreateNetworkRequest {
        name: "front".into(),
        request_id: "one".into(),
        ..Default::default()
    };
    let first = networks.create_network(network.clone()).await?.into_inner();
    let again = networks.create_network(network.clone()).await?.into_inner();
    ensure!(first.id == again.id);
    let other = CreateNetworkRequest {
        request_id: "two".into(),
        ..network
    };
    let refused = networks
        .create_network(other)
        .await
        .err()
        .context("made twice")?;
    ensure!(refused.code() == Code::AlreadyExists, "{refused}");
    let id = "5".repeat(63) + "a";
    let sandbox = CreateSandboxRequest {
        id: id.clone(),
        name: "s".into(),
        request_id: "three".into(),
        ..Default::default()
    };
    for _ in 0..2 {
        let made = sandboxes
            .create_sandbox(sandbox.clone())
            .await?
            .into_inner();
        ensure!(made.id == id, "{} is not the client's", made.id);
    }
    let connect = ConnectSandboxRequest {
        sandbox: "s".into(),
        spec: Some(EndpointSpec {
            network: "front".into(),
            ..Default::default()
        }),
        request_id: "four".into(),
    };
    let one = endpoints
        .connect_sandbox(connect.clone())
        .await?
        .into_inner();
    let two = endpoints.connect_sandbox(connect).await?.into_inner();
    ensure!(one.id == two.id && !one.id.is_empty());
    let publish = PublishRequest {
        sandbox: "s".into(),
        specs: vec![PortSpec {
            port: 80,
            ..Default::default()
        }],
        request_id: "five".into(),
    };
    let one = ports.publish(publish.clone()).await?.into_inner();
    let two = ports.publish(publish).await?.into_inner();
    ensure!(one == two, "another port was chosen: {two:?}");
    for _ in 0..2 {
        networks
            .remove_network(RemoveNetworkRequest {
                network: "no-such".into(),
                allow_missing: true,
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn p01_what_exists_can_be_changed() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    world.ctl("sandbox create --network front s")?;
    world.ctl("sandbox create --network front t")?;
    let channel = channel(&world).await?;
    let mut networks = NetworkServiceClient::new(channel.clone());
    let mut sandboxes = SandboxServiceClient::new(channel.clone());
    let mut endpoints = EndpointServiceClient::new(channel.clone());
    let mut names = NameServiceClient::new(channel);
    let label = |value: &str| [("tier".to_owned(), value.to_owned())].into();
    let changed = networks
        .update_network(UpdateNetworkRequest {
            network: "front".into(),
            update: Some(NetworkUpdate {
                labels: label("web"),
            }),
            ..Default::default()
        })
        .await?
        .into_inner();
    ensure!(changed.labels["tier"] == "web");
    // Whoever decided by what was before is told so.
    let stale = networks
        .update_network(UpdateNetworkRequest {
            network: "front".into(),
            update: Some(NetworkUpdate { labels: label("x") }),
            expected_revision: changed.revision - 1,
            ..Default::default()
        })
        .await
        .err()
        .context("a stale change was made")?;
    ensure!(stale.code() == Code::Aborted, "{stale}");
    let renamed = sandboxes
        .update_sandbox(UpdateSandboxRequest {
            sandbox: "s".into(),
            update: Some(SandboxUpdate {
                name: "shop".into(),
                ports: vec![PortSpec {
                    host_port: Some(8080),
                    port: 80,
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        })
        .await?
        .into_inner();
    ensure!(
        renamed.name == "shop" && renamed.publications.len() == 1,
        "{renamed:?}"
    );
    let taken = sandboxes
        .update_sandbox(UpdateSandboxRequest {
            sandbox: "shop".into(),
            update: Some(SandboxUpdate {
                name: "t".into(),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .err()
        .context("the name of another was taken")?;
    ensure!(taken.code() == Code::AlreadyExists, "{taken}");
    let place = EndpointReference {
        network: "front".into(),
        sandbox: "shop".into(),
        ..Default::default()
    };
    endpoints
        .update_endpoint(UpdateEndpointRequest {
            endpoint: Some(place.clone()),
            update: Some(EndpointUpdate {
                aliases: vec!["till".into()],
                ..Default::default()
            }),
            ..Default::default()
        })
        .await?;
    let mut ask = async |name: &str| {
        let asked = ResolveRequest {
            sandbox: "t".into(),
            name: name.into(),
            ..Default::default()
        };
        names.resolve(asked).await.map(tonic::Response::into_inner)
    };
    for known in ["shop", "till", "shop.front"] {
        let found = ask(known).await?;
        ensure!(
            found.outcome() == Found::Answered && found.records.len() == 1,
            "{known}: {found:?}"
        );
    }
    ensure!(
        ask("s").await?.outcome() == Found::Forwarded,
        "the old name is known"
    );
    let all = names
        .list_names(ListNamesRequest {
            sandbox: "t".into(),
            ..Default::default()
        })
        .await?
        .into_inner();
    ensure!(
        all.names
            .iter()
            .any(|n| n.name == "till" && n.network_name == "front")
    );
    let check = || CheckEndpointRequest {
        endpoint: Some(place.clone()),
    };
    let well = endpoints.check_endpoint(check()).await?.into_inner();
    ensure!(well.differences.is_empty(), "{well:?}");
    world.ctl("sandbox exec shop -- ip addr flush dev eth0")?;
    let ill = endpoints.check_endpoint(check()).await?.into_inner();
    ensure!(
        ill.differences.iter().any(|d| d.contains("address")),
        "{ill:?}"
    );
    world.ctl("system reconcile")?;
    let well = endpoints.check_endpoint(check()).await?.into_inner();
    ensure!(well.differences.is_empty(), "{well:?}");
    Ok(())
}

#[tokio::test]
async fn n11_nothing_is_missed_between_a_list_and_a_watch() -> Outcome {
    let world = World::new()?;
    world.ctl("network create before")?;
    let channel = channel(&world).await?;
    let mut networks = NetworkServiceClient::new(channel.clone());
    let mut events = EventServiceClient::new(channel);
    let listed = networks
        .list_networks(ListNetworksRequest::default())
        .await?
        .into_inner();
    // In the gap.
    world.ctl("network create within")?;
    world.ctl("network rm before")?;
    let mut watch = events
        .watch(WatchRequest {
            from_revision: Some(listed.revision),
            ..Default::default()
        })
        .await?
        .into_inner();
    world.ctl("network create after")?;
    let mut told = Vec::new();
    let mut last = listed.revision;
    while told.len() < 3 {
        let next = watch.message().await?.context("the watch ended")?;
        ensure!(
            next.kind() == Kind::Commit && next.revision > last,
            "{next:?}"
        );
        last = next.revision;
        for change in next.changes {
            told.push(change.kind());
        }
    }
    use object_change::Kind::{Created, Removed};
    ensure!(told == [Created, Removed, Created], "{told:?}");
    let mut whole = events
        .watch(WatchRequest {
            snapshot: true,
            filter: "name=\"after\"".into(),
            types: vec![1],
            ..Default::default()
        })
        .await?
        .into_inner();
    let first = whole.message().await?.context("no snapshot")?;
    ensure!(
        first.kind() == Kind::Snapshot && first.changes.len() == 1,
        "{first:?}"
    );
    let second = whole.message().await?.context("no end of it")?;
    ensure!(second.kind() == Kind::Synced, "{second:?}");
    let gone = events
        .watch(WatchRequest {
            from_revision: Some(1),
            ..Default::default()
        })
        .await
        .err()
        .context("a revision of long ago was known")?;
    ensure!(gone.code() == Code::OutOfRange, "{gone}");
    Ok(())
}

/// A failed request is seen by nobody: neither in the log, nor in what a watcher is told.
#[test]
fn b07_what_fails_is_never_told() -> Outcome {
    let mut world = World::without_daemon()?;
    world.start_with(&[("NETD_FAILPOINT_REFUSE", "endpoint-told")])?;
    world.ctl("network create front")?;
    let before = world.ctl("network ls")?;
    let words = ["sandbox", "create", "--network", "front", "s"];
    ensure!(!world.netctl(&words)?.ok, "the step did not fail");
    ensure!(!world.ctl("sandbox ls")?.contains(" s"), "it is listed");
    ensure!(world.ctl("network ls")? == before);
    Ok(())
}

/// Its networks have addresses, and its room notes what it was asked to do: nothing else of netd knows it.
#[test]
fn n10_a_driver_is_one_file() -> Outcome {
    let mut world = World::new()?;
    let notes = world.directory().join("notes");
    std::fs::create_dir(&notes)?;
    let count = || std::fs::read_dir(&notes).map(Iterator::count);
    world.ctl(&format!(
        "network create -d example -o example.notes={} e",
        notes.display()
    ))?;
    ensure!(count()? == 1, "its network was not made");
    world.ctl("sandbox create --network e s")?;
    ensure!(count()? == 2, "its endpoint was not made");
    world.kill()?;
    for entry in std::fs::read_dir(&notes)? {
        std::fs::remove_file(entry?.path())?;
    }
    world.start()?;
    ensure!(count()? == 2, "the start did not mend it");
    world.ctl("network disconnect e s")?;
    world.ctl("network rm e")?;
    ensure!(count()? == 0, "something is left of it");
    let refused = world.netctl(&["network", "create", "-d", "example", "f"])?;
    ensure!(
        !refused.ok && refused.text().contains("example.notes"),
        "{}",
        refused.text()
    );
    Ok(())
}
