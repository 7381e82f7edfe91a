//! `sandbox`: create, ls, inspect, rename, update, start, stop, rm. `exec` has a file of its own.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use netd_proto::v1::{
    CreateSandboxRequest, GetSandboxRequest, ListSandboxesRequest, NameOptions, Namespace,
    RemoveSandboxRequest, Sandbox, SandboxUpdate, StartSandboxRequest, StopSandboxRequest,
    UpdateSandboxRequest, namespace::Source,
};
use serde_json::Value;

use super::{answer, each, exec, inspected, mask, pages, set_fields, wanted};
use crate::{
    cli::{
        Output,
        sandbox::{Command, Create, Names, Update},
    },
    client::Client,
    failure::{Failure, Result},
    format::{docker::listed_id, json, table::Table},
};

/// Runs a command.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(client: &Client, command: Command, output: Output) -> Result<()> {
    match command {
        Command::Create(flags) => create(client, *flags, output).await,
        Command::Ls {
            filter,
            quiet,
            no_trunc,
        } => {
            let filter = filter.unwrap_or_default();
            let all = pages(|page_token| async {
                let request = ListSandboxesRequest {
                    filter: filter.clone(),
                    page_token,
                    ..Default::default()
                };
                let page = client.sandboxes().list_sandboxes(request).await?;
                let page = page.into_inner();
                Ok((page.sandboxes, page.next_page_token))
            });
            let all = all.await?;
            answer(
                output,
                || list(&all, quiet, no_trunc),
                || Value::Array(all.iter().map(json::sandbox).collect()),
            )
        }
        Command::Inspect { format, sandboxes } => inspect(client, format, sandboxes, output).await,
        Command::Rename { sandbox, name } => {
            let update = SandboxUpdate {
                name,
                ..Default::default()
            };
            let request = UpdateSandboxRequest {
                sandbox,
                update: Some(update),
                update_mask: mask(&["name"]),
                expected_revision: 0,
            };
            updated(client, request, output).await
        }
        Command::Update(flags) => update(client, *flags, output).await,
        Command::Start {
            netns,
            pid,
            sandbox,
        } => {
            let name = sandbox.clone();
            let request = StartSandboxRequest {
                sandbox,
                namespace: namespace(netns, pid)?,
                request_id: String::new(),
            };
            let started = client
                .sandboxes()
                .start_sandbox(request)
                .await?
                .into_inner();
            answer(output, || name + "\n", || json::sandbox(&started))
        }
        Command::Stop { sandboxes } => {
            each(output, sandboxes, false, async |sandbox| {
                let request = StopSandboxRequest { sandbox };
                let mut service = client.sandboxes();
                service.stop_sandbox(request).await.map(drop)
            })
            .await
        }
        Command::Rm { force, sandboxes } => {
            each(output, sandboxes, force, async |sandbox| {
                let request = RemoveSandboxRequest {
                    sandbox,
                    allow_missing: false,
                };
                let mut service = client.sandboxes();
                service.remove_sandbox(request).await.map(drop)
            })
            .await
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

/// Where the namespace comes from; nothing: netd makes it.
fn namespace(netns: Option<PathBuf>, pid: Option<u32>) -> Result<Option<Namespace>> {
    let source = match (netns, pid) {
        (Some(path), _) => Source::Path(whole(&path)?),
        (None, Some(pid)) => Source::Pid(pid),
        (None, None) => return Ok(None),
    };
    let source = Some(source);
    Ok(Some(Namespace { source }))
}

impl From<Names> for NameOptions {
    fn from(names: Names) -> Self {
        Self {
            domainname: names.domainname.unwrap_or_default(),
            dns: names.dns,
            dns_search: names.dns_search,
            dns_options: names.dns_options,
            extra_hosts: names.extra_hosts,
        }
    }
}

async fn create(client: &Client, flags: Create, output: Output) -> Result<()> {
    let request = CreateSandboxRequest {
        allow_missing_networks: false,
        endpoints: flags.networks.into_iter().map(|one| one.0).collect(),
        name: flags.name,
        id: flags.id.unwrap_or_default(),
        namespace: namespace(flags.netns, flags.pid)?,
        hostname: flags.hostname.unwrap_or_default(),
        labels: flags.labels.into_iter().collect(),
        ports: flags.ports.into_iter().map(Into::into).collect(),
        stopped: flags.stopped,
        exposed: flags.exposed.into_iter().map(Into::into).collect(),
        publish_all: flags.publish_all,
        names: Some(flags.names.into()),
        request_id: String::new(),
    };
    let mut service = client.sandboxes();
    let sandbox = service.create_sandbox(request).await?.into_inner();
    answer(
        output,
        || format!("{}\n", sandbox.id),
        || json::sandbox(&sandbox),
    )
}

/// What is given is set; labels are added to those that there are, unless somebody else has changed them meanwhile.
async fn update(client: &Client, flags: Update, output: Output) -> Result<()> {
    let names = &flags.names;
    let paths = set_fields(&[
        ("hostname", flags.hostname.is_some()),
        ("names.domainname", names.domainname.is_some()),
        ("names.dns", !names.dns.is_empty()),
        ("names.dns_search", !names.dns_search.is_empty()),
        ("names.dns_options", !names.dns_options.is_empty()),
        ("names.extra_hosts", !names.extra_hosts.is_empty()),
        ("labels", !flags.labels.is_empty()),
        ("ports", !flags.ports.is_empty()),
        ("exposed", !flags.exposed.is_empty()),
    ]);
    if paths.is_empty() {
        return Err(Failure::new("nothing is to change").hint("give what is to be different"));
    }
    let (mut labels, mut expected_revision) = (HashMap::new(), 0);
    if !flags.labels.is_empty() {
        let sandbox = flags.sandbox.clone();
        let request = GetSandboxRequest { sandbox };
        let found = client.sandboxes().get_sandbox(request).await?.into_inner();
        labels = flags.labels.applied(found.labels);
        expected_revision = found.revision;
    }
    let update = SandboxUpdate {
        name: String::new(),
        hostname: flags.hostname.unwrap_or_default(),
        labels,
        names: Some(flags.names.into()),
        ports: flags.ports.into_iter().map(Into::into).collect(),
        exposed: flags.exposed.into_iter().map(Into::into).collect(),
    };
    let request = UpdateSandboxRequest {
        sandbox: flags.sandbox,
        update: Some(update),
        update_mask: mask(&paths),
        expected_revision,
    };
    updated(client, request, output).await
}

async fn updated(client: &Client, request: UpdateSandboxRequest, output: Output) -> Result<()> {
    let mut service = client.sandboxes();
    let sandbox = service.update_sandbox(request).await?.into_inner();
    answer(
        output,
        || format!("{}\n", sandbox.name),
        || json::sandbox(&sandbox),
    )
}

/// As lists show it.
fn state(sandbox: &Sandbox) -> String {
    match sandbox.degraded.is_empty() {
        true => json::state(sandbox.state()).to_owned(),
        false => format!("{} (degraded)", json::state(sandbox.state())),
    }
}

fn list(sandboxes: &[Sandbox], quiet: bool, no_trunc: bool) -> String {
    let id = |sandbox: &Sandbox| listed_id(&sandbox.id, no_trunc);
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
            state(sandbox),
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
