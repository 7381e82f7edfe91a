//! Answers, with the headers that Docker's clients look at.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use serde::Serialize;

use super::Version;
use crate::refusal::Refusal;

/// Why a body ended early.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body of a request or an answer.
pub type Body = BoxBody<Bytes, BoxError>;
/// An answer.
pub type Answer = Response<Body>;

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body that is there as a whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// An answer without a body.
pub fn bare(status: StatusCode) -> Answer {
    let mut answer = Response::new(empty());
    *answer.status_mut() = status;
    answer
}

/// An answer of JSON, which ends with a line break as Go writes it.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut text = match serde_json::to_vec(value) {
        Ok(text) => text,
        Err(e) => return Refusal::internal(format!("writing the answer: {e}")).answer(),
    };
    text.push(b'\n');
    let mut answer = Response::new(full(text));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// An answer of pieces that are sent as they come.
pub fn stream(
    kind: &'static str,
    pieces: impl Stream<Item = Result<Bytes, BoxError>> + Send + Sync + 'static,
) -> Answer {
    let frames = futures::StreamExt::map(pieces, |piece| piece.map(Frame::data));
    let mut answer = Response::new(StreamBody::new(frames).boxed());
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// Marks an answer of the router itself: no part of Docker's API gave it, and it has no headers of theirs.
#[derive(Clone, Copy, Debug)]
pub struct Unstamped;

/// In an answer's place: the engine shall give it.
#[derive(Clone, Debug)]
pub struct Passed(Arc<Mutex<Option<Request<Body>>>>);

impl Passed {
    /// An answer that says so.
    pub fn answer(request: Request<Body>) -> Answer {
        let mut answer = Response::new(empty());
        let passed = Self(Arc::new(Mutex::new(Some(request))));
        answer.extensions_mut().insert(passed);
        answer
    }

    /// The request; none: it was taken.
    pub fn take(&self) -> Option<Request<Body>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The headers of every answer of Docker's, where they are not there. Of an engine's, its own.
pub fn stamp(answer: &mut Answer, most: Version, engine: Option<&HeaderMap>) {
    if answer.extensions().get::<Unstamped>().is_some() {
        return;
    }
    let headers = answer.headers_mut();
    let server = concat!("netd/", env!("CARGO_PKG_VERSION"), " (linux)");
    let version = HeaderValue::from_str(&most.to_string());
    let version = version.unwrap_or(HeaderValue::from_static(""));
    for (name, value) in [
        ("api-version", version),
        ("docker-experimental", HeaderValue::from_static("false")),
        ("ostype", HeaderValue::from_static("linux")),
        ("server", HeaderValue::from_static(server)),
    ] {
        let theirs = engine.and_then(|engine| engine.get(name)).cloned();
        headers.entry(name).or_insert(theirs.unwrap_or(value));
    }
}
