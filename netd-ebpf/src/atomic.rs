//! Numbers in maps that several CPUs count at once.

use core::intrinsics::{AtomicOrdering, atomic_and, atomic_xadd};

// `core::sync::atomic` has no read-modify-write on targets without compare-and-swap, which the BPF target is said to be.
// The order is always the strictest: with `Relaxed` LLVM 22 leaves the fetch out of the instruction and goes on with the
// operand in the place of the old value. Linux 5.12, `-C target-cpu=v3`.

/// Adds and returns what was there.
///
/// # Safety
/// `number` points into a map value.
#[inline(always)]
pub unsafe fn add<T: Copy>(number: *mut T, by: T) -> T {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<T, T, { AtomicOrdering::SeqCst }>(number, by) }
}

/// Clears all bits but those of `mask` and returns what was there.
///
/// # Safety
/// `number` points into a map value.
#[inline(always)]
pub unsafe fn and(number: *mut u32, mask: u32) -> u32 {
    // SAFETY: the caller's.
    unsafe { atomic_and::<u32, u32, { AtomicOrdering::SeqCst }>(number, mask) }
}
