//! Places where a test kills the daemon: `NETD_FAILPOINT=name` ends it there as kill -9 would, at the first request that
//! comes by; `NETD_FAILPOINT_START=name` already while it starts. `NETD_FAILPOINT_REFUSE=name` makes what happens there fail
//! instead. Only in builds with the feature `failpoints`; in others [`failpoint!`](crate::failpoint) is nothing.

/// A place with a name: `failpoint!("name")`, or `failpoint!("name", |_| Err(..))` to return that when it refuses, or
/// `failpoint!("name", condition, |_| ..)`.
#[macro_export]
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($($place:tt)*) => {
        ::fail::fail_point!($($place)*)
    };
}

/// Nothing: this build has no failpoints.
#[macro_export]
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($($place:tt)*) => {};
}

#[cfg(feature = "failpoints")]
pub use armed::{arm, refuse};

#[cfg(feature = "failpoints")]
mod armed {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    /// Arms the place that this variable of the environment names, if it names one.
    pub fn arm(variable: &str) {
        let Ok(name) = std::env::var(variable) else {
            return;
        };
        let armed = fail::cfg_callback(name.as_str(), move || {
            let _ = kill(Pid::this(), Signal::SIGKILL);
        });
        if let Err(e) = armed {
            tracing::error!("arming a failpoint: {e}");
        }
    }

    /// Makes the place that the environment names refuse, if it names one.
    pub fn refuse() {
        if let Ok(name) = std::env::var("NETD_FAILPOINT_REFUSE")
            && let Err(e) = fail::cfg(name.as_str(), "return")
        {
            tracing::error!("arming a failpoint: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    fn place() -> u8 {
        crate::failpoint!("tests-other-place");
        crate::failpoint!("tests-place", |_| 1);
        0
    }

    #[test]
    fn a_place_that_nobody_armed_does_nothing() {
        assert_eq!(place(), 0);
        #[cfg(feature = "failpoints")]
        {
            fail::cfg("tests-place", "return").unwrap();
            assert_eq!(place(), 1);
            fail::remove("tests-place");
        }
    }
}
