//! Starting a sandbox: everything that it will have is found and held first, then decided at once, then made.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use super::{
    Engine, NamespaceRequest,
    change::Transaction,
    check_endpoint::{check_company, check_spec, host_has_its_own},
    desired::Desired,
    locked,
    locks::Shared,
    plan_endpoint::{Given, chosen_address, mac_in_use, plan_endpoint},
    state::State,
};
use crate::{
    driver::{Company, Network},
    error::{Error, Reason, Result},
    kernel::{Netns, Watch, sandbox as namespace},
    model::{Attachment, Endpoint, EndpointSpec, Origin, Run, Sandbox},
    store::{Key, Record, Write},
};

/// Attempts to find host ports that nobody takes meanwhile.
const ATTEMPTS: usize = 8;

impl Engine {
    /// Gives a sandbox whose lock is held its namespace, its endpoints and its ports. `put`: how its record is put.
    pub(super) async fn bring_up(
        &self,
        sandbox: &Sandbox,
        request: &NamespaceRequest,
        put: impl Fn(&mut Transaction<'_>, Sandbox) -> Result<()>,
    ) -> Result<Sandbox> {
        let networks = {
            let desired = self.desired();
            let attached = sandbox.attachments.iter();
            let networks = attached.map(|a| desired.network(&a.spec.network).cloned());
            networks.collect::<Result<Vec<Arc<Network>>>>()?
        };
        check_company(networks.iter().map(|n| &**n))?;
        let (run, foreign) = self.choose_namespace(sandbox, request, &networks).await?;
        let _shared = self.share_networks(&networks).await;
        let mut planned = Vec::new();
        let decided = async {
            for (attachment, network) in sandbox.attachments.iter().zip(&networks) {
                planned.push(self.give(network, attachment, foreign.clone()).await?);
            }
            self.decide_start(sandbox, run, &networks, &planned, &put)
                .await
        };
        let decided = decided.await;
        let (after, decided) = match decided {
            Ok(decided) => decided,
            Err(e) => {
                for (given, network) in planned.iter().zip(&networks) {
                    self.take_given_back(network, given).await;
                }
                return Err(e);
            }
        };
        self.carry_out(decided).await?;
        Ok(after)
    }

    /// Decides everything of a start at once, anew if somebody takes a port that was found free.
    async fn decide_start(
        &self,
        sandbox: &Sandbox,
        run: Run,
        networks: &[Arc<Network>],
        given: &[Given],
        put: &impl Fn(&mut Transaction<'_>, Sandbox) -> Result<()>,
    ) -> Result<(Sandbox, super::commit::Decided)> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut after = sandbox.clone();
            after.run = Some(run.clone());
            // Planned on a copy: nobody waits while ports are tried.
            let mut state = self.state();
            let endpoints = plan_all(&mut state, &after, networks, given)?;
            after.ports = self
                .choose_ports(&state, &after, &[], after.wanted_ports.clone())
                .await?;
            let decided = self.decide(|transaction| {
                for network in networks {
                    must_be_there(transaction.desired(), network)?;
                }
                self.check_ports_are_free(transaction.desired(), &after, &[])?;
                for (endpoint, network) in endpoints.iter().zip(networks) {
                    self.check_mac(transaction.desired(), endpoint, network)?;
                    let spec = sandbox
                        .attachments
                        .iter()
                        .find(|a| a.spec.network == network.name);
                    if let Some(attachment) = spec {
                        let links = &attachment.spec.links;
                        self.check_links(transaction.desired(), network, &after, links)?;
                    }
                }
                put(transaction, after.clone())?;
                for endpoint in &endpoints {
                    self.put_endpoint(transaction, endpoint.clone())?;
                }
                transaction.setting(self.numbers_taken()?);
                Ok(())
            });
            match decided {
                Ok(((), decided)) => return Ok((after, decided)),
                Err(e) if e.reason == Reason::PortAllocated && attempt < ATTEMPTS => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Nobody took the Ethernet address meanwhile.
    pub(super) fn check_mac(
        &self,
        desired: &Desired,
        endpoint: &Endpoint,
        network: &Network,
    ) -> Result<()> {
        let there = desired.on_network(&network.id);
        if there.is_some_and(|o| o.macs.contains(&endpoint.mac)) {
            return Err(mac_in_use(network, endpoint.mac, ""));
        }
        if self.is_leaving_mac(&network.id, endpoint.mac) {
            return Err(mac_in_use(network, endpoint.mac, " by one that is leaving"));
        }
        let withheld = locked(&self.withheld);
        match withheld.holder_of(&network.id, endpoint.mac) {
            Some(holder) => Err(mac_in_use(network, endpoint.mac, &format!(" by {holder}"))),
            None => Ok(()),
        }
    }

    /// Puts an endpoint with what its network's address manager must have stored beside it.
    pub(super) fn put_endpoint(
        &self,
        transaction: &mut Transaction<'_>,
        endpoint: Endpoint,
    ) -> Result<()> {
        let network = transaction
            .desired()
            .networks()
            .get(&endpoint.network)
            .cloned();
        let cursors = network.and_then(|n| self.ipam.manager(&n.ipam_driver).ok()?.cursors(&n.id));
        if let Some(cursors) = cursors {
            let record = Record::of("cursors", &cursors)?;
            transaction.setting(Write::put(Key::host("cursors", &endpoint.network), record));
        }
        transaction.put_endpoint(endpoint);
        Ok(())
    }

    /// Nobody makes or removes these networks meanwhile. Locked in one order, so that no two starts wait for each other.
    pub(super) async fn share_networks(&self, networks: &[Arc<Network>]) -> Vec<Shared> {
        let mut ids: Vec<&str> = networks.iter().map(|n| n.id.as_str()).collect();
        ids.sort_unstable();
        let mut shared = Vec::new();
        for id in ids {
            shared.push(self.network_locks.shared(id).await);
        }
        shared
    }

    /// Nobody removes the networks of a sandbox whose lock is held, before its endpoints have left them.
    pub(super) async fn share_networks_of(&self, sandbox: &str) -> Vec<Shared> {
        let state = self.state();
        let endpoints = state.endpoints_of(sandbox);
        let networks = endpoints.filter_map(|e| state.networks().get(&e.network).cloned());
        self.share_networks(&networks.collect::<Vec<_>>()).await
    }

    /// Requests what an endpoint needs that others could take: its addresses and its number.
    pub(super) async fn give(
        &self,
        network: &Network,
        attachment: &Attachment,
        foreign: Vec<String>,
    ) -> Result<Given> {
        check_spec(network, &attachment.spec)?;
        let mut given = Given {
            number: self.take_number()?,
            macs: locked(&self.withheld).macs_of(&network.id),
            foreign,
            ..Given::default()
        };
        let addressed = network.driver().addressed();
        for v4 in [true, false] {
            if !addressed || network.pool(v4).is_none() {
                continue;
            }
            let asked = self.request_address(network, attachment, v4);
            match asked.await {
                Ok(address) => given.addresses.push(address),
                Err(e) => {
                    self.take_given_back(network, &given).await;
                    return Err(e);
                }
            }
        }
        Ok(given)
    }

    async fn request_address(
        &self,
        network: &Network,
        attachment: &Attachment,
        v4: bool,
    ) -> Result<IpAddr> {
        let wanted = chosen_address(network, &attachment.spec, v4)?;
        let manager = self.ipam.manager(&network.ipam_driver)?;
        manager
            .request_address(network.record(), v4, wanted, &attachment.last_ips)
            .await
    }

    /// Gives back what an endpoint that was not made would have had.
    pub(super) async fn take_given_back(&self, network: &Network, given: &Given) {
        for address in &given.addresses {
            self.release_address(&network.id, *address).await;
        }
    }

    pub(super) async fn release_address(&self, network: &str, address: IpAddr) {
        let driver = self
            .state()
            .networks()
            .get(network)
            .map(|n| n.ipam_driver.clone());
        if let Ok(manager) = self.ipam.manager(&driver.unwrap_or_default()) {
            manager.release_address(network, address).await;
        }
    }

    /// What the sandbox's namespace will be, judged; and the interfaces that are in it already.
    async fn choose_namespace(
        &self,
        sandbox: &Sandbox,
        request: &NamespaceRequest,
        networks: &[Arc<Network>],
    ) -> Result<(Run, Vec<String>)> {
        let netns = self.namespace_path(sandbox);
        let host = networks
            .iter()
            .find(|n| n.driver().company() == Company::Host);
        let (source, process) = match (request, host) {
            (NamespaceRequest::New, None) => {
                let origin = Origin::Made;
                return Ok((Run { netns, origin }, Vec::new()));
            }
            (NamespaceRequest::New, Some(_)) => {
                let origin = Origin::Host;
                return Ok((Run { netns, origin }, Vec::new()));
            }
            (_, Some(host)) => return Err(host_has_its_own(host)),
            (NamespaceRequest::Path(path), None) => (path.clone(), None),
            (NamespaceRequest::Process(pid), None) => {
                (PathBuf::from(format!("/proc/{pid}/ns/net")), Some(*pid))
            }
        };
        let (opened, process) = match process {
            None => (Netns::open_async(&source).await?, None),
            Some(pid) => {
                let (watch, opened) = Watch::open(pid)?;
                (opened, Some(watch.id()))
            }
        };
        let identity = opened.identity()?;
        self.check_namespace(&opened, &source).await?;
        // In a namespace that others made there may be interfaces of theirs.
        let foreign = namespace::interfaces(&opened).await?;
        let origin = Origin::Foreign {
            source,
            identity,
            process,
        };
        Ok((Run { netns, origin }, foreign))
    }

    /// netd's own name for a sandbox's namespace; another sandbox may still have the one that follows from the name.
    fn namespace_path(&self, sandbox: &Sandbox) -> PathBuf {
        let directory = self.instance.run.join("netns");
        let own = directory.join(&sandbox.name);
        let desired = self.desired();
        let other = desired.sandbox_in(&own).is_some_and(|s| s.id != sandbox.id);
        // What stands there may be that of a sandbox whose record cannot be read, or that is just leaving.
        let taken = other || own.symlink_metadata().is_ok();
        if taken {
            directory.join(&sandbox.id)
        } else {
            own
        }
    }

    /// A namespace that others made must be neither the host's nor another sandbox's.
    async fn check_namespace(&self, netns: &Netns, path: &std::path::Path) -> Result<()> {
        let inode = netns.inode()?;
        if inode == Netns::current()?.inode()? {
            return Err(
                Error::invalid(format!("{} is the host's own namespace", path.display()))
                    .because(Reason::NamespaceInUse)
                    .about("path", path.display())
                    .hint("connect a sandbox to the network host instead"),
            );
        }
        // Two sandboxes of one namespace would fight over its interfaces and its default route.
        let state = self.state();
        let mut running = state.observed.running.iter();
        let twin = running.find(|(_, n)| n.inode().is_ok_and(|i| i == inode));
        match twin.and_then(|(id, _)| state.sandboxes().get(id)) {
            Some(other) => Err(Error::conflict(format!(
                "{} is the namespace of sandbox {} already",
                path.display(),
                other.name
            ))
            .because(Reason::NamespaceInUse)
            .about("path", path.display())
            .about("holder", &other.name)
            .hint("connect that one, or remove it first")),
            None => Ok(()),
        }
    }
}

/// The endpoints of a start, put into the copy of the state that they are planned on.
fn plan_all(
    state: &mut State,
    sandbox: &Sandbox,
    networks: &[Arc<Network>],
    given: &[Given],
) -> Result<Vec<Endpoint>> {
    let mut planned = Vec::new();
    state.desired.put_sandbox(Arc::new(sandbox.clone()));
    for ((attachment, network), given) in sandbox.attachments.iter().zip(networks).zip(given) {
        let endpoint = plan_endpoint(&state.desired, network, sandbox, attachment, given)?;
        state.desired.put_endpoint(Arc::new(endpoint.clone()));
        planned.push(endpoint);
    }
    Ok(planned)
}

/// The network was not removed, nor made anew, meanwhile.
pub(super) fn must_be_there(desired: &Desired, network: &Network) -> Result<()> {
    if desired.networks().contains_key(&network.id) {
        return Ok(());
    }
    Err(Error::not_found(format!(
        "network {} not found",
        network.name
    )))
}

/// An attachment of a request.
pub(super) fn attachment(network: &Network, spec: EndpointSpec, request_id: String) -> Attachment {
    Attachment {
        spec: EndpointSpec {
            network: network.name.clone(),
            ..spec
        },
        request_id,
        ..Attachment::default()
    }
}
