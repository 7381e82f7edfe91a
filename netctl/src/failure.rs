//! How a command fails: the message, the way out, and the exit code. Knows nothing of what was asked.

use std::{
    error::Error as _,
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use serde_json::{Map, Value};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{address::Address, cli::Output};

/// Why a command did not succeed.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    /// None: everything was said already.
    message: Option<String>,
    hint: Option<String>,
    /// The daemon's code; None: refused here.
    status: Option<Code>,
    /// The daemon's reason for programs.
    reason: Option<String>,
}

/// Result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A refusal, exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            code: 1,
            message: Some(message.into()),
            hint: None,
            status: None,
            reason: None,
        }
    }

    /// Exit code 1 for messages that were printed when they arose.
    pub fn reported() -> Self {
        Self {
            code: 1,
            message: None,
            hint: None,
            status: None,
            reason: None,
        }
    }

    /// The same failure with the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with another exit code.
    #[must_use]
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Whether the daemon answered that a thing does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status == Some(Code::NotFound)
    }

    /// The daemon cannot be reached at `address`.
    pub fn unreachable(address: &Address, cause: &io::Error) -> Self {
        let message = format!("cannot reach netd at {address}: {cause}");
        let hint = match cause.kind() {
            io::ErrorKind::PermissionDenied => {
                "the socket is open to root and its group only (netd --socket-group)".to_owned()
            }
            io::ErrorKind::InvalidData => {
                "the authority of netd's certificate is --tls-ca, and the certificate names the hosts that it is good for"
                    .to_owned()
            }
            _ => {
                "is it running? Start it as root, with the --instance, --state and --run that it had before; or name another \
                 socket with --address or NETD_ADDRESS"
                    .to_owned()
            }
        };
        let mut failure = Self::new(message).hint(hint);
        failure.status = Some(Code::Unavailable);
        failure
    }

    /// Says it on standard error: as text, or as a line of JSON with the API's code.
    pub fn print(&self, output: Output) {
        let text = match output {
            Output::Text => self.to_string(),
            Output::Json => self.json().unwrap_or_default(),
        };
        if !text.is_empty() {
            say(&format!("{text}\n"));
        }
    }

    fn json(&self) -> Option<String> {
        let mut fields = Map::new();
        fields.insert("Error".to_owned(), self.message.clone()?.into());
        if let Some(code) = self.status {
            fields.insert("Code".to_owned(), name(code).into());
        }
        if let Some(reason) = &self.reason {
            fields.insert("Reason".to_owned(), reason.clone().into());
        }
        if let Some(hint) = &self.hint {
            fields.insert("Hint".to_owned(), hint.clone().into());
        }
        Some(Value::Object(fields).to_string())
    }

    /// Says it on standard error; the exit code.
    pub fn report(&self, output: Output) -> ExitCode {
        self.print(output);
        ExitCode::from(self.code)
    }
}

/// Writes to standard error. Where nobody reads that any more, the exit code says it alone.
pub fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The code's name in gRPC.
fn name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(message) = &self.message else {
            return Ok(());
        };
        write!(f, "Error: {message}")?;
        match &self.hint {
            // The daemon may have said it in the message already.
            Some(hint) if !message.contains(hint.as_str()) => write!(f, "\nHint: {hint}"),
            _ => Ok(()),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info();
        let hint = info.as_ref().and_then(|info| info.metadata.get("hint"));
        let hint = hint.cloned();
        // What the daemon itself says has no cause here; the transport's words alone do not say who is meant.
        let transport = status.source().is_some() && status.code() != Code::Ok;
        let lost = transport.then(|| Lost::from(&status)).flatten();
        let message = match (status.code(), status.message()) {
            _ if let Some(lost) = lost => return lost.into(),
            _ if transport => {
                "the connection to netd ended: it was stopped, killed or replaced".to_owned()
            }
            (code, "") => format!("netd refused: {}", code.description()),
            (_, text) => text.to_owned(),
        };
        let mut failure = Self::new(message);
        failure.hint = hint.filter(|hint| !hint.is_empty());
        failure.status = Some(status.code());
        failure.reason = info.map(|info| info.reason);
        failure
    }
}

/// Why a connection was lost, where more is known than that it was.
enum Lost {
    /// The daemon gave no sign of life.
    Silent,
    /// One side did not accept the other's certificate.
    Tls(String),
}

impl Lost {
    fn from(status: &Status) -> Option<Self> {
        let mut source = status.source();
        while let Some(error) = source {
            // The type is not public; hyper's documentation gives the words.
            if error.to_string() == "keep-alive timed out" {
                return Some(Self::Silent);
            }
            if let Some(error) = error.downcast_ref::<io::Error>()
                && error.kind() == io::ErrorKind::InvalidData
            {
                return Some(Self::Tls(error.to_string()));
            }
            source = error.source();
        }
        None
    }
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        let mut failure = match lost {
            Lost::Silent => Self::new("netd gives no sign of life").hint(
                "is it stopped or overloaded? What was asked may still be done; --timeout SECONDS waits longer",
            ),
            Lost::Tls(why) => Self::new(format!("no TLS connection with netd: {why}")).hint(
                "a certificate and key of the authority that netd trusts, and the authority of netd's own: --tls-cert, \
                 --tls-key and --tls-ca",
            ),
        };
        failure.status = Some(Code::Unavailable);
        failure
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // The reader of our output went away, as `head` does: nobody is left to tell.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::reported().code(0);
        }
        Self::new(format!("cannot write the output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn p02_hints_come_from_the_error_details() {
        let metadata = HashMap::from([("hint".to_owned(), "choose another name".to_owned())]);
        let details = ErrorDetails::with_error_info("EXISTS", "netd", metadata);
        let status = Status::with_error_details(Code::AlreadyExists, "the name is taken", details);
        assert_eq!(
            Failure::from(status).to_string(),
            "Error: the name is taken\nHint: choose another name"
        );
        let said = Failure::new("taken (choose another name)").hint("choose another name");
        assert_eq!(said.to_string(), "Error: taken (choose another name)");
        let missing = Failure::from(Status::not_found("x"));
        assert!(missing.is_not_found());
        assert_eq!(
            missing.json().unwrap(),
            r#"{"Error":"x","Code":"NOT_FOUND"}"#
        );
        assert_eq!(name(Code::FailedPrecondition), "FAILED_PRECONDITION");
        assert_eq!(Failure::reported().json(), None);
    }

    #[test]
    fn p02_an_unreachable_daemon_is_named() {
        let address = "unix:///run/netd/netd.sock".parse().unwrap();
        let text = Failure::unreachable(&address, &io::ErrorKind::NotFound.into()).to_string();
        assert!(text.contains("unix:///run/netd/netd.sock"), "{text}");
        assert!(text.contains("is it running?"), "{text}");
    }
}
