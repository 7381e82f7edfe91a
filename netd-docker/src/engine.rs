//! The Docker Engine behind: requests go to it as they came, answers come back as they are.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::{
    http::{Answer, Body, Version, answer, tunnel, version::Range},
    refusal::{Refusal, Result},
};

/// How long what the engine said of its versions counts: it may be replaced by another.
const REMEMBERED: Duration = Duration::from_secs(10);
/// The longest answer that is read as a whole, bytes.
const LONGEST: usize = 256 << 20;

/// An engine at a Unix socket.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    range: Mutex<Option<(Range, Instant)>>,
}

/// An answer of the engine's that was read as a whole.
#[derive(Debug)]
pub struct Whole {
    /// Status and headers.
    pub head: http::response::Parts,
    /// The body.
    pub body: Bytes,
}

impl Whole {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Refusal::internal(format!("the engine's answer is no JSON: {e}")))
    }

    /// The message of a refusal.
    pub fn message(&self) -> String {
        let value: Option<Value> = serde_json::from_slice(&self.body).ok();
        let text = value.as_ref().and_then(|v| v.get("message")?.as_str());
        text.map_or_else(
            || String::from_utf8_lossy(&self.body).trim().to_owned(),
            str::to_owned,
        )
    }

    /// As it came.
    pub fn answer(self) -> Answer {
        let Self { mut head, body } = self;
        // The length is told anew.
        head.headers.remove(header::TRANSFER_ENCODING);
        head.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(head, answer::full(body))
    }

    /// With another body in its place.
    pub fn with_json(self, value: &Value) -> Answer {
        let body = Bytes::from(format!("{value}\n"));
        Self { body, ..self }.answer()
    }

    /// The refusal that it is.
    pub fn refusal(&self) -> Refusal {
        Refusal::new(self.head.status, self.message())
    }
}

impl Engine {
    /// At this socket. Nothing is asked yet.
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            range: Mutex::new(None),
        }
    }

    /// Where it is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A connection of its own for each request: one that is cancelled, or never ends, holds up no other.
    async fn connect(&self) -> Result<http1::SendRequest<Body>> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|e| self.away(&e))?;
        let shaken = http1::Builder::new()
            .preserve_header_case(true)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = shaken.map_err(|e| self.broken(&e))?;
        tokio::spawn(async move {
            if let Err(e) = connection.with_upgrades().await {
                tracing::debug!("a connection to the engine: {e}");
            }
        });
        Ok(sender)
    }

    fn away(&self, error: &io::Error) -> Refusal {
        let text = format!(
            "Cannot connect to the Docker engine behind netd at unix://{}: {error}. Is the docker daemon running?",
            self.socket.display()
        );
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    fn broken(&self, error: &hyper::Error) -> Refusal {
        let text = format!(
            "the connection to the Docker engine at unix://{} broke: {error}",
            self.socket.display()
        );
        Refusal::new(StatusCode::BAD_GATEWAY, text)
    }

    /// Sends a request and gives the beginning of its answer.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>> {
        let mut sender = self.connect().await?;
        let answer = sender.send_request(request).await;
        answer.map_err(|e| self.broken(&e))
    }

    /// Passes a request through: its body as it comes, the answer's as it comes, and what takes the connection over.
    pub async fn pass(&self, mut request: Request<Body>) -> Result<Answer> {
        let wants = request.headers().contains_key(header::UPGRADE);
        let client = wants.then(|| hyper::upgrade::on(&mut request));
        // Clients of HTTP/1.0 are answered by the server side's own rules.
        *request.version_mut() = http::Version::HTTP_11;
        if !request.headers().contains_key(header::HOST) {
            let host = http::HeaderValue::from_static("docker");
            request.headers_mut().insert(header::HOST, host);
        }
        let mut answer = self.send(request).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let engine = hyper::upgrade::on(&mut answer);
            if let Some(client) = client {
                tokio::spawn(tunnel::join(client, engine));
            }
            return Ok(answer.map(|_| answer::empty()));
        }
        Ok(answer.map(|body| body.map_err(Into::into).boxed()))
    }

    /// Sends a request and reads its answer as a whole.
    pub async fn whole(&self, request: Request<Body>) -> Result<Whole> {
        let (head, body) = self.send(request).await?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await.map_err(|e| {
            let text = format!("reading the Docker engine's answer: {e}");
            Refusal::new(StatusCode::BAD_GATEWAY, text)
        })?;
        let body = body.to_bytes();
        Ok(Whole { head, body })
    }

    /// Asks the engine something of our own.
    pub async fn ask(&self, method: http::Method, target: &str) -> Result<Whole> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "docker")
            .body(answer::empty())
            .map_err(|e| Refusal::internal(format!("the request {target:?}: {e}")))?;
        self.whole(request).await
    }

    /// As [`Engine::ask`] with GET, read as JSON; a refusal of the engine's is an error.
    pub async fn get(&self, target: &str) -> Result<Value> {
        let answer = self.ask(http::Method::GET, target).await?;
        if answer.head.status.is_success() {
            answer.json()
        } else {
            Err(answer.refusal())
        }
    }

    /// The versions that it serves.
    pub async fn range(&self) -> Result<Range> {
        let known = *self.range.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((range, _)) = known.filter(|(_, when)| when.elapsed() < REMEMBERED) {
            return Ok(range);
        }
        let said = self.get("/version").await?;
        let version = |key: &str| {
            let text = said.get(key)?.as_str()?;
            Version::parse(text)
        };
        let (Some(most), Some(least)) = (version("ApiVersion"), version("MinAPIVersion")) else {
            return Err(Refusal::internal(
                "the Docker engine does not say which versions of its API it has",
            ));
        };
        let range = Range { least, most };
        *self.range.lock().unwrap_or_else(|e| e.into_inner()) = Some((range, Instant::now()));
        Ok(range)
    }
}
