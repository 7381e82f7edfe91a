//! Which part answers a request: networks from netd, containers from the engine with netd's networks, all else from the engine.

use std::{path::PathBuf, sync::Arc};

use futures::future::BoxFuture;
use http::{Method, Request, StatusCode, header};

use crate::{
    containers,
    engine::Engine,
    events,
    http::{Answer, Body, Query, Version, answer, path::Path, version::ALONE},
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

    /// As [`Adapter::answer`], owned.
    pub fn boxed(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Answer> {
        Box::pin(async move { self.answer(request).await })
    }

    /// Answers a request; a refusal is an answer, too.
    pub async fn answer(&self, request: Request<Body>) -> Answer {
        let method = request.method().clone();
        let target = request.uri().path().to_owned();
        let mut answer = match self.route(request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                tracing::debug!("{method} {target}: {refusal}");
                refusal.answer()
            }
        };
        // The engine's own answers carry its headers.
        answer::stamp(&mut answer, ALONE.most);
        answer
    }

    async fn route(&self, request: Request<Body>) -> Result<Answer> {
        let (asked, path) = match Path::parse(request.uri().path()) {
            Path::Route(asked, path) => (asked, path),
            Path::Elsewhere(path) => return Ok(elsewhere(&request, &path)),
            Path::Unknown => return Err(Refusal::no_page()),
        };
        if let (&(Method::GET | Method::HEAD), "/_ping") = (request.method(), path.as_str()) {
            return match &self.engine {
                Some(engine) => engine.pass(request).await,
                None => Ok(system::ping(request.method())),
            };
        }
        // What is not looked at here is for the engine to judge, its versions included.
        let Some(part) = Part::of(&path) else {
            return match &self.engine {
                Some(engine) => engine.pass(request).await,
                None => {
                    let version = ALONE.choose(asked)?;
                    system::answer(self, request.method(), &path, version).await
                }
            };
        };
        let call = Call {
            method: request.method().clone(),
            version: self.version(asked).await?,
            query: Query::parse(request.uri().query().unwrap_or_default()),
            path: path.clone(),
            request,
        };
        match part {
            Part::Networks(rest) => networks::answer(self, call, rest).await,
            Part::Containers(rest) => containers::answer(self, call, rest).await,
            Part::Events => events::answer(self, call).await,
            Part::Info => match &self.engine {
                Some(engine) => system::info(engine, call).await,
                None => system::answer(self, &call.method, &call.path, call.version).await,
            },
        }
    }

    async fn version(&self, asked: Option<Version>) -> Result<Version> {
        match &self.engine {
            Some(engine) => engine.range().await?.choose(asked),
            None => ALONE.choose(asked),
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

/// Sends a client to the path in its shortest form, as the engine's router does.
fn elsewhere(request: &Request<Body>, path: &str) -> Answer {
    let mut location = path.to_owned();
    if let Some(query) = request.uri().query() {
        location.push('?');
        location.push_str(query);
    }
    let mut moved = answer::bare(StatusCode::MOVED_PERMANENTLY);
    if let Ok(value) = location.parse() {
        moved.headers_mut().insert(header::LOCATION, value);
    }
    moved
}
