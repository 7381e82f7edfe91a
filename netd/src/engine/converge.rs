//! Making the kernel and the data plane follow changes of what is desired: first what goes, users before what they use, then
//! what comes. Every step may find its work done, so that the same work does a request, takes it back, and mends.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::{
    Engine,
    change::{Change, Object},
};
use crate::{
    driver::Network,
    error::Result,
    model::{Endpoint, Sandbox},
};

/// What changes mean for the kernel, sorted.
#[derive(Default)]
struct Work<'a> {
    endpoints_gone: Vec<&'a Endpoint>,
    sandboxes_gone: Vec<&'a Sandbox>,
    networks_gone: Vec<&'a Network>,
    networks_new: Vec<&'a Network>,
    sandboxes_new: Vec<&'a Sandbox>,
    /// Sandboxes that do not run, and are new, others or no more: only their files follow.
    at_rest: BTreeSet<&'a str>,
    endpoints_new: Vec<&'a Endpoint>,
    /// Sandboxes with other endpoints, ports or names.
    changed: BTreeSet<&'a str>,
    /// Of these, the ones that lost endpoints, or have others: default routes and files follow. New endpoints bring theirs.
    rerouted: BTreeSet<&'a str>,
    /// Of these, the ones whose names or name servers are others.
    renamed: BTreeSet<&'a str>,
    ports_come: bool,
    ports_go: bool,
}

impl<'a> Work<'a> {
    fn of(changes: &'a [Change]) -> Self {
        let mut work = Self::default();
        for change in changes {
            match (&change.before, &change.after) {
                (Some(Object::Endpoint(e)), None) => work.endpoints_gone.push(e),
                (None, Some(Object::Endpoint(e))) => work.endpoints_new.push(e),
                (Some(Object::Network(n)), None) => work.networks_gone.push(n),
                (None, Some(Object::Network(n))) => work.networks_new.push(n),
                (Some(Object::Endpoint(_)), Some(Object::Endpoint(_)))
                | (Some(Object::Network(_)), Some(_)) => {}
                (before, after) => work.sandbox(sandbox(before), sandbox(after)),
            }
            if let Some(Object::Endpoint(e)) = change.object() {
                work.changed.insert(&e.sandbox);
                if change.before.is_some() {
                    work.rerouted.insert(&e.sandbox);
                }
            }
        }
        work
    }

    fn sandbox(&mut self, before: Option<&'a Sandbox>, after: Option<&'a Sandbox>) {
        let run = |s: Option<&'a Sandbox>| s.and_then(|s| s.run.as_ref());
        if run(before) != run(after) {
            self.sandboxes_gone.extend(before.filter(|s| s.running()));
            self.sandboxes_new.extend(after.filter(|s| s.running()));
        }
        if let Some(one) = after.or(before)
            && !after.is_some_and(Sandbox::running)
        {
            self.at_rest.insert(&one.id);
        }
        let ports = |s: Option<&'a Sandbox>| s.map_or(&[][..], |s| &s.ports);
        self.ports_come |= ports(after).iter().any(|b| !ports(before).contains(b));
        self.ports_go |= ports(before).iter().any(|b| !ports(after).contains(b));
        if let (Some(before), Some(after)) = (before, after) {
            let named = |s: &Sandbox| (s.name.clone(), s.hostname.clone(), s.names.clone());
            if named(before) != named(after) {
                self.renamed.insert(&after.id);
            }
            if named(before) != named(after) || before.ports != after.ports {
                self.changed.insert(&after.id);
            }
        }
    }
}

fn sandbox(object: &Option<Object>) -> Option<&Sandbox> {
    match object {
        Some(Object::Sandbox(s)) => Some(s),
        _ => None,
    }
}

impl Engine {
    /// Makes everything follow. What goes is tried to its end whatever fails; the first failure is returned.
    pub(super) async fn converge(&self, changes: &[Change]) -> Result<()> {
        let work = Work::of(changes);
        self.take_away(&work, changes).await?;
        self.bring(&work).await
    }

    async fn take_away(&self, work: &Work<'_>, changes: &[Change]) -> Result<()> {
        if !work.sandboxes_gone.is_empty() {
            crate::failpoint!("sandbox-stopped");
        } else if !work.endpoints_gone.is_empty() {
            crate::failpoint!("endpoint-deleted");
        }
        let gone = work.endpoints_gone.iter();
        let done = join_all(gone.map(|e| self.unrealize_endpoint(e, changes))).await;
        let mut done: Vec<Result<()>> = done;
        if !work.endpoints_gone.is_empty() {
            crate::failpoint!("endpoint-removed");
        }
        for sandbox in &work.sandboxes_gone {
            done.push(self.close_sandbox(sandbox).await);
        }
        if !work.networks_gone.is_empty() {
            crate::failpoint!("network-deleted");
        }
        for network in &work.networks_gone {
            let driver = network.driver();
            done.push(
                driver
                    .unrealize_network(&self.context, network.record())
                    .await,
            );
        }
        done.into_iter().collect()
    }

    async fn bring(&self, work: &Work<'_>) -> Result<()> {
        if !work.networks_new.is_empty() {
            crate::failpoint!("network-stored");
        }
        for network in &work.networks_new {
            self.realize_network(network).await?;
        }
        if !work.sandboxes_new.is_empty() {
            crate::failpoint!("sandbox-stored");
        }
        for sandbox in &work.sandboxes_new {
            self.open_sandbox(sandbox).await?;
            crate::failpoint!("namespace-made");
        }
        if !work.endpoints_new.is_empty() {
            crate::failpoint!("endpoint-stored");
        }
        for endpoint in &work.endpoints_new {
            // Its name resolves before its first packet.
            self.publish_names(&endpoint.sandbox);
            self.write_hosts(&endpoint.sandbox)?;
            self.realize_endpoint(endpoint, true).await?;
        }
        for id in &work.at_rest {
            self.follow_files(id)?;
        }
        if work.ports_come {
            crate::failpoint!("ports-stored");
        } else if work.ports_go && work.sandboxes_gone.is_empty() {
            crate::failpoint!("ports-withdrawn");
        }
        let came = work.sandboxes_new.iter().map(|s| s.id.as_str());
        let all: BTreeSet<&str> = work.changed.iter().copied().chain(came).collect();
        for id in all {
            let renamed = work.renamed.contains(id);
            self.follow_sandbox(id, renamed, renamed || work.rerouted.contains(id))
                .await?;
        }
        if work.ports_come || work.ports_go {
            self.reserve_ports()?;
        }
        crate::failpoint!("converged");
        Ok(())
    }

    /// What hangs on all of a sandbox's endpoints together: names, files, default routes, publications.
    async fn follow_sandbox(&self, id: &str, renamed: bool, rerouted: bool) -> Result<()> {
        let sandbox = self.desired().sandboxes().get(id).cloned();
        if !sandbox.is_some_and(|s| s.running()) {
            return Ok(());
        }
        if renamed {
            self.write_files(id, true)?;
        }
        if rerouted {
            self.publish_names(id);
            self.write_hosts(id)?;
            self.refresh_routes(id).await?;
            crate::failpoint!("routes-set");
        }
        self.refresh_publications(id).await?;
        self.report_host_gateway(id);
        Ok(())
    }
}
