//! Ranges of ports: the pool of masquerading, and a port of a range by chance.

use crate::{abi::Settings, addr::Be16, tables::Tables};

/// First port and number of ports of the pool.
#[inline(always)]
pub fn pool(settings: &Settings) -> Option<(u32, u32)> {
    let first = u32::from(settings.pool_first);
    let size = u32::from(settings.pool_last)
        .wrapping_sub(first)
        .wrapping_add(1);
    (size != 0 && size <= 0xffff).then_some((first, size))
}

/// Whether masquerading may use a port.
#[inline(always)]
pub fn has<T: Tables>(t: &T, port: Be16) -> bool {
    t.settings()
        .is_some_and(|s| (s.pool_first..=s.pool_last).contains(&port.get()))
}

/// Of `size` numbers some.
#[inline(always)]
pub fn random_offset<T: Tables>(t: &T, size: u32) -> u32 {
    // The upper part of the product: a division would bring its check for zero, which is a panic.
    ((u64::from(t.random()) * u64::from(size)) >> 32) as u32
}

/// Some port of `size` from `first` on.
#[inline(always)]
pub fn random_port<T: Tables>(t: &T, first: u32, size: u32) -> Be16 {
    Be16::new(first.wrapping_add(random_offset(t, size)) as u16)
}
