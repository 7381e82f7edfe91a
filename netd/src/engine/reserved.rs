//! `net.ipv4.ip_local_reserved_ports`: what netd adds to the administrator's list, and following both.

use std::{collections::BTreeSet, sync::MutexGuard};

use super::{
    Engine,
    desired::Desired,
    locked,
    reserve::{LEAST, Reserved, reserve},
};
use crate::{
    error::Result,
    kernel::sysctl::{self, PortSettings},
    model::PortBinding,
    store::{Key, Record, Write},
};

/// What is known of the list.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The administrator's ports.
    ports: BTreeSet<u16>,
    /// What netd wrote last, this time it runs.
    written: Option<BTreeSet<u16>>,
    /// As the host's settings were then.
    seen: PortSettings,
    /// What was warned of then.
    told: Vec<String>,
}

impl Kept {
    /// The administrator's ports: as they are stored, or, at the first start of the instance, as they are found; then they
    /// are to be written.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub(super) fn read(stored: Option<String>) -> Result<(Self, Option<Write>)> {
        let (text, write) = match stored {
            Some(text) => (text, None),
            None => {
                let found = sysctl::reserved_ports()?;
                (sysctl::format_ports(&found), Some(change(&found)?))
            }
        };
        let kept = Self {
            ports: sysctl::parse_ports(&text).unwrap_or_default(),
            ..Self::default()
        };
        Ok((kept, write))
    }

    /// Takes over what somebody else has changed since netd wrote the list. Says whether there was anything.
    fn follow(&mut self, found: &BTreeSet<u16>) -> bool {
        let Some(written) = &self.written else {
            return false;
        };
        let before = self.ports.clone();
        self.ports.extend(found.difference(written));
        self.ports
            .retain(|port| found.contains(port) || !written.contains(port));
        self.ports != before
    }
}

/// The key of the administrator's ports.
pub(crate) fn key() -> Key {
    Key::host("setting", "reserved_ports")
}

fn change(ports: &BTreeSet<u16>) -> Result<Write> {
    let record = Record::of("reserved ports", &sysctl::format_ports(ports))?;
    Ok(Write::put(key(), record))
}

impl Engine {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        locked(&self.reserving)
    }

    /// Keeps the host from giving its own sockets a port of the pool or a published one, and warns where that cannot be.
    pub(super) fn reserve_ports(&self) -> Result<()> {
        // What is published is read under the lock, so that the list of the later change is written last.
        let mut kept = self.kept();
        let desired = self.desired().clone();
        if kept.follow(&sysctl::reserved_ports()?) {
            // In its own time: the list itself says so until then.
            self.store.insist(vec![change(&kept.ports)?]);
        }
        let reserved = self.reserved(&desired, &kept.ports, &[])?;
        sysctl::set_reserved_ports(&reserved.ports)?;
        kept.seen = sysctl::port_settings()?;
        let warnings = self.shortages(&reserved);
        let new: Vec<_> = warnings.iter().filter(|w| !kept.told.contains(w)).collect();
        for warning in new {
            self.warn(warning.clone());
        }
        kept.told = warnings;
        kept.written = Some(reserved.ports);
        Ok(())
    }

    /// As [`Engine::reserve_ports`], if somebody else has changed the list or the ephemeral range.
    pub(super) fn follow_reserved_ports(&self) -> Result<()> {
        if self.kept().seen == sysctl::port_settings()? {
            return Ok(());
        }
        self.reserve_ports()
    }

    /// What is to be reserved when `more` are published, too.
    fn reserved(
        &self,
        desired: &Desired,
        kept: &BTreeSet<u16>,
        more: &[PortBinding],
    ) -> Result<Reserved> {
        let pool = self.config.nat.first_port..=self.config.nat.last_port;
        let published = desired.ports().bindings();
        let range = sysctl::ephemeral_ports()?;
        Ok(reserve(kept.clone(), pool, range, published.chain(more)))
    }

    /// What was published, or set, may not fit the host that netd finds.
    fn shortages(&self, reserved: &Reserved) -> Vec<String> {
        let nat = &self.config.nat;
        let published = reserved.without.iter().map(|binding| {
            format!(
                "{} is published, but its ports are not kept from the host's own sockets, which would have fewer than \
                 {LEAST} left: answers to those that get one go astray; widen net.ipv4.ip_local_port_range",
                binding
            )
        });
        let pool = (reserved.open > 0).then(|| {
            format!(
                "{} ports of the pool {}-{} are not kept from the host's own sockets, which would have fewer than {LEAST} \
                 left: a socket that gets one cannot call whom a container calls from the same port; widen \
                 net.ipv4.ip_local_port_range or move the pool out of it (nat.first_port, nat.last_port)",
                reserved.open, nat.first_port, nat.last_port
            )
        });
        let few = (reserved.left < LEAST).then(|| {
            format!(
                "the host's own sockets have only {} ephemeral ports; widen net.ipv4.ip_local_port_range",
                reserved.left
            )
        });
        published.chain(pool).chain(few).collect()
    }

    /// Refuses what would leave the host's own sockets without ports to call from.
    pub(super) fn check_left(&self, desired: &Desired, planned: &[PortBinding]) -> Result<()> {
        let (first, last) = sysctl::ephemeral_ports()?;
        let takes = |b: &PortBinding| b.protocol != 6 && b.host.0 <= last && b.host.1 >= first;
        if !planned.iter().any(takes) {
            return Ok(());
        }
        let kept = self.kept().ports.clone();
        let before = self.reserved(desired, &kept, &[])?;
        let after = self.reserved(desired, &kept, planned)?;
        let new = |binding: &&PortBinding| !before.without.contains(binding);
        let Some(without) = after.without.iter().find(new) else {
            return Ok(());
        };
        Err(crate::error::Error::conflict(format!(
            "publishing {} would leave the host fewer than {LEAST} of its ephemeral ports ({first}-{last}) for its own sockets",
            without
        ))
        .hint(format!(
            "publish fewer ports of that range, or ports outside it, or widen net.ipv4.ip_local_port_range; {} are left now",
            before.left
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C12: what the administrator adds or takes away while netd runs stays so.
    #[test]
    fn c12_changes_of_others_are_followed() {
        let mut kept = Kept {
            ports: [1000, 2000].into(),
            ..Kept::default()
        };
        assert!(!kept.follow(&[9].into()), "nothing was written yet");
        kept.written = Some([1000, 2000, 8080, 50_000].into());
        assert!(!kept.follow(&[1000, 2000, 8080, 50_000].into()));
        // 3000 added, 2000 taken away; 8080 is netd's, and comes again.
        assert!(kept.follow(&[1000, 3000, 50_000].into()));
        assert_eq!(kept.ports, [1000, 3000].into());
    }
}
