//! The service of sandboxes.

use netd_proto::v1::{self, sandbox_service_server::SandboxService};
use tonic::{Request, Response, async_trait};

use super::{
    Answer, Api, bounds, convert,
    filter::Filter,
    mask::Mask,
    names,
    page::{Asked, Place},
    requests,
    subject::{self, Of},
};
use crate::{
    engine::SandboxUpdate,
    error::Result,
    model::{NameOptions, Sandbox},
};

/// What of a sandbox can be updated.
const PATHS: [&str; 10] = [
    "name",
    "hostname",
    "labels",
    "names.domainname",
    "names.dns",
    "names.dns_search",
    "names.dns_options",
    "names.extra_hosts",
    "ports",
    "exposed",
];

fn is_set(update: &v1::SandboxUpdate, path: &str) -> bool {
    let names = |part: fn(&v1::NameOptions) -> bool| update.names.as_ref().is_some_and(part);
    match path {
        "name" => !update.name.is_empty(),
        "hostname" => !update.hostname.is_empty(),
        "labels" => !update.labels.is_empty(),
        "names.domainname" => names(|n| !n.domainname.is_empty()),
        "names.dns" => names(|n| !n.dns.is_empty()),
        "names.dns_search" => names(|n| !n.dns_search.is_empty()),
        "names.dns_options" => names(|n| !n.dns_options.is_empty()),
        "names.extra_hosts" => names(|n| !n.extra_hosts.is_empty()),
        "ports" => !update.ports.is_empty(),
        "exposed" => !update.exposed.is_empty(),
        _ => false,
    }
}

/// The update that a request asks for. `before`: what is known of names now, of which single fields may stay.
fn change(
    update: v1::SandboxUpdate,
    mask: &Mask,
    before: NameOptions,
    expected_revision: u64,
) -> Result<SandboxUpdate> {
    let wanted = names::options("update.names", update.names.unwrap_or_default())?;
    let mut all = before.clone();
    if mask.has("names.domainname") {
        all.domainname = wanted.domainname;
    }
    if mask.has("names.dns") {
        all.servers = wanted.servers;
    }
    if mask.has("names.dns_search") {
        all.search = wanted.search;
    }
    if mask.has("names.dns_options") {
        all.options = wanted.options;
    }
    if mask.has("names.extra_hosts") {
        all.hosts = wanted.hosts;
    }
    let ports = requests::bindings("update.ports", &update.ports)?;
    let exposed = requests::exposed(&update.exposed)?;
    Ok(SandboxUpdate {
        expected_revision,
        name: mask.has("name").then_some(update.name),
        hostname: mask.has("hostname").then_some(update.hostname),
        labels: mask
            .has("labels")
            .then(|| update.labels.into_iter().collect()),
        names: (all != before).then_some(all),
        ports: mask.has("ports").then_some(ports),
        exposed: mask.has("exposed").then_some(exposed),
    })
}

#[async_trait]
impl SandboxService for Api {
    async fn create_sandbox(
        &self,
        request: Request<v1::CreateSandboxRequest>,
    ) -> Answer<v1::Sandbox> {
        let request = requests::sandbox(bounds::open(request)?)?;
        let made = self
            .whole(move |e| async move { e.create_sandbox(request).await })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::sandbox(&model, &made)))
    }

    async fn get_sandbox(&self, request: Request<v1::GetSandboxRequest>) -> Answer<v1::Sandbox> {
        let request = bounds::open(request)?;
        let model = self.engine.view();
        let found = model.sandbox(&request.sandbox)?;
        Ok(Response::new(convert::sandbox(&model, found)))
    }

    async fn list_sandboxes(
        &self,
        request: Request<v1::ListSandboxesRequest>,
    ) -> Answer<v1::ListSandboxesResponse> {
        let request = bounds::open(request)?;
        let filter = Filter::parse(&request.filter, subject::SANDBOX)?;
        let list = ["sandboxes", &request.filter];
        let asked = Asked::new(request.page_size, &request.page_token, &list)?;
        let model = self.engine.view();
        let taken = |s: &&Sandbox| filter.takes(&Of(&model, *s));
        let page = asked.of(
            model.revision,
            model.sandboxes().values().map(|s| &**s).filter(taken),
            |s| Place {
                created: s.created,
                id: s.id.clone(),
            },
            |s| vec![convert::sandbox(&model, s)],
        );
        Ok(Response::new(v1::ListSandboxesResponse {
            sandboxes: page.items,
            next_page_token: page.next,
            revision: page.revision,
        }))
    }

    async fn update_sandbox(
        &self,
        request: Request<v1::UpdateSandboxRequest>,
    ) -> Answer<v1::Sandbox> {
        let request = bounds::open(request)?;
        let update = request.update.unwrap_or_default();
        let mask = Mask::new(request.update_mask, &PATHS, |path| is_set(&update, path))?;
        let (wanted, expected) = (request.sandbox, request.expected_revision);
        let before = self.engine.view().sandbox(&wanted)?.names.clone();
        let update = change(update, &mask, before, expected)?;
        let made = self
            .whole(move |e| async move { e.update_sandbox(&wanted, update).await })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::sandbox(&model, &made)))
    }

    async fn start_sandbox(
        &self,
        request: Request<v1::StartSandboxRequest>,
    ) -> Answer<v1::Sandbox> {
        let request = bounds::open(request)?;
        let namespace = requests::namespace(request.namespace);
        let made = self
            .whole(move |e| async move {
                e.start_sandbox(&request.sandbox, namespace, request.request_id)
                    .await
            })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::sandbox(&model, &made)))
    }

    async fn stop_sandbox(&self, request: Request<v1::StopSandboxRequest>) -> Answer<v1::Sandbox> {
        let wanted = bounds::open(request)?.sandbox;
        let made = self
            .whole(move |e| async move { e.stop_sandbox(&wanted).await })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::sandbox(&model, &made)))
    }

    async fn remove_sandbox(
        &self,
        request: Request<v1::RemoveSandboxRequest>,
    ) -> Answer<v1::RemoveSandboxResponse> {
        let request = bounds::open(request)?;
        let removed = self
            .whole(move |e| async move { e.remove_sandbox(&request.sandbox).await })
            .await;
        let id = super::removed_id(removed, request.allow_missing)?;
        Ok(Response::new(v1::RemoveSandboxResponse { id }))
    }
}
