//! Refusals: an HTTP status and a message, in Docker's words.

use std::fmt;

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::http::answer::{self, Answer, Unstamped};

/// Why a request is not carried out.
#[derive(Clone, Debug)]
pub struct Refusal {
    status: StatusCode,
    message: String,
    text: bool,
    /// Of the router itself.
    page: bool,
    away: bool,
}

/// What a handler gives.
pub type Result<T> = std::result::Result<T, Refusal>;

impl Refusal {
    /// With this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            text: false,
            page: false,
            away: false,
        }
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 404 of a path that Docker's API does not have.
    pub fn no_page() -> Self {
        Self {
            page: true,
            ..Self::not_found("page not found")
        }
    }

    /// The same as plain text.
    #[must_use]
    pub fn into_text(mut self) -> Self {
        self.text = true;
        self
    }

    /// The same, because netd could not be asked.
    #[must_use]
    pub fn with_netd_away(mut self) -> Self {
        self.away = true;
        self
    }

    /// Whether netd could not be asked: it may be another time.
    pub fn is_away(&self) -> bool {
        self.away
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// As an answer: JSON with the message, or text.
    pub fn answer(&self) -> Answer {
        if !self.text {
            let mut answer = answer::json(self.status, &json!({ "message": self.message }));
            if self.page {
                answer.extensions_mut().insert(Unstamped);
            }
            return answer;
        }
        let mut answer = Response::new(answer::full(format!("{}\n", self.message)));
        *answer.status_mut() = self.status;
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        answer
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
