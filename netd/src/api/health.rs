//! Whether the daemon does its job, for whoever steers it: told by those who know, served as `grpc.health.v1`.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::access;

/// What keeps the daemon from serving, and since when nothing does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// By the part that is broken (as `store`): why, and the services that need it; none: all do.
    faults: BTreeMap<&'static str, (String, &'static [&'static str])>,
    /// The daemon is going.
    stopping: bool,
}

impl Health {
    /// Whether this service (`netd.v1.NetworkService`; empty: the whole) does its job.
    pub fn serves(&self, service: &str) -> bool {
        let hit =
            |needs: &[&str]| service.is_empty() || needs.is_empty() || needs.contains(&service);
        !self.stopping && !self.faults.values().any(|(_, needs)| hit(needs))
    }

    /// Why not, one sentence for each broken part.
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.faults.iter();
        reasons
            .map(|(part, (why, _))| format!("{part}: {why}"))
            .collect()
    }
}

/// The handle by which parts of the daemon say that they are broken, or well again. Cheap to copy.
#[derive(Clone, Debug)]
pub struct HealthState {
    sender: watch::Sender<Health>,
}

impl Default for HealthState {
    fn default() -> Self {
        Self::new()
    }
}

impl HealthState {
    /// All is well.
    pub fn new() -> Self {
        Self {
            sender: watch::Sender::new(Health::default()),
        }
    }

    /// A part of the daemon is broken; `services` (full names) need it, all if none are named. Logged once.
    pub fn broken(
        &self,
        part: &'static str,
        why: impl Into<String>,
        services: &'static [&'static str],
    ) {
        let why = why.into();
        self.sender.send_if_modified(|health| {
            let new = (why, services);
            if health.faults.get(part) == Some(&new) {
                return false;
            }
            tracing::error!("not serving: {part}: {}", new.0);
            health.faults.insert(part, new);
            true
        });
    }

    /// That part is well again, or still.
    pub fn well(&self, part: &'static str) {
        self.sender.send_if_modified(|health| {
            let mended = health.faults.remove(part).is_some();
            if mended {
                tracing::info!("serving again: {part}");
            }
            mended
        });
    }

    /// The daemon is going: nothing serves any more.
    pub fn stop(&self) {
        self.sender.send_modify(|health| health.stopping = true);
    }

    /// As it is now, and as it changes.
    pub fn watch(&self) -> watch::Receiver<Health> {
        self.sender.subscribe()
    }
}

/// Tells the health service what it answers, until the handle is gone.
pub(super) async fn report(mut changes: watch::Receiver<Health>, reporter: HealthReporter) {
    loop {
        let health = changes.borrow_and_update().clone();
        for service in access::services().chain([""]) {
            let status = match health.serves(service) {
                true => ServingStatus::Serving,
                false => ServingStatus::NotServing,
            };
            reporter.set_service_status(service, status).await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p01_health_is_that_of_what_a_service_needs() {
        let state = HealthState::new();
        let mut changes = state.watch();
        let serves = |service: &str| state.watch().borrow().serves(service);
        assert!(serves("") && serves("netd.v1.FlowService"));
        state.broken("flows", "unreadable", &["netd.v1.FlowService"]);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        state.broken("flows", "unreadable", &["netd.v1.FlowService"]);
        assert!(!changes.has_changed().unwrap(), "told twice");
        assert!(!serves("") && !serves("netd.v1.FlowService"));
        assert!(serves("netd.v1.NetworkService"));
        state.broken("store", "no room", &[]);
        assert!(!serves("netd.v1.NetworkService"));
        assert_eq!(
            state.watch().borrow().reasons(),
            ["flows: unreadable", "store: no room"]
        );
        state.well("flows");
        state.well("store");
        assert!(serves("") && serves("netd.v1.FlowService"));
        state.stop();
        assert!(!serves(""));
    }
}
