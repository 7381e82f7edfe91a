//! The error of every request: what kind it is, what failed on what, and the way out.

use std::fmt;

/// What kind of failure; each maps to one gRPC status code, and by it to one of Docker's HTTP statuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Malformed or contradictory input (`INVALID_ARGUMENT`, 400).
    Invalid,
    /// The named thing does not exist (`NOT_FOUND`, 404).
    NotFound,
    /// The name is taken (`ALREADY_EXISTS`, 409).
    Exists,
    /// Refused in the present state: in use, overlapping, taken (`FAILED_PRECONDITION`, 403).
    Conflict,
    /// Never allowed, as on predefined networks (`PERMISSION_DENIED`, 403).
    Forbidden,
    /// A pool or table has no room left (`RESOURCE_EXHAUSTED`, 500).
    Exhausted,
    /// The kernel lacks something (`UNIMPLEMENTED`, 501).
    Unsupported,
    /// The kernel, the store or netd itself failed (`INTERNAL`, 500).
    Internal,
}

/// A failed request.
#[derive(Clone, Debug)]
pub struct Error {
    /// What kind of failure.
    pub kind: Kind,
    /// What failed, on what, and why, in one sentence without a final stop.
    pub message: String,
    /// The way out, if there is one.
    pub hint: Option<String>,
}

impl Error {
    /// An error without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// The same error with the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `INVALID_ARGUMENT`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// `NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// `FAILED_PRECONDITION`.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// `INTERNAL`, with the cause.
    pub fn internal(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::new(Kind::Internal, format!("{what}: {cause}"))
    }
}

/// An error with its causes: many libraries keep the system's own words for the last of them.
pub fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Result of a request.
pub type Result<T> = std::result::Result<T, Error>;
