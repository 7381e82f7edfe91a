//! The `[dns]` part of the configuration file.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};

/// The resolver of the sandboxes.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// How long others may keep an answer about a sandbox, seconds.
    pub ttl: u32,
    /// The file that names the host's resolvers, resolv.conf(5); followed as it changes.
    pub resolv_conf: PathBuf,
    /// How long one server is waited for before the next is asked, milliseconds.
    pub timeout_ms: u64,
    /// Questions of one sandbox that are with servers at a time; further ones wait.
    pub in_flight: u32,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            ttl: 5,
            resolv_conf: "/etc/resolv.conf".into(),
            timeout_ms: 2000,
            in_flight: 256,
        }
    }
}

impl Dns {
    /// A question is answered within this time whatever the servers do, milliseconds: resolvers in sandboxes wait 5 s
    /// (resolv.conf(5)).
    pub const PATIENCE_MS: u64 = 4500;

    /// Questions of all sandboxes that are with servers at a time.
    pub const IN_FLIGHT: u32 = 4096;

    /// The longest time to live (RFC 2181, 8), seconds.
    const LONGEST_TTL: u32 = i32::MAX as u32;

    /// Refuses values that could not work.
    pub fn check(&self) -> Result<()> {
        for (key, value, least, most) in [
            ("ttl", self.ttl.into(), 0, Self::LONGEST_TTL.into()),
            ("timeout_ms", self.timeout_ms, 1, Self::PATIENCE_MS),
            (
                "in_flight",
                self.in_flight.into(),
                1,
                Self::IN_FLIGHT.into(),
            ),
        ] {
            if !(least..=most).contains(&value) {
                return Err(Error::invalid(format!("dns: {key} = {value} cannot work"))
                    .hint(format!("{least} to {most}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s04_values_that_could_not_work_are_refused() {
        Dns::default().check().unwrap();
        for (text, fine) in [
            ("ttl = 0", true),
            ("ttl = 2147483647", true),
            ("ttl = 2147483648", false),
            ("timeout_ms = 0", false),
            ("timeout_ms = 1", true),
            ("timeout_ms = 4500", true),
            ("timeout_ms = 4501", false),
            ("in_flight = 0", false),
            ("in_flight = 1", true),
            ("in_flight = 4096", true),
            ("in_flight = 4097", false),
        ] {
            let dns: Dns = toml::from_str(text).unwrap();
            let checked = dns.check();
            assert_eq!(checked.is_ok(), fine, "{text}: {checked:?}");
        }
    }
}
