//! Memory that many requests at once took and do not need any more is given back to the system: the allocator keeps it else.

/// Commits after which there is something to give back.
pub const BURST: u64 = 512;

/// Gives back what is free. Takes some milliseconds, in which other threads may wait for memory.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers are given or returned, and any thread may call it at any time (malloc_trim(3)).
    let _ = unsafe { nix::libc::malloc_trim(0) };
}
