//! Publishing ports.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use super::{Engine, Model};
use crate::{
    error::{Error, Result},
    kernel::{ports, sysctl},
    model::{PortBinding, Sandbox},
    store::Change,
};

/// Whether a binding that is there is one that is meant. Host port 0 and host address `None` match any.
fn matches(have: &PortBinding, want: &PortBinding) -> bool {
    have.protocol == want.protocol
        && have.target == want.target
        && (want.host.0 == 0 || have.host == want.host)
        && (want.host_ip.is_none() || have.host_ip == want.host_ip)
}

impl Engine {
    /// Publishes ports for a sandbox: all or none. Host port 0 is chosen. Returns the bindings in force; those of a
    /// stopped sandbox come into force when it starts.
    pub async fn publish(
        &self,
        sandbox: &str,
        wanted: Vec<PortBinding>,
    ) -> Result<Vec<PortBinding>> {
        let id = self.read().sandbox(sandbox)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let before = self.read().sandbox(&id)?.clone();
        let bindings = if before.netns.is_some() {
            self.take_ports(&id, wanted, |after, bindings| {
                after.ports.extend(bindings.iter().cloned());
                after.wanted_ports.extend(bindings.iter().cloned());
            })
            .await?
        } else {
            for binding in &wanted {
                check_form(binding)?;
            }
            let mut after = before.clone();
            after.wanted_ports.extend(wanted.iter().cloned());
            self.put_sandbox(after).await?;
            wanted
        };
        self.emit_ports("publish", &before, &bindings);
        Ok(bindings)
    }

    /// Withdraws bindings. Host port 0 and host address `None` match any.
    pub async fn unpublish(&self, sandbox: &str, wanted: &[PortBinding]) -> Result<()> {
        let id = self.read().sandbox(sandbox)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let before = self.read().sandbox(&id)?.clone();
        let known = || before.ports.iter().chain(&before.wanted_ports);
        if let Some(missing) = wanted.iter().find(|w| !known().any(|h| matches(h, w))) {
            return Err(Error::not_found(format!(
                "no port {} is published for {}",
                show(missing),
                before.name
            ))
            .hint("netctl port ls shows what is"));
        }
        let mut after = before.clone();
        after
            .ports
            .retain(|h| !wanted.iter().any(|w| matches(h, w)));
        // One that is chosen at each start goes by whatever port was chosen.
        let chosen = |h: &PortBinding, w: &PortBinding| {
            h.host.0 == 0 && h.protocol == w.protocol && h.target == w.target
        };
        let gone = |h: &PortBinding| wanted.iter().any(|w| matches(h, w) || chosen(h, w));
        after.wanted_ports.retain(|h| !gone(h));
        self.put_sandbox(after).await?;
        fail::fail_point!("ports-withdrawn");
        self.refresh_publications(&id).await?;
        self.reserve_ports()?;
        self.emit_ports("unpublish", &before, wanted);
        Ok(())
    }

    /// Chooses and takes host ports for a running sandbox, whose lock is held; `set` writes them into its record.
    pub(super) async fn take_ports(
        &self,
        id: &str,
        wanted: Vec<PortBinding>,
        set: impl Fn(&mut Sandbox, &[PortBinding]),
    ) -> Result<Vec<PortBinding>> {
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let known = {
            let model = self.read();
            wanted.iter().all(|b| check_address(&model, b).is_ok())
        };
        // An address may be younger than the last look at the host.
        if !known {
            self.refresh_host().await?;
        }
        let sockets = ports::Sockets::read()?;
        let (before, bindings, pending) = {
            let mut model = self.write();
            let before = model.sandbox(id)?.clone();
            let bindings = self.plan_ports(&model, &before, wanted, &sockets)?;
            let mut after = before.clone();
            set(&mut after, &bindings);
            let change = Change::put("sandbox", id, &after)?;
            model.sandboxes.insert(id.to_owned(), after);
            (before, bindings, self.store.submit(vec![change]))
        };
        let applied = async {
            pending.written().await?;
            fail::fail_point!("ports-stored");
            self.refresh_publications(id).await?;
            self.reserve_ports().map(drop)
        };
        if let Err(e) = applied.await {
            self.put_sandbox(before).await?;
            self.refresh_publications(id).await?;
            return Err(e);
        }
        Ok(bindings)
    }

    /// Writes a sandbox' record to model and disk.
    pub(super) async fn put_sandbox(&self, sandbox: Sandbox) -> Result<()> {
        let pending = {
            let change = Change::put("sandbox", &sandbox.id, &sandbox)?;
            let mut model = self.write();
            model.sandboxes.insert(sandbox.id.clone(), sandbox);
            self.store.submit(vec![change])
        };
        pending.written().await
    }

    fn emit_ports(&self, action: &'static str, sandbox: &Sandbox, bindings: &[PortBinding]) {
        for binding in bindings {
            let attributes = [("name", &*sandbox.name), ("port", &*show(binding))];
            self.emit("port", action, &sandbox.id, &attributes);
        }
    }

    /// Checks bindings against the others, the host's addresses and its processes, and chooses free host ports.
    fn plan_ports(
        &self,
        model: &Model,
        sandbox: &Sandbox,
        wanted: Vec<PortBinding>,
        sockets: &ports::Sockets,
    ) -> Result<Vec<PortBinding>> {
        let default = model
            .gateway_endpoint(&sandbox.id, true)
            .and_then(|e| model.networks.get(&e.network))
            .and_then(|n| n.options().binding);
        let mut planned: Vec<PortBinding> = Vec::new();
        for mut binding in wanted {
            binding.host_ip = binding.host_ip.or(default);
            check_form(&binding)?;
            check_address(model, &binding)?;
            if binding.host.0 == 0 {
                binding.host = self.free_ports(model, &planned, &binding, sockets)?;
            } else {
                check_free(model, &planned, sandbox, &binding, sockets)?;
            }
            planned.push(binding);
        }
        self.check_left(model, &planned)?;
        Ok(planned)
    }

    fn free_ports(
        &self,
        model: &Model,
        planned: &[PortBinding],
        binding: &PortBinding,
        sockets: &ports::Sockets,
    ) -> Result<(u16, u16)> {
        let (first, last) = sysctl::ephemeral_ports()?;
        let size = binding.target.1 - binding.target.0;
        let pool = &self.config.nat;
        let taken = model.taken_ports(binding.protocol);
        for start in first..=last.saturating_sub(size) {
            let end = start + size;
            if (start <= pool.last_port && pool.first_port <= end)
                || taken.range(start..=end).next().is_some()
            {
                continue;
            }
            let candidate = PortBinding {
                host: (start, end),
                ..binding.clone()
            };
            let free = !planned.iter().any(|p| p.conflicts(&candidate));
            if free
                && sockets
                    .holder(candidate.host_ip, candidate.protocol, candidate.host)?
                    .is_none()
            {
                return Ok((start, end));
            }
        }
        Err(
            Error::conflict("no free host port is left in the ephemeral range")
                .hint("name a host port or widen net.ipv4.ip_local_port_range"),
        )
    }
}

impl Model {
    /// Host ports of a protocol that some sandbox has, on whatever address.
    fn taken_ports(&self, protocol: u8) -> BTreeSet<u16> {
        let bindings = self.sandboxes.values().flat_map(|s| &s.ports);
        bindings
            .filter(|b| b.protocol == protocol)
            .flat_map(|b| b.host.0..=b.host.1)
            .collect()
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

/// What can be judged of a binding by itself.
pub(super) fn check_form(binding: &PortBinding) -> Result<()> {
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
    if binding.protocol == 132 && binding.host.0 != 0 && binding.host.0 != binding.target.0 {
        return Err(Error::invalid(format!(
            "SCTP port {} cannot be changed on its way",
            show(binding)
        ))
        .hint("publish it under its own number: SCTP's checksum covers the port"));
    }
    Ok(())
}

fn check_address(model: &Model, binding: &PortBinding) -> Result<()> {
    let Some(ip) = binding.host_ip else {
        return Ok(());
    };
    // A gateway address is the host's from the moment the network is there.
    let gateway = || {
        let mut networks = model.networks.values().filter(|n| !n.device.is_empty());
        networks.any(|n| n.host_gateways().any(|net| net.ip() == ip))
    };
    let owned = model.host.addresses.iter().any(|a| a.net.ip() == ip) || gateway();
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

fn check_free(
    model: &Model,
    planned: &[PortBinding],
    sandbox: &Sandbox,
    binding: &PortBinding,
    sockets: &ports::Sockets,
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
    match sockets.holder(binding.host_ip, binding.protocol, binding.host)? {
        Some(found) => Err(text(format!("process {} ({})", found.pid, found.name))),
        None => Ok(()),
    }
}
