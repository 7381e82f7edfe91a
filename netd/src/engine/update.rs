//! Changing what exists: labels, names, name servers, ports, aliases, priorities.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Engine,
    endpoints::not_connected,
    sandboxes::{check_lookup, check_name_is_free},
};
use crate::{
    driver::Network,
    error::{Error, Kind, Reason, Result},
    model::{self, Endpoint, NameOptions, PortBinding, Sandbox, is_host_name},
    observed::ObjectId,
};

/// What of a network shall be another; `None`: it stays.
#[derive(Clone, Debug, Default)]
pub struct NetworkUpdate {
    /// Refused if it has changed after this revision; 0: whatever it is now.
    pub expected_revision: u64,
    /// All of its labels.
    pub labels: Option<BTreeMap<String, String>>,
}

/// What of a sandbox shall be another; `None`: it stays.
#[derive(Clone, Debug, Default)]
pub struct SandboxUpdate {
    /// Refused if it has changed after this revision; 0: whatever it is now.
    pub expected_revision: u64,
    /// Its name.
    pub name: Option<String>,
    /// All of its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Its host name.
    pub hostname: Option<String>,
    /// How names are looked up in it.
    pub names: Option<NameOptions>,
    /// The ports that its software listens on.
    pub exposed: Option<Vec<PortBinding>>,
    /// What shall be published for it.
    pub ports: Option<Vec<PortBinding>>,
}

/// What of an endpoint shall be another; `None`: it stays.
#[derive(Clone, Debug, Default)]
pub struct EndpointUpdate {
    /// Refused if it has changed after this revision; 0: whatever it is now.
    pub expected_revision: u64,
    /// Its names on the network.
    pub aliases: Option<Vec<String>>,
    /// The highest one's gateway is the default route.
    pub priority: Option<i32>,
}

impl Engine {
    /// Changes a network.
    pub async fn update_network(&self, wanted: &str, update: NetworkUpdate) -> Result<Network> {
        let id = self.desired().network(wanted)?.id.clone();
        let _alone = self.network_locks.alone(&id).await;
        let object = ObjectId::Network(id.clone());
        self.log.expect(&object, update.expected_revision)?;
        let (after, decided) = self.decide(|transaction| {
            let network = Arc::clone(transaction.desired().network(&id)?);
            if network.predefined() {
                return Err(Error::new(
                    Kind::Forbidden,
                    format!(
                        "{} is a pre-defined network and cannot be changed",
                        network.name
                    ),
                )
                .because(Reason::Predefined)
                .about("network", &network.name));
            }
            let after = network.with(|n| {
                if let Some(labels) = update.labels {
                    n.labels = labels;
                }
            });
            transaction.put_network(after.clone());
            Ok(after)
        })?;
        self.carry_out(decided).await?;
        Ok(after)
    }

    /// Changes a sandbox.
    pub async fn update_sandbox(&self, wanted: &str, update: SandboxUpdate) -> Result<Sandbox> {
        let id = self.desired().sandbox(wanted)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let object = ObjectId::Sandbox(id.clone());
        self.log.expect(&object, update.expected_revision)?;
        let before = Sandbox::clone(self.desired().sandbox(&id)?);
        let mut after = before.clone();
        if let Some(name) = update.name {
            model::check_name("sandbox", &name)?;
            after.name = name;
        }
        if let Some(labels) = update.labels {
            after.labels = labels;
        }
        if let Some(hostname) = update.hostname {
            after.hostname = hostname;
        }
        if let Some(names) = update.names {
            after.names = names;
        }
        if let Some(exposed) = update.exposed {
            after.exposed = exposed;
        }
        check_lookup(&after.hostname, &after.names)?;
        if let Some(ports) = update.ports {
            super::port_conflicts::check_together(&ports)?;
            after.wanted_ports = ports;
            if before.running() {
                // A port that stays keeps the host port that was chosen for it.
                let wanted = after.wanted_ports.iter().map(|wanted| {
                    let mut held = before.ports.iter();
                    held.find(|h| h.is_meant_by(wanted))
                        .unwrap_or(wanted)
                        .clone()
                });
                let wanted: Vec<PortBinding> = wanted.collect();
                let state = self.state();
                after.ports = self
                    .choose_ports(&state, &after, &before.ports, wanted)
                    .await?;
            }
        }
        let (after, decided) = self.decide(|transaction| {
            check_name_is_free(self, transaction.desired(), &after)?;
            self.check_ports_are_free(transaction.desired(), &after, &before.ports)?;
            transaction.put_sandbox(after.clone());
            Ok(after)
        })?;
        self.carry_out(decided).await?;
        Ok(after)
    }

    /// Changes an endpoint, by its id, or by network and sandbox. That of a stopped sandbox is changed for its next start.
    pub async fn update_endpoint(
        &self,
        network: &str,
        sandbox: &str,
        update: EndpointUpdate,
    ) -> Result<Option<Endpoint>> {
        let (network, id) = {
            let desired = self.desired();
            let network = Arc::clone(desired.network(network)?);
            (network, desired.sandbox(sandbox)?.id.clone())
        };
        let _alone = self.sandbox_locks.alone(&id).await;
        if let Some(alias) = update.aliases.iter().flatten().find(|a| !is_host_name(a)) {
            return Err(Error::invalid(format!("invalid alias {alias:?}"))
                .hint("letters, digits, dots, dashes and underscores, at most 253"));
        }
        let (after, decided) = self.decide(|transaction| {
            let desired = transaction.desired().clone();
            let mut owner = Sandbox::clone(desired.sandbox(&id)?);
            let mut attachments = owner.attachments.iter_mut();
            let attachment = attachments.find(|a| a.spec.network == network.name);
            let mut endpoints = desired.endpoints_of(&id);
            let found = endpoints.find(|e| e.network == network.id).cloned();
            if let Some(found) = &found {
                let object = ObjectId::Endpoint(found.id.clone());
                self.log.expect(&object, update.expected_revision)?;
            }
            if attachment.is_none() && found.is_none() {
                return Err(not_connected(&owner.name, &network.name));
            }
            if let Some(attachment) = attachment {
                let spec = &mut attachment.spec;
                spec.aliases = update
                    .aliases
                    .clone()
                    .unwrap_or(std::mem::take(&mut spec.aliases));
                spec.priority = update.priority.unwrap_or(spec.priority);
                network.driver().check_endpoint(network.record(), spec)?;
            }
            let after = found.map(|found| {
                let mut after = Endpoint::clone(&found);
                after.aliases = update.aliases.clone().unwrap_or(after.aliases);
                after.priority = update.priority.unwrap_or(after.priority);
                after
            });
            transaction.put_sandbox(owner);
            if let Some(after) = &after {
                transaction.put_endpoint(after.clone());
            }
            Ok(after)
        })?;
        self.carry_out(decided).await?;
        Ok(after)
    }

    /// What of an endpoint is not as it is desired, one sentence each; changes nothing.
    pub async fn check_endpoint(&self, network: &str, sandbox: &str) -> Result<Vec<String>> {
        let (network, id) = {
            let desired = self.desired();
            let network = desired.network(network)?.id.clone();
            (network, desired.sandbox(sandbox)?.id.clone())
        };
        let _alone = self.sandbox_locks.alone(&id).await;
        let endpoint = {
            let desired = self.desired();
            let mut endpoints = desired.endpoints_of(&id);
            endpoints.find(|e| e.network == network).cloned()
        };
        let endpoint = endpoint.ok_or_else(|| {
            Error::conflict("the sandbox has no endpoint on that network")
                .because(Reason::NotConnected)
                .about("sandbox", sandbox)
                .about("network", &network)
                .hint("netctl sandbox inspect shows its networks")
        })?;
        self.observe_endpoint(&endpoint).await
    }
}
