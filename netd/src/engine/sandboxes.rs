//! Sandboxes: registering them, giving them a namespace and taking it away.

use std::{collections::BTreeMap, path::PathBuf};

use futures::future::join_all;

use super::{Engine, Model, check_names::check_names};
use crate::{
    dns::Kept,
    error::{Error, Kind, Result},
    kernel::{Netns, sandbox as namespace},
    model::{self, Attachment, Endpoint, EndpointRequest, NameOptions, PortBinding, Sandbox},
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
    pub stopped: bool,
    pub hostname: String,
    pub labels: BTreeMap<String, String>,
    pub ports: Vec<PortBinding>,
    pub exposed: Vec<PortBinding>,
    pub publish_all: bool,
    pub networks: Vec<EndpointRequest>,
    pub names: NameOptions,
}

impl Engine {
    /// Registers a sandbox and, unless it shall stay stopped, starts it; what fails leaves nothing.
    pub async fn create_sandbox(&self, request: SandboxRequest) -> Result<Sandbox> {
        let namespace = request.namespace.clone();
        let stopped = request.stopped;
        let (sandbox, _alone, pending) = {
            let mut model = self.write();
            let sandbox = plan(&model, request)?;
            let change = Change::put("sandbox", &sandbox.id, &sandbox)?;
            let alone = self.sandbox_locks.new_object(&sandbox.id);
            model.sandboxes.insert(sandbox.id.clone(), sandbox.clone());
            (sandbox, alone, self.store.submit(vec![change]))
        };
        let made = async {
            pending.written().await?;
            fail::fail_point!("sandbox-stored");
            if stopped {
                return Ok(());
            }
            self.bring_up(&sandbox.id, &namespace).await
        };
        if let Err(e) = made.await {
            self.forget_sandbox(&sandbox.id).await;
            return Err(e);
        }
        self.emit("sandbox", "create", &sandbox.id, &[("name", &sandbox.name)]);
        self.read().sandbox(&sandbox.id).cloned()
    }

    /// Starts a stopped sandbox: all of its networks and ports, or nothing.
    pub async fn start_sandbox(
        &self,
        wanted: &str,
        namespace: NamespaceRequest,
    ) -> Result<Sandbox> {
        let id = self.read().sandbox(wanted)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let before = self.read().sandbox(&id)?.clone();
        if before.netns.is_some() {
            return Err(Error::conflict(format!(
                "sandbox {} is running already",
                before.name
            )));
        }
        if let Err(e) = self.bring_up(&id, &namespace).await {
            self.bring_down(&id).await;
            self.put_sandbox(before).await?;
            return Err(e);
        }
        self.emit("sandbox", "start", &id, &[("name", &before.name)]);
        self.read().sandbox(&id).cloned()
    }

    /// Stops a sandbox. What it was asked to be is kept.
    pub async fn stop_sandbox(&self, wanted: &str) -> Result<Sandbox> {
        let id = self.read().sandbox(wanted)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let before = self.read().sandbox(&id)?.clone();
        if before.netns.is_some() {
            self.bring_down(&id).await;
            self.emit("sandbox", "stop", &id, &[("name", &before.name)]);
        }
        self.read().sandbox(&id).cloned()
    }

    /// Removes a sandbox with its endpoints and publications. Returns its id.
    pub async fn remove_sandbox(&self, wanted: &str) -> Result<String> {
        let id = self.read().sandbox(wanted)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let found = self.read().sandbox(&id).cloned();
        let sandbox = found.map_err(|mut e| {
            e.message = format!("No such container: {wanted}");
            e
        })?;
        self.forget_sandbox(&id).await;
        self.emit("sandbox", "destroy", &id, &[("name", &sandbox.name)]);
        Ok(id)
    }

    /// Opens or makes the namespace, connects and publishes. The lock is held; what fails is for the caller to undo.
    async fn bring_up(&self, id: &str, request: &NamespaceRequest) -> Result<()> {
        let mut sandbox = self.read().sandbox(id)?.clone();
        let own = self.instance.run.join("netns").join(&sandbox.name);
        let attached: Vec<String> = {
            let model = self.read();
            let drivers = sandbox.attachments.iter().map(|a| {
                let network = model.network(&a.request.network)?;
                Ok(network.driver.clone())
            });
            drivers.collect::<Result<_>>()?
        };
        sandbox.host = attached.iter().any(|d| d == "host");
        if sandbox.host && !matches!(request, NamespaceRequest::New) {
            return Err(Error::invalid(
                "the host network stands alone: no other network, no namespace of its own",
            ));
        }
        let (path, owned) = match request {
            NamespaceRequest::New => (own, true),
            NamespaceRequest::Path(path) => (path.clone(), false),
            NamespaceRequest::Process(pid) => (PathBuf::from(format!("/proc/{pid}/ns/net")), false),
        };
        sandbox.netns = Some(path.clone());
        sandbox.owned = owned;
        if owned {
            // On disk before it is there: a start after a crash finds what to remove.
            self.put_sandbox(sandbox.clone()).await?;
        }
        let netns = match request {
            NamespaceRequest::New if sandbox.host => {
                let netns = Netns::current()?;
                netns.link(&path)?;
                netns
            }
            NamespaceRequest::New => Netns::create_async(&path).await?,
            NamespaceRequest::Path(path) => Netns::open(path)?,
            NamespaceRequest::Process(pid) => Netns::open(&path).map_err(|e| {
                Error::new(e.kind, format!("process {pid}: {}", e.message))
                    .hint("give a running process")
            })?,
        };
        if !owned {
            self.check_namespace(&netns, &path)?;
            self.put_sandbox(sandbox.clone()).await?;
        }
        self.write().running.insert(id.to_owned(), netns.clone());
        self.make_files(id)?;
        if owned && !sandbox.host {
            namespace::set_loopback_up(&netns).await?;
        }
        self.open_resolver(&sandbox, &netns, &mut Kept::new());
        fail::fail_point!("namespace-made");
        for attachment in &sandbox.attachments {
            self.attach(id, attachment, false).await?;
        }
        let wanted = sandbox.wanted_ports.clone();
        self.take_ports(id, wanted, |after, bindings| {
            after.ports = bindings.to_vec()
        })
        .await?;
        self.report_host_gateway(id);
        Ok(())
    }

    /// A namespace that others made must be neither the host's nor another sandbox'.
    fn check_namespace(&self, netns: &Netns, path: &std::path::Path) -> Result<()> {
        let identity = netns.identity()?;
        if identity == Netns::current()?.identity()? {
            return Err(
                Error::invalid(format!("{} is the host's own namespace", path.display()))
                    .hint("connect a sandbox to the network host instead"),
            );
        }
        // Two sandboxes of one namespace would fight over its interfaces and its default route.
        let model = self.read();
        let mut running = model.running.iter();
        let twin = running.find(|(_, n)| n.identity().is_ok_and(|i| i == identity));
        match twin.and_then(|(id, _)| model.sandboxes.get(id)) {
            Some(other) => Err(Error::conflict(format!(
                "{} is the namespace of sandbox {} already",
                path.display(),
                other.name
            ))
            .hint("connect that one, or remove it first")),
            None => Ok(()),
        }
    }

    /// Takes endpoints, ports and namespace away; what fails is logged, the next start mends it. The record stays, as
    /// that of a stopped sandbox.
    async fn bring_down(&self, id: &str) {
        let (before, endpoints, pending) = {
            let mut model = self.write();
            let Some(before) = model.sandboxes.get(id).cloned() else {
                return;
            };
            let endpoints: Vec<Endpoint> = model.endpoints_of(id).cloned().collect();
            let after = model.stopped(&before);
            let mut changes: Vec<Change> = endpoints
                .iter()
                .map(|e| Change::delete("endpoint", &e.id))
                .collect();
            changes.extend(Change::put("sandbox", id, &after));
            changes.push(Change::delete("dirty", id));
            model.sandboxes.insert(id.to_owned(), after);
            (before, endpoints, self.store.submit(changes))
        };
        if let Err(e) = pending.written().await {
            tracing::error!("stopping sandbox {}: {e}", before.name);
        }
        fail::fail_point!("sandbox-stopped");
        join_all(endpoints.iter().map(|e| self.unrealize_endpoint(e))).await;
        for endpoint in &endpoints {
            let network = self.read().networks.get(&endpoint.network).cloned();
            if let Some(network) = network {
                self.emit_connection("disconnect", &network, id);
            }
        }
        self.close_resolver(id, before.owned).await;
        self.write().running.remove(id);
        self.remove_files(id);
        if let (true, Some(path)) = (before.owned, &before.netns)
            && let Err(e) = Netns::remove(path)
        {
            tracing::warn!("sandbox {}: {e}", before.name);
        }
        if !before.ports.is_empty()
            && let Err(e) = self.reserve_ports()
        {
            tracing::warn!("reserved ports: {e}");
        }
    }

    /// Removes whatever there is of a sandbox.
    async fn forget_sandbox(&self, id: &str) {
        self.bring_down(id).await;
        let gone = vec![Change::delete("sandbox", id)];
        self.commit_or_log(gone, "removing a sandbox from the store")
            .await;
        self.write().sandboxes.remove(id);
        self.sandbox_locks.forget(id);
    }
}

impl Model {
    /// A sandbox' record when it has stopped: what it had is remembered, so that it can have it again.
    pub(super) fn stopped(&self, before: &Sandbox) -> Sandbox {
        let mut after = before.clone();
        for endpoint in self.endpoints_of(&before.id) {
            let Some(network) = self.networks.get(&endpoint.network) else {
                continue;
            };
            let mut attachments = after.attachments.iter_mut();
            if let Some(found) = attachments.find(|a| a.request.network == network.name) {
                found.last_ips = endpoint.addresses().iter().map(|a| a.ip()).collect();
                found.last_mac = Some(endpoint.mac);
            }
        }
        after.netns = None;
        after.owned = false;
        after.host = false;
        after.ports.clear();
        after
    }
}

/// The record of a sandbox asked for.
fn plan(model: &Model, request: SandboxRequest) -> Result<Sandbox> {
    model::check_name("sandbox", &request.name)?;
    check_names(&request.hostname, &request.names)?;
    if model.sandboxes.values().any(|s| s.name == request.name) {
        return Err(Error::new(
            Kind::Exists,
            format!("sandbox with name {} already exists", request.name),
        )
        .hint("choose another name or remove it first"));
    }
    if request.stopped && !matches!(request.namespace, NamespaceRequest::New) {
        return Err(Error::invalid("a stopped sandbox has no namespace")
            .hint("give the namespace when it is started"));
    }
    let mut attachments: Vec<Attachment> = Vec::new();
    let mut alone = None;
    for wanted in request.networks {
        let network = model.network(&wanted.network)?;
        if matches!(&*network.driver, "host" | "null") {
            alone = Some(network.driver.clone());
        } else {
            super::checks::check_lone_request(network, &wanted)?;
        }
        if attachments
            .iter()
            .any(|a| a.request.network == network.name)
        {
            return Err(Error::invalid(format!(
                "network {} is named twice for sandbox {}",
                network.name, request.name
            )));
        }
        attachments.push(Attachment {
            request: EndpointRequest {
                network: network.name.clone(),
                sandbox: String::new(),
                ..wanted
            },
            ..Attachment::default()
        });
    }
    if let (Some(driver), true) = (alone, attachments.len() > 1) {
        return Err(Error::invalid(if driver == "host" {
            "the host network stands alone: no other network, no namespace of its own"
        } else {
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        }));
    }
    let mut wanted_ports = request.ports;
    if request.publish_all {
        let known = wanted_ports.clone();
        let same = |e: &PortBinding| {
            known
                .iter()
                .any(|b| b.target == e.target && b.protocol == e.protocol)
        };
        let exposed = request.exposed.iter().filter(|e| !same(e));
        wanted_ports.extend(exposed.map(|e| PortBinding {
            host_ip: None,
            host: (0, 0),
            ..e.clone()
        }));
    }
    for binding in &wanted_ports {
        super::ports::check_form(binding)?;
    }
    let id = model::new_id();
    Ok(Sandbox {
        hostname: if request.hostname.is_empty() {
            id[..12].to_owned()
        } else {
            request.hostname
        },
        name: request.name,
        created: model::now(),
        labels: request.labels,
        netns: None,
        owned: false,
        host: false,
        ports: Vec::new(),
        wanted_ports,
        attachments,
        exposed: request.exposed,
        names: request.names,
        id,
    })
}
