//! How a container is to be on a network: Docker's `EndpointSettings`, checked as Docker checks them, and netd's `EndpointSpec`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netd_proto::v1::{EndpointSpec, Link, Network};
use serde_json::Value;

use super::{check, shape::PREDEFINED};
use crate::{
    http::body::Object,
    refusal::{Refusal, Result},
};

/// The option that names the interface in the container (API 1.48).
pub const INTERFACE: &str = "com.docker.network.endpoint.ifname";

/// What a client asks for.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Wanted {
    /// Without the network.
    pub spec: EndpointSpec,
}

impl Wanted {
    /// Of a request; null asks for nothing in particular.
    ///
    /// # Errors
    /// 400 when a field is of the wrong type, or the MAC address is none.
    pub fn read(value: Value, place: &str) -> Result<Self> {
        let mut object = Object::new(value, "EndpointSettings", place)?;
        let mut ipam = match object.object("IPAMConfig", "EndpointIPAMConfig")? {
            Some(ipam) => ipam,
            None => Object::new(Value::Null, "EndpointIPAMConfig", "")?,
        };
        let links = object.texts("Links")?;
        let mut options: Vec<_> = object.map("DriverOpts")?.unwrap_or_default();
        let interface = options.iter().position(|(key, _)| key == INTERFACE);
        let interface_name = interface.map_or_else(String::new, |at| options.remove(at).1);
        let mac_address = object.text("MacAddress")?;
        if !mac_address.is_empty() && !is_mac(&mac_address) {
            return Err(Refusal::invalid(format!(
                "invalid MAC address {mac_address}"
            )));
        }
        let priority = object.integer("GwPriority")?;
        let spec = EndpointSpec {
            network: String::new(),
            ipv4_address: ipam.text("IPv4Address")?,
            ipv6_address: ipam.text("IPv6Address")?,
            mac_address,
            aliases: object.texts("Aliases")?,
            driver_options: options.into_iter().collect(),
            gateway_priority: i32::try_from(priority)
                .map_err(|_| Refusal::invalid(format!("invalid gateway priority {priority}")))?,
            links: links.iter().map(|text| link(text)).collect::<Result<_>>()?,
            link_local_addresses: ipam.texts("LinkLocalIPs")?,
            interface_name,
        };
        Ok(Self { spec })
    }

    /// As netd takes it. A network that is not there is the start's to tell.
    ///
    /// # Errors
    /// 400 with all that does not fit the network.
    pub fn on(mut self, network: Option<&Network>, name: &str) -> Result<EndpointSpec> {
        check::joined("invalid endpoint settings:", &self.faults(network))?;
        self.spec.network = network.map_or_else(|| name.to_owned(), |n| n.name.clone());
        self.spec.aliases.retain(|alias| !alias.is_empty());
        Ok(self.spec)
    }

    fn faults(&self, network: Option<&Network>) -> Vec<String> {
        let mut faults = Vec::new();
        let spec = &self.spec;
        let (v4, v6) = (&spec.ipv4_address, &spec.ipv6_address);
        let predefined = network.is_some_and(|n| PREDEFINED.contains(&n.name.as_str()));
        if predefined && !(v4.is_empty() && v6.is_empty()) {
            faults.push(
                "user specified IP address is supported on user defined networks only".into(),
            );
        }
        if predefined && !spec.aliases.is_empty() {
            faults.push(
                "network-scoped alias is supported only for containers in user defined networks"
                    .into(),
            );
        }
        if !v4.is_empty() && v4.parse::<Ipv4Addr>().is_err() {
            faults.push(format!("invalid IPv4 address: {v4}"));
        }
        if !v6.is_empty() && v6.parse::<Ipv6Addr>().is_err() {
            faults.push(format!("invalid IPv6 address: {v6}"));
        }
        for text in &spec.link_local_addresses {
            if text.parse::<IpAddr>().is_err() {
                faults.push(format!("invalid link-local IP address: {text}"));
            }
        }
        let Some(network) = network else {
            return faults;
        };
        for (text, wants_v4) in [(v4, true), (v6, false)] {
            if text.is_empty() {
                continue;
            }
            let chosen = network.ipam_requested.iter().flat_map(|ipam| &ipam.pools);
            let subnets: Vec<IpNetwork> = chosen
                .filter_map(|pool| pool.subnet.parse().ok())
                .filter(|subnet: &IpNetwork| subnet.is_ipv4() == wants_v4)
                .collect();
            let address = text.parse::<IpAddr>().ok();
            if subnets.is_empty() {
                faults.push("user specified IP address is supported only when connecting to networks with user configured subnets".into());
            } else if !address.is_some_and(|a| subnets.iter().any(|s| s.contains(a))) {
                faults.push(format!(
                    "no configured subnet or ip-range contain the IP address {text}"
                ));
            }
        }
        faults
    }
}

/// `name` or `name:alias`; engines keep names with a slash before them.
///
/// # Errors
/// 400 when it has more parts.
pub fn link(text: &str) -> Result<Link> {
    let mut parts = text.split(':');
    let target = parts.next().unwrap_or_default().trim_start_matches('/');
    let alias = parts.next().unwrap_or_default();
    if target.is_empty() || parts.next().is_some() {
        return Err(Refusal::invalid(format!("bad format for links: {text}")));
    }
    // `/web:/client/alias`, as inspect shows it.
    let alias = alias.rsplit('/').next().unwrap_or_default();
    Ok(Link {
        target: target.to_owned(),
        alias: alias.to_owned(),
    })
}

/// Six bytes in hexadecimal, with colons or dashes.
fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let byte = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    parts.len() == 6 && parts.iter().all(byte)
}

#[cfg(test)]
mod tests {
    use netd_proto::v1::{Ipam, IpamPool};
    use serde_json::json;

    use super::*;

    fn network(name: &str, subnet: &str) -> Network {
        let pool = IpamPool {
            subnet: subnet.into(),
            ..Default::default()
        };
        Network {
            name: name.into(),
            ipam_requested: Some(Ipam {
                pools: if subnet.is_empty() {
                    vec![]
                } else {
                    vec![pool]
                },
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn said(value: Value, network: &Network) -> String {
        match Wanted::read(value, "x").and_then(|w| w.on(Some(network), "")) {
            Ok(_) => String::new(),
            Err(refusal) => refusal
                .message()
                .replacen("invalid endpoint settings:\n", "", 1),
        }
    }

    #[test]
    fn n05_endpoint_settings_become_netds() {
        let value = json!({
            "IPAMConfig": {"IPv4Address": "10.1.0.9", "LinkLocalIPs": ["169.254.3.4"]},
            "Links": ["/web:/me/peer", "db"], "Aliases": ["a", ""],
            "MacAddress": "02:42:0a:32:00:4d", "GwPriority": 7,
            "DriverOpts": {"com.docker.network.endpoint.ifname": "lan0", "x": "1"}
        });
        let spec = Wanted::read(value, "x").unwrap();
        let spec = spec.on(Some(&network("n", "10.1.0.0/24")), "n").unwrap();
        assert_eq!(spec.network, "n");
        assert_eq!(spec.links[0].target, "web");
        assert_eq!(spec.links[0].alias, "peer");
        assert_eq!(spec.links[1].alias, "");
        assert_eq!(spec.aliases, ["a"]);
        assert_eq!(spec.interface_name, "lan0");
        assert_eq!(spec.driver_options.len(), 1);
        assert_eq!(Wanted::read(Value::Null, "x").unwrap(), Wanted::default());
    }

    #[test]
    fn i04_wrong_addresses_are_refused_in_dockers_words() {
        let v4 = |text: &str| json!({"IPAMConfig": {"IPv4Address": text}});
        let (chosen, auto) = (network("n", "10.1.0.0/24"), network("n", ""));
        assert_eq!(said(v4("10.1.0.9"), &chosen), "");
        assert_eq!(
            said(v4("10.9.0.1"), &chosen),
            "no configured subnet or ip-range contain the IP address 10.9.0.1"
        );
        assert_eq!(
            said(v4("x"), &chosen),
            "* invalid IPv4 address: x\n* no configured subnet or ip-range contain the IP address x"
        );
        assert_eq!(
            said(v4("10.1.0.9"), &auto),
            "user specified IP address is supported only when connecting to networks with user configured subnets"
        );
        assert_eq!(
            said(json!({"Aliases": ["x"]}), &network("bridge", "")),
            "network-scoped alias is supported only for containers in user defined networks"
        );
        assert_eq!(
            said(json!({"MacAddress": "x"}), &chosen),
            "invalid MAC address x"
        );
        assert!(said(json!({"Links": ["a:b:c"]}), &chosen).contains("bad format for links"));
    }
}
