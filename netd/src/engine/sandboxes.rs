//! Sandboxes: registering, starting, stopping and removing them.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    Engine,
    change::Transaction,
    check_endpoint::{check_company, check_spec},
    desired::Desired,
};
use crate::{
    dns,
    driver::Network,
    error::{Error, Kind, Reason, Result},
    model::{self, Attachment, EndpointSpec, NameOptions, PortBinding, Sandbox, check_names},
};

/// Where a sandbox's namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Chosen by the client, 64 hexadecimal digits; empty: by netd.
    pub id: String,
    pub name: String,
    pub namespace: NamespaceRequest,
    pub stopped: bool,
    pub hostname: String,
    pub labels: BTreeMap<String, String>,
    pub ports: Vec<PortBinding>,
    pub exposed: Vec<PortBinding>,
    pub publish_all: bool,
    pub networks: Vec<EndpointSpec>,
    /// Of a stopped one: networks that do not exist are looked for when it starts.
    pub allow_missing_networks: bool,
    pub names: NameOptions,
    /// The client's name of this request: the same one again finds what the first made.
    pub request_id: String,
}

impl Engine {
    /// Registers a sandbox and, unless it shall stay stopped, starts it; what fails leaves nothing.
    pub async fn create_sandbox(&self, request: SandboxRequest) -> Result<Sandbox> {
        let id = match request.id.as_str() {
            "" => model::new_id(),
            id if model::check_id(id) => id.to_owned(),
            id => {
                return Err(Error::invalid(format!("invalid sandbox id {id:?}"))
                    .about("field", "id")
                    .hint("64 lower-case hexadecimal digits, or none for a new one"));
            }
        };
        let _alone = self.sandbox_locks.alone(&id).await;
        while let Some(made) = self.sandbox_made_before(&id, &request)? {
            // The first request may still be at work, and fail.
            let _first = match made.id == id {
                true => None,
                false => Some(self.sandbox_locks.alone(&made.id).await),
            };
            if let Some(made) = self.sandbox_made_before(&id, &request)? {
                return Ok(made);
            }
        }
        let namespace = request.namespace.clone();
        let stopped = request.stopped;
        let sandbox = plan(self, &self.state(), id, request)?;
        if stopped {
            let ((), decided) =
                self.decide(|transaction| put_new(self, transaction, sandbox.clone()))?;
            self.carry_out(decided).await.map(|()| sandbox)
        } else {
            let put = |transaction: &mut Transaction<'_>, made| put_new(self, transaction, made);
            self.bring_up(&sandbox, &namespace, put).await
        }
    }

    fn sandbox_made_before(&self, id: &str, request: &SandboxRequest) -> Result<Option<Sandbox>> {
        made_before(&self.desired(), id, request)
    }

    /// Starts a sandbox that is stopped, or whose namespace is gone: all of its networks and ports, or nothing. The same request
    /// again is fine.
    pub async fn start_sandbox(
        &self,
        wanted: &str,
        namespace: NamespaceRequest,
        request_id: String,
    ) -> Result<Sandbox> {
        let id = self.desired().sandbox(wanted)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let mut before = Sandbox::clone(self.desired().sandbox(&id)?);
        let open = self.context.observations.now().running;
        if before.running() && !open.contains_key(&id) {
            // Its namespace went away by itself: there is nothing that a second one could disturb.
            before = self.stop_locked(&id).await?;
        }
        if before.running() && !request_id.is_empty() && before.start_id == request_id {
            return Ok(before);
        }
        if before.running() {
            return Err(
                Error::conflict(format!("sandbox {} is running already", before.name))
                    .because(Reason::AlreadyRunning)
                    .about("sandbox", &before.name),
            );
        }
        before.start_id = request_id;
        self.bring_up(&before, &namespace, put_changed).await
    }

    /// Stops a sandbox. What it was asked to be is kept. One that is stopped is fine.
    pub async fn stop_sandbox(&self, wanted: &str) -> Result<Sandbox> {
        let id = self.desired().sandbox(wanted)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        self.stop_locked(&id).await
    }

    /// As [`Engine::stop_sandbox`], with the sandbox's lock held.
    pub(super) async fn stop_locked(&self, id: &str) -> Result<Sandbox> {
        let before = Sandbox::clone(self.desired().sandbox(id)?);
        if !before.running() {
            return Ok(before);
        }
        let _shared = self.share_networks_of(id).await;
        let (after, decided) = self.decide(|transaction| {
            let after = stopped(transaction.desired(), &before);
            let endpoints = transaction.desired().endpoints_of(id);
            let endpoints: Vec<String> = endpoints.map(|e| e.id.clone()).collect();
            for endpoint in endpoints {
                transaction.remove_endpoint(&endpoint);
            }
            transaction.put_sandbox(after.clone());
            Ok(after)
        })?;
        self.carry_out(decided).await?;
        Ok(after)
    }

    /// Removes a sandbox with its endpoints and publications. Returns its id.
    pub async fn remove_sandbox(&self, wanted: &str) -> Result<String> {
        let found = self.desired().sandbox(wanted).map(|s| s.id.clone());
        let id = match found {
            Ok(id) => id,
            Err(e) => {
                // Whoever hears that it is gone finds neither it nor its name any more: another may be removing it just now.
                self.sandbox_locks.idle(wanted).await;
                return self.discard("sandbox", wanted, e).await;
            }
        };
        let _alone = self.sandbox_locks.alone(&id).await;
        let _shared = self.share_networks_of(&id).await;
        let ((), decided) = self.decide(|transaction| {
            let desired = transaction.desired();
            if !desired.sandboxes().contains_key(&id) {
                return Err(Error::not_found(format!("No such container: {wanted}"))
                    .hint("netctl sandbox ls shows what there is"));
            }
            let endpoints = desired.endpoints_of(&id);
            let endpoints: Vec<String> = endpoints.map(|e| e.id.clone()).collect();
            for endpoint in endpoints {
                transaction.remove_endpoint(&endpoint);
            }
            transaction.remove_sandbox(&id);
            Ok(())
        })?;
        self.carry_out(decided).await?;
        self.discard_with("sandbox", &id).await?;
        Ok(id)
    }
}

/// Puts a sandbox that is not there yet.
fn put_new(engine: &Engine, transaction: &mut Transaction<'_>, sandbox: Sandbox) -> Result<()> {
    check_name_is_free(engine, transaction.desired(), &sandbox)?;
    transaction.put_sandbox(sandbox);
    Ok(())
}

/// Puts a sandbox that is there.
fn put_changed(transaction: &mut Transaction<'_>, sandbox: Sandbox) -> Result<()> {
    transaction.put_sandbox(sandbox);
    Ok(())
}

/// Refuses the name of another sandbox.
pub(super) fn check_name_is_free(
    engine: &Engine,
    desired: &Desired,
    sandbox: &Sandbox,
) -> Result<()> {
    let known = desired.sandboxes().get(&sandbox.id);
    let own = known.is_some_and(|known| known.name == sandbox.name);
    if own {
        return Ok(());
    }
    let holder = desired.sandbox_named(&sandbox.name);
    let leaving = engine.is_leaving(&format!("sandbox {}", sandbox.name));
    if leaving
        || holder.is_some_and(|h| h.id != sandbox.id)
        || desired.sandboxes().get(&sandbox.name).is_some()
    {
        return Err(Error::new(
            Kind::Exists,
            format!("sandbox with name {} already exists", sandbox.name),
        )
        .hint("choose another name or remove it first"));
    }
    Ok(())
}

/// What the same request made before.
fn made_before(desired: &Desired, id: &str, request: &SandboxRequest) -> Result<Option<Sandbox>> {
    let named = desired.sandbox_named(&request.name);
    let same =
        named.filter(|s| !request.request_id.is_empty() && s.request_id == request.request_id);
    if let Some(found) = same {
        if !request.id.is_empty() && found.id != id {
            return Err(Error::conflict(format!(
                "request {} made another sandbox {}",
                request.request_id, found.id
            ))
            .because(Reason::RequestIdReused)
            .about("request_id", &request.request_id)
            .hint("give each request an id of its own"));
        }
        return Ok(Some(Sandbox::clone(found)));
    }
    match desired.sandboxes().get(id) {
        None => Ok(None),
        Some(other) => Err(Error::new(
            Kind::Exists,
            format!("sandbox with id {id} already exists: {}", other.name),
        )
        .hint("choose another id or remove it first")),
    }
}

/// A sandbox's record when it has stopped: what it had is remembered, so that it can have it again.
pub(super) fn stopped(desired: &Desired, before: &Sandbox) -> Sandbox {
    let mut after = before.clone();
    for endpoint in desired.endpoints_of(&before.id) {
        let Some(network) = desired.networks().get(&endpoint.network) else {
            continue;
        };
        let mut attachments = after.attachments.iter_mut();
        if let Some(found) = attachments.find(|a| a.spec.network == network.name) {
            found.last_ips = endpoint.addresses().iter().map(|a| a.ip()).collect();
            found.last_mac = Some(endpoint.mac);
        }
    }
    after.run = None;
    after.ports.clear();
    after
}

/// What a user may ask for about names; a record may have been written before all of it was refused.
pub(super) fn check_lookup(hostname: &str, names: &NameOptions) -> Result<()> {
    check_names(hostname, names)?;
    let mut servers = names.servers.iter();
    servers.try_for_each(|server| dns::check_server(*server))
}

/// The record of a sandbox asked for.
fn plan(
    engine: &Engine,
    desired: &Desired,
    id: String,
    request: SandboxRequest,
) -> Result<Sandbox> {
    model::check_name("sandbox", &request.name)?;
    check_lookup(&request.hostname, &request.names)?;
    if request.stopped && request.namespace != NamespaceRequest::New {
        return Err(Error::invalid("a stopped sandbox has no namespace")
            .hint("give the namespace when it is started"));
    }
    let mut attachments: Vec<Attachment> = Vec::new();
    let mut networks: Vec<&Network> = Vec::new();
    let may_miss = request.stopped && request.allow_missing_networks;
    for wanted in request.networks {
        let network = match desired.network(&wanted.network) {
            Err(e) if may_miss && e.kind == Kind::NotFound => {
                attachments.push(Attachment {
                    spec: wanted,
                    ..Attachment::default()
                });
                continue;
            }
            found => found?,
        };
        check_spec(network, &wanted)?;
        if networks.iter().any(|n| n.id == network.id) {
            return Err(Error::invalid(format!(
                "network {} is named twice for sandbox {}",
                network.name, request.name
            )));
        }
        networks.push(network);
        attachments.push(Attachment {
            spec: EndpointSpec {
                network: network.name.clone(),
                ..wanted
            },
            ..Attachment::default()
        });
    }
    check_company(networks.iter().copied())?;
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
    super::port_conflicts::check_together(&wanted_ports)?;
    let sandbox = Sandbox {
        hostname: if request.hostname.is_empty() {
            model::short(&id).to_owned()
        } else {
            request.hostname
        },
        name: request.name,
        created: model::now(),
        labels: request.labels,
        run: None,
        ports: Vec::new(),
        wanted_ports,
        attachments,
        exposed: request.exposed,
        names: request.names,
        request_id: request.request_id,
        start_id: String::new(),
        publish_ids: Vec::new(),
        extra: model::Extra::new(),
        id,
    };
    check_name_is_free(engine, desired, &sandbox)?;
    Ok(sandbox)
}
