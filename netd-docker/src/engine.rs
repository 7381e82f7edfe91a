//! The Docker Engine behind: requests go to it as they came, answers come back as they are.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::{
    http::{
        Answer, Body, Version,
        answer::{self, Passed},
        version::{ALONE, Range},
    },
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
    known: Mutex<Option<Known>>,
    /// See [`Engine::id`].
    id: Mutex<Option<String>>,
}

/// What it says of itself.
#[derive(Clone, Debug)]
struct Known {
    range: Range,
    headers: HeaderMap,
    when: Instant,
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
        head.headers.remove(header::CONNECTION);
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
            known: Mutex::new(None),
            id: Mutex::new(None),
        }
    }

    /// Where it is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A connection to it.
    pub async fn stream(&self) -> Result<UnixStream> {
        let stream = UnixStream::connect(&self.socket).await;
        stream.map_err(|e| self.away(&e))
    }

    /// A connection of its own for each request: one that is cancelled, or never ends, holds up no other.
    async fn connect(&self) -> Result<http1::SendRequest<Body>> {
        let stream = self.stream().await?;
        let shaken = http1::Builder::new()
            .preserve_header_case(true)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = shaken.map_err(|e| self.broken(e))?;
        tokio::spawn(async move {
            if let Err(e) = connection.await {
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

    /// 502.
    pub fn broken(&self, error: impl std::fmt::Display) -> Refusal {
        let text = format!(
            "the connection to the Docker engine at unix://{} broke: {error}",
            self.socket.display()
        );
        Refusal::new(StatusCode::BAD_GATEWAY, text)
    }

    /// Sends a request and gives the beginning of its answer.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>> {
        // Whatever the client's request was, this one is of our own: told its length once, and of a version that has answers in
        // pieces.
        *request.version_mut() = http::Version::HTTP_11;
        let exact = request.body().size_hint().exact();
        let headers = request.headers_mut();
        headers.remove(header::UPGRADE);
        headers.remove(header::EXPECT);
        headers.remove(header::CONNECTION);
        if !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, HeaderValue::from_static("docker"));
        }
        if headers.contains_key(header::TRANSFER_ENCODING) || exact.is_some() {
            headers.remove(header::CONTENT_LENGTH);
        }
        if let Some(length) = exact {
            headers.remove(header::TRANSFER_ENCODING);
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        let mut sender = self.connect().await?;
        let answer = sender.send_request(request).await;
        answer.map_err(|e| self.broken(e))
    }

    /// Says that a request shall go through as it is: its body as it comes, the answer as it comes, and what takes the connection
    /// over. Whoever serves the client's connection does so.
    pub async fn pass(&self, request: Request<Body>) -> Result<Answer> {
        Ok(Passed::answer(request))
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

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its id, which stays with its data: by it the containers of another engine are told from its own.
    ///
    /// # Errors
    /// When it is away, or says none.
    pub async fn id(&self) -> Result<String> {
        let known = self.id.lock().unwrap_or_else(|e| e.into_inner()).clone();
        if let Some(id) = known {
            return Ok(id);
        }
        let info = self.get("/info").await?;
        let id = info.get("ID").and_then(Value::as_str).unwrap_or_default();
        if id.is_empty() {
            return Err(Refusal::internal("the Docker engine does not say its id"));
        }
        *self.id.lock().unwrap_or_else(|e| e.into_inner()) = Some(id.to_owned());
        Ok(id.to_owned())
    }

    /// Has the id asked for anew: another engine may serve the socket.
    pub fn forget_id(&self) {
        *self.id.lock().unwrap_or_else(|e| e.into_inner()) = None;
    }

    /// The versions that it serves. Of one that is away: those that it served, or what this socket knows.
    pub async fn range(&self) -> Result<Range> {
        let known = self.known().as_ref().map(|known| (known.range, known.when));
        if let Some((range, _)) = known.filter(|(_, when)| when.elapsed() < REMEMBERED) {
            return Ok(range);
        }
        let said = match self.ask(http::Method::GET, "/version").await {
            Ok(said) => said,
            Err(away) => {
                tracing::debug!("{away}");
                return Ok(known.map_or(ALONE, |(range, _)| range));
            }
        };
        let about = said.json()?;
        let version = |key: &str| Version::parse(about.get(key)?.as_str()?);
        let (Some(most), Some(least)) = (version("ApiVersion"), version("MinAPIVersion")) else {
            return Err(Refusal::internal(
                "the Docker engine does not say which versions of its API it has",
            ));
        };
        let range = Range { least, most };
        *self.known() = Some(Known {
            range,
            headers: said.head.headers,
            when: Instant::now(),
        });
        Ok(range)
    }

    /// The headers of its answers, as far as they are known.
    pub fn headers(&self) -> Option<HeaderMap> {
        self.known().as_ref().map(|known| known.headers.clone())
    }
}
