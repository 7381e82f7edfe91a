//! The netd daemon as a library: model, IPAM, store, engine, kernel work, data plane, gRPC.
//!
//! It must not know HTTP or Docker; clients of the gRPC API do.

pub mod api;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod dns;
pub mod engine;
pub mod error;
pub mod failpoints;
pub mod files;
pub mod ipam;
pub mod kernel;
pub mod model;
pub mod notify;
pub mod pki;
pub mod purge;
pub mod reload;
pub mod resolv_conf;
pub mod store;
