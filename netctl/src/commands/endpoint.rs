//! `endpoint`: ls, inspect, update, check.

use netd_proto::v1::{
    CheckEndpointRequest, Endpoint, EndpointReference, EndpointUpdate, GetEndpointRequest,
    ListEndpointsRequest, UpdateEndpointRequest,
};
use serde_json::{Value, json};

use super::{answer, mask, pages, set_fields};
use crate::{
    cli::{
        Output,
        endpoint::{Command, Update, Which},
    },
    client::Client,
    failure::{Failure, Result},
    format::{docker::listed_id, json, table::Table},
};

impl From<Which> for EndpointReference {
    fn from(which: Which) -> Self {
        match which.sandbox {
            Some(sandbox) => Self {
                id: String::new(),
                network: which.network,
                sandbox,
            },
            None => Self {
                id: which.network,
                ..Default::default()
            },
        }
    }
}

/// Runs a command.
///
/// # Errors
/// The daemon's refusal; of `check` also a difference.
pub async fn run(client: &Client, command: Command, output: Output) -> Result<()> {
    let mut service = client.endpoints();
    match command {
        Command::Ls {
            filter,
            quiet,
            no_trunc,
        } => {
            let filter = filter.unwrap_or_default();
            let all = pages(|page_token| async {
                let request = ListEndpointsRequest {
                    filter: filter.clone(),
                    page_token,
                    ..Default::default()
                };
                let page = client.endpoints().list_endpoints(request).await?;
                let page = page.into_inner();
                Ok((page.endpoints, page.next_page_token))
            });
            let mut all = all.await?;
            all.sort_by(|a, b| {
                let place = |e: &Endpoint| (e.network_name.clone(), e.sandbox_name.clone());
                place(a).cmp(&place(b))
            });
            answer(
                output,
                || list(&all, quiet, no_trunc),
                || Value::Array(all.iter().map(json::endpoint).collect()),
            )
        }
        Command::Inspect(which) => {
            let endpoint = Some(which.into());
            let found = service
                .get_endpoint(GetEndpointRequest { endpoint })
                .await?;
            let found = json::endpoint(found.get_ref());
            answer(output, || json::pretty(&found), || found.clone())
        }
        Command::Update(flags) => update(client, flags, output).await,
        Command::Check(which) => {
            let endpoint = Some(which.into());
            let request = CheckEndpointRequest { endpoint };
            let differences = service
                .check_endpoint(request)
                .await?
                .into_inner()
                .differences;
            answer(
                output,
                || differences.iter().map(|d| format!("{d}\n")).collect(),
                || json!({"Differences": differences}),
            )?;
            if differences.is_empty() {
                Ok(())
            } else {
                Err(Failure::reported())
            }
        }
    }
}

async fn update(client: &Client, flags: Update, output: Output) -> Result<()> {
    let paths = set_fields(&[
        ("aliases", !flags.aliases.is_empty()),
        ("gateway_priority", flags.gw_priority.is_some()),
    ]);
    if paths.is_empty() {
        return Err(Failure::new("nothing is to change").hint("--alias or --gw-priority"));
    }
    let aliases = flags.aliases.into_iter().filter(|name| !name.is_empty());
    let request = UpdateEndpointRequest {
        endpoint: Some(flags.which.into()),
        update: Some(EndpointUpdate {
            aliases: aliases.collect(),
            gateway_priority: flags.gw_priority.unwrap_or_default(),
        }),
        update_mask: mask(&paths),
        expected_revision: 0,
    };
    let mut service = client.endpoints();
    let endpoint = service.update_endpoint(request).await?.into_inner();
    answer(output, String::new, || json::endpoint(&endpoint))
}

fn list(endpoints: &[Endpoint], quiet: bool, no_trunc: bool) -> String {
    let id = |endpoint: &Endpoint| listed_id(&endpoint.id, no_trunc);
    if quiet {
        return endpoints.iter().map(|e| id(e) + "\n").collect();
    }
    let mut table = Table::new(&[
        "ENDPOINT ID",
        "NETWORK",
        "SANDBOX",
        "INTERFACE",
        "IPV4",
        "IPV6",
        "STATE",
    ]);
    for endpoint in endpoints {
        let state = if endpoint.degraded.is_empty() {
            "well"
        } else {
            "degraded"
        };
        table.row([
            id(endpoint),
            endpoint.network_name.clone(),
            endpoint.sandbox_name.clone(),
            endpoint.interface_name.clone(),
            endpoint.ipv4_address.clone(),
            endpoint.ipv6_address.clone(),
            state.to_owned(),
        ]);
    }
    table.render()
}
