//! Which part answers a request: networks from netd, containers from the engine with netd's networks, all else from the engine.

use std::{path::PathBuf, sync::Arc};

use futures::future::BoxFuture;
use http::{Method, Request, StatusCode, header, request::Parts};

use crate::{
    containers,
    engine::Engine,
    events,
    http::{
        Answer, Body, Query,
        answer::{self, Unstamped},
        path::Path,
        version::ALONE,
    },
    netd::Netd,
    networks,
    refusal::{Refusal, Result},
    request::Call,
    system,
};

/// What the operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Docker's API is served.
    pub socket: PathBuf,
    /// Group whose members may use it, by name or number; none: root's own group.
    pub group: Option<String>,
    /// The Docker Engine behind, a Unix socket; none: there is none.
    pub upstream: Option<PathBuf>,
    /// netd's own socket.
    pub netd: PathBuf,
}

/// Docker's API before netd and, perhaps, an engine.
#[derive(Debug)]
pub struct Adapter {
    /// netd.
    pub netd: Netd,
    /// The engine behind.
    pub engine: Option<Engine>,
    /// When this socket began, and its id as `/info` tells it.
    pub started: jiff::Timestamp,
}

impl Adapter {
    /// With these settings; nothing is asked yet.
    ///
    /// # Errors
    /// When netd's socket has no usable path.
    pub fn new(settings: &Settings) -> std::result::Result<Self, String> {
        Ok(Self {
            netd: Netd::new(&settings.netd)?,
            engine: settings.upstream.clone().map(Engine::new),
            started: jiff::Timestamp::now(),
        })
    }

    /// Follows the engine's containers as long as it is polled.
    pub async fn follow(self: Arc<Self>) {
        if let Some(engine) = &self.engine {
            events::follow(&self, engine).await;
        }
    }

    /// As [`Adapter::answer`], owned. What changes both the engine's containers and netd's sandboxes is carried out to its end, even
    /// if the client has gone: it would be half done.
    pub fn boxed(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Answer> {
        let to_its_end = self.engine.is_some() && changes_both(&request);
        let work = async move { self.answer(request).await };
        if !to_its_end {
            return Box::pin(work);
        }
        let task = tokio::spawn(work);
        Box::pin(async move {
            let failed = |e| Refusal::internal(format!("answering ended early: {e}")).answer();
            task.await.unwrap_or_else(failed)
        })
    }

    /// Whether a request is the engine's alone, by its head.
    pub fn passes(&self, parts: &Parts) -> bool {
        if self.engine.is_none() {
            return false;
        }
        // These change nothing, and show nothing of networks.
        if matches!(parts.method, Method::HEAD | Method::OPTIONS) {
            return true;
        }
        match Path::parse(parts.uri.path()) {
            Path::Route(_, path) => Part::of(&path).is_none(),
            Path::Elsewhere(_) | Path::Unknown => false,
        }
    }

    /// Answers a request; a refusal is an answer, too.
    pub async fn answer(&self, request: Request<Body>) -> Answer {
        let method = request.method().clone();
        let target = request.uri().path().to_owned();
        let answer = match self.route(request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                tracing::debug!("{method} {target}: {refusal}");
                refusal.answer()
            }
        };
        self.stamped(answer)
    }

    /// With the headers that Docker's answers have; the engine's own carry them.
    pub fn stamped(&self, mut answer: Answer) -> Answer {
        let engine = self.engine.as_ref().and_then(Engine::headers);
        answer::stamp(&mut answer, ALONE.most, engine.as_ref());
        answer
    }

    async fn route(&self, request: Request<Body>) -> Result<Answer> {
        let (asked, path) = match Path::parse(request.uri().path()) {
            Path::Route(asked, path) => (asked, path),
            Path::Elsewhere(path) => return Ok(elsewhere(&request, &path)),
            Path::Unknown => return Err(Refusal::no_page()),
        };
        let Some(part) = Part::of(&path) else {
            return match &self.engine {
                Some(engine) => engine.pass(request).await,
                None => system::alone(self, request.method(), &path, asked).await,
            };
        };
        let version = match &self.engine {
            // What it does not serve, it refuses itself.
            Some(engine) => match engine.range().await?.choose(asked) {
                Ok(version) => version,
                Err(_) => return engine.pass(request).await,
            },
            None => ALONE.choose(asked)?,
        };
        let call = Call {
            method: request.method().clone(),
            version,
            query: Query::parse(request.uri().query().unwrap_or_default()),
            path: path.clone(),
            request,
        };
        if path == "/networks" && !matches!(call.method, Method::GET | Method::OPTIONS) {
            return Err(Refusal::no_page());
        }
        let raw = call.request.uri().query().unwrap_or_default();
        if let (Part::Networks(_) | Part::Events, Some(fault)) = (&part, Query::fault(raw)) {
            return Err(Refusal::invalid(fault));
        }
        match part {
            _ if call.method == Method::OPTIONS => Ok(answer::bare(StatusCode::OK)),
            _ if call.method == Method::HEAD => Err(Refusal::no_page()),
            Part::Networks(rest) => networks::answer(self, call, rest).await,
            Part::Containers(rest) => containers::answer(self, call, rest).await,
            Part::Events => events::answer(self, call).await,
            Part::Info => match &self.engine {
                Some(engine) => system::info(engine, call).await,
                None => system::answer(self, &call.method, &call.path, call.version).await,
            },
        }
    }
}

/// Parts of the API that are about networks, and what follows their name in the path.
enum Part<'a> {
    Networks(&'a str),
    Containers(&'a str),
    Events,
    Info,
}

impl<'a> Part<'a> {
    fn of(path: &'a str) -> Option<Self> {
        match path {
            "/events" => return Some(Self::Events),
            "/info" => return Some(Self::Info),
            "/networks" => return Some(Self::Networks("")),
            _ => {}
        }
        if let Some(rest) = path.strip_prefix("/networks/") {
            return Some(Self::Networks(rest));
        }
        path.strip_prefix("/containers/").map(Self::Containers)
    }
}

/// Whether a request changes what both the engine and netd know.
fn changes_both(request: &Request<Body>) -> bool {
    let Path::Route(_, path) = Path::parse(request.uri().path()) else {
        return false;
    };
    let Some(rest) = path.strip_prefix("/containers/") else {
        // Connecting anew is leaving first.
        return path.starts_with("/networks/") && request.method() == Method::POST;
    };
    match *request.method() {
        Method::DELETE => true,
        Method::POST => matches!(rest, "create" | "prune") || rest.ends_with("/rename"),
        _ => false,
    }
}

/// Sends a client to the path in its shortest form, as the engine's router does.
fn elsewhere(request: &Request<Body>, path: &str) -> Answer {
    let mut location = path.to_owned();
    if let Some(query) = request.uri().query() {
        location.push('?');
        location.push_str(query);
    }
    let mut moved = answer::bare(StatusCode::MOVED_PERMANENTLY);
    moved.extensions_mut().insert(Unstamped);
    if let Ok(value) = location.parse() {
        moved.headers_mut().insert(header::LOCATION, value);
    }
    moved
}
