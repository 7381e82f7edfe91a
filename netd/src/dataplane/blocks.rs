//! Ranges of ports as aligned blocks: what an LPM trie can hold. Pure.

/// The fewest aligned blocks that cover `first..=last`, as (first port, prefix length of 0 to 16 bits).
pub fn blocks(first: u16, last: u16) -> Vec<(u16, u32)> {
    let mut found = Vec::new();
    let mut at = u32::from(first);
    let end = u32::from(last) + 1;
    while at < end {
        let aligned = if at == 0 {
            16
        } else {
            at.trailing_zeros().min(16)
        };
        let fits = (end - at).ilog2();
        let order = aligned.min(fits);
        found.push((at as u16, 16 - order));
        at += 1 << order;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_cover_the_range_exactly(a: u16, b: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let mut next = u32::from(first);
            for (at, prefix) in blocks(first, last) {
                prop_assert_eq!(u32::from(at), next);
                let size = 1u32 << (16 - prefix);
                prop_assert_eq!(u32::from(at) % size, 0);
                next += size;
            }
            prop_assert_eq!(next, u32::from(last) + 1);
            prop_assert!(blocks(first, last).len() <= 30);
        }
    }
}
