//! Load between namespaces: short and long connections and exchanges, floods, and the server that answers them.
//!
//! Everything here runs in `netd-probe load …`, one process for each client, so that its limits, its namespace and its
//! cgroup are its own; [`driver`] starts these processes and reads what they counted.

mod attempts;
mod cli;
mod client;
pub mod driver;
mod flood;
mod frame;
mod serve;
mod sockets;
mod tally;

pub use cli::run;
pub use driver::{Flood, Load, Running, Service};
pub use flood::Sent;
pub use tally::{Failure, Tally};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
        seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or_default()
    })
}
