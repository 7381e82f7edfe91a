//! Publishing ports.

use std::sync::atomic::Ordering;

use super::{
    Engine,
    desired::Desired,
    locked,
    port_conflicts::{SAME, allocated, check_beside, check_together},
    port_index::PortIndex,
    state::State,
};
use crate::{
    config::Nat,
    error::{Error, Kind, Reason, Result},
    kernel::{ports, sysctl},
    model::{PortBinding, Sandbox},
};

/// SCTP's protocol number.
const SCTP: u8 = 132;

/// Attempts to find host ports that nobody takes meanwhile.
const ATTEMPTS: usize = 64;

/// Requests that published ports and are remembered, of one sandbox.
const REMEMBERED: usize = 16;

impl Engine {
    /// Publishes ports for a sandbox: all or none. Host port 0 is chosen. Returns the bindings in force; those of a
    /// stopped sandbox come into force when it starts. `request_id`: one that was done is not done again.
    pub async fn publish(
        &self,
        sandbox: &str,
        wanted: Vec<PortBinding>,
        request_id: String,
    ) -> Result<Vec<PortBinding>> {
        let id = self.desired().sandbox(sandbox)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let state = self.state();
            let before = state.sandbox(&id)?;
            let mut after = Sandbox::clone(before);
            let mut known = before.publish_ids.iter();
            let done = known.find(|(id, _)| !request_id.is_empty() && *id == request_id);
            if let Some((_, bindings)) = done {
                return Ok(bindings.clone());
            }
            let bindings = if before.running() {
                let wanted = wanted.clone();
                self.choose_ports(&state, before, &[], wanted).await?
            } else {
                wanted.clone()
            };
            after.wanted_ports.extend(bindings.iter().cloned());
            if !request_id.is_empty() {
                let more = after.publish_ids.len().saturating_sub(REMEMBERED - 1);
                after.publish_ids.drain(..more);
                after
                    .publish_ids
                    .push((request_id.clone(), bindings.clone()));
            }
            if before.running() {
                after.ports.extend(bindings.iter().cloned());
            } else {
                check_beside(before, &wanted)?;
                check_together(&after.wanted_ports)?;
            }
            let decided = self.decide(|transaction| {
                self.check_ports_are_free(transaction.desired(), &after, &before.ports)?;
                transaction.put_sandbox(after);
                Ok(())
            });
            match decided {
                Ok(((), decided)) => return self.carry_out(decided).await.map(|()| bindings),
                Err(e) if e.reason == Reason::PortAllocated && attempt < ATTEMPTS => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Withdraws bindings. Host port 0 and host address `None` match any.
    pub async fn unpublish(&self, sandbox: &str, wanted: &[PortBinding]) -> Result<()> {
        let id = self.desired().sandbox(sandbox)?.id.clone();
        let _alone = self.sandbox_locks.alone(&id).await;
        let ((), decided) = self.decide(|transaction| {
            let before = transaction.desired().sandbox(&id)?;
            let known = || before.ports.iter().chain(&before.wanted_ports);
            if let Some(missing) = wanted.iter().find(|w| !known().any(|h| h.is_meant_by(w))) {
                return Err(Error::not_found(format!(
                    "no port {missing} is published for {}",
                    before.name
                ))
                .hint("netctl port ls shows what is"));
            }
            let mut after = Sandbox::clone(before);
            after
                .ports
                .retain(|h| !wanted.iter().any(|w| h.is_meant_by(w)));
            // One that is chosen at each start goes by whatever port was chosen.
            let chosen = |h: &PortBinding, w: &PortBinding| {
                h.host.0 == 0 && h.protocol == w.protocol && h.target == w.target
            };
            let gone = |h: &PortBinding| wanted.iter().any(|w| h.is_meant_by(w) || chosen(h, w));
            after.wanted_ports.retain(|h| !gone(h));
            transaction.put_sandbox(after);
            Ok(())
        })?;
        self.carry_out(decided).await
    }

    /// Checks bindings against the others, the host's addresses and its processes, and chooses free host ports. `held`:
    /// bindings that the sandbox has and keeps.
    pub(super) async fn choose_ports(
        &self,
        state: &State,
        sandbox: &Sandbox,
        held: &[PortBinding],
        mut wanted: Vec<PortBinding>,
    ) -> Result<Vec<PortBinding>> {
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let gateway = state.gateway_endpoint(&sandbox.id, true);
        let network = gateway.and_then(|e| state.networks().get(&e.network));
        let default = network.and_then(|n| n.driver().default_binding());
        for binding in &mut wanted {
            binding.host_ip = binding.host_ip.or(default);
            binding.check()?;
        }
        let known = |state: &State| wanted.iter().try_for_each(|b| check_address(state, b));
        if known(state).is_err() {
            // An address may be younger than the last look at the host.
            self.refresh_host().await?;
            let now = State {
                desired: state.desired.clone(),
                observed: self.context.observations.now(),
            };
            known(&now)?;
        }
        // Those who search at the same time begin behind each other, not all at the same port.
        let open = wanted.iter().filter(|b| b.host.0 == 0);
        let count: u16 = open.fold(0, |sum, b| sum.saturating_add(b.target.1 - b.target.0 + 1));
        let begin = self.next_port.fetch_add(count, Ordering::Relaxed);
        let mut search = Search {
            index: state.ports().clone(),
            leaving: self.leaving_ports().clone(),
            withheld: locked(&self.withheld).ports.clone(),
            nat: self.config.nat.clone(),
            sandbox: sandbox.id.clone(),
            name: sandbox.name.clone(),
            names: state.desired.clone(),
            next: begin,
        };
        let held = held.to_vec();
        // The kernel is asked by binding sockets and reading /proc.
        let (planned, next) = tokio::task::spawn_blocking(move || {
            let planned = search.plan(wanted, &held)?;
            Ok::<_, Error>((planned, search.next))
        })
        .await
        .map_err(|e| Error::internal("looking for free ports", e))??;
        if next < begin {
            // Begun anew at the first.
            self.next_port.store(next, Ordering::Relaxed);
        } else {
            self.next_port.fetch_max(next, Ordering::Relaxed);
        }
        self.check_left(&state.desired, &planned)?;
        Ok(planned)
    }

    /// Whether nobody took a port of these meanwhile. `held`: those that the sandbox has already.
    pub(super) fn check_ports_are_free(
        &self,
        desired: &Desired,
        sandbox: &Sandbox,
        held: &[PortBinding],
    ) -> Result<()> {
        let leaving = self.leaving_ports();
        let withheld = locked(&self.withheld);
        for binding in sandbox.ports.iter().filter(|b| !held.contains(b)) {
            let holder = desired
                .ports()
                .holder(binding)
                .or_else(|| leaving.holder(binding))
                .or_else(|| withheld.ports.holder(binding));
            if let Some((holder, _)) = holder {
                let name = desired.sandboxes().get(holder).map_or(holder, |s| &s.name);
                return Err(allocated(&sandbox.name, binding, name));
            }
        }
        Ok(())
    }
}

/// A search for host ports, on a copy of what is known.
struct Search {
    index: PortIndex,
    leaving: PortIndex,
    withheld: PortIndex,
    nat: Nat,
    sandbox: String,
    name: String,
    names: Desired,
    next: u16,
}

impl Search {
    fn plan(&mut self, wanted: Vec<PortBinding>, held: &[PortBinding]) -> Result<Vec<PortBinding>> {
        let sockets = ports::Sockets::read()?;
        let ephemeral = sysctl::ephemeral_ports()?;
        let mut planned: Vec<PortBinding> = Vec::new();
        let mut own = PortIndex::default();
        for mut binding in wanted {
            if held.contains(&binding) {
                planned.push(binding);
                continue;
            }
            if own.holder(&binding).is_some() && binding.host.0 != 0 {
                return Err(allocated(&self.name, &binding, SAME));
            }
            if binding.host.0 == 0 {
                binding.host = match (binding.within.take(), binding.protocol) {
                    (None, SCTP) => self.own_number(&binding, &sockets)?,
                    (None, _) => self.free(&binding, ephemeral, &sockets)?,
                    (Some(within), _) => self.lowest(&binding, within, &sockets)?,
                };
            } else {
                self.check_free(&binding, &sockets)?;
            }
            own.insert(&self.sandbox, &binding);
            self.index.insert(&self.sandbox, &binding);
            planned.push(binding);
        }
        Ok(planned)
    }

    fn holder(&self, binding: &PortBinding) -> Option<&str> {
        let found = self
            .index
            .holder(binding)
            .or_else(|| self.leaving.holder(binding))
            .or_else(|| self.withheld.holder(binding));
        found.map(|(sandbox, _)| sandbox)
    }

    fn check_free(&self, binding: &PortBinding, sockets: &ports::Sockets) -> Result<()> {
        if let Some(holder) = self.holder(binding) {
            let sandbox = self.names.sandboxes().get(holder);
            return Err(allocated(
                &self.name,
                binding,
                sandbox.map_or(holder, |s| &s.name),
            ));
        }
        match sockets.holder(binding.host_ip, binding.protocol, binding.host)? {
            Some(found) => {
                let by = format!("process {} ({})", found.pid, found.name);
                Err(allocated(&self.name, binding, &by))
            }
            None => Ok(()),
        }
    }

    /// SCTP's checksum covers the port: only the number that the sandbox has can be published.
    fn own_number(&self, binding: &PortBinding, sockets: &ports::Sockets) -> Result<(u16, u16)> {
        let own = PortBinding {
            host: binding.target,
            ..binding.clone()
        };
        self.check_free(&own, sockets)?;
        Ok(own.host)
    }

    /// The lowest free host ports of those that were named.
    fn lowest(
        &self,
        binding: &PortBinding,
        within: (u16, u16),
        sockets: &ports::Sockets,
    ) -> Result<(u16, u16)> {
        let size = binding.target.1 - binding.target.0;
        for start in within.0..=within.1.saturating_sub(size) {
            let candidate = PortBinding {
                host: (start, start + size),
                ..binding.clone()
            };
            let fits = binding.protocol != SCTP || start == binding.target.0;
            if fits && self.check_free(&candidate, sockets).is_ok() {
                return Ok(candidate.host);
            }
        }
        let wanted = PortBinding {
            within: Some(within),
            ..binding.clone()
        };
        Err(Error::conflict(format!(
            "driver failed programming external connectivity on {}: all ports are allocated of {wanted}",
            self.name
        ))
        .because(Reason::PortAllocated)
        .about("port", within.0)
        .hint("name more host ports, or let one be chosen"))
    }

    /// Free host ports of the ephemeral range, outside the pool of masquerading: behind those that were found last.
    fn free(
        &mut self,
        binding: &PortBinding,
        (first, last): (u16, u16),
        sockets: &ports::Sockets,
    ) -> Result<(u16, u16)> {
        let size = binding.target.1 - binding.target.0;
        let end = last.saturating_sub(size);
        let begin = if (first..=end).contains(&self.next) {
            self.next
        } else {
            first
        };
        for start in (begin..=end).chain(first..begin.min(end.saturating_add(1))) {
            let last = start + size;
            if start <= self.nat.last_port && self.nat.first_port <= last {
                continue;
            }
            let candidate = PortBinding {
                host: (start, last),
                // Whoever has it on one address only is in the way, too: the number is not for people to be surprised by.
                host_ip: None,
                ..binding.clone()
            };
            if self.holder(&candidate).is_none()
                && sockets
                    .holder(binding.host_ip, binding.protocol, (start, last))?
                    .is_none()
            {
                self.next = last.saturating_add(1);
                return Ok((start, last));
            }
        }
        Err(Error::new(
            Kind::Conflict,
            "no free host port is left in the ephemeral range",
        )
        .hint("name a host port or widen net.ipv4.ip_local_port_range"))
    }
}

fn check_address(state: &State, binding: &PortBinding) -> Result<()> {
    let Some(ip) = binding.host_ip else {
        return Ok(());
    };
    let addresses = &state.observed.host.addresses;
    let owned = || addresses.iter().any(|a| a.net.ip() == ip) || state.is_gateway(ip);
    if ip.is_unspecified() || ip.is_loopback() || owned() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "listen {binding}: bind: cannot assign requested address: the host does not own {ip}"
    ))
    .because(Reason::AddressNotOwned)
    .about("address", ip)
    .hint("publish on one of the host's addresses, or on all"))
}
