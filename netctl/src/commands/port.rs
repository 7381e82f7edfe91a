//! `port`: publish, ls, unpublish.

use netd_proto::v1::{ListPublicationsRequest, Publication, PublishRequest, UnpublishRequest};
use serde_json::Value;

use super::{answer, pages};
use crate::{
    cli::{Output, PortCommand},
    client::Client,
    failure::Result,
    format::{json, table::Table},
};

/// Runs a command.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(client: &Client, command: PortCommand, output: Output) -> Result<()> {
    let mut service = client.ports();
    match command {
        PortCommand::Publish(flags) => {
            let request = PublishRequest {
                sandbox: flags.sandbox,
                specs: flags.specs.into_iter().map(Into::into).collect(),
                request_id: String::new(),
            };
            let done = service.publish(request).await?.into_inner().publications;
            // The host ports are chosen now: show them as `docker port` does.
            answer(output, || lines(&done), || array(&done))
        }
        PortCommand::Ls { filter, sandbox } => {
            let (filter, sandbox) = (filter.unwrap_or_default(), sandbox.unwrap_or_default());
            let all = pages(|page_token| async {
                let request = ListPublicationsRequest {
                    sandbox: sandbox.clone(),
                    filter: filter.clone(),
                    page_token,
                    ..Default::default()
                };
                let page = client
                    .ports()
                    .list_publications(request)
                    .await?
                    .into_inner();
                Ok((page.publications, page.next_page_token))
            });
            let all = all.await?;
            answer(output, || list(&all), || array(&all))
        }
        PortCommand::Unpublish(flags) => {
            let request = UnpublishRequest {
                sandbox: flags.sandbox,
                specs: flags.specs.into_iter().map(Into::into).collect(),
                allow_missing: false,
            };
            service.unpublish(request).await?;
            answer(output, String::new, || Value::Array(Vec::new()))
        }
    }
}

fn array(publications: &[Publication]) -> Value {
    Value::Array(publications.iter().map(json::publication).collect())
}

fn lines(publications: &[Publication]) -> String {
    let specs = publications.iter().filter_map(|one| one.spec.as_ref());
    specs
        .map(|spec| {
            format!(
                "{} -> {}\n",
                json::sandbox_side(spec),
                json::host_side(spec)
            )
        })
        .collect()
}

fn list(publications: &[Publication]) -> String {
    let mut table = Table::new(&["SANDBOX", "HOST", "PORT", "STATE"]);
    for publication in publications {
        let spec = publication.spec.clone().unwrap_or_default();
        table.row([
            publication.sandbox_name.clone(),
            json::host_side(&spec),
            json::sandbox_side(&spec),
            if publication.active { "active" } else { "idle" }.to_owned(),
        ]);
    }
    table.render()
}
