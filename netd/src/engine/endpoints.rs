//! Connecting sandboxes to networks and disconnecting them.

use std::sync::Arc;

use super::{
    Engine,
    check_endpoint::{check_connection, check_leaving},
    plan_endpoint::plan_endpoint,
    starting::{attachment, must_be_there},
};
use crate::{
    driver::Network,
    error::{Error, Reason, Result},
    kernel::sandbox as namespace,
    model::{Attachment, Endpoint, EndpointSpec, Sandbox},
};

/// What connecting gave.
#[derive(Clone, Debug)]
pub enum Connected {
    /// An interface.
    Now(Box<Endpoint>),
    /// The sandbox is stopped: it will be connected when it starts.
    AtStart(Box<Sandbox>, Box<Attachment>),
}

impl Engine {
    /// Connects a sandbox to a network. The same request again finds what the first made.
    pub async fn connect(
        &self,
        sandbox: &str,
        spec: EndpointSpec,
        request_id: String,
    ) -> Result<Connected> {
        let id = self.desired().sandbox(sandbox)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let (network, before) = {
            let desired = self.desired();
            let network = Arc::clone(desired.network(&spec.network)?);
            (network, Sandbox::clone(desired.sandbox(&id)?))
        };
        if let Some(made) = self.connected_before(&network, &before, &request_id) {
            return Ok(made);
        }
        check_connection(&self.desired(), &network, &before, &spec)?;
        let attachment = attachment(&network, spec, request_id);
        let mut after = before.clone();
        after.attachments.push(attachment.clone());
        if before.running() {
            return self
                .attach(&network, after, &attachment)
                .await
                .map(|made| Connected::Now(Box::new(made)));
        }
        let ((), decided) = self.decide(|transaction| {
            must_be_there(transaction.desired(), &network)?;
            transaction.put_sandbox(after.clone());
            Ok(())
        })?;
        self.carry_out(decided).await?;
        Ok(Connected::AtStart(Box::new(after), Box::new(attachment)))
    }

    fn connected_before(
        &self,
        network: &Network,
        sandbox: &Sandbox,
        request_id: &str,
    ) -> Option<Connected> {
        if request_id.is_empty() {
            return None;
        }
        let desired = self.desired();
        let mut endpoints = desired.endpoints_of(&sandbox.id);
        if let Some(e) = endpoints.find(|e| e.network == network.id && e.request_id == request_id) {
            return Some(Connected::Now(Box::new(Endpoint::clone(e))));
        }
        let same = |a: &&Attachment| a.spec.network == network.name && a.request_id == request_id;
        let found = sandbox.attachments.iter().find(same)?;
        (!sandbox.running())
            .then(|| Connected::AtStart(Box::new(sandbox.clone()), Box::new(found.clone())))
    }

    /// Makes an endpoint of a running sandbox, whose lock is held.
    async fn attach(
        &self,
        network: &Arc<Network>,
        after: Sandbox,
        attachment: &Attachment,
    ) -> Result<Endpoint> {
        let netns = self.state().observed.running.get(&after.id).cloned();
        // In a namespace that others made there may be interfaces of theirs.
        let foreign = match &netns {
            Some(netns) if !after.owned() => namespace::interfaces(netns).await?,
            Some(_) => Vec::new(),
            None => {
                return Err(Error::conflict(format!(
                    "the namespace of sandbox {} is not open",
                    after.name
                ))
                .because(Reason::Degraded)
                .about("object", &after.id)
                .hint("netctl sandbox inspect says why; stop it and start it again"));
            }
        };
        let _shared = self.network_locks.shared(&network.id).await;
        let given = self.give(network, attachment, foreign).await?;
        let decided = self.decide(|transaction| {
            must_be_there(transaction.desired(), network)?;
            let desired = transaction.desired();
            self.check_links(desired, network, &after, &attachment.spec.links)?;
            let endpoint = plan_endpoint(desired, network, &after, attachment, &given)?;
            self.check_mac(desired, &endpoint, network)?;
            transaction.put_sandbox(after);
            self.put_endpoint(transaction, endpoint.clone())?;
            transaction.setting(self.numbers_taken()?);
            Ok(endpoint)
        });
        let (endpoint, decided) = match decided {
            Ok(decided) => decided,
            Err(e) => {
                self.take_given_back(network, &given).await;
                return Err(e);
            }
        };
        self.carry_out(decided).await?;
        Ok(endpoint)
    }

    /// Disconnects a sandbox from a network. Returns the endpoint's id, empty for a stopped sandbox.
    pub async fn disconnect(&self, network: &str, sandbox: &str) -> Result<String> {
        let id = self.desired().sandbox(sandbox)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let _shared = self.share_networks_of(&id).await;
        let (endpoint, decided) = self.decide(|transaction| {
            let desired = transaction.desired();
            let mut after = Sandbox::clone(desired.sandbox(&id)?);
            let known = desired.network(network).cloned();
            if let Ok(known) = &known {
                check_leaving(known)?;
            }
            // A network that is gone can still be what a stopped sandbox waits for.
            let name = known.as_ref().map_or(network, |n| &n.name).to_owned();
            let count = after.attachments.len();
            after.attachments.retain(|a| a.spec.network != name);
            let attached = after.attachments.len() < count;
            let endpoint = known.as_ref().ok().and_then(|n| {
                let mut endpoints = desired.endpoints_of(&id);
                endpoints.find(|e| e.network == n.id).cloned()
            });
            if endpoint.is_none() && !attached {
                let known = known?;
                return Err(not_connected(&after.name, &known.name));
            }
            if let Some(endpoint) = &endpoint {
                transaction.remove_endpoint(&endpoint.id);
            }
            transaction.put_sandbox(after);
            Ok(endpoint)
        })?;
        self.carry_out(decided).await?;
        Ok(endpoint.map(|e| e.id.clone()).unwrap_or_default())
    }
}

/// Why an endpoint is not there.
pub(super) fn not_connected(sandbox: &str, network: &str) -> Error {
    Error::conflict(format!(
        "container {sandbox} is not connected to network {network}"
    ))
    .because(Reason::NotConnected)
    .about("sandbox", sandbox)
    .about("network", network)
    .hint("netctl sandbox inspect shows its networks")
}
