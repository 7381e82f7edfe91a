//! Published ports: Docker's `PortBindings` and netd's rows of ports.

use std::collections::{BTreeMap, BTreeSet};

use netd_proto::v1::{ExposedPort, PortSpec, Protocol, Publication};
use serde_json::{Map, Value, json};

use crate::{
    http::body::Object,
    refusal::{Refusal, Result},
};

/// A port of a container: number and protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Port {
    /// 1 to 65535.
    pub number: u16,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
}

impl Port {
    /// Of `80/tcp` or `80`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" | "" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return None,
        };
        let number = number.parse().ok().filter(|n| *n > 0)?;
        Some(Self { number, protocol })
    }

    /// `80/tcp`.
    pub fn key(self) -> String {
        format!("{}/{}", self.number, name(self.protocol))
    }
}

/// As Docker writes it.
pub fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
        Protocol::Tcp | Protocol::Unspecified => "tcp",
    }
}

/// Ports as `ExposedPorts` names them.
pub fn exposed(value: Option<&Value>) -> BTreeSet<Port> {
    let fields = value.and_then(Value::as_object);
    let keys = fields.into_iter().flat_map(Map::keys);
    keys.filter_map(|key| Port::parse(key)).collect()
}

/// The same as netd takes them, what stands in a row as one.
pub fn exposed_specs(ports: &BTreeSet<Port>) -> Vec<ExposedPort> {
    let mut by_protocol: BTreeMap<i32, Vec<u16>> = BTreeMap::new();
    for port in ports {
        by_protocol
            .entry(port.protocol.into())
            .or_default()
            .push(port.number);
    }
    let mut specs: Vec<ExposedPort> = Vec::new();
    for (protocol, numbers) in by_protocol {
        for number in numbers {
            let number = u32::from(number);
            match specs.last_mut() {
                Some(last) if last.protocol == protocol && last.port + last.count == number => {
                    last.count += 1;
                }
                _ => specs.push(ExposedPort {
                    port: number,
                    count: 1,
                    protocol,
                }),
            }
        }
    }
    specs
}

/// `PortBindings` as netd takes them, what stands in a row as one: a range of 60,000 ports is one.
///
/// # Errors
/// 400 in Docker's words for what is no port.
pub fn specs(bindings: Option<Value>) -> Result<Vec<PortSpec>> {
    let bindings = match bindings {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(bindings)) => bindings,
        Some(_) => {
            return Err(Refusal::invalid(
                "invalid JSON: json: cannot unmarshal into Go struct field HostConfig.PortBindings of type nat.PortMap",
            ));
        }
    };
    let mut single: Vec<(Port, String, HostPorts)> = Vec::new();
    for (key, list) in bindings {
        let port = Port::parse(&key).ok_or_else(|| {
            let number = key.split('/').next().unwrap_or_default();
            Refusal::invalid(format!("invalid port specification: {number:?}"))
        })?;
        let list = match list {
            Value::Array(list) if !list.is_empty() => list,
            Value::Array(_) | Value::Null => vec![Value::Null],
            _ => {
                return Err(Refusal::invalid(format!(
                    "invalid port specification: {key:?}"
                )));
            }
        };
        for binding in list {
            let mut binding = Object::new(binding, "PortBinding", "HostConfig.PortBindings")?;
            let host_ip = binding.text("HostIp")?;
            let host = HostPorts::parse(&binding.text("HostPort")?)?;
            single.push((port, host_ip, host));
        }
    }
    // By protocol and address first, so that neighbours can join.
    single.sort_by(|a, b| {
        let order = |s: &(Port, String, HostPorts)| (s.0.protocol as i32, s.1.clone(), s.0.number);
        order(a).cmp(&order(b)).then_with(|| a.2.cmp(&b.2))
    });
    let mut rows: Vec<PortSpec> = Vec::new();
    for (port, host_ip, host) in single {
        let number = u32::from(port.number);
        let next = |row: &PortSpec| {
            row.protocol == i32::from(port.protocol)
                && row.host_port_last.is_none()
                && row.host_ip == host_ip
                && row.port + row.count == number
                && host.last.is_none()
                && row.host_port.map(|first| first + row.count) == host.first.map(u32::from)
                && host.first.is_some()
        };
        // Several bindings of one port stand between those that join.
        let joined = rows.iter_mut().rev().take(16).find(|row| next(row));
        match joined {
            Some(row) => row.count += 1,
            None => rows.push(PortSpec {
                host_ip,
                host_port: host.first.map(Into::into),
                host_port_last: host.last.map(Into::into),
                port: number,
                count: 1,
                protocol: port.protocol.into(),
            }),
        }
    }
    Ok(rows)
}

/// Which ports of the host a binding may take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct HostPorts {
    /// None: any of the ephemeral ones.
    first: Option<u16>,
    /// None: the first and no other.
    last: Option<u16>,
}

impl HostPorts {
    /// Of ``, `0`, `8080` or `8000-8010`.
    fn parse(text: &str) -> Result<Self> {
        let wrong = || Refusal::invalid(format!("invalid port specification: {text:?}"));
        if text.is_empty() || text == "0" {
            let (first, last) = (None, None);
            return Ok(Self { first, last });
        }
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (first, Some(last)),
            None => (text, None),
        };
        let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        let first = number(first)?;
        let last = last.map(number).transpose()?;
        if last.is_some_and(|last| last < first) {
            return Err(wrong());
        }
        Ok(Self {
            first: Some(first),
            last: last.filter(|last| *last > first),
        })
    }
}

/// Host addresses that a publication without one is shown with.
const ALL: [&str; 2] = ["0.0.0.0", "::"];

/// One binding: the container's port, and address and port of the host.
fn bindings(publications: &[Publication]) -> Vec<(Port, &str, u32)> {
    let mut all = Vec::new();
    for publication in publications.iter().filter(|p| p.active) {
        let Some(spec) = &publication.spec else {
            continue;
        };
        let Some(first) = spec.host_port else {
            continue;
        };
        let addresses = match spec.host_ip.as_str() {
            "" => &ALL[..],
            ip => &[ip][..],
        };
        for offset in 0..spec.count.max(1) {
            let Ok(number) = u16::try_from(spec.port + offset) else {
                break;
            };
            let port = Port {
                number,
                protocol: spec.protocol(),
            };
            for address in addresses {
                all.push((port, *address, first + offset));
            }
        }
    }
    // As the engine has it: one publication after the other, and of each both families.
    all.sort_by_key(|(port, address, host)| (*port, *host, *address));
    all
}

/// `NetworkSettings.Ports`: of each port its bindings, or null if it is exposed only.
pub fn inspected(publications: &[Publication], exposed: &BTreeSet<Port>) -> Value {
    let mut fields: BTreeMap<String, Value> = BTreeMap::new();
    for port in exposed {
        fields.insert(port.key(), Value::Null);
    }
    for (port, address, host) in bindings(publications) {
        let binding = json!({ "HostIp": address, "HostPort": host.to_string() });
        let entry = fields.entry(port.key()).or_insert(Value::Null);
        match entry {
            Value::Array(list) => list.push(binding),
            entry => *entry = json!([binding]),
        }
    }
    Value::Object(fields.into_iter().collect())
}

/// `Ports` of a container in a list.
pub fn listed(publications: &[Publication], exposed: &BTreeSet<Port>) -> Value {
    let bound = bindings(publications);
    let mut list: Vec<Value> = Vec::new();
    for port in exposed {
        if !bound.iter().any(|(there, _, _)| there == port) {
            list.push(json!({ "PrivatePort": port.number, "Type": name(port.protocol) }));
        }
    }
    for (port, address, host) in bound {
        list.push(json!({
            "IP": address,
            "PrivatePort": port.number,
            "PublicPort": host,
            "Type": name(port.protocol),
        }));
    }
    list.into()
}

/// Whether a filter names ports: `8080`, `8000-8010`, with or without `/proto`.
pub fn is_range(text: &str) -> bool {
    let (range, _) = text.split_once('/').unwrap_or((text, ""));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    first.parse::<u16>().is_ok() && last.parse::<u16>().is_ok()
}

/// Whether one of the host's published ports is among those that a filter names: `8080`, `8000-8010`, with or without `/proto`.
pub fn publishes(publications: &[Publication], wanted: &[String]) -> bool {
    let bound = bindings(publications);
    wanted.iter().any(|text| {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else {
            return false;
        };
        bound
            .iter()
            .any(|(port, _, host)| name(port.protocol) == protocol && (first..=last).contains(host))
    })
}

/// Whether one of these ports of a container is among those that a filter names, as for [`publishes`].
pub fn exposes<'a>(mut open: impl Iterator<Item = &'a Port>, wanted: &[String]) -> bool {
    open.any(|port| {
        wanted.iter().any(|text| {
            let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let range = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
            name(port.protocol) == protocol
                && range.is_some_and(|(first, last)| (first..=last).contains(&port.number))
        })
    })
}

/// Ports of a container that are published.
pub fn published(publications: &[Publication]) -> BTreeSet<Port> {
    bindings(publications)
        .into_iter()
        .map(|(port, _, _)| port)
        .collect()
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
