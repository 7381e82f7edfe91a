//! The door of the API: every request's message passes here, and holds no more than its `.proto` file says.

use netd_proto::{Message, bounds::Bounded};
use tonic::Request;

use crate::error::{Error, Reason, Result};

/// Bytes of the longest request, so that what is kept of many of them stays small.
const LONGEST: usize = 1 << 20;

/// The request's message.
pub fn open<T: Bounded + Message>(request: Request<T>) -> Result<T> {
    let message = request.into_inner();
    message.within().map_err(|excess| {
        Error::invalid(excess.to_string())
            .because(Reason::TooMany)
            .about("field", &excess.field)
            .about("limit", excess.limit)
    })?;
    let length = message.encoded_len();
    if length > LONGEST {
        let text = format!("the request has {length} bytes, at most {LONGEST} are allowed");
        return Err(Error::invalid(text)
            .because(Reason::TooMany)
            .about("limit", LONGEST)
            .hint("ask for a part first and for the rest by further requests"));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use netd_proto::v1;

    use super::*;

    #[test]
    fn b19_what_is_too_much_is_named() {
        let request = v1::PublishRequest {
            specs: vec![v1::PortSpec::default(); 1025],
            ..Default::default()
        };
        let error = open(Request::new(request)).unwrap_err();
        assert_eq!(error.reason, Reason::TooMany);
        assert_eq!(error.about["field"], "specs");
        assert_eq!(error.about["limit"], "1024");
        let labels = (0..256).map(|n| (n.to_string(), "x".repeat(4096)));
        let mut request = v1::CreateNetworkRequest {
            labels: labels.collect(),
            ..Default::default()
        };
        assert_eq!(
            open(Request::new(request.clone())).unwrap_err().reason,
            Reason::TooMany
        );
        request.labels.retain(|key, _| key.len() < 3);
        assert!(open(Request::new(request)).is_ok());
    }
}
