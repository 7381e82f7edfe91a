//! Sandboxes: making, adopting and removing namespaces.

use std::{collections::BTreeMap, path::PathBuf};

use super::{EndpointRequest, Engine, Model};
use crate::{
    error::{Error, Kind, Result},
    kernel::{Netns, sandbox},
    model::{self, PortBinding, Sandbox},
    store::Change,
};

/// Where a sandbox' namespace comes from.
#[derive(Clone, Debug)]
pub enum NamespaceRequest {
    /// netd makes it.
    New,
    /// An existing one.
    Path(PathBuf),
    /// That of a process.
    Process(u32),
}

/// A sandbox asked for.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "the fields of the request, as in sandbox.proto"
)]
pub struct SandboxRequest {
    pub name: String,
    pub namespace: NamespaceRequest,
    pub hostname: String,
    pub labels: BTreeMap<String, String>,
    pub ports: Vec<PortBinding>,
    pub networks: Vec<EndpointRequest>,
}

impl Engine {
    /// Creates a sandbox, connects it and publishes its ports; what fails leaves nothing.
    pub async fn create_sandbox(&self, request: SandboxRequest) -> Result<Sandbox> {
        let mut model = self.model().await;
        model::check_name("sandbox", &request.name)?;
        if model.sandboxes.values().any(|s| s.name == request.name) {
            return Err(Error::new(
                Kind::Exists,
                format!("sandbox with name {} already exists", request.name),
            )
            .hint("choose another name or remove it first"));
        }
        for wanted in &request.networks {
            model.network(&wanted.network)?;
        }
        let on_host = request
            .networks
            .iter()
            .any(|n| model.network(&n.network).is_ok_and(|n| n.driver == "host"));
        if on_host
            && (request.networks.len() > 1 || !matches!(request.namespace, NamespaceRequest::New))
        {
            return Err(Error::invalid(
                "the host network stands alone: no other network, no namespace of its own",
            ));
        }
        let id = model::new_id();
        let own = self.instance.run.join("netns").join(&request.name);
        let (netns, path, owned) = match &request.namespace {
            NamespaceRequest::Path(path) => (Netns::open(path)?, path.clone(), false),
            NamespaceRequest::Process(pid) => {
                let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
                let netns = Netns::open(&path).map_err(|e| {
                    Error::new(e.kind, format!("process {pid}: {}", e.message))
                        .hint("give a running process")
                })?;
                (netns, path, false)
            }
            NamespaceRequest::New if on_host => {
                let netns = Netns::current()?;
                netns.link(&own)?;
                (netns, own.clone(), true)
            }
            NamespaceRequest::New => (Netns::create(&own)?, own.clone(), true),
        };
        if !on_host && netns.identity()? == Netns::current()?.identity()? {
            return Err(
                Error::invalid(format!("{} is the host's own namespace", path.display()))
                    .hint("connect a sandbox to the network host instead"),
            );
        }
        // Two sandboxes of one namespace would fight over its interfaces and its default route.
        let identity = netns.identity()?;
        let twin = model
            .running
            .iter()
            .find(|(_, n)| n.identity().is_ok_and(|i| i == identity));
        if !on_host && let Some(other) = twin.and_then(|(id, _)| model.sandboxes.get(id)) {
            return Err(Error::conflict(format!(
                "{} is the namespace of sandbox {} already",
                path.display(),
                other.name
            ))
            .hint("connect that one, or remove it first"));
        }
        let sandbox = Sandbox {
            hostname: if request.hostname.is_empty() {
                id[..12].to_owned()
            } else {
                request.hostname
            },
            name: request.name,
            created: model::now(),
            labels: request.labels,
            netns: path,
            owned,
            host: on_host,
            ports: Vec::new(),
            id,
        };
        let made = self
            .fill(
                &mut model,
                &sandbox,
                &netns,
                request.networks,
                request.ports,
            )
            .await;
        if let Err(e) = made {
            self.take_down(&mut model, &sandbox.id).await;
            return Err(e);
        }
        self.emit("sandbox", "create", &sandbox.id, &[("name", &sandbox.name)]);
        model.sandbox(&sandbox.id).cloned()
    }

    async fn fill(
        &self,
        model: &mut Model,
        sandbox: &Sandbox,
        netns: &Netns,
        networks: Vec<EndpointRequest>,
        ports: Vec<PortBinding>,
    ) -> Result<()> {
        model.sandboxes.insert(sandbox.id.clone(), sandbox.clone());
        model.running.insert(sandbox.id.clone(), netns.clone());
        self.commit(&[Change::put("sandbox", &sandbox.id, sandbox)?])?;
        if sandbox.owned && !sandbox.host {
            sandbox::set_loopback_up(netns)?;
        }
        if !sandbox.host {
            for mut wanted in networks {
                wanted.sandbox.clone_from(&sandbox.id);
                self.connect_in(model, wanted).await?;
            }
        }
        let ports = self.plan_ports(model, sandbox, ports)?;
        if !ports.is_empty() {
            let changed = Sandbox {
                ports,
                ..sandbox.clone()
            };
            self.commit(&[Change::put("sandbox", &changed.id, &changed)?])?;
            model.sandboxes.insert(changed.id.clone(), changed);
            self.refresh_sandbox(model, &sandbox.id)?;
            self.reserve_ports(model)?;
        }
        Ok(())
    }

    /// Removes a sandbox with its endpoints and publications. Returns its id.
    pub async fn remove_sandbox(&self, wanted: &str) -> Result<String> {
        let mut model = self.model().await;
        let sandbox = model.sandbox(wanted)?.clone();
        self.take_down(&mut model, &sandbox.id).await;
        self.emit(
            "sandbox",
            "destroy",
            &sandbox.id,
            &[("name", &sandbox.name)],
        );
        Ok(sandbox.id)
    }

    /// Removes whatever there is of a sandbox; what fails is logged, the next start mends it.
    async fn take_down(&self, model: &mut Model, id: &str) {
        let endpoints: Vec<_> = model.endpoints_of(id).cloned().collect();
        let mut changes = vec![Change::delete("sandbox", id)];
        changes.extend(endpoints.iter().map(|e| Change::delete("endpoint", &e.id)));
        if let Err(e) = self.commit(&changes) {
            tracing::error!("removing sandbox {id}: {e}");
        }
        for endpoint in &endpoints {
            model.endpoints.remove(&endpoint.id);
            self.unrealize_endpoint(model, endpoint).await;
        }
        model.running.remove(id);
        if let Some(sandbox) = model.sandboxes.remove(id) {
            if sandbox.owned
                && let Err(e) = Netns::remove(&sandbox.netns)
            {
                tracing::warn!("sandbox {}: {e}", sandbox.name);
            }
            if !sandbox.ports.is_empty()
                && let Err(e) = self.reserve_ports(model)
            {
                tracing::warn!("reserved ports: {e}");
            }
        }
    }
}
