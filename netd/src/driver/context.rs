//! What drivers work with: the kernel, the data plane, and where what is there is noted.

use std::sync::Arc;

use crate::{
    dataplane::Dataplane,
    kernel::{Netlink, Netns, Reaper, sandbox::RouteSpec},
    model::{self, Endpoint},
    observed::Observations,
};

/// The host of an instance.
#[derive(Clone)]
pub struct Context {
    /// The instance's name, part of the marks of its interfaces.
    pub instance: String,
    /// Netlink in the host's namespace.
    pub netlink: Netlink,
    /// Removes interfaces.
    pub reaper: Reaper,
    /// The eBPF data plane.
    pub dataplane: Arc<Dataplane>,
    /// What is there.
    pub observations: Observations,
}

/// An endpoint that is to be made, or looked at.
#[derive(Clone, Debug)]
pub struct EndpointWork<'a> {
    /// Its network.
    pub network: &'a model::Network,
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// Its sandbox's namespace.
    pub netns: &'a Netns,
    /// Where the sandbox's packets leave it when the endpoint is there.
    pub routes: RouteSpec,
    /// The sandbox's side is to be configured, too.
    pub inside: bool,
}
