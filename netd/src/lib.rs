//! The netd daemon as a library: model, IPAM, store, engine, kernel work, data plane, gRPC.
//!
//! It must not know HTTP or Docker; clients of the gRPC API do.

/// A place between two steps where a test can end the daemon or make the step fail; nothing in other builds.
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::failpoints::reach($name)?
    };
}

/// A place between two steps where a test can end the daemon or make the step fail; nothing in other builds.
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($name:expr) => {};
}

pub(crate) use failpoint;

pub mod api;
pub mod by_id;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod directories;
pub mod dns;
mod docker;
pub mod driver;
pub mod engine;
pub mod error;
#[cfg(feature = "failpoints")]
pub mod failpoints;
pub mod files;
pub mod ipam;
pub mod kernel;
pub mod memory;
pub mod model;
pub mod notify;
pub mod observed;
pub mod pki;
pub mod purge;
pub mod reload;
pub mod resolv_conf;
pub mod store;
