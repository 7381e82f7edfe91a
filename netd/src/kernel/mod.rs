//! Work on the kernel's network configuration: links, addresses, routes, namespaces, ports, sysctls.
//!
//! It must not know networks as objects, the store or requests; it is told names, addresses and namespaces.

mod default_route;
pub mod filters;
pub mod host;
mod inside;
pub mod links;
mod listing;
pub mod memory;
pub mod netns;
pub mod ports;
pub mod process;
mod reaper;
pub mod rtnl;
mod rules;
pub mod sandbox;
pub mod socket_diag;
mod socket_maker;
pub mod sysctl;
#[cfg(test)]
pub(crate) mod testing;

pub use links::{EndpointLinkSpec, Netlink, NetworkDevice, NetworkDeviceSpec, OwnedLink, Role};
pub use netns::Netns;
pub use process::Watch;
pub use reaper::Reaper;
pub use socket_maker::SocketMaker;
