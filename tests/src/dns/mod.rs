//! Names in tests: a name server that behaves as it is asked to, clients for single, hostile and many questions, and dig.

pub mod answers;
pub mod client;
pub mod dig;
pub mod load;
pub mod manager;
pub mod nameserver;
pub mod serve;
mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use client::Client;
pub use dig::{Answer, dig};
pub use nameserver::Nameserver;

/// The resolver of a sandbox.
pub const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);

/// Where a host's own caching resolver often listens.
pub const STUB: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), 53);
