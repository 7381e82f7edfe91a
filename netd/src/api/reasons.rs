//! What each reason of a refusal means elsewhere: its word, its gRPC code and Docker's HTTP status. `docs/api.md` shows the table.

use tonic::Code;

use crate::error::{Kind, Reason};

/// What a reason means elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// In `google.rpc.ErrorInfo`.
    pub word: &'static str,
    /// The status' code.
    pub code: Code,
    /// What Docker Engine answers in this case.
    pub http: u16,
}

/// One row for each reason; the compiler misses those that have none.
macro_rules! rows {
    ($($reason:ident => $word:literal, $code:ident, $http:literal;)+) => {
        /// All reasons with a row.
        #[cfg(test)]
        const ALL: &[Reason] = &[$(Reason::$reason),+];

        /// The row of a reason; `None`: nothing more precise than the kind.
        fn row_of(reason: Reason) -> Option<Row> {
            match reason {
                Reason::Unspecified => None,
                $(Reason::$reason => Some(Row { word: $word, code: Code::$code, http: $http }),)+
            }
        }
    };
}

rows! {
    PortAllocated => "PORT_ALLOCATED", FailedPrecondition, 500;
    AddressNotOwned => "ADDRESS_NOT_OWNED", InvalidArgument, 500;
    AddressInUse => "ADDRESS_IN_USE", FailedPrecondition, 403;
    AddressOutOfRange => "ADDRESS_OUT_OF_RANGE", InvalidArgument, 500;
    MacInUse => "MAC_IN_USE", FailedPrecondition, 403;
    AddressesExhausted => "ADDRESSES_EXHAUSTED", ResourceExhausted, 500;
    PoolOverlap => "POOL_OVERLAP", FailedPrecondition, 403;
    SubnetInUse => "SUBNET_IN_USE", FailedPrecondition, 403;
    PoolsExhausted => "POOLS_EXHAUSTED", ResourceExhausted, 404;
    DeviceInUse => "DEVICE_IN_USE", FailedPrecondition, 403;
    HasEndpoints => "HAS_ENDPOINTS", FailedPrecondition, 403;
    ConfigurationInUse => "CONFIGURATION_IN_USE", FailedPrecondition, 403;
    NotConnected => "NOT_CONNECTED", FailedPrecondition, 500;
    AlreadyConnected => "ALREADY_CONNECTED", FailedPrecondition, 403;
    AlreadyRunning => "ALREADY_RUNNING", FailedPrecondition, 304;
    NotRunning => "NOT_RUNNING", FailedPrecondition, 409;
    StandsAlone => "STANDS_ALONE", InvalidArgument, 400;
    Predefined => "PREDEFINED", PermissionDenied, 403;
    UnknownDriver => "UNKNOWN_DRIVER", NotFound, 404;
    NamespaceInUse => "NAMESPACE_IN_USE", FailedPrecondition, 409;
    InterfaceInUse => "INTERFACE_IN_USE", FailedPrecondition, 409;
    Degraded => "DEGRADED", FailedPrecondition, 500;
    StoreFailed => "STORE_FAILED", Unavailable, 503;
    RevisionGone => "REVISION_GONE", OutOfRange, 410;
    RevisionMismatch => "REVISION_MISMATCH", Aborted, 409;
    TooMany => "TOO_MANY", InvalidArgument, 400;
    RequestIdReused => "REQUEST_ID_REUSED", AlreadyExists, 409;
}

/// The row of a failure.
pub fn row(kind: Kind, reason: Reason) -> Row {
    row_of(reason).unwrap_or_else(|| kind_row(kind))
}

fn kind_row(kind: Kind) -> Row {
    let (word, code, http) = match kind {
        Kind::Invalid => ("INVALID", Code::InvalidArgument, 400),
        Kind::NotFound => ("NOT_FOUND", Code::NotFound, 404),
        Kind::Exists => ("EXISTS", Code::AlreadyExists, 409),
        Kind::Conflict => ("CONFLICT", Code::FailedPrecondition, 403),
        Kind::Forbidden => ("FORBIDDEN", Code::PermissionDenied, 403),
        Kind::Exhausted => ("EXHAUSTED", Code::ResourceExhausted, 500),
        Kind::Unsupported => ("UNSUPPORTED", Code::Unimplemented, 501),
        Kind::Unavailable => ("UNAVAILABLE", Code::Unavailable, 503),
        Kind::Internal => ("INTERNAL", Code::Internal, 500),
    };
    Row { word, code, http }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/api.md");

    /// As the command line and the document write a code.
    fn code_name(code: Code) -> String {
        let mut name = String::new();
        for letter in format!("{code:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    }

    #[test]
    fn p01_the_document_has_every_reason_with_its_code_and_status() {
        let kinds = [
            Kind::Invalid,
            Kind::NotFound,
            Kind::Exists,
            Kind::Conflict,
            Kind::Forbidden,
            Kind::Exhausted,
            Kind::Unsupported,
            Kind::Unavailable,
            Kind::Internal,
        ];
        let reasons = ALL.iter().filter_map(|reason| row_of(*reason));
        let rows: Vec<Row> = reasons.chain(kinds.map(kind_row)).collect();
        let words: BTreeSet<&str> = rows.iter().map(|row| row.word).collect();
        assert_eq!(words.len(), rows.len(), "a word is there twice");
        for Row { word, code, http } in &rows {
            let line = format!("| `{word}` | {} | {http} |", code_name(*code));
            assert!(DOCUMENT.contains(&line), "docs/api.md lacks {line}");
        }
        // The rows of the two tables begin with a word in capitals; filters have a table, too.
        let capital = |c: char| c.is_ascii_uppercase() || c == '_';
        let lines = DOCUMENT.lines().filter(|line| {
            let cell = line.strip_prefix("| `").and_then(|l| l.split_once("` |"));
            cell.is_some_and(|(word, _)| word.chars().all(capital))
        });
        let known = |line: &&str| {
            words
                .iter()
                .any(|word| line.starts_with(&format!("| `{word}` |")))
        };
        let unknown: Vec<&str> = lines.filter(|line| !known(line)).collect();
        assert!(unknown.is_empty(), "no reason: {unknown:?}");
    }
}
