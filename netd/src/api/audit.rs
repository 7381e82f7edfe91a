//! The door of every request: who asks, whether they may, how long a request may be; and a line of log for every change.
//!
//! The lines have the target `netd::audit` and the level info: `peer`, `rpc`, `object` and `outcome` (gRPC's code).

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tokio::sync::Semaphore;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::{
    access::{self, Access, Peer, Role, Rpc},
    listen::ConnectInfo,
};

/// What is read of a request, bytes. More than one may hold (`bounds`), so that the refusal of one that is too long names what is.
pub const LONGEST: usize = 4 << 20;
/// How long a client over TCP may take to send a request.
const SENDING: Duration = Duration::from_secs(10);
/// Requests over TCP that are read into memory at once.
const READ_AT_ONCE: usize = 32;
/// Letters of each name that are logged.
const LETTERS: usize = 128;

/// What all doors share.
#[derive(Clone, Debug)]
pub struct Door {
    access: Arc<ArcSwap<Access>>,
    reading: Arc<Semaphore>,
}

impl Door {
    /// A door for these clients; they change with the configuration.
    pub fn new(access: Arc<ArcSwap<Access>>) -> Self {
        Self {
            access,
            reading: Arc::new(Semaphore::new(READ_AT_ONCE)),
        }
    }
}

impl<S> Layer<S> for Door {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            door: self.clone(),
            inner,
        }
    }
}

/// Services behind the door.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    door: Door,
    inner: S,
}

type Answer = Response<Body>;

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready, not its copy.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let door = self.door.clone();
        Box::pin(async move {
            match door.admit(request).await {
                Ok((request, record)) => {
                    let answer = inner.call(request).await?;
                    record.end(&answer);
                    Ok(answer)
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

impl Door {
    /// The request, read as far as its change is to be logged or it comes from afar; or the refusal.
    async fn admit(&self, request: Request<Body>) -> Result<(Request<Body>, Record), Status> {
        let path = request.uri().path().to_owned();
        let Some(peer) = request.extensions().get::<ConnectInfo>().cloned() else {
            return Err(Status::internal("a connection of nobody"));
        };
        let rpc = access::rpc(&path);
        let writes = rpc.is_none_or(|rpc| rpc.role == Role::Write);
        let mut record = Record::new(writes, Arc::clone(&peer), path);
        if let Err(status) = self.access.load().allow(&peer, &record.path, rpc) {
            record.refused(status.code());
            return Err(status);
        }
        let remote = matches!(*peer, Peer::Remote { .. });
        if !(writes || remote) || rpc.is_none_or(|rpc| rpc.streams) {
            return Ok((request, record));
        }
        let (parts, body) = request.into_parts();
        let body = match if remote {
            self.afar(body).await
        } else {
            read(body).await
        } {
            Ok(body) => body,
            Err(status) => {
                record.refused(status.code());
                return Err(status);
            }
        };
        if let (true, Some(rpc)) = (writes, rpc) {
            record.object = object(rpc, &body);
        }
        Ok((
            Request::from_parts(parts, Body::new(Full::new(body))),
            record,
        ))
    }

    /// Reads what a client over TCP sends, for a limited time and few at once.
    async fn afar(&self, body: Body) -> Result<prost::bytes::Bytes, Status> {
        let whole = async {
            let _turn = self.reading.acquire().await;
            read(body).await
        };
        tokio::time::timeout(SENDING, whole)
            .await
            .unwrap_or_else(|_| {
                Err(Status::deadline_exceeded(format!(
                    "the request was not sent within {} s",
                    SENDING.as_secs()
                )))
            })
    }
}

async fn read(body: Body) -> Result<prost::bytes::Bytes, Status> {
    match Limited::new(body, LONGEST).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(access::refusal(
            Code::ResourceExhausted,
            format!("the request is longer than {LONGEST} bytes"),
            "several smaller ones",
        )),
        Err(e) => Err(Status::cancelled(format!("the request ended early: {e}"))),
    }
}

/// A change to be logged; also when its client goes before it is done.
struct Record {
    path: String,
    object: String,
    peer: ConnectInfo,
    begun: Instant,
    open: bool,
}

impl Record {
    fn new(open: bool, peer: ConnectInfo, path: String) -> Self {
        Self {
            path,
            object: String::new(),
            peer,
            begun: Instant::now(),
            open,
        }
    }

    fn end(mut self, answer: &Answer) {
        let status = Status::from_header_map(answer.headers());
        let (code, why) = status.map_or((Code::Ok, String::new()), |status| {
            (status.code(), shortened(status.message()))
        });
        self.log(code_name(code), &why);
    }

    fn refused(&mut self, code: Code) {
        self.log(code_name(code), "");
    }

    fn log(&mut self, outcome: &str, why: &str) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let rpc = self.path.trim_start_matches('/');
        tracing::info!(
            target: "netd::audit",
            peer = %self.peer,
            rpc = %shortened(rpc).escape_debug(),
            object = %self.object,
            outcome,
            ?why,
            ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.log("CLIENT_GONE", "the request runs on without it");
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(LETTERS).collect()
}

/// The code's name in gRPC: `NOT_FOUND`.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// What a request is about: the values of its naming fields, as `network="front" sandbox="web"`. The message stands behind
/// five bytes of gRPC's framing.
fn object(rpc: &Rpc, body: &[u8]) -> String {
    let mut text = String::new();
    let message = body.get(5..).unwrap_or_default();
    name_fields(&rpc.naming, message, &mut text);
    let mut rest = message;
    while let Some((tag, value)) = next_field(&mut rest) {
        let mut inner = rpc.within.iter();
        if let Some((_, naming)) = inner.find(|(number, _)| *number == tag) {
            name_fields(naming, value, &mut text);
        }
    }
    text
}

/// Adds the values of a message's naming fields.
fn name_fields(naming: &[(u32, String)], message: &[u8], text: &mut String) {
    let mut rest = message;
    while let Some((tag, value)) = next_field(&mut rest) {
        let mut known = naming.iter();
        let name = known.find(|(number, _)| *number == tag);
        if let (Some((_, name)), Ok(value)) = (name, std::str::from_utf8(value)) {
            let space = if text.is_empty() { "" } else { " " };
            text.push_str(&format!("{space}{name}={:?}", shortened(value)));
        }
        if text.len() > 8 * LETTERS {
            return;
        }
    }
}

/// The next field of a message: its number and its bytes. None at the end or where it is malformed.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    if rest.is_empty() {
        return None;
    }
    let (tag, wire) = decode_key(rest).ok()?;
    if wire != WireType::LengthDelimited {
        skip_field(wire, tag, rest, DecodeContext::default()).ok()?;
        return Some((0, &[]));
    }
    let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let (value, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((tag, value))
}

#[cfg(test)]
mod tests {
    use netd_proto::v1;

    use super::*;

    fn framed(message: &impl prost::Message) -> Vec<u8> {
        [vec![0; 5], message.encode_to_vec()].concat()
    }

    #[test]
    fn p01_what_a_change_is_about_is_read_from_its_message() {
        let rpc = access::rpc("/netd.v1.EndpointService/ConnectSandbox").unwrap();
        let request = v1::ConnectSandboxRequest {
            sandbox: "web\n\"x".into(),
            spec: Some(v1::EndpointSpec {
                network: "front".into(),
                gateway_priority: -4,
                ..Default::default()
            }),
            ..Default::default()
        };
        let body = framed(&request);
        assert_eq!(object(rpc, &body), r#"sandbox="web\n\"x" network="front""#);
        for end in 0..body.len() {
            let cut = object(rpc, &body[..end]);
            assert!(object(rpc, &body).starts_with(&cut), "{cut}");
        }
        let long = v1::ConnectSandboxRequest {
            sandbox: "n".repeat(1000),
            ..Default::default()
        };
        assert!(object(rpc, &framed(&long)).len() < 200);
    }
}
