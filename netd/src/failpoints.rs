//! Places where a test ends the daemon, or makes a step fail: `NETD_FAILPOINT=name` ends it there as kill -9 would, at the first
//! request that comes by; `NETD_FAILPOINT_START=name` already while it starts; `NETD_FAILPOINT_REFUSE=name` makes the step
//! fail instead, from the first request on. Only in builds with the feature `failpoints`.

use std::sync::{Mutex, PoisonError};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::error::{Error, Result};

/// Names of the places that kill and that refuse.
static ARMED: Mutex<(Option<String>, Option<String>)> = Mutex::new((None, None));

/// Arms the place that this variable of the environment names, if it names one.
pub fn arm(variable: &str) {
    if let Ok(name) = std::env::var(variable) {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(name);
    }
}

/// Makes the place that this variable of the environment names refuse, if it names one.
pub fn refuse(variable: &str) {
    if let Ok(name) = std::env::var(variable) {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(name);
    }
}

/// Whoever comes by a place.
///
/// # Errors
/// When it is one that refuses.
pub fn reach(name: &str) -> Result<()> {
    let armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if armed.0.as_deref() == Some(name) {
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
    if armed.1.as_deref() == Some(name) {
        return Err(Error::internal(format!("failpoint {name}"), "refused"));
    }
    Ok(())
}
