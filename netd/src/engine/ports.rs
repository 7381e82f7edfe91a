//! Publishing ports.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Engine, Model, networks::BINDING_OPTION};
use crate::{
    dataplane::PublicationSpec,
    error::{Error, Result},
    kernel::{ports, sysctl},
    model::{Endpoint, PortBinding, Sandbox},
    store::Change,
};

/// What the data plane must know for a binding that leads to this endpoint. A published IPv6 address leads to an
/// IPv4-only endpoint for host processes only.
pub(super) fn specs(
    binding: &PortBinding,
    endpoint: &Endpoint,
    network: u32,
) -> Vec<PublicationSpec> {
    let hosts = match binding.host_ip {
        Some(ip) => vec![ip],
        None => vec![
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ],
    };
    let v4 = endpoint.ipv4.map(|a| a.ip());
    let v6 = endpoint.ipv6.map(|a| a.ip());
    let target = |host: &IpAddr| if host.is_ipv4() { v4.or(v6) } else { v6.or(v4) };
    let spec = |host: IpAddr| {
        Some(PublicationSpec {
            target: target(&host)?,
            host,
            protocol: binding.protocol,
            host_ports: binding.host,
            network,
            endpoint: endpoint.number,
            target_port: binding.target.0,
        })
    };
    hosts.into_iter().filter_map(spec).collect()
}

impl Engine {
    /// Publishes ports for a sandbox: all or none. Host port 0 is chosen. Returns the bindings in force.
    pub async fn publish(
        &self,
        sandbox: &str,
        wanted: Vec<PortBinding>,
    ) -> Result<Vec<PortBinding>> {
        let mut model = self.model().await;
        let sandbox = model.sandbox(sandbox)?.clone();
        let bindings = self.plan_ports(&model, &sandbox, wanted)?;
        let mut changed = sandbox.clone();
        changed.ports.extend(bindings.iter().cloned());
        self.change_ports(&mut model, &sandbox, changed)?;
        for binding in &bindings {
            self.emit(
                "port",
                "publish",
                &sandbox.id,
                &[("name", &sandbox.name), ("port", &show(binding))],
            );
        }
        Ok(bindings)
    }

    /// Withdraws bindings. Host port 0 and host address `None` match any.
    pub async fn unpublish(&self, sandbox: &str, wanted: &[PortBinding]) -> Result<()> {
        let mut model = self.model().await;
        let sandbox = model.sandbox(sandbox)?.clone();
        let matches = |have: &PortBinding, want: &PortBinding| {
            have.protocol == want.protocol
                && have.target == want.target
                && (want.host.0 == 0 || have.host == want.host)
                && (want.host_ip.is_none() || have.host_ip == want.host_ip)
        };
        if let Some(missing) = wanted
            .iter()
            .find(|w| !sandbox.ports.iter().any(|h| matches(h, w)))
        {
            return Err(Error::not_found(format!(
                "no port {} is published for {}",
                show(missing),
                sandbox.name
            ))
            .hint("netctl port ls shows what is"));
        }
        let mut changed = sandbox.clone();
        changed
            .ports
            .retain(|h| !wanted.iter().any(|w| matches(h, w)));
        self.change_ports(&mut model, &sandbox, changed)?;
        for binding in wanted {
            self.emit(
                "port",
                "unpublish",
                &sandbox.id,
                &[("name", &sandbox.name), ("port", &show(binding))],
            );
        }
        Ok(())
    }

    fn change_ports(&self, model: &mut Model, before: &Sandbox, after: Sandbox) -> Result<()> {
        self.commit(&[Change::put("sandbox", &after.id, &after)?])?;
        model.sandboxes.insert(after.id.clone(), after);
        let applied = self
            .refresh_sandbox(model, &before.id)
            .and_then(|()| self.reserve_ports(model));
        if let Err(e) = applied {
            model.sandboxes.insert(before.id.clone(), before.clone());
            self.commit(&[Change::put("sandbox", &before.id, before)?])?;
            self.refresh_sandbox(model, &before.id)?;
            return Err(e);
        }
        Ok(())
    }

    /// Checks bindings against the others, the host's addresses and its processes, and chooses free host ports.
    pub(super) fn plan_ports(
        &self,
        model: &Model,
        sandbox: &Sandbox,
        wanted: Vec<PortBinding>,
    ) -> Result<Vec<PortBinding>> {
        let default = model
            .gateway_endpoint(&sandbox.id)
            .and_then(|e| model.networks.get(&e.network))
            .and_then(|n| n.options.get(BINDING_OPTION))
            .and_then(|text| text.parse().ok());
        let mut planned: Vec<PortBinding> = Vec::new();
        for mut binding in wanted {
            binding.host_ip = binding.host_ip.or(default);
            check_binding(model, &binding)?;
            if binding.host.0 == 0 {
                binding.host = self.free_ports(model, &planned, &binding)?;
            } else {
                check_free(model, &planned, sandbox, &binding)?;
            }
            planned.push(binding);
        }
        Ok(planned)
    }

    fn free_ports(
        &self,
        model: &Model,
        planned: &[PortBinding],
        binding: &PortBinding,
    ) -> Result<(u16, u16)> {
        let (first, last) = sysctl::ephemeral_ports()?;
        let size = binding.target.1 - binding.target.0;
        let pool = &self.config.nat;
        for start in first..=last.saturating_sub(size) {
            let end = start + size;
            if start <= pool.last_port && pool.first_port <= end {
                continue;
            }
            let candidate = PortBinding {
                host: (start, end),
                ..binding.clone()
            };
            if holder(model, planned, &candidate).is_none() && process(&candidate)?.is_none() {
                return Ok((start, end));
            }
        }
        Err(
            Error::conflict("no free host port is left in the ephemeral range")
                .hint("name a host port or widen net.ipv4.ip_local_port_range"),
        )
    }

    /// Keeps the host from giving its own sockets a port of the pool or a published one.
    pub(super) fn reserve_ports(&self, model: &Model) -> Result<()> {
        let kept: String = match self.store.get("meta/reserved_ports")? {
            Some(text) => text,
            None => {
                let text = sysctl::format_ports(&sysctl::reserved_ports()?);
                self.commit(&[Change::put("meta", "reserved_ports", &text)?])?;
                text
            }
        };
        let mut ports: BTreeSet<u16> = sysctl::parse_ports(&kept).unwrap_or_default();
        ports.extend(self.config.nat.first_port..=self.config.nat.last_port);
        for binding in model.sandboxes.values().flat_map(|s| &s.ports) {
            ports.extend(binding.host.0..=binding.host.1);
        }
        sysctl::set_reserved_ports(&ports)
    }
}

/// How a binding is written.
pub fn show(binding: &PortBinding) -> String {
    let ip = match binding.host_ip {
        None => String::new(),
        Some(IpAddr::V4(ip)) => format!("{ip}:"),
        Some(IpAddr::V6(ip)) => format!("[{ip}]:"),
    };
    let range = |(a, b): (u16, u16)| {
        if a == b {
            a.to_string()
        } else {
            format!("{a}-{b}")
        }
    };
    let protocol = match binding.protocol {
        6 => "tcp",
        17 => "udp",
        _ => "sctp",
    };
    format!(
        "{ip}{}:{}/{protocol}",
        range(binding.host),
        range(binding.target)
    )
}

fn check_binding(model: &Model, binding: &PortBinding) -> Result<()> {
    if binding.target.0 == 0 || binding.target.1 < binding.target.0 {
        return Err(
            Error::invalid(format!("invalid port range of {}", show(binding)))
                .hint("ports are 1 to 65535"),
        );
    }
    if binding.host.0 != 0
        && (binding.host.1 < binding.host.0
            || binding.host.1 - binding.host.0 != binding.target.1 - binding.target.0)
    {
        return Err(Error::invalid(format!(
            "the ranges of {} are of different length",
            show(binding)
        )));
    }
    if binding.protocol == 132 && binding.host.0 != binding.target.0 {
        return Err(Error::invalid(format!(
            "SCTP port {} cannot be changed on its way",
            show(binding)
        ))
        .hint("publish it under its own number: SCTP's checksum covers the port"));
    }
    let Some(ip) = binding.host_ip else {
        return Ok(());
    };
    let owned = model.host.addresses.iter().any(|a| a.net.ip() == ip);
    if ip.is_unspecified() || ip.is_loopback() || owned {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "listen {}: bind: cannot assign requested address: the host does not own {ip}",
        show(binding)
    ))
    .hint("publish on one of the host's addresses, or on all"))
}

fn holder<'a>(model: &'a Model, planned: &[PortBinding], binding: &PortBinding) -> Option<&'a str> {
    if planned.iter().any(|p| p.conflicts(binding)) {
        return Some("the same request");
    }
    model
        .sandboxes
        .values()
        .find(|s| s.ports.iter().any(|p| p.conflicts(binding)))
        .map(|s| s.name.as_str())
}

fn process(binding: &PortBinding) -> Result<Option<ports::Holder>> {
    let ips = match binding.host_ip {
        Some(ip) => vec![ip],
        None => vec![
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ],
    };
    for port in binding.host.0..=binding.host.1 {
        for ip in &ips {
            if let Some(found) = ports::holder(*ip, binding.protocol, port)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn check_free(
    model: &Model,
    planned: &[PortBinding],
    sandbox: &Sandbox,
    binding: &PortBinding,
) -> Result<()> {
    let ip = binding.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let text = |by: String| {
        Error::conflict(format!(
            "driver failed programming external connectivity on {}: Bind for {ip}:{} failed: port is already allocated by {by}",
            sandbox.name, binding.host.0
        ))
        .hint("choose another host port")
    };
    if let Some(name) = holder(model, planned, binding) {
        return Err(text(name.to_owned()));
    }
    match process(binding)? {
        Some(found) => Err(text(format!("process {} ({})", found.pid, found.name))),
        None => Ok(()),
    }
}
