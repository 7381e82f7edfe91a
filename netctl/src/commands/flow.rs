//! `flows`: the list, the watch, rm.

use netd_proto::v1::{DeleteFlowsRequest, Flow, FlowFilter, ListFlowsRequest, WatchFlowsRequest};
use serde_json::{Value, json};

use super::{answer, print};
use crate::{
    cli::{
        Output,
        flow::{Command, Filter, Flows, Rm},
    },
    client::Client,
    failure::Result,
    format::flow,
};

/// Flows asked for at a time: the most that the daemon gives.
const PAGE: u32 = 4_000;

impl From<Filter> for FlowFilter {
    fn from(filter: Filter) -> Self {
        Self {
            sandbox: filter.sandbox.unwrap_or_default(),
            network: filter.network.unwrap_or_default(),
            protocol: filter.protocol.unwrap_or(0).into(),
            published: filter.published,
            address: filter.ip.unwrap_or_default(),
            port: filter.port.unwrap_or(0).into(),
        }
    }
}

/// Runs a command.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(client: &Client, flags: Flows, output: Output) -> Result<()> {
    let (watches, whole) = (flags.watch, flags.no_trunc);
    match flags.command {
        Some(Command::Rm(flags)) => rm(client, flags, output).await,
        None if watches => watch(client, flags.filter, whole, output).await,
        None => {
            let flows = list(client, flags.filter).await?;
            answer(
                output,
                || flow::table(&flows, whole),
                || Value::Array(flows.iter().map(flow::json).collect()),
            )
        }
    }
}

/// All pages, in the order of a reader: by sandbox, oldest first.
async fn list(client: &Client, filter: Filter) -> Result<Vec<Flow>> {
    let mut service = client.flows();
    let mut request = ListFlowsRequest {
        filter: Some(filter.into()),
        page_size: PAGE,
        page_token: String::new(),
    };
    let mut flows = Vec::new();
    loop {
        let page = service.list_flows(request.clone()).await?.into_inner();
        flows.extend(page.flows);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    flows.sort_by(|a: &Flow, b: &Flow| flow::sandbox(a).cmp(flow::sandbox(b)));
    Ok(flows)
}

async fn watch(client: &Client, filter: Filter, whole: bool, output: Output) -> Result<()> {
    let request = WatchFlowsRequest {
        filter: Some(filter.into()),
        interval: None,
    };
    let mut service = client.flows();
    let mut changes = service.watch_flows(request).await?.into_inner();
    while let Some(change) = changes.message().await? {
        match output {
            Output::Text => print(&flow::change_line(&change, whole))?,
            Output::Json => print(&format!("{}\n", flow::change_json(&change)))?,
        }
    }
    Ok(())
}

async fn rm(client: &Client, flags: Rm, output: Output) -> Result<()> {
    let request = DeleteFlowsRequest {
        filter: Some(flags.filter.into()),
        all: flags.all,
    };
    let mut service = client.flows();
    let count = service.delete_flows(request).await?.into_inner().count;
    answer(
        output,
        || {
            format!(
                "{count} {} ended\n",
                if count == 1 { "flow" } else { "flows" }
            )
        },
        || json!({"Ended": count}),
    )
}
