//! What each sandbox shows and sees by name: from the model to the resolver's table.

use super::{Engine, state::State};
use crate::{
    dns::{
        Lookup, StoredSockets,
        table::{Holder, KnownName, Membership, View},
    },
    driver::Network,
    error::Result,
    kernel::Netns,
    model::{self, Endpoint, Sandbox},
};

fn membership(sandbox: &Sandbox, endpoint: &Endpoint, network: &Network) -> Membership {
    let (id, short) = (&sandbox.id, model::short(&sandbox.id));
    let mut names = vec![&*sandbox.name, id, short, &sandbox.hostname];
    let full = format!("{}.{}", sandbox.hostname, sandbox.names.domainname);
    if !sandbox.names.domainname.is_empty() {
        names.push(&full);
    }
    names.extend(endpoint.aliases.iter().map(String::as_str));
    let mut names: Vec<String> = names.into_iter().map(str::to_ascii_lowercase).collect();
    names.sort();
    names.dedup();
    let links = endpoint.links.iter().map(|link| {
        let link = link.to_ascii_lowercase();
        let (target, alias) = link.split_once(':').unwrap_or((&link, &link));
        (alias.to_owned(), target.to_owned())
    });
    let address = |net: Option<ipnetwork::IpNetwork>| net.map(|n| n.ip());
    Membership {
        network: network.number,
        zone: network.name.to_ascii_lowercase(),
        named: network.names().resolves,
        names,
        canonical: format!("{}.{}.", sandbox.name, network.name),
        holder: Holder {
            v4: address(endpoint.ipv4).and_then(|a| match a {
                std::net::IpAddr::V4(a) => Some(a),
                std::net::IpAddr::V6(_) => None,
            }),
            v6: address(endpoint.ipv6).and_then(|a| match a {
                std::net::IpAddr::V6(a) => Some(a),
                std::net::IpAddr::V4(_) => None,
            }),
        },
        links: links.collect(),
    }
}

impl State {
    /// What a sandbox shows and sees; `None`: it does not run, or is the host.
    fn view(&self, id: &str) -> Option<View> {
        let sandbox = self.sandboxes().get(id).filter(|s| !s.host())?;
        self.observed.running.get(id)?;
        let endpoints = self.endpoints_of(id);
        let mut placed: Vec<(&Endpoint, &Network)> = endpoints
            .filter_map(|e| Some((&**e, &**self.networks().get(&e.network)?)))
            .collect();
        // As the default route is chosen: networks that lead out first, then by priority, then as connected.
        placed.sort_by_key(|(e, n)| (n.internal, std::cmp::Reverse(e.priority)));
        Some(View {
            sandbox: id.into(),
            forwards: placed.iter().any(|(_, n)| n.names().forwards),
            memberships: placed
                .iter()
                .map(|(e, n)| membership(sandbox, e, n))
                .collect(),
            servers: sandbox.names.servers.clone(),
        })
    }
}

impl Engine {
    /// Tells the resolver what a sandbox shows and sees now.
    pub(super) fn publish_names(&self, sandbox: &str) {
        self.resolver
            .publish(sandbox, || self.state().view(sandbox));
    }

    /// Opens a sandbox's resolver. Without one the sandbox has its networks all the same.
    pub(super) async fn open_resolver(
        &self,
        sandbox: &Sandbox,
        netns: &Netns,
        stored: &mut StoredSockets,
    ) {
        if sandbox.host() {
            return;
        }
        self.publish_names(&sandbox.id);
        let redirect = async { self.dataplane.attach_resolver(netns).await.map(drop) };
        let opened = self.resolver.open(&sandbox.id, netns, stored, redirect);
        if let Err(e) = opened.await {
            self.warn(format!("sandbox {} resolves no names: {e}", sandbox.name));
        }
    }

    /// Makes the way to a sandbox's resolver anew if somebody took it away. Says whether it had to be.
    pub(super) async fn mend_resolver(&self, sandbox: &str) -> Result<bool> {
        let netns = {
            let state = self.state();
            let host = state.sandboxes().get(sandbox).is_none_or(|s| s.host());
            state
                .observed
                .running
                .get(sandbox)
                .filter(|_| !host)
                .cloned()
        };
        match netns {
            Some(netns) => self.dataplane.attach_resolver(&netns).await,
            None => Ok(false),
        }
    }

    /// Ends a sandbox's resolver, and its names. Whoever leaves the namespace takes the way to it away.
    pub(super) async fn close_resolver(&self, sandbox: &str) {
        self.resolver.publish(sandbox, || None);
        self.resolver.close(sandbox).await;
    }

    /// What a sandbox's resolver would answer.
    pub fn lookup(&self, sandbox: &str, name: &str, kind: &str) -> Result<Lookup> {
        let id = self.desired().sandbox(sandbox)?.id.clone();
        self.resolver.lookup(&id, name, kind)
    }

    /// Every name that a sandbox's resolver knows by itself.
    pub fn known_names(&self, sandbox: &str) -> Result<Vec<KnownName>> {
        let id = self.desired().sandbox(sandbox)?.id.clone();
        self.resolver.known_names(&id)
    }

    /// At the end: questions that were taken are answered, others wait for the next daemon.
    pub async fn finish_questions(&self) {
        self.resolver.finish().await;
    }

    /// At the start: the resolvers of all that runs, with the sockets that an earlier daemon stored.
    pub(super) async fn open_resolvers(&self) {
        let mut stored = self.resolver.stored_sockets().await;
        let running: Vec<(Sandbox, Netns)> = {
            let state = self.state();
            let running = state.observed.running.iter();
            let known = running.filter_map(|(id, netns)| {
                let sandbox = state.sandboxes().get(id)?;
                Some((Sandbox::clone(sandbox), netns.clone()))
            });
            known.collect()
        };
        // All names before the first question, which may have waited: it may ask for any of them.
        for (sandbox, _) in &running {
            self.publish_names(&sandbox.id);
        }
        for (sandbox, netns) in running {
            self.open_resolver(&sandbox, &netns, &mut stored).await;
        }
        self.resolver.discard(stored);
    }
}
