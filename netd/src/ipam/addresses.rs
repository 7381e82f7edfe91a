//! Which subnet, which address. Pure: it knows neither the store nor the kernel, nor what time it is.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnetwork::{IpNetwork, Ipv6Network};

use crate::{
    config,
    error::{Error, Kind, Reason, Result},
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
pub fn bounds(net: &IpNetwork) -> (u128, u128) {
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

/// The next free address behind `cursor`, the one given out last (so that a released one rests as long as it can).
pub fn allocate(pool: &Pool, cursor: Option<IpAddr>, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
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
    let start = match cursor.map(number) {
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

/// A free subnet of the configured pools. `held`: first and last address of what is taken, by family in order of the first.
pub fn choose_v4<'a>(
    pools: &[config::Pool],
    held: impl Iterator<Item = &'a (u128, u128)> + Clone,
) -> Result<IpNetwork> {
    for pool in pools
        .iter()
        .filter(|p| p.base.is_ipv4() && p.size >= p.base.prefix() && p.size <= 30)
    {
        let (first, end) = bounds(&pool.base);
        if let Some(at) = free(first, end, 1 << (32 - pool.size), held.clone()) {
            return IpNetwork::new(address(at, true), pool.size)
                .map_err(|e| Error::internal("a pool", e));
        }
    }
    Err(Error::new(
        Kind::NotFound,
        "could not find an available, non-overlapping IPv4 address pool among the defaults",
    )
    .because(Reason::PoolsExhausted)
    .hint("add pools to the configuration file or give --subnet"))
}

/// A free /64 below the host's ULA prefix (a /48, RFC 4193). `held`: as for [`choose_v4`].
pub fn choose_v6<'a>(
    ula: Ipv6Network,
    held: impl Iterator<Item = &'a (u128, u128)>,
) -> Result<IpNetwork> {
    let (first, end) = bounds(&IpNetwork::V6(ula));
    let found = free(first, end, 1 << 64, held);
    let net = found.and_then(|at| IpNetwork::new(address(at, false), 64).ok());
    net.ok_or_else(|| {
        Error::new(
            Kind::NotFound,
            format!("no /64 is left in the host's prefix {ula}"),
        )
        .because(Reason::PoolsExhausted)
        .hint("give --subnet")
    })
}

/// The first place for `size` addresses between `first` and `end`, aligned to its size. `held` in order of the first: each
/// is met once.
fn free<'a>(
    first: u128,
    end: u128,
    size: u128,
    held: impl Iterator<Item = &'a (u128, u128)>,
) -> Option<u128> {
    let mut at = first;
    for (from, to) in held {
        if at + (size - 1) > end || *from > at + (size - 1) {
            break;
        }
        if *to >= at {
            // Straight behind what is in the way, aligned.
            at = (to / size + 1).checked_mul(size)?;
        }
    }
    (at.checked_add(size - 1)? <= end).then_some(at)
}

#[cfg(test)]
#[path = "addresses_tests.rs"]
mod tests;
