//! Properties of address management: whatever is asked in whatever order.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};

use super::*;

/// What is done to a pool.
#[derive(Clone, Debug)]
enum Step {
    Allocate,
    Free(Index),
    /// The daemon ends and another one reads the store.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Allocate),
        2 => any::<Index>().prop_map(Step::Free),
        1 => Just(Step::Restart),
    ]
}

/// Subnets of every size that users choose, with and without a range and auxiliary addresses.
fn any_pool() -> impl Strategy<Value = Pool> {
    let subnets = prop_oneof![
        Just("10.0.0.0/31"),
        Just("10.0.0.0/30"),
        Just("10.0.0.0/28"),
        Just("10.0.0.0/16"),
        Just("fd00::/127"),
        Just("fd00::/124"),
        Just("fd00::/120"),
        Just("fd00::/64"),
        Just("fd00::/48"),
    ];
    (
        subnets,
        any::<bool>(),
        prop::collection::btree_set(0_u8..12, 0..3),
    )
        .prop_map(|(subnet, ranged, aux)| {
            let mut pool = pool(subnet);
            let first = number(pool.subnet.network());
            let v4 = pool.subnet.is_ipv4();
            let bits = if v4 { 32 } else { 128 };
            if ranged && pool.subnet.prefix() < bits - 3 {
                // The second eighth of the subnet, at most 16 addresses.
                let size = (bits - pool.subnet.prefix() - 3).min(4);
                let start = address(first + (1 << size), v4);
                pool.ip_range = IpNetwork::new(start, bits - size).ok();
            }
            for n in aux {
                let a = address(first + u128::from(n), v4);
                if pool.subnet.contains(a) {
                    pool.aux.insert(format!("aux{n}"), a);
                }
            }
            pool
        })
}

/// How many addresses a pool can give out, or `None` when they are too many to count.
fn capacity(pool: &Pool) -> Option<usize> {
    let (first, last) = bounds(&pool.ip_range.unwrap_or(pool.subnet));
    if last - first > 4096 {
        return None;
    }
    let all = (first..=last).map(|n| address(n, pool.subnet.is_ipv4()));
    Some(all.filter(|a| !is_reserved(pool, *a)).count())
}

proptest! {
    /// I03, I04, I05, I06: never two owners, never a reserved address, never one out of the range; exhausted only when
    /// all are given out; a restart changes nothing.
    #[test]
    fn i03_i05_i06_allocation(pool in any_pool(), steps in prop::collection::vec(step(), 1..200)) {
        let capacity = capacity(&pool);
        let mut cursor = None;
        let mut used = BTreeSet::new();
        for step in steps {
            match step {
                Step::Free(_) if used.is_empty() => {}
                Step::Free(which) => {
                    let a = *which.get(&used.iter().copied().collect::<Vec<_>>());
                    used.remove(&a);
                }
                Step::Restart => {
                    let stored = serde_json::to_string(&(&pool, cursor)).unwrap();
                    let (read, at): (Pool, Option<IpAddr>) = serde_json::from_str(&stored).unwrap();
                    prop_assert_eq!(allocate(&read, at, &used), allocate(&pool, cursor, &used));
                }
                Step::Allocate => match allocate(&pool, cursor, &used) {
                    Some(a) => {
                        prop_assert!(!used.contains(&a) && !is_reserved(&pool, a));
                        prop_assert!(pool.ip_range.unwrap_or(pool.subnet).contains(a));
                        cursor = Some(a);
                        used.insert(a);
                    }
                    None => prop_assert_eq!(Some(used.len()), capacity),
                },
            }
        }
    }

    /// A full pool with one address released gives out exactly that one.
    #[test]
    fn i06_free_then_allocate_finds_it(pool in any_pool(), which: Index) {
        prop_assume!(capacity(&pool).is_some_and(|n| n > 0));
        let mut cursor = None;
        let mut used = BTreeSet::new();
        while let Some(a) = allocate(&pool, cursor, &used) {
            cursor = Some(a);
            used.insert(a);
        }
        let freed = *which.get(&used.iter().copied().collect::<Vec<_>>());
        used.remove(&freed);
        prop_assert_eq!(allocate(&pool, cursor, &used), Some(freed));
    }

    /// I06: while others are free, what was released is not given out next.
    #[test]
    fn i06_a_released_address_rests(pool in any_pool()) {
        prop_assume!(capacity(&pool).is_none_or(|n| n > 1));
        let used = BTreeSet::new();
        let first = allocate(&pool, None, &used).unwrap();
        prop_assert_ne!(allocate(&pool, Some(first), &used), Some(first));
    }

    /// I01: a chosen pool overlaps nothing of what is taken, and one is found as long as the bases have room.
    #[test]
    fn i01_pools_overlap_nothing(taken in prop::collection::vec((any::<u32>(), 8_u8..=32), 0..60)) {
        let pools = config::Config::default().pools;
        let net = |(a, prefix): &(u32, u8)| IpNetwork::new(IpAddr::V4(Ipv4Addr::from(*a)), *prefix).unwrap();
        let mut taken: Vec<IpNetwork> = taken.iter().map(net).collect();
        for _ in 0..20 {
            let Ok(chosen) = choose(&pools, &taken) else { break };
            prop_assert!(!taken.iter().any(|t| overlap(t, &chosen)), "{} of {:?}", chosen, taken);
            prop_assert!(pools.iter().any(|p| p.base.contains(chosen.network()) && p.size == chosen.prefix()));
            taken.push(chosen);
        }
    }
}

fn choose(pools: &[config::Pool], taken: &[IpNetwork]) -> Result<IpNetwork> {
    let v4 = taken.iter().filter(|net| net.is_ipv4());
    let mut held: Vec<(u128, u128)> = v4.map(bounds).collect();
    held.sort_unstable();
    choose_v4(pools, held.iter())
}

fn pool(net: &str) -> Pool {
    let subnet: IpNetwork = net.parse().unwrap();
    Pool {
        gateway: first_usable(&subnet),
        subnet,
        ip_range: None,
        aux: BTreeMap::new(),
        chosen: true,
    }
}

#[test]
fn i06_a_released_address_is_not_given_out_next() {
    let p = pool("10.0.0.0/24");
    let mut used = BTreeSet::new();
    let a = allocate(&p, None, &used).unwrap();
    used.insert(a);
    used.remove(&a);
    assert_ne!(allocate(&p, Some(a), &used), Some(a));
}

#[test]
fn i03_ranges_and_small_subnets() {
    let mut p = pool("10.0.0.0/16");
    p.ip_range = Some("10.0.5.0/30".parse().unwrap());
    assert_eq!(
        allocate(&p, None, &BTreeSet::new()),
        Some("10.0.5.0".parse().unwrap())
    );
    let p = pool("10.0.0.0/30");
    assert_eq!(
        allocate(&p, None, &BTreeSet::new()),
        Some("10.0.0.2".parse().unwrap())
    );
    assert_eq!(
        allocate(&p, None, &["10.0.0.2".parse().unwrap()].into()),
        None
    );
    assert_eq!(
        allocate(&pool("fd00::/64"), None, &BTreeSet::new()),
        Some("fd00::2".parse().unwrap())
    );
}

#[test]
fn i01_thousands_of_pools_from_the_defaults_and_none_overlaps() {
    let pools = config::Config::default().pools;
    let mut taken: Vec<IpNetwork> = vec!["172.18.5.0/24".parse().unwrap()];
    for _ in 0..3000 {
        let net = choose(&pools, &taken).unwrap();
        assert!(!taken.iter().any(|t| overlap(t, &net)));
        taken.push(net);
    }
}
