//! The netd daemon as a library: model, IPAM, store, engine, kernel work, data plane, gRPC.
//!
//! It must not know HTTP or Docker; clients of the gRPC API do.

pub mod config;
pub mod dataplane;
pub mod engine;
pub mod error;
pub mod ipam;
pub mod kernel;
pub mod model;
pub mod store;
