//! Why something cannot be done: a word for programs and a sentence for people.

use std::fmt;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A word of the table of reasons in docs/api.md.
    pub reason: String,
    /// What failed, on what, and why.
    pub message: String,
    /// netd could not be asked: it may be another time.
    pub unreachable: bool,
}

/// Result of what can be refused.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A refusal of this program's own.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
            unreachable: false,
        }
    }

    /// Something on this host does not work.
    pub fn internal(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::new("INTERNAL", format!("{what}: {cause}"))
    }

    /// netd does not answer at this address.
    pub fn unreachable(address: &str, cause: impl fmt::Display) -> Self {
        let message = format!(
            "cannot reach netd at {address}: {cause}; start netd (systemctl start netd), and then the container again"
        );
        Self {
            unreachable: true,
            ..Self::new("UNAVAILABLE", message)
        }
    }

    /// A refusal of netd's.
    pub fn refused(address: &str, status: &Status) -> Self {
        match (status.get_details_error_info(), status.code()) {
            (Some(info), _) => Self::new(&info.reason, status.message()),
            (None, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled) => {
                Self::unreachable(address, status.message())
            }
            (None, code) => {
                let text = match status.message() {
                    "" => code.description(),
                    text => text,
                };
                Self::new("INTERNAL", format!("netd at {address} refused: {text}"))
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "netd: {}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Failure {}
