//! `sandbox`: create, ls, inspect, start, stop, rm. `exec` has a file of its own.

use std::path::Path;

use netd_proto::v1::{
    ConnectRequest, CreateSandboxRequest, GetSandboxRequest, ListSandboxesRequest, NameOptions,
    RemoveSandboxRequest, Sandbox, StartSandboxRequest, StopSandboxRequest, create_sandbox_request,
    start_sandbox_request,
};
use serde_json::Value;

use super::{answer, done, exec, inspected, wanted};
use crate::{
    cli::{
        Output,
        sandbox::{Command, Create},
    },
    client::Client,
    failure::{Failure, Result},
    format::{docker::short, json, table::Table},
};

/// Runs a command.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(client: &Client, command: Command, output: Output) -> Result<()> {
    match command {
        Command::Create(flags) => create(client, *flags, output).await,
        Command::Ls { quiet, no_trunc } => {
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
        Command::Inspect { format, sandboxes } => inspect(client, format, sandboxes, output).await,
        Command::Start {
            netns,
            pid,
            sandbox,
        } => {
            let namespace = match (netns, pid) {
                (Some(path), _) => Some(start_sandbox_request::Namespace::NetnsPath(whole(&path)?)),
                (None, pid) => pid.map(start_sandbox_request::Namespace::Pid),
            };
            let name = sandbox.clone();
            let request = StartSandboxRequest { sandbox, namespace };
            let started = client
                .sandboxes()
                .start_sandbox(request)
                .await?
                .into_inner();
            answer(output, || name + "\n", || json::sandbox(&started))
        }
        Command::Stop { sandboxes } => {
            let mut service = client.sandboxes();
            let mut outcomes = Vec::new();
            for sandbox in sandboxes {
                let request = StopSandboxRequest {
                    sandbox: sandbox.clone(),
                };
                let outcome = service.stop_sandbox(request).await;
                outcomes.push((sandbox, outcome.map(|_| ()).map_err(Failure::from)));
            }
            done(output, outcomes, false)
        }
        Command::Rm { force, sandboxes } => {
            let mut service = client.sandboxes();
            let mut outcomes = Vec::new();
            for sandbox in sandboxes {
                let request = RemoveSandboxRequest {
                    sandbox: sandbox.clone(),
                };
                let outcome = service.remove_sandbox(request).await;
                outcomes.push((sandbox, outcome.map(|_| ()).map_err(Failure::from)));
            }
            done(output, outcomes, force)
        }
        Command::Exec { sandbox, command } => {
            let request = GetSandboxRequest { sandbox };
            let sandbox = client.sandboxes().get_sandbox(request).await?.into_inner();
            Err(exec::exec(&sandbox, &command))
        }
    }
}

/// The daemon has a working directory of its own.
fn whole(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path)
        .map_err(|error| Failure::new(format!("the namespace {}: {error}", path.display())))?;
    whole
        .into_os_string()
        .into_string()
        .map_err(|path| Failure::new(format!("the namespace {} is not UTF-8", path.display())))
}

async fn create(client: &Client, flags: Create, output: Output) -> Result<()> {
    let namespace = match (flags.netns, flags.pid) {
        (Some(path), _) => Some(create_sandbox_request::Namespace::NetnsPath(whole(&path)?)),
        (None, pid) => pid.map(create_sandbox_request::Namespace::Pid),
    };
    let networks = flags.networks.into_iter().map(|attachment| ConnectRequest {
        sandbox: flags.name.clone(),
        ..attachment.0
    });
    let request = CreateSandboxRequest {
        networks: networks.collect(),
        name: flags.name,
        namespace,
        hostname: flags.hostname.unwrap_or_default(),
        labels: flags.labels.into_iter().collect(),
        ports: flags.ports.into_iter().map(Into::into).collect(),
        stopped: flags.stopped,
        exposed: flags
            .exposed
            .into_iter()
            .map(|port| port.0.into())
            .collect(),
        publish_all: flags.publish_all,
        names: Some(NameOptions {
            domainname: flags.domainname.unwrap_or_default(),
            dns: flags.dns,
            dns_search: flags.dns_search,
            dns_options: flags.dns_options,
            extra_hosts: flags.extra_hosts,
        }),
    };
    let mut service = client.sandboxes();
    let sandbox = service.create_sandbox(request).await?.into_inner();
    answer(
        output,
        || format!("{}\n", sandbox.id),
        || json::sandbox(&sandbox),
    )
}

/// A sandbox whose namespace went away by itself is neither running nor stopped.
fn state(sandbox: &Sandbox) -> &'static str {
    match (sandbox.running, sandbox.netns_path.as_str()) {
        (true, _) => "running",
        (false, "") => "stopped",
        (false, _) => "gone",
    }
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
        let asked = sandbox.attachments.iter().map(|one| one.network.clone());
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
            state(sandbox).to_owned(),
            if sandbox.endpoints.is_empty() {
                asked.collect::<Vec<_>>().join(",")
            } else {
                networks.collect::<Vec<_>>().join(",")
            },
            ports.collect::<Vec<_>>().join(","),
            sandbox.netns_path.clone(),
        ]);
    }
    table.render()
}

async fn inspect(
    client: &Client,
    format: Option<String>,
    names: Vec<String>,
    output: Output,
) -> Result<()> {
    let template = wanted(format)?;
    let mut service = client.sandboxes();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for sandbox in names {
        match service.get_sandbox(GetSandboxRequest { sandbox }).await {
            Ok(sandbox) => found.push(json::sandbox(sandbox.get_ref())),
            Err(status) => failures.push(Failure::from(status)),
        }
    }
    inspected(output, &found, &failures, template.as_ref())
}
