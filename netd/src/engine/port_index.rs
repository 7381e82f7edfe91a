//! Which host ports are published, so that a conflict is found without looking at every sandbox.

use std::net::IpAddr;

use imbl::OrdMap;

use crate::model::PortBinding;

/// Protocol, first port, sandbox, host address, first target port: the order in which they are searched.
type Place = (u8, u16, String, Option<IpAddr>, u16);

/// Published ports of all sandboxes.
#[derive(Clone, Debug, Default)]
pub struct PortIndex {
    entries: OrdMap<Place, PortBinding>,
    /// Of each protocol, widths of ranges and how many there are: how far before a port its range may begin.
    widths: OrdMap<(u8, u16), u32>,
}

fn place(sandbox: &str, binding: &PortBinding) -> Place {
    (
        binding.protocol,
        binding.host.0,
        sandbox.to_owned(),
        binding.host_ip,
        binding.target.0,
    )
}

impl PortIndex {
    /// Adds a binding.
    pub fn insert(&mut self, sandbox: &str, binding: &PortBinding) {
        let old = self
            .entries
            .insert(place(sandbox, binding), binding.clone());
        if old.is_none() {
            let width = binding.host.1 - binding.host.0;
            *self.widths.entry((binding.protocol, width)).or_default() += 1;
        }
    }

    /// Removes a binding; one that is not there is fine.
    pub fn remove(&mut self, sandbox: &str, binding: &PortBinding) {
        if let Some(old) = self.entries.remove(&place(sandbox, binding)) {
            let key = (old.protocol, old.host.1 - old.host.0);
            match self.widths.get_mut(&key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.widths.remove(&key)),
            }
        }
    }

    /// Whoever has a port that this binding wants, with the binding by which.
    pub fn holder(&self, wanted: &PortBinding) -> Option<(&str, &PortBinding)> {
        let widest = self
            .widths
            .range((wanted.protocol, 0)..=(wanted.protocol, u16::MAX))
            .next_back()
            .map_or(0, |((_, width), _)| *width);
        let from = (
            wanted.protocol,
            wanted.host.0.saturating_sub(widest),
            String::new(),
            None,
            0,
        );
        let near = self.entries.range(from..);
        near.take_while(|((protocol, first, ..), _)| {
            *protocol == wanted.protocol && *first <= wanted.host.1
        })
        .find(|(_, binding)| binding.conflicts(wanted))
        .map(|((_, _, sandbox, ..), binding)| (sandbox.as_str(), binding))
    }

    /// All bindings.
    pub fn bindings(&self) -> impl Iterator<Item = &PortBinding> {
        self.entries.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(first: u16, last: u16) -> PortBinding {
        PortBinding {
            host_ip: None,
            host: (first, last),
            within: None,
            target: (first, last),
            protocol: 6,
        }
    }

    #[test]
    fn b19_a_holder_is_found_among_ranges_of_all_widths() {
        let mut index = PortIndex::default();
        index.insert("wide", &binding(1000, 60_000));
        for port in 100..900 {
            index.insert("narrow", &binding(port, port));
        }
        let holder = |index: &PortIndex, first, last| {
            let found = index.holder(&binding(first, last));
            found.map(|(name, _)| name.to_owned())
        };
        assert_eq!(holder(&index, 59_999, 59_999).as_deref(), Some("wide"));
        assert_eq!(holder(&index, 850, 860).as_deref(), Some("narrow"));
        assert_eq!(holder(&index, 60_001, 65_535), None);
        assert_eq!(holder(&index, 900, 999), None);
        let udp = PortBinding {
            protocol: 17,
            ..binding(850, 860)
        };
        assert!(index.holder(&udp).is_none());
        index.remove("wide", &binding(1000, 60_000));
        index.remove("wide", &binding(1000, 60_000));
        assert_eq!(holder(&index, 59_999, 59_999), None);
        assert_eq!(index.len(), 800);
    }
}
