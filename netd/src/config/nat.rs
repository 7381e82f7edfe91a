//! `[nat]`: masquerading, and how long flows may be silent.

use ipnetwork::IpNetwork;
use netd_common::abi;
use serde::Deserialize;

use crate::error::{Error, Result};

/// Masquerading.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nat {
    /// First port of the pool that masqueraded flows take; above 1023.
    pub first_port: u16,
    /// Last port of the pool.
    pub last_port: u16,
    /// How long a port rests that no flow uses any more, while others are free, seconds.
    pub port_rest: u32,
    /// Destinations whose packets keep their source (RFC 6888, REQ-6).
    pub exempt: Vec<IpNetwork>,
    /// How long flows may be silent.
    pub lifetimes: Lifetimes,
}

impl Default for Nat {
    fn default() -> Self {
        // The dynamic ports (RFC 6335, 6); of the usual ephemeral range, 32768 to 60999, the larger part stays with the
        // host's own sockets.
        Self {
            first_port: 49152,
            last_port: 65535,
            port_rest: 120,
            exempt: Vec::new(),
            lifetimes: Lifetimes::default(),
        }
    }
}

/// How long a flow may be silent, seconds, by its state; see [`abi::Lifetimes`].
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lifetimes {
    /// TCP, established.
    pub tcp_established: u32,
    /// TCP, opening, begun inside.
    pub tcp_opening: u32,
    /// TCP, opening, begun outside.
    pub tcp_inbound_opening: u32,
    /// TCP, closing.
    pub tcp_closing: u32,
    /// TCP, closed.
    pub tcp_closed: u32,
    /// UDP.
    pub udp: u32,
    /// UDP, begun outside, until there is more than one datagram.
    pub udp_inbound: u32,
    /// UDP, to port 53.
    pub udp_dns: u32,
    /// ICMP queries.
    pub icmp: u32,
    /// Other protocols.
    pub other: u32,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            tcp_established: 7440,
            tcp_opening: 240,
            tcp_inbound_opening: 30,
            tcp_closing: 240,
            tcp_closed: 10,
            udp: 300,
            udp_inbound: 30,
            udp_dns: 10,
            icmp: 60,
            other: 300,
        }
    }
}

/// Longest lifetime, seconds: 30 days.
const LONGEST: u32 = 30 * 86_400;
/// Longest rest of a port, seconds.
const LONGEST_REST: u32 = 86_400;
/// Entries of the map.
const MOST_EXEMPT: usize = 1024;

impl Nat {
    /// Refuses values that could not work.
    pub fn check(&self) -> Result<()> {
        if self.first_port < 1024 || self.last_port < self.first_port {
            return Err(Error::invalid(format!(
                "nat: ports {} to {} are no pool",
                self.first_port, self.last_port
            ))
            .hint("both above 1023, the first not above the last"));
        }
        if self.port_rest > LONGEST_REST {
            return Err(
                Error::invalid(format!("nat: port_rest = {} is too long", self.port_rest))
                    .hint(format!("0 to {LONGEST_REST} seconds")),
            );
        }
        if self.exempt.len() > MOST_EXEMPT {
            return Err(Error::invalid(format!(
                "nat: exempt has {} entries, more than {MOST_EXEMPT}",
                self.exempt.len()
            ))
            .hint("name larger networks"));
        }
        for exempt in &self.exempt {
            let network = exempt.network();
            if exempt.ip() != network {
                return Err(
                    Error::invalid(format!("nat: exempt: {exempt} is no network"))
                        .hint(format!("write {network}/{}", exempt.prefix())),
                );
            }
            if exempt.prefix() == 0 {
                return Err(Error::invalid(format!(
                    "nat: exempt: {exempt} is every destination"
                ))
                .hint("a network whose packets keep their source everywhere has the option com.docker.network.bridge.gateway_mode_ipv4=routed"));
            }
        }
        for (key, seconds) in self.lifetimes.fields() {
            if !(1..=LONGEST).contains(&seconds) {
                return Err(Error::invalid(format!(
                    "nat.lifetimes: {key} = {seconds} is no lifetime"
                ))
                .hint(format!("1 to {LONGEST} seconds (30 days)")));
            }
        }
        Ok(())
    }
}

impl Lifetimes {
    fn fields(&self) -> [(&'static str, u32); 10] {
        [
            ("tcp_established", self.tcp_established),
            ("tcp_opening", self.tcp_opening),
            ("tcp_inbound_opening", self.tcp_inbound_opening),
            ("tcp_closing", self.tcp_closing),
            ("tcp_closed", self.tcp_closed),
            ("udp", self.udp),
            ("udp_inbound", self.udp_inbound),
            ("udp_dns", self.udp_dns),
            ("icmp", self.icmp),
            ("other", self.other),
        ]
    }
}

/// Seconds as nanoseconds.
pub fn nanoseconds(seconds: u32) -> u64 {
    u64::from(seconds) * 1_000_000_000
}

impl From<&Lifetimes> for abi::Lifetimes {
    fn from(l: &Lifetimes) -> Self {
        Self {
            tcp_established: nanoseconds(l.tcp_established),
            tcp_opening: nanoseconds(l.tcp_opening),
            tcp_inbound_opening: nanoseconds(l.tcp_inbound_opening),
            tcp_closing: nanoseconds(l.tcp_closing),
            tcp_closed: nanoseconds(l.tcp_closed),
            udp: nanoseconds(l.udp),
            udp_inbound: nanoseconds(l.udp_inbound),
            udp_dns: nanoseconds(l.udp_dns),
            icmp: nanoseconds(l.icmp),
            other: nanoseconds(l.other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Nat> {
        let nat: Nat = toml::from_str(text).map_err(|e| Error::invalid(e.to_string()))?;
        nat.check().map(|()| nat)
    }

    #[test]
    fn what_is_not_named_has_its_default() {
        let nat = read("exempt = ['10.0.0.0/8', 'fd00::/8']\nlifetimes = { udp = 600 }").unwrap();
        let lifetimes = abi::Lifetimes::from(&nat.lifetimes);
        assert_eq!(lifetimes.udp, 600_000_000_000);
        assert_eq!(lifetimes.tcp_established, 7_440_000_000_000);
        assert_eq!(nat.exempt.len(), 2);
        assert_eq!((nat.first_port, nat.last_port), (49152, 65535));
    }

    #[test]
    fn errors_name_key_and_value() {
        for (text, parts) in [
            ("lifetimes = { udp = 0 }", ["udp", "0"]),
            ("lifetimes = { icmp = 2592001 }", ["icmp", "2592001"]),
            ("lifetimes = { tcp = 5 }", ["tcp", "unknown field"]),
            ("port_rest = 90000", ["port_rest", "90000"]),
            ("exempt = ['10.0.0.0/33']", ["exempt", "33"]),
            ("exempt = ['10.0.0.1/8']", ["exempt", "10.0.0.1/8"]),
            ("exempt = ['::/0']", ["exempt", "::/0"]),
            ("first_port = 80", ["80", "65535"]),
        ] {
            let message = read(text).unwrap_err().message;
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}
