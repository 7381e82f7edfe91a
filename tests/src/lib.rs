//! A small world of network namespaces to run the shipped `netd` and `netctl` in.
//!
//! The tests, the demo, the lab and the benchmark share it. It must not know how netd works inside: it starts the
//! binaries, sends packets with ordinary programs and looks at what arrives. Nothing here touches the machine's own
//! interfaces or its root cgroup.

pub mod cgroup;
mod daemon;
pub mod disk;
pub mod dns;
pub mod docker;
pub mod engine;
pub mod http;
pub mod load;
pub mod nat;
pub mod netns;
pub mod picture;
pub mod pki;
pub mod probe;
pub mod records;
pub mod residue;
pub mod run;
pub mod sandbox;
pub mod wait;
pub mod world;

pub use nat::Station;
pub use netns::Netns;
pub use probe::{Reply, Server};
pub use run::{Output, Process, Scope};
pub use sandbox::Sandbox;
pub use wait::wait_for;
pub use world::World;
