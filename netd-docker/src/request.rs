//! A request of a client's: what it asks, in which version.

use http::{HeaderMap, Method, Request};

use crate::{
    http::{Body, Query, Version, body, body::Object},
    refusal::Result,
};

/// A request, its path read.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The version that it speaks.
    pub version: Version,
    /// Decoded, without the version: `/networks/x`.
    pub path: String,
    /// The query.
    pub query: Query,
    /// As it came; its target is as the client wrote it.
    pub request: Request<Body>,
}

impl Call {
    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Takes the body out and reads it as a whole.
    pub async fn bytes(&mut self) -> Result<bytes::Bytes> {
        let taken = std::mem::replace(self.request.body_mut(), crate::http::answer::empty());
        body::read(taken).await
    }

    /// The body as a JSON object of this type.
    pub async fn object(&mut self, kind: &'static str) -> Result<Object> {
        let bytes = self.bytes().await?;
        Object::parse(self.headers(), &bytes, kind)
    }
}
