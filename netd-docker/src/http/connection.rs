//! A client's connection: its requests, one after the other, each answered here or by the engine.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task,
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Method, Request, StatusCode, request::Parts};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame};
use tokio::{
    io::AsyncWriteExt as _,
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Answer,
    answer::{BoxError, Passed},
    head::{self, Asked, Framing, Malformed},
    measure::{Measure, Part},
    relay::{End, Relayed, relay},
    wire::{Reader, Wire},
};
use crate::{adapter::Adapter, refusal::Refusal};

/// How long a client may take for the head of a request, as Docker Engine's.
const HEAD: Duration = Duration::from_secs(300);
/// How much of a body that nobody wants is read, so that the client can ask again.
const UNWANTED: usize = 256 << 10;
/// How long a client that is refused may take to read why.
const LINGER: Duration = Duration::from_millis(500);

/// How much it may send meanwhile.
const LINGERED: usize = 16 << 20;

/// Leave to send a body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Serves a connection to its end.
pub async fn serve(adapter: Arc<Adapter>, stream: UnixStream) {
    let mut connection = Connection {
        adapter,
        client: Wire::new(stream),
        engine: None,
    };
    let mut first = true;
    loop {
        match connection.request(first).await {
            Ok(true) => first = false,
            Ok(false) => break,
            Err(e) => {
                tracing::debug!("a connection: {e}");
                return;
            }
        }
    }
    // Who still sends would lose the answer with the connection.
    let client = &mut connection.client;
    if client.to.shutdown().await.is_ok() {
        let _ = timeout(LINGER, async {
            let mut read = client.from.held.len();
            client.from.held.clear();
            while read < LINGERED && client.from.more().await.unwrap_or_default() {
                read += client.from.held.len();
                client.from.held.clear();
            }
        })
        .await;
    }
}

struct Connection {
    adapter: Arc<Adapter>,
    client: Wire,
    /// Kept for the client's next request; no other client's goes there.
    engine: Option<Wire>,
}

impl Connection {
    /// Answers one request. Whether another may follow.
    async fn request(&mut self, first: bool) -> io::Result<bool> {
        let asked = match self.head(first).await? {
            Some(Ok(asked)) => asked,
            Some(Err(malformed)) => {
                self.client
                    .to
                    .write_all(malformed.wire().as_bytes())
                    .await?;
                return Ok(false);
            }
            None => return Ok(false),
        };
        let mut measure = Measure::new(asked.framing);
        if asked.expects_else() {
            let status = StatusCode::EXPECTATION_FAILED;
            let none = Framing::Length(0);
            let wire = head::write_answer(status, &HeaderMap::new(), none, false, false);
            self.client.to.write_all(&wire).await?;
            return Ok(false);
        }
        if self.adapter.passes(&asked.parts) {
            return self.pass(&asked, &asked.parts, None, &mut measure).await;
        }
        let (mut answer, read) = self.handle(&asked, &mut measure).await;
        let Some(passed) = answer.extensions_mut().remove::<Passed>() else {
            return self.answer(&asked, answer, &mut measure).await;
        };
        let Some(request) = passed.take() else {
            return Ok(false);
        };
        let (parts, body) = request.into_parts();
        let body = match read {
            true => match body.collect().await {
                Ok(body) => Some(body.to_bytes()),
                Err(e) => return Err(io::Error::other(e)),
            },
            false => None,
        };
        self.pass(&asked, &parts, body, &mut measure).await
    }

    /// The head of the next request; none: there is no next one.
    async fn head(&mut self, first: bool) -> io::Result<Option<Result<Asked, Malformed>>> {
        let from = &mut self.client.from;
        // As long as it likes a client may ask nothing, but not ask slowly.
        if !first && from.held.is_empty() && !from.more().await? {
            return Ok(None);
        }
        from.skip_breaks();
        let length = match timeout(HEAD, from.head()).await {
            Ok(Ok(Some(length))) => length,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(e)) if e.kind() == io::ErrorKind::FileTooLarge => {
                return Ok(Some(Err(Malformed::TOO_LONG)));
            }
            Ok(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Some(Err(Malformed::REQUEST)));
            }
            Ok(Err(e)) => return Err(e),
            Err(_) => return Ok(None),
        };
        let bytes = from.held.split_to(length);
        Ok(Some(head::request(&bytes)))
    }

    /// Has a request answered here, and whether its body was read.
    async fn handle(&mut self, asked: &Asked, measure: &mut Measure) -> (Answer, bool) {
        let (pieces, taken) = mpsc::channel(1);
        let (want, wanted) = oneshot::channel();
        let length = match asked.framing {
            Framing::None => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::End => None,
        };
        let body = Pieces {
            want: Some(want),
            taken,
            length,
        };
        let mut request = Request::new(body.boxed());
        *request.method_mut() = asked.parts.method.clone();
        *request.uri_mut() = asked.parts.uri.clone();
        *request.version_mut() = asked.parts.version;
        *request.headers_mut() = asked.parts.headers.clone();
        // A task of its own: what was begun is brought to its end, also for a client that goes.
        let mut answered = tokio::spawn(Arc::clone(&self.adapter).boxed(request));
        let mut read = false;
        let answer = {
            let Wire { from, to } = &mut self.client;
            let mut feed = pin!(async {
                let pieces = pieces;
                if wanted.await.is_err() {
                    return;
                }
                read = true;
                if asked.expects && to.write_all(CONTINUE).await.is_err() {
                    return;
                }
                while let Some(piece) = piece(from, measure).await {
                    let broken = piece.is_err();
                    if pieces.send(piece).await.is_err() || broken {
                        return;
                    }
                }
            });
            let mut fed = false;
            loop {
                tokio::select! {
                    answer = &mut answered => break answer,
                    () = &mut feed, if !fed => fed = true,
                }
            }
        };
        let answer = answer.unwrap_or_else(|e| {
            tracing::error!("answering a request: {e}");
            Refusal::internal("answering the request failed: see the log of the Docker socket")
                .answer()
        });
        (answer, read)
    }

    /// Sends an answer of our own. Whether another request may follow.
    async fn answer(
        &mut self,
        asked: &Asked,
        answer: Answer,
        measure: &mut Measure,
    ) -> io::Result<bool> {
        let (head, mut body) = answer.into_parts();
        let without = asked.parts.method == Method::HEAD;
        let length = body.size_hint().exact();
        let framing = match length {
            _ if matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            ) =>
            {
                Framing::None
            }
            Some(length) => Framing::Length(length),
            None if asked.old() => Framing::End,
            None => Framing::Chunked,
        };
        let rest = asked.keeps && framing != Framing::End && !asked.expects;
        let keeps = asked.keeps
            && framing != Framing::End
            && (measure.done() || (rest && self.skip(measure).await));
        let mut wire = head::write_answer(head.status, &head.headers, framing, asked.old(), keeps);
        if without || framing == Framing::None {
            self.client.to.write_all(&wire).await?;
            return Ok(keeps);
        }
        if length.is_some() {
            let whole = body.collect().await.map_err(io::Error::other)?;
            wire.extend_from_slice(&whole.to_bytes());
            self.client.to.write_all(&wire).await?;
            return Ok(keeps);
        }
        self.client.to.write_all(&wire).await?;
        let chunked = framing == Framing::Chunked;
        loop {
            let frame = tokio::select! {
                biased;
                // As the engine ends what it tells a client that has closed its side.
                () = self.client.from.end() => None,
                frame = body.frame() => frame,
            };
            let Some(frame) = frame else {
                break;
            };
            let frame = frame.map_err(io::Error::other)?;
            let Some(piece) = frame.data_ref().filter(|piece| !piece.is_empty()) else {
                continue;
            };
            wire.clear();
            if chunked {
                wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            wire.extend_from_slice(piece);
            if chunked {
                wire.extend_from_slice(b"\r\n");
            }
            self.client.to.write_all(&wire).await?;
        }
        if chunked {
            self.client.to.write_all(b"0\r\n\r\n").await?;
        }
        Ok(keeps && !self.client.from.over())
    }

    /// Reads what is left of a body that nobody wants, if it is not long.
    async fn skip(&mut self, measure: &mut Measure) -> bool {
        let from = &mut self.client.from;
        let skipped = timeout(LINGER, async {
            let mut read = 0;
            while let Some(piece) = piece(from, measure).await {
                match piece {
                    Ok(piece) if read + piece.len() <= UNWANTED => read += piece.len(),
                    _ => return false,
                }
            }
            true
        });
        skipped.await.unwrap_or_default()
    }

    /// Has a request answered by the engine. Whether another may follow.
    async fn pass(
        &mut self,
        asked: &Asked,
        parts: &Parts,
        body: Option<Bytes>,
        measure: &mut Measure,
    ) -> io::Result<bool> {
        let adapter = Arc::clone(&self.adapter);
        let Some(engine) = &adapter.engine else {
            return Ok(false);
        };
        let mut kept = self.engine.take().filter(Wire::quiet);
        loop {
            let again = kept.is_some() && (body.is_some() || measure.done());
            let mut wire = match kept.take() {
                Some(wire) => wire,
                None => match engine.stream().await {
                    Ok(stream) => Wire::new(stream),
                    Err(refusal) => {
                        let answer = adapter.stamped(refusal.answer());
                        return self.answer(asked, answer, measure).await;
                    }
                },
            };
            let relayed = Relayed {
                parts,
                body: body.clone(),
                framing: asked.framing,
                measure,
                keeps: asked.keeps,
            };
            match relay(&mut self.client, &mut wire, relayed).await? {
                End::Both => {
                    self.engine = Some(wire);
                    return Ok(true);
                }
                End::Neither => return Ok(false),
                // It had ended what was kept, as it may.
                End::Silent if again => {}
                End::Silent => {
                    let refusal = engine.broken("it closed the connection without an answer");
                    let answer = adapter.stamped(refusal.answer());
                    return self.answer(asked, answer, measure).await;
                }
            }
        }
    }
}

/// The next piece of a body's content; none at its end.
async fn piece(from: &mut Reader, measure: &mut Measure) -> Option<Result<Bytes, BoxError>> {
    loop {
        match from.part(measure).await {
            Ok(None) => return None,
            Ok(Some(Part::Frame(length))) => from.held.advance(length),
            Ok(Some(Part::Content(length))) => {
                return Some(Ok(from.held.split_to(length).freeze()));
            }
            Err(e) => return Some(Err(e.into())),
        }
    }
}

/// A client's body, which is read when somebody asks for it.
struct Pieces {
    want: Option<oneshot::Sender<()>>,
    taken: mpsc::Receiver<Result<Bytes, BoxError>>,
    length: Option<u64>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.length == Some(0) {
            return task::Poll::Ready(None);
        }
        if let Some(want) = self.want.take() {
            let _ = want.send(());
        }
        let piece = self.taken.poll_recv(context);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }
}
