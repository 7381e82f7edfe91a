//! Errors as gRPC statuses with `google.rpc` details.

use std::collections::HashMap;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::reasons::row;
use crate::error::{Error, Kind};

/// What an error is about under this name is the field of the request that is wrong.
const FIELD: &str = "field";

impl From<Error> for Status {
    fn from(e: Error) -> Self {
        let row = row(e.kind, e.reason);
        let hint = e.hint.iter().map(|h| ("hint".to_owned(), h.clone()));
        let about = e.about.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
        let metadata: HashMap<String, String> = about.chain(hint).collect();
        let mut details = ErrorDetails::with_error_info(row.word, "netd", metadata);
        if let (Kind::Invalid, Some(field)) = (e.kind, e.about.get(FIELD)) {
            details.add_bad_request_violation(field, &e.message);
        }
        Status::with_error_details(row.code, e.message, details)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::error::Reason;

    #[test]
    fn p01_programs_hear_why_what_and_where() {
        let error = Error::conflict("port 8080 is already allocated")
            .because(Reason::PortAllocated)
            .about("port", 8080)
            .about("holder", "web")
            .hint("choose another");
        let status = Status::from(error);
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("PORT_ALLOCATED", "netd")
        );
        assert_eq!(info.metadata["port"], "8080");
        assert_eq!(info.metadata["holder"], "web");
        assert_eq!(info.metadata["hint"], "choose another");
        assert!(details.bad_request().is_none());

        let error = Error::invalid("invalid port 70000").about("field", "ports[1].port");
        let details = Status::from(error).get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "INVALID");
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "ports[1].port");
        assert_eq!(violations[0].description, "invalid port 70000");
    }
}
