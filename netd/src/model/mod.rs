//! The objects of the container network model as they are stored. Pure: no I/O.

mod endpoint;
mod lookup;
mod network;
mod options;
mod sandbox;

use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt as _;

pub use endpoint::{Endpoint, EndpointRequest};
pub use lookup::{check_name, find};
pub use network::{Network, PREDEFINED, Pool};
pub use options::{GatewayMode, Options};
pub use sandbox::{Attachment, NameOptions, PortBinding, Sandbox};

/// 64 random hexadecimal digits, of which the first 12 hold a letter: they must not look like a number.
pub fn new_id() -> String {
    loop {
        let bytes: [u8; 32] = rand::rng().random();
        let id: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        if id[..12].contains(|c: char| c.is_ascii_alphabetic()) {
            return id;
        }
    }
}

/// A random locally administered unicast Ethernet address.
pub fn new_mac() -> [u8; 6] {
    let mut mac: [u8; 6] = rand::rng().random();
    mac[0] = mac[0] & 0xfc | 0x02;
    mac
}

/// Now, nanoseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64)
}
