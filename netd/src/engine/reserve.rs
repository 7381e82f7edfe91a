//! Which ports the host's own sockets are kept from: `net.ipv4.ip_local_reserved_ports`. Pure.
//!
//! The cgroup hooks refuse an explicit `bind` of a published port; a port that the kernel chooses is another matter. An
//! answer to a UDP socket that got a published port would be led to the endpoint, so all of these are reserved. A TCP
//! connection from such a port works, since only a first SYN meets a publication; a listener whose port was chosen
//! would hear nothing, so TCP ports are reserved, too, as long as the host keeps enough. (The list knows no protocols.)

use std::{collections::BTreeSet, ops::RangeInclusive};

use crate::model::PortBinding;

/// Ports that the kernel can give to sockets without one, which the host always keeps.
pub const LEAST: usize = 4096;

/// What is reserved, and what is left to the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// The list.
    pub ports: BTreeSet<u16>,
    /// Ports of the ephemeral range that are not on it.
    pub left: usize,
    /// Bindings whose ports must be on it and are not: the host would keep too few.
    pub without: Vec<PortBinding>,
    /// How many ports of the pool are not on it, for the same reason.
    pub open: usize,
}

/// `own`: the administrator's ports, reserved whatever else there is; `pool`: those of masquerading, from the last one on
/// as far as the host can spare them; `ephemeral`: first and last port that the kernel chooses from.
pub fn reserve<'a>(
    mut own: BTreeSet<u16>,
    pool: RangeInclusive<u16>,
    ephemeral: (u16, u16),
    bindings: impl Iterator<Item = &'a PortBinding>,
) -> Reserved {
    let range = ephemeral.0..=ephemeral.1;
    let free = range.clone().filter(|port| !own.contains(port)).count();
    let mut spare = free.saturating_sub(LEAST);
    let mut open = 0;
    for port in pool.rev() {
        if !range.contains(&port) || own.contains(&port) {
            own.insert(port);
        } else if spare > 0 {
            own.insert(port);
            spare -= 1;
        } else {
            open += 1;
        }
    }
    let mut bindings: Vec<&PortBinding> = bindings.collect();
    // Wide ranges last: they are the ones that may be left out.
    bindings.sort_by_key(|b| (b.protocol == 6, b.host.1 - b.host.0, b.host.0));
    let mut left = range.clone().filter(|port| !own.contains(port)).count();
    let (mut ports, mut without) = (own, Vec::new());
    for binding in bindings {
        let taken = (binding.host.0..=binding.host.1)
            .filter(|port| range.contains(port) && !ports.contains(port))
            .count();
        if taken > 0 && left.saturating_sub(taken) < LEAST {
            if binding.protocol != 6 {
                without.push(binding.clone());
            }
            continue;
        }
        left -= taken;
        ports.extend(binding.host.0..=binding.host.1);
    }
    Reserved {
        ports,
        left,
        without,
        open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPHEMERAL: (u16, u16) = (32768, 60999);

    fn binding(protocol: u8, first: u16, last: u16) -> PortBinding {
        PortBinding {
            host_ip: None,
            protocol,
            host: (first, last),
            within: None,
            target: (first, last),
        }
    }

    const POOL: RangeInclusive<u16> = 49152..=65535;

    fn reserve_beside<'a>(bindings: impl Iterator<Item = &'a PortBinding>) -> Reserved {
        reserve(BTreeSet::new(), POOL, EPHEMERAL, bindings)
    }

    #[test]
    fn c12_what_is_published_is_reserved() {
        let published = [binding(6, 8080, 8080), binding(17, 40_000, 40_009)];
        let found = reserve_beside(published.iter());
        assert!(found.without.is_empty());
        assert_eq!(found.left, 49152 - 32768 - 10);
        assert_eq!(found.ports.len(), POOL.len() + 11);
    }

    #[test]
    fn c12_the_host_keeps_its_share() {
        let wide = [
            binding(6, 2000, 61_999),
            binding(17, 20_000, 59_999),
            binding(17, 40_000, 40_000),
        ];
        let found = reserve_beside(wide.iter());
        assert_eq!(found.without, [wide[1].clone()]);
        assert!(found.left >= LEAST && found.ports.contains(&40_000));
        // Outside the range nothing is taken from the host.
        let below = [binding(17, 1, 32_767)];
        assert!(reserve_beside(below.iter()).without.is_empty());
        // As many as it can spare, and one more.
        let spare = 49152 - LEAST as u16;
        let most = [binding(17, 32_768, spare - 1)];
        assert!(reserve_beside(most.iter()).without.is_empty());
        let more = [binding(17, 32_768, spare)];
        assert_eq!(reserve_beside(more.iter()).without.len(), 1);
    }

    #[test]
    fn c12_the_pool_leaves_the_host_enough() {
        let inside = reserve([50_000].into(), POOL, (49152, 65535), [].iter());
        assert_eq!((inside.left, inside.open), (LEAST, LEAST));
        // The last ones first; the administrator's whatever happens.
        assert!(inside.ports.contains(&65535) && inside.ports.contains(&50_000));
        assert!(!inside.ports.contains(&49152));
        let few = reserve(BTreeSet::new(), POOL, (60_000, 60_009), [].iter());
        assert_eq!((few.left, few.open), (10, 10));
        assert_eq!(few.ports.len(), POOL.len() - 10);
    }
}
