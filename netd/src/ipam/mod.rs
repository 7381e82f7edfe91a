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
mod tests;
