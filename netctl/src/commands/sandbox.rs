//! `sandbox`: create, ls, inspect, rm. `exec` has a file of its own.

use netd_proto::v1::{
    ConnectRequest, CreateSandboxRequest, GetSandboxRequest, ListSandboxesRequest,
    RemoveSandboxRequest, Sandbox, create_sandbox_request::Namespace,
};
use serde_json::Value;

use super::{answer, exec, inspected, removed};
use crate::{
    cli::{Output, SandboxCommand, SandboxCreate},
    client::Client,
    failure::{Failure, Result},
    format::{docker::short, json, table::Table, template::Template},
};

/// Runs a command.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(client: &Client, command: SandboxCommand, output: Output) -> Result<()> {
    match command {
        SandboxCommand::Create(flags) => create(client, flags, output).await,
        SandboxCommand::Ls { quiet, no_trunc } => {
            let request = ListSandboxesRequest {};
            let mut service = client.sandboxes();
            let all = service
                .list_sandboxes(request)
                .await?
                .into_inner()
                .sandboxes;
            answer(
                output,
                || list(&all, quiet, no_trunc),
                || Value::Array(all.iter().map(json::sandbox).collect()),
            )
        }
        SandboxCommand::Inspect { format, sandboxes } => inspect(client, format, sandboxes).await,
        SandboxCommand::Rm { force, sandboxes } => {
            let mut service = client.sandboxes();
            let mut outcomes = Vec::new();
            for sandbox in sandboxes {
                let request = RemoveSandboxRequest {
                    sandbox: sandbox.clone(),
                };
                let outcome = service.remove_sandbox(request).await;
                outcomes.push((sandbox, outcome.map(|_| ()).map_err(Failure::from)));
            }
            removed(output, outcomes, force)
        }
        SandboxCommand::Exec { sandbox, command } => {
            let request = GetSandboxRequest { sandbox };
            let sandbox = client.sandboxes().get_sandbox(request).await?.into_inner();
            Err(exec::exec(&sandbox, &command))
        }
    }
}

async fn create(client: &Client, flags: SandboxCreate, output: Output) -> Result<()> {
    let namespace = match (flags.netns, flags.pid) {
        (Some(path), _) => {
            // The daemon has a working directory of its own.
            let whole = std::path::absolute(&path).map_err(|error| {
                Failure::new(format!("the namespace {}: {error}", path.display()))
            })?;
            let text = whole.into_os_string().into_string().map_err(|path| {
                Failure::new(format!("the namespace {} is not UTF-8", path.display()))
            })?;
            Some(Namespace::NetnsPath(text))
        }
        (None, pid) => pid.map(Namespace::Pid),
    };
    let networks = flags.networks.into_iter().map(|network| ConnectRequest {
        network,
        sandbox: flags.name.clone(),
        ..Default::default()
    });
    let request = CreateSandboxRequest {
        networks: networks.collect(),
        name: flags.name,
        namespace,
        hostname: flags.hostname.unwrap_or_default(),
        labels: flags.labels.into_iter().collect(),
        ports: flags.ports.into_iter().map(Into::into).collect(),
        ..Default::default()
    };
    let mut service = client.sandboxes();
    let sandbox = service.create_sandbox(request).await?.into_inner();
    answer(
        output,
        || format!("{}\n", sandbox.id),
        || json::sandbox(&sandbox),
    )
}

fn list(sandboxes: &[Sandbox], quiet: bool, no_trunc: bool) -> String {
    let id = |sandbox: &Sandbox| {
        let id = if no_trunc {
            &sandbox.id
        } else {
            short(&sandbox.id)
        };
        id.to_owned()
    };
    if quiet {
        return sandboxes.iter().map(|sandbox| id(sandbox) + "\n").collect();
    }
    let mut table = Table::new(&[
        "SANDBOX ID",
        "NAME",
        "STATE",
        "NETWORKS",
        "PORTS",
        "NAMESPACE",
    ]);
    for sandbox in sandboxes {
        let networks = sandbox.endpoints.iter().map(|endpoint| {
            // The address without its prefix length, which is the network's.
            let address = [&endpoint.ipv4_address, &endpoint.ipv6_address]
                .into_iter()
                .find(|address| !address.is_empty());
            match address.and_then(|address| address.split('/').next()) {
                Some(address) => format!("{}={address}", endpoint.network_name),
                None => endpoint.network_name.clone(),
            }
        });
        let ports = sandbox.publications.iter().filter_map(|publication| {
            let spec = publication.spec.as_ref()?;
            Some(format!(
                "{}->{}",
                json::host_side(spec),
                json::sandbox_side(spec)
            ))
        });
        table.row([
            id(sandbox),
            sandbox.name.clone(),
            if sandbox.running { "running" } else { "gone" }.to_owned(),
            networks.collect::<Vec<_>>().join(","),
            ports.collect::<Vec<_>>().join(","),
            sandbox.netns_path.clone(),
        ]);
    }
    table.render()
}

async fn inspect(client: &Client, format: Option<String>, names: Vec<String>) -> Result<()> {
    let template = format
        .map(|text| Template::parse(&text))
        .transpose()
        .map_err(Failure::new)?;
    let mut service = client.sandboxes();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for sandbox in names {
        match service.get_sandbox(GetSandboxRequest { sandbox }).await {
            Ok(sandbox) => found.push(json::sandbox(sandbox.get_ref())),
            Err(status) => failures.push(Failure::from(status)),
        }
    }
    inspected(&found, &failures, template.as_ref())
}
