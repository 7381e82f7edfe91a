//! The objects of the container network model as they are stored. Pure: no I/O.

mod check;
mod endpoint;
mod lookup;
pub mod mac;
mod name_options;
mod network;
mod sandbox;

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use rand::RngExt as _;

pub use check::check_id;
pub use endpoint::{Endpoint, EndpointSpec};
pub use lookup::{check_name, find};
pub use name_options::{check_names, is_host_name};
pub use network::{Network, NetworkRequest, PREDEFINED, Pool, PoolSpec};
pub use sandbox::{
    Attachment, Identity, NameOptions, Origin, PortBinding, ProcessId, Run, Sandbox,
};

/// Fields of a record that this version does not know: kept, and written back.
pub type Extra = std::collections::BTreeMap<String, serde_json::Value>;

/// The first 12 digits of an id: its form for people and for names of interfaces.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// 64 random hexadecimal digits, of which the first 12 hold a letter: they must not look like a number.
pub fn new_id() -> String {
    loop {
        let bytes: [u8; 32] = rand::rng().random();
        let mut id = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(id, "{byte:02x}");
        }
        if id[..12].contains(|c: char| c.is_ascii_alphabetic()) {
            return id;
        }
    }
}

/// Now, nanoseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64)
}
