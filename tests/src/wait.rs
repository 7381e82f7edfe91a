//! Waiting for a condition instead of for a length of time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Asks `condition` every 20 ms until it yields a value.
///
/// # Panics
/// After `seconds`, naming `what` did not come.
pub fn wait_for<T>(what: &str, seconds: u64, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {seconds} s");
        thread::sleep(Duration::from_millis(20));
    }
}
