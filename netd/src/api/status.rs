//! Errors as gRPC statuses with `google.rpc` details.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::error::{Error, Kind};

impl From<Error> for Status {
    fn from(e: Error) -> Self {
        let (code, reason) = match e.kind {
            Kind::Invalid => (Code::InvalidArgument, "INVALID"),
            Kind::NotFound => (Code::NotFound, "NOT_FOUND"),
            Kind::Exists => (Code::AlreadyExists, "EXISTS"),
            Kind::Conflict => (Code::FailedPrecondition, "CONFLICT"),
            Kind::Forbidden => (Code::PermissionDenied, "FORBIDDEN"),
            Kind::Exhausted => (Code::ResourceExhausted, "EXHAUSTED"),
            Kind::Unsupported => (Code::Unimplemented, "UNSUPPORTED"),
            Kind::Unavailable => (Code::Unavailable, "UNAVAILABLE"),
            Kind::Internal => (Code::Internal, "INTERNAL"),
        };
        let metadata: HashMap<String, String> = e
            .hint
            .iter()
            .map(|h| ("hint".to_owned(), h.clone()))
            .collect();
        let details = ErrorDetails::with_error_info(reason, "netd", metadata);
        Status::with_error_details(code, e.message, details)
    }
}
