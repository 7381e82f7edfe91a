//! Connecting sandboxes to networks and disconnecting them.

use super::{Engine, checks::check_endpoint};
use crate::{
    error::{Error, Kind, Result},
    kernel::sandbox as namespace,
    model::{Attachment, Endpoint, EndpointRequest, Network, Sandbox},
    store::Change,
};

/// What connecting gave.
#[derive(Clone, Debug)]
pub enum Connected {
    /// An interface.
    Now(Endpoint),
    /// The sandbox is stopped: it will be connected when it starts.
    AtStart(Sandbox, Box<Attachment>),
}

impl Engine {
    /// Connects a sandbox to a network.
    pub async fn connect(&self, request: EndpointRequest) -> Result<Connected> {
        let id = self.read().sandbox(&request.sandbox)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let attachment = {
            let model = self.read();
            let network = model.network(&request.network)?;
            let sandbox = model.sandbox(&id)?;
            check_endpoint(&model, network, sandbox, &request)?;
            Attachment {
                request: EndpointRequest {
                    network: network.name.clone(),
                    sandbox: String::new(),
                    ..request
                },
                ..Attachment::default()
            }
        };
        if self.read().running.contains_key(&id) {
            let made = self.attach(&id, &attachment, true).await?;
            self.refresh_publications(&id).await?;
            self.report_host_gateway(&id);
            return Ok(Connected::Now(made));
        }
        let (sandbox, pending) = {
            let mut model = self.write();
            let mut sandbox = model.sandbox(&id)?.clone();
            sandbox.attachments.push(attachment.clone());
            let change = Change::put("sandbox", &id, &sandbox)?;
            model.sandboxes.insert(id.clone(), sandbox.clone());
            (sandbox, self.store.submit(vec![change]))
        };
        pending.written().await?;
        Ok(Connected::AtStart(sandbox, Box::new(attachment)))
    }

    /// Makes an endpoint of a running sandbox, whose lock is held. `record`: the attachment is new, too.
    pub(super) async fn attach(
        &self,
        sandbox_id: &str,
        attachment: &Attachment,
        record: bool,
    ) -> Result<Endpoint> {
        let (network_id, netns, owned) = {
            let model = self.read();
            let network = model.network(&attachment.request.network)?;
            let netns = model.running.get(sandbox_id).cloned();
            (network.id.clone(), netns, model.sandbox(sandbox_id)?.owned)
        };
        // In a namespace that others made there may be interfaces of theirs.
        let foreign = match (&netns, owned) {
            (Some(netns), false) => namespace::interfaces(netns).await?,
            _ => Vec::new(),
        };
        let _shared = self.network_locks.shared(&network_id).await;
        let (network, endpoint, before, pending) = {
            let mut model = self.write();
            let network = model.network(&network_id).map_err(|mut e| {
                e.message = format!("network {} not found", attachment.request.network);
                e
            })?;
            let network = network.clone();
            let before = model.sandbox(sandbox_id)?.clone();
            check_endpoint(&model, &network, &before, &attachment.request)?;
            model.check_links(&network, &before, &attachment.request.links)?;
            let mut changes = vec![Change::put("dirty", sandbox_id, &true)?];
            let endpoint =
                model.plan_endpoint(&network, &before, attachment, &foreign, &mut changes)?;
            changes.push(Change::put("endpoint", &endpoint.id, &endpoint)?);
            if record {
                let mut after = before.clone();
                after.attachments.push(attachment.clone());
                changes.push(Change::put("sandbox", sandbox_id, &after)?);
                model.sandboxes.insert(sandbox_id.to_owned(), after);
            }
            model.insert_endpoint(endpoint.clone());
            (network, endpoint, before, self.store.submit(changes))
        };
        let made = async {
            pending.written().await?;
            fail::fail_point!("endpoint-stored");
            // Its name resolves before its first packet.
            self.publish_names(sandbox_id);
            self.write_hosts(sandbox_id)?;
            self.realize_endpoint(&endpoint, true).await.map(drop)
        };
        if let Err(e) = made.await {
            let mut changes = vec![Change::delete("endpoint", &endpoint.id)];
            if record {
                changes.push(Change::put("sandbox", sandbox_id, &before)?);
            }
            self.commit_or_log(changes, "undoing a connection").await;
            if record {
                self.write().sandboxes.insert(sandbox_id.to_owned(), before);
            }
            self.unrealize_endpoint(&endpoint).await;
            self.follow_hosts(sandbox_id);
            return Err(e);
        }
        self.clean(sandbox_id);
        self.emit_connection("connect", &network, sandbox_id);
        Ok(endpoint)
    }

    /// Disconnects a sandbox from a network. Returns the endpoint's id, empty for a stopped sandbox.
    pub async fn disconnect(&self, network: &str, sandbox: &str) -> Result<String> {
        let id = self.read().sandbox(sandbox)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let (network, endpoint, pending) = {
            let mut model = self.write();
            let mut after = model.sandbox(&id)?.clone();
            let known = model.network(network).cloned();
            // A network that is gone can still be what a stopped sandbox waits for.
            let name = known.as_ref().map_or(network, |n| &n.name).to_owned();
            let count = after.attachments.len();
            after.attachments.retain(|a| a.request.network != name);
            let attached = after.attachments.len() < count;
            if known.as_ref().is_ok_and(|n| n.driver == "host") {
                return Err(Error::invalid(
                    "container cannot be disconnected from host network or connected to host network",
                ));
            }
            let endpoint = match &known {
                Ok(n) => model.endpoints_of(&id).find(|e| e.network == n.id).cloned(),
                Err(_) => None,
            };
            if endpoint.is_none() && !attached {
                let known = known?;
                return Err(Error::new(
                    Kind::Conflict,
                    format!(
                        "container {} is not connected to network {}",
                        after.name, known.name
                    ),
                )
                .hint("netctl sandbox inspect shows its networks"));
            }
            let mut changes = vec![Change::put("sandbox", &id, &after)?];
            if let Some(endpoint) = &endpoint {
                changes.push(Change::delete("endpoint", &endpoint.id));
                changes.push(Change::put("dirty", &id, &true)?);
            }
            model.sandboxes.insert(id.clone(), after);
            (known.ok(), endpoint, self.store.submit(changes))
        };
        pending.written().await?;
        fail::fail_point!("endpoint-deleted");
        let Some(endpoint) = endpoint else {
            return Ok(String::new());
        };
        self.unrealize_endpoint(&endpoint).await;
        self.follow_hosts(&id);
        self.report_host_gateway(&id);
        self.refresh_publications(&id).await?;
        self.refresh_routes(&id).await?;
        self.clean(&id);
        if let Some(network) = network {
            self.emit_connection("disconnect", &network, &id);
        }
        Ok(endpoint.id)
    }

    /// A sandbox' kernel state is what the store says; a start need not look.
    pub(super) fn clean(&self, sandbox: &str) {
        // If it gets lost, a start only does what is done already.
        let _ = self.store.submit(vec![Change::delete("dirty", sandbox)]);
    }

    pub(super) fn emit_connection(&self, action: &'static str, network: &Network, sandbox: &str) {
        let attributes = [
            ("name", &*network.name),
            ("type", &*network.driver),
            ("container", sandbox),
        ];
        self.emit("network", action, &network.id, &attributes);
    }
}
