//! The process' own memory.

/// Gives the system back what the allocator holds unused: a start reads far more at once than running needs.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number only, and locks what it looks at (malloc_trim(3), glibc).
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
