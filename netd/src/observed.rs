//! What is there: namespaces, interfaces, the host's own configuration, and what does not work. Never stored; a start finds it
//! anew. It must not know what is desired.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use imbl::{OrdMap, OrdSet};

use crate::{
    kernel::{Netns, host::HostState},
    model::Network,
};

/// A network's device pair in the host, by interface index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device that carries the gateway addresses.
    pub ifindex: u32,
    /// The inner end.
    pub peer: u32,
}

impl Device {
    /// Both ends.
    pub fn both(self) -> [u32; 2] {
        [self.ifindex, self.peer]
    }
}

/// An object, by kind and id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectId {
    /// A network.
    Network(String),
    /// A sandbox.
    Sandbox(String),
    /// An endpoint.
    Endpoint(String),
    /// A record of the store that cannot be used, by its key.
    Record(String),
}

/// Why an object is not as it is desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// What fails, on what, and why.
    pub reason: String,
    /// Since when.
    pub since: SystemTime,
}

/// What is there. Cheap to copy: what did not change is shared.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The open namespaces of the sandboxes that run, by sandbox id.
    pub running: OrdMap<String, Netns>,
    /// Network devices, by network id.
    pub devices: OrdMap<String, Device>,
    /// Host ends of the endpoints' veths, by endpoint id.
    pub links: OrdMap<String, u32>,
    /// Of endpoints that are being removed, the links that were theirs, by endpoint id.
    pub leaving: OrdMap<String, u32>,
    /// Interfaces of netd's that are being removed.
    pub retired: OrdSet<u32>,
    /// The host's own configuration, as last read.
    pub host: Arc<HostState>,
    /// What is not as it is desired.
    pub degraded: OrdMap<ObjectId, Degraded>,
}

impl Observed {
    /// Bytes that an interface of this network takes.
    pub fn mtu(&self, network: &Network) -> u32 {
        network.mtu.unwrap_or_else(|| self.host.egress_mtu())
    }

    /// Indices of the host's interfaces with these names, as far as they are there.
    pub fn interfaces(&self, names: &[String]) -> Vec<u32> {
        let links = self.host.links.iter();
        links
            .filter(|l| names.contains(&l.name))
            .map(|l| l.ifindex)
            .collect()
    }

    /// Interfaces of netd's.
    pub fn own_interfaces(&self) -> impl Iterator<Item = u32> {
        let devices = self.devices.values().flat_map(|d| d.both());
        self.links.values().copied().chain(devices)
    }

    /// Whether a sandbox's namespace is open under this path.
    pub fn runs_at(&self, sandbox: &str, path: &Path) -> bool {
        self.running.contains_key(sandbox) && path.exists()
    }
}

/// Where what is there is noted; whoever reads gets a copy and holds nothing up.
#[derive(Clone, Debug, Default)]
pub struct Observations(Arc<RwLock<Observed>>);

impl Observations {
    /// As it is now.
    pub fn now(&self) -> Observed {
        // A panic elsewhere has left it as it was before or after one assignment; both are valid.
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes a change. `work` must not wait.
    pub fn note<T>(&self, work: impl FnOnce(&mut Observed) -> T) -> T {
        work(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}
