//! What is there: namespaces, interfaces, the host's own configuration, and what does not work. Never stored; a start finds it
//! anew. It must not know what is desired.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use imbl::{OrdMap, OrdSet};

use crate::{
    by_id::ById,
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

/// An interface, or several that belong together.
pub trait Indices: Copy {
    /// Their interface indices.
    fn indices(self) -> impl Iterator<Item = u32>;
}

impl Indices for u32 {
    fn indices(self) -> impl Iterator<Item = u32> {
        std::iter::once(self)
    }
}

impl Indices for Device {
    fn indices(self) -> impl Iterator<Item = u32> {
        self.both().into_iter()
    }
}

/// Interfaces by the id of what they belong to, and which these are.
#[derive(Clone, Debug)]
pub struct Interfaces<T: Indices> {
    by_id: ById<T>,
    indices: OrdSet<u32>,
}

impl<T: Indices> Default for Interfaces<T> {
    fn default() -> Self {
        Self {
            by_id: ById::default(),
            indices: OrdSet::new(),
        }
    }
}

impl<T: Indices> std::ops::Deref for Interfaces<T> {
    type Target = ById<T>;

    fn deref(&self) -> &ById<T> {
        &self.by_id
    }
}

impl<T: Indices> Interfaces<T> {
    /// Adds or changes one.
    pub fn insert(&mut self, id: &str, interface: T) {
        self.remove(id);
        self.indices.extend(interface.indices());
        self.by_id.insert(id, interface);
    }

    /// Removes one. Returns it.
    pub fn remove(&mut self, id: &str) -> Option<T> {
        let old = self.by_id.remove(id)?;
        for index in old.indices() {
            self.indices.remove(&index);
        }
        Some(old)
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

impl ObjectId {
    /// Its id, or the record's key.
    pub fn id(&self) -> &str {
        match self {
            Self::Network(id) | Self::Sandbox(id) | Self::Endpoint(id) | Self::Record(id) => id,
        }
    }
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
    pub running: ById<Netns>,
    /// Network devices, by network id.
    pub devices: Interfaces<Device>,
    /// Host ends of the endpoints' veths, by endpoint id.
    pub links: Interfaces<u32>,
    /// Of endpoints that are being removed, the links that were theirs, by endpoint id.
    pub leaving: ById<u32>,
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
        let (links, devices) = (&self.links.indices, &self.devices.indices);
        links.iter().chain(devices.iter()).copied()
    }

    /// Whether an interface is netd's.
    pub fn is_own(&self, ifindex: u32) -> bool {
        self.links.indices.contains(&ifindex) || self.devices.indices.contains(&ifindex)
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
