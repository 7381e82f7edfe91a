//! P: the gRPC API and netctl.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use anyhow::{Context, ensure};
use netd_proto::v1::{
    CreateNetworkRequest, GetNetworkRequest, GetStatusRequest, WatchRequest,
    event_service_client::EventServiceClient, network_service_client::NetworkServiceClient,
    system_service_client::SystemServiceClient,
};
use netd_tests::World;
use tokio_stream::StreamExt;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::Outcome;

/// A connection to the daemon, as any client makes it.
pub async fn channel(world: &World) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(world.address())?.connect().await?)
}

#[tokio::test]
async fn p01_health_reflection_and_errors() -> Outcome {
    let world = World::new()?;
    let channel = channel(&world).await?;
    let services = [
        "Network", "Sandbox", "Endpoint", "Port", "Name", "Flow", "Event", "System",
    ];
    let services = services.map(|name| format!("netd.v1.{name}Service"));
    for service in services.iter().cloned().chain([String::new()]) {
        let request = HealthCheckRequest { service };
        let health = HealthClient::new(channel.clone())
            .check(request.clone())
            .await
            .with_context(|| format!("{request:?}"))?
            .into_inner();
        ensure!(
            health.status() == ServingStatus::Serving,
            "{request:?}: {health:?}"
        );
    }

    let ask = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let stream = tokio_stream::iter([ask]);
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(stream)
        .await?
        .into_inner();
    let answer = answers.next().await.context("no answer")??;
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        anyhow::bail!("{answer:?}")
    };
    let names: Vec<&str> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for name in &services {
        ensure!(
            names.contains(&name.as_str()),
            "{name} is missing: {names:?}"
        );
    }

    let mut networks = NetworkServiceClient::new(channel.clone());
    let status = networks
        .get_network(GetNetworkRequest {
            network: "nosuch".into(),
            ..Default::default()
        })
        .await
        .expect_err("it exists");
    ensure!(
        status.code() == Code::NotFound && status.message().contains("nosuch"),
        "{status:?}"
    );
    ensure!(!status.details().is_empty(), "no google.rpc details");

    let mut events = EventServiceClient::new(channel.clone())
        .watch(WatchRequest {
            events: true,
            ..Default::default()
        })
        .await?
        .into_inner();
    let request = CreateNetworkRequest {
        name: "front".into(),
        ..Default::default()
    };
    let network = networks.create_network(request).await?.into_inner();
    let commit = tokio::time::timeout(std::time::Duration::from_secs(5), events.next())
        .await?
        .context("no event")??;
    let event = commit.events.first().context("no event")?;
    ensure!(
        event.r#type == "network" && event.action == "create" && event.id == network.id,
        "{event:?}"
    );

    let status = SystemServiceClient::new(channel)
        .get_status(GetStatusRequest {})
        .await?
        .into_inner();
    ensure!(
        status.instance == world.instance && !status.programs.is_empty(),
        "{status:?}"
    );
    Ok(())
}

#[test]
fn p01_the_socket_is_closed_to_others() -> Outcome {
    let world = World::new()?;
    let data = std::fs::metadata(world.run_directory().join("netd.sock"))?;
    ensure!(
        data.file_type().is_socket() && data.permissions().mode() & 0o777 == 0o660,
        "{data:?}"
    );
    Ok(())
}

#[test]
fn p02_json_everywhere_and_the_whole_command_line() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    world.ctl("port publish web 8080:80 127.0.0.1:5353:53/udp")?;
    for line in [
        "network ls",
        "network inspect front",
        "sandbox ls",
        "sandbox inspect web",
        "port ls",
        "drops",
        "stats",
        "status",
    ] {
        let text = world.ctl(&format!("--output json {line}"))?;
        serde_json::from_str::<serde_json::Value>(&text)
            .with_context(|| format!("{line}: {text}"))?;
        ensure!(
            !world.ctl(line)?.is_empty() || line == "drops",
            "{line}: nothing"
        );
    }
    ensure!(world.ctl("port ls web")?.contains("8080"));
    let output = world.netctl(&["sandbox", "exec", "web", "--", "ip", "-br", "addr"])?;
    ensure!(
        output.ok && output.stdout.contains(&web.v4("eth0")?.to_string()),
        "{}",
        output.text()
    );
    ensure!(
        world
            .netctl(&["sandbox", "exec", "web", "--", "sh", "-c", "exit 7"])?
            .code
            == Some(7),
        "exit code"
    );
    world.ctl("port unpublish web 8080:80")?;
    ensure!(!world.ctl("port ls web")?.contains("8080"));
    // A namespace of somebody else stays when its sandbox goes; one that netd made goes too.
    world.ctl("sandbox rm web")?;
    ensure!(
        !world.run_directory().join("netns/web").exists(),
        "the namespace is left"
    );
    Ok(())
}

#[test]
fn p02_sandboxes_of_others() -> Outcome {
    let mut world = World::new()?;
    let own = world.namespace("own")?;
    world.ctl("network create front")?;
    world.ctl(&format!(
        "sandbox create mine --netns {} --hostname mine --label tier=web -p 8080:80",
        own.path().display()
    ))?;
    world.ctl("network connect front mine")?;
    ensure!(own.ip("-br addr show eth0")?.contains("172."), "no address");
    let process = own.scope().spawn(&["cat"])?;
    world.ctl("sandbox rm mine")?;
    ensure!(
        own.ip("link show eth0").is_err() && own.path().exists(),
        "the namespace"
    );
    world.ctl(&format!("sandbox create again --pid {}", process.pid()))?;
    world.ctl("network connect front again")?;
    ensure!(own.ip("-br addr show eth0")?.contains("172."), "no address");
    Ok(())
}
