//! Docker's API on a Unix socket, as a client of netd's gRPC API.
//!
//! Alone it answers for networks, and shows sandboxes as containers. In front of a Docker Engine everything that is not about
//! networks passes through; containers that are made through it are on netd's networks. `docs/docker.md` tells users what to expect.

pub mod adapter;
mod containers;
mod engine;
mod events;
mod filters;
mod http;
#[doc(hidden)]
pub mod judge;
mod lines;
pub mod listen;
mod netd;
mod networks;
mod refusal;
pub mod request;
mod socket;
mod system;
mod time;

pub use adapter::Settings;
pub use listen::serve;

/// The path of a Unix socket's address: `unix:///run/docker.sock`, or the bare path.
///
/// # Errors
/// When it is another kind of address.
pub fn unix_address(text: &str) -> Result<std::path::PathBuf, String> {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.starts_with('/') {
        return Ok(path.into());
    }
    Err(format!("{text} is no Unix socket: unix:///PATH"))
}
