//! Driver options of a bridge network, read once. Keys and values are Docker's (`docker network create`, Docker Engine
//! 28), and netd's own (`netd.…`); unknown keys are kept and have no effect, as there.

use std::{collections::BTreeMap, net::IpAddr};

use crate::error::{Error, Result};

const BRIDGE: &str = "com.docker.network.bridge.";

/// How endpoints' addresses of one family relate to the outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatewayMode {
    /// Masqueraded outwards; inwards by publications only.
    #[default]
    Nat,
    /// As `Nat`, and every port is reached at the endpoint's own address.
    NatUnprotected,
    /// Own addresses outwards; published ports are reached at the endpoint's own address.
    Routed,
    /// Nothing leaves, and the host has no address on the network.
    Isolated,
}

/// What the options of a network say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `enable_icc`.
    pub icc: bool,
    /// `enable_ip_masquerade`.
    pub masquerade_v4: bool,
    /// `enable_ip6_masquerade`; by default as for IPv4.
    pub masquerade_v6: bool,
    /// `host_binding_ipv4`: the default host address of published ports.
    pub binding: Option<IpAddr>,
    /// `com.docker.network.driver.mtu` or `com.docker.network.mtu`, bytes.
    pub mtu: Option<u32>,
    /// `name`: the device that carries the gateway addresses.
    pub device: Option<String>,
    /// `com.docker.network.container_iface_prefix`.
    pub interface_prefix: String,
    /// `gateway_mode_ipv4`.
    pub mode_v4: GatewayMode,
    /// `gateway_mode_ipv6`.
    pub mode_v6: GatewayMode,
    /// `inhibit_ipv4`: the device gets no IPv4 address.
    pub inhibit_ipv4: bool,
    /// `trusted_host_interfaces`, separated by colons.
    pub trusted: Vec<String>,
    /// `netd.nat.filtering`: what comes to a mapped port is let in whoever sends it (RFC 4787, REQ-8).
    pub endpoint_independent: bool,
    /// `netd.metadata`: a cloud's metadata service can be reached.
    pub metadata: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            icc: true,
            masquerade_v4: true,
            masquerade_v6: true,
            binding: None,
            mtu: None,
            device: None,
            interface_prefix: "eth".into(),
            mode_v4: GatewayMode::Nat,
            mode_v6: GatewayMode::Nat,
            inhibit_ipv4: false,
            trusted: Vec::new(),
            endpoint_independent: false,
            metadata: true,
        }
    }
}

impl Options {
    /// Reads them. Errors name the key, the value and what would be right.
    pub fn parse(given: &BTreeMap<String, String>) -> Result<Self> {
        let bridge = |key: &str| given.get(&format!("{BRIDGE}{key}"));
        let default = Self::default();
        let masquerade_v4 = flag(given, "enable_ip_masquerade", true)?;
        let mtu = ["com.docker.network.driver.mtu", "com.docker.network.mtu"]
            .into_iter()
            .find_map(|key| given.get(key).map(|text| mtu(key, text)))
            .transpose()?;
        let interface_prefix = match given.get("com.docker.network.container_iface_prefix") {
            None => default.interface_prefix,
            Some(text) => prefix(text)?,
        };
        Ok(Self {
            icc: flag(given, "enable_icc", true)?,
            masquerade_v4,
            masquerade_v6: flag(given, "enable_ip6_masquerade", masquerade_v4)?,
            binding: bridge("host_binding_ipv4")
                .map(|t| binding(t))
                .transpose()?,
            mtu,
            device: bridge("name").filter(|n| !n.is_empty()).cloned(),
            interface_prefix,
            mode_v4: mode(given, "gateway_mode_ipv4")?,
            mode_v6: mode(given, "gateway_mode_ipv6")?,
            inhibit_ipv4: flag(given, "inhibit_ipv4", false)?,
            trusted: bridge("trusted_host_interfaces")
                .map(|t| t.split(':').filter(|n| !n.is_empty()).map(Into::into))
                .map(Iterator::collect)
                .unwrap_or_default(),
            endpoint_independent: choice(
                given,
                "netd.nat.filtering",
                ["address-and-port-dependent", "endpoint-independent"],
            )?,
            metadata: !choice(given, "netd.metadata", ["allow", "deny"])?,
        })
    }

    /// The gateway mode of a family.
    pub fn mode(&self, v4: bool) -> GatewayMode {
        if v4 { self.mode_v4 } else { self.mode_v6 }
    }

    /// Whether outgoing traffic of a family takes the uplink's address.
    pub fn masquerades(&self, v4: bool) -> bool {
        let wanted = if v4 {
            self.masquerade_v4
        } else {
            self.masquerade_v6
        };
        wanted
            && matches!(
                self.mode(v4),
                GatewayMode::Nat | GatewayMode::NatUnprotected
            )
    }
}

/// An option that is true or false.
fn flag(given: &BTreeMap<String, String>, key: &str, default: bool) -> Result<bool> {
    let key = format!("{BRIDGE}{key}");
    let Some(text) = given.get(&key) else {
        return Ok(default);
    };
    netd_proto::text::boolean(text).ok_or_else(|| {
        Error::invalid(format!(
            "failed to parse {key} value: {text} (neither true nor false)"
        ))
    })
}

/// Whether the second of two values was chosen; the first is the default.
fn choice(given: &BTreeMap<String, String>, key: &str, values: [&str; 2]) -> Result<bool> {
    match given.get(key).map(String::as_str) {
        None => Ok(false),
        Some(text) if text == values[0] => Ok(false),
        Some(text) if text == values[1] => Ok(true),
        Some(text) => Err(Error::invalid(format!("unknown value {text} of {key}"))
            .hint(format!("{} (the default) or {}", values[0], values[1]))),
    }
}

fn mtu(key: &str, text: &str) -> Result<u32> {
    let number: i64 = text.parse().map_err(|_| {
        Error::invalid(format!(
            "failed to parse {key} value: {text} (not a number)"
        ))
    })?;
    match u32::try_from(number) {
        Ok(mtu @ 68..=65535) => Ok(mtu),
        _ => Err(Error::invalid(format!("invalid MTU number: {number}")).hint("68 to 65535")),
    }
}

fn binding(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| {
        Error::invalid(format!(
            "failed to parse {BRIDGE}host_binding_ipv4 value: {text} (not an address)"
        ))
    })
}

/// A prefix leaves room for a number in the kernel's 15 bytes.
fn prefix(text: &str) -> Result<String> {
    crate::model::check_name("interface prefix", text)?;
    if text.len() > 11 {
        return Err(Error::invalid(format!(
            "invalid interface prefix {text:?}: longer than 11 characters"
        )));
    }
    Ok(text.to_owned())
}

fn mode(given: &BTreeMap<String, String>, key: &str) -> Result<GatewayMode> {
    let key = format!("{BRIDGE}{key}");
    match given.get(&key).map_or("", String::as_str) {
        "" | "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "routed" => Ok(GatewayMode::Routed),
        "isolated" => Ok(GatewayMode::Isolated),
        other => Err(
            Error::invalid(format!("unknown gateway mode {other} in {key}"))
                .hint("nat, nat-unprotected, routed or isolated"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options> {
        let map = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        Options::parse(&map.collect())
    }

    #[test]
    fn d09_modes_decide_masquerading_by_family() {
        let o = parse(&[("com.docker.network.bridge.gateway_mode_ipv6", "routed")]).unwrap();
        assert!(o.masquerades(true) && !o.masquerades(false));
        let off = "com.docker.network.bridge.enable_ip_masquerade";
        let o = parse(&[(off, "0")]).unwrap();
        assert!(!o.masquerades(true) && !o.masquerades(false));
        let on6 = "com.docker.network.bridge.enable_ip6_masquerade";
        assert!(parse(&[(off, "0"), (on6, "1")]).unwrap().masquerades(false));
    }

    #[test]
    fn netds_own_options_are_off_unless_asked_for() {
        let o = parse(&[]).unwrap();
        assert!(o.metadata && !o.endpoint_independent);
        let o = parse(&[
            ("netd.nat.filtering", "endpoint-independent"),
            ("netd.metadata", "deny"),
        ]);
        let o = o.unwrap();
        assert!(!o.metadata && o.endpoint_independent);
        let o = parse(&[
            ("netd.nat.filtering", "address-and-port-dependent"),
            ("netd.metadata", "allow"),
        ]);
        assert_eq!(o.unwrap(), Options::default());
    }

    #[test]
    fn errors_name_key_and_value() {
        for (key, value) in [
            ("com.docker.network.bridge.enable_icc", "maybe"),
            ("com.docker.network.bridge.enable_ip_masquerade", "perhaps"),
            ("com.docker.network.bridge.host_binding_ipv4", "zzz"),
            ("com.docker.network.driver.mtu", "big"),
            ("com.docker.network.bridge.gateway_mode_ipv4", "open"),
            ("netd.nat.filtering", "none"),
            ("netd.metadata", "true"),
        ] {
            let message = parse(&[(key, value)]).unwrap_err().message;
            assert!(
                message.contains(key) && message.contains(value),
                "{message}"
            );
        }
        for value in ["-5", "67", "65536"] {
            assert!(parse(&[("com.docker.network.mtu", value)]).is_err());
        }
    }
}
