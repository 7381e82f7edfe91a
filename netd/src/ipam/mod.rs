//! Address management. Pure: which subnet, which address; it must not know the store or the kernel.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnetwork::{IpNetwork, Ipv6Network};

use crate::{
    config,
    error::{Error, Kind, Result},
    model::Pool,
};

fn number(a: IpAddr) -> u128 {
    match a {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

fn address(n: u128, v4: bool) -> IpAddr {
    if v4 {
        IpAddr::V4(Ipv4Addr::from(n as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from(n))
    }
}

/// First and last address of a subnet.
fn bounds(net: &IpNetwork) -> (u128, u128) {
    (
        number(net.network()),
        number(match net {
            IpNetwork::V4(n) => IpAddr::V4(n.broadcast()),
            IpNetwork::V6(n) => IpAddr::V6(n.broadcast()),
        }),
    )
}

/// Whether two subnets share an address.
pub fn overlap(a: &IpNetwork, b: &IpNetwork) -> bool {
    let ((a0, a1), (b0, b1)) = (bounds(a), bounds(b));
    a.is_ipv4() == b.is_ipv4() && a0 <= b1 && b0 <= a1
}

/// First and last address that an endpoint may have: without IPv4's network and broadcast address (but for /31 and
/// /32, RFC 3021) and IPv6's subnet-router anycast address (RFC 4291, 2.6.1).
fn usable(net: &IpNetwork) -> (u128, u128) {
    let (first, last) = bounds(net);
    let host_bits = if net.is_ipv4() {
        32 - net.prefix()
    } else {
        128 - net.prefix()
    };
    match (net.is_ipv4(), host_bits) {
        (_, 0 | 1) => (first, last),
        (true, _) => (first + 1, last - 1),
        (false, _) => (first + 1, last),
    }
}

/// The first address an endpoint may have: the default gateway.
pub fn first_usable(net: &IpNetwork) -> IpAddr {
    address(usable(net).0, net.is_ipv4())
}

/// Whether an endpoint may have this address of the subnet.
pub fn is_usable(net: &IpNetwork, a: IpAddr) -> bool {
    let (first, last) = usable(net);
    a.is_ipv4() == net.is_ipv4() && (first..=last).contains(&number(a))
}

/// Whether an address of the subnet is never given to an endpoint.
pub fn is_reserved(pool: &Pool, a: IpAddr) -> bool {
    !is_usable(&pool.subnet, a) || a == pool.gateway || pool.aux.values().any(|x| *x == a)
}

/// The next free address behind the one given out last (so that a released one rests as long as it can).
pub fn allocate(pool: &Pool, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let v4 = pool.subnet.is_ipv4();
    let (first, last) = usable(&pool.subnet);
    let (first, last) = match &pool.ip_range {
        Some(range) => {
            let (a, b) = bounds(range);
            (first.max(a), last.min(b))
        }
        None => (first, last),
    };
    if first > last {
        return None;
    }
    let taken = |n: u128| {
        let a = address(n, v4);
        used.contains(&a) || a == pool.gateway || pool.aux.values().any(|x| *x == a)
    };
    let start = match pool.cursor.map(number) {
        Some(n) if (first..last).contains(&n) => n + 1,
        _ => first,
    };
    // Among one more than are taken, one is free: the loop is bounded by what is used, not by the subnet's size.
    let tries = (used.len() + pool.aux.len() + 2) as u128;
    let mut n = start;
    for _ in 0..tries.min(last - first + 1) {
        if !taken(n) {
            return Some(address(n, v4));
        }
        n = if n == last { first } else { n + 1 };
    }
    None
}

/// A free subnet of the configured pools. `taken`: subnets of networks, routes, addresses and resolvers of the host.
pub fn choose_v4(pools: &[config::Pool], taken: &[IpNetwork]) -> Result<IpNetwork> {
    for pool in pools
        .iter()
        .filter(|p| p.base.is_ipv4() && p.size >= p.base.prefix() && p.size <= 30)
    {
        let (mut at, end) = bounds(&pool.base);
        let size = 1u128 << (32 - pool.size);
        let mut held: Vec<(u128, u128)> = taken
            .iter()
            .filter(|t| overlap(t, &pool.base))
            .map(bounds)
            .collect();
        held.sort_unstable();
        // Sorted by their beginning, each holder is met once: whatever lies before `at` is behind us.
        let mut holders = held.into_iter().peekable();
        while at + size - 1 <= end {
            match holders.next_if(|(first, _)| *first < at + size) {
                // Straight behind what is in the way, aligned.
                Some((_, last)) if last >= at => at = (last / size + 1) * size,
                Some(_) => {}
                None => {
                    return IpNetwork::new(address(at, true), pool.size)
                        .map_err(|e| Error::internal("a pool", e));
                }
            }
        }
    }
    Err(Error::new(
        Kind::NotFound,
        "could not find an available, non-overlapping IPv4 address pool among the defaults",
    )
    .hint("add pools to the configuration file or give --subnet"))
}

/// A free /64 below the host's ULA prefix (a /48, RFC 4193).
pub fn choose_v6(ula: Ipv6Network, taken: &[IpNetwork]) -> Result<IpNetwork> {
    let base = u128::from(ula.network());
    let nets =
        (0..=0xffff_u128).filter_map(|n| IpNetwork::new(address(base | n << 64, false), 64).ok());
    nets.into_iter()
        .find(|net| !taken.iter().any(|t| overlap(t, net)))
        .ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                format!("no /64 is left in the host's prefix {ula}"),
            )
            .hint("give --subnet")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn pool(net: &str) -> Pool {
        let subnet: IpNetwork = net.parse().unwrap();
        Pool {
            gateway: first_usable(&subnet),
            subnet,
            ip_range: None,
            aux: BTreeMap::new(),
            cursor: None,
            chosen: true,
        }
    }

    proptest! {
        /// I03, I06: never two owners, never a reserved address, a released address rests, a free one is found.
        #[test]
        fn i03_i06_allocation(ops in prop::collection::vec(any::<Option<u8>>(), 1..200), v6: bool) {
            let mut pool = pool(if v6 { "fd00::/123" } else { "10.0.0.0/27" });
            let capacity = if v6 { 30 } else { 29 };
            let mut used = BTreeSet::new();
            let mut last_freed = None;
            for op in ops {
                match op {
                    Some(which) if !used.is_empty() => {
                        let a = *used.iter().nth(usize::from(which) % used.len()).unwrap();
                        used.remove(&a);
                        last_freed = Some(a);
                    }
                    _ => match allocate(&pool, &used) {
                        Some(a) => {
                            prop_assert!(!used.contains(&a) && a != pool.gateway && is_usable(&pool.subnet, a));
                            if used.len() + 1 < capacity && Some(a) == last_freed {
                                // only when the search came round to it
                                prop_assert!(pool.cursor.is_some());
                            }
                            pool.cursor = Some(a);
                            used.insert(a);
                        }
                        None => prop_assert_eq!(used.len(), capacity),
                    },
                }
            }
        }
    }

    #[test]
    fn i06_a_released_address_is_not_given_out_next() {
        let mut p = pool("10.0.0.0/24");
        let mut used = BTreeSet::new();
        let a = allocate(&p, &used).unwrap();
        p.cursor = Some(a);
        used.insert(a);
        used.remove(&a);
        assert_ne!(allocate(&p, &used), Some(a));
    }

    #[test]
    fn i03_ranges_and_small_subnets() {
        let mut p = pool("10.0.0.0/16");
        p.ip_range = Some("10.0.5.0/30".parse().unwrap());
        assert_eq!(
            allocate(&p, &BTreeSet::new()),
            Some("10.0.5.0".parse().unwrap())
        );
        let p = pool("10.0.0.0/30");
        assert_eq!(
            allocate(&p, &BTreeSet::new()),
            Some("10.0.0.2".parse().unwrap())
        );
        assert_eq!(allocate(&p, &["10.0.0.2".parse().unwrap()].into()), None);
        assert_eq!(
            allocate(&pool("fd00::/64"), &BTreeSet::new()),
            Some("fd00::2".parse().unwrap())
        );
    }

    #[test]
    fn i01_thousands_of_pools_from_the_defaults_and_none_overlaps() {
        let pools = config::Config::default().pools;
        let mut taken: Vec<IpNetwork> = vec!["172.18.5.0/24".parse().unwrap()];
        for _ in 0..3000 {
            let net = choose_v4(&pools, &taken).unwrap();
            assert!(!taken.iter().any(|t| overlap(t, &net)));
            taken.push(net);
        }
    }
}
