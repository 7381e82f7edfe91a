//! Ethernet addresses: new ones, and their text.

use rand::RngExt as _;

/// A random locally administered unicast address.
pub fn random() -> [u8; 6] {
    let mut mac: [u8; 6] = rand::rng().random();
    mac[0] = mac[0] & 0xfc | 0x02;
    mac
}

/// As `02:42:ac:11:00:02`.
pub fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads a unicast address, its bytes parted by colons or hyphens.
pub fn parse(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text
        .split([':', '-'])
        .map(|part| {
            let byte = u8::from_str_radix(part, 16).ok();
            byte.filter(|_| part.len() <= 2)
        })
        .collect();
    let mac: [u8; 6] = bytes?.try_into().ok()?;
    (mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}
