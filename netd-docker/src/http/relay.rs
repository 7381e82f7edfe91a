//! A request that is the engine's, byte by byte: its body as it comes, the answer as it comes, and what takes the connection over.

use std::{io, pin::pin};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, request::Parts};
use tokio::{io::AsyncWriteExt as _, net::unix::OwnedWriteHalf};

use super::{
    head::{self, Answered, Framing},
    measure::{Measure, Part},
    path::Path,
    tunnel,
    wire::{Reader, Wire, send},
};

/// How a relayed request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Both connections may carry another request.
    Both,
    /// Both are over.
    Neither,
    /// The engine closed before it answered anything: nothing was sent to the client.
    Silent,
}

/// What is relayed.
#[derive(Debug)]
pub struct Relayed<'a> {
    /// The request's head.
    pub parts: &'a Parts,
    /// Its body, where the client's was read already.
    pub body: Option<Bytes>,
    /// How the client's body is measured, and where in it its next byte is.
    pub framing: Framing,
    /// The same.
    pub measure: &'a mut Measure,
    /// Whether the client wants to ask more.
    pub keeps: bool,
}

/// Whether requests of this kind take the connection over.
pub fn takes_over(method: &Method, path: &str) -> bool {
    let Path::Route(_, path) = Path::parse(path) else {
        return false;
    };
    let post = *method == Method::POST;
    let (container, exec) = (path.starts_with("/containers/"), path.starts_with("/exec/"));
    (post && matches!(path.as_str(), "/session" | "/grpc"))
        || (post && container && path.ends_with("/attach"))
        || (post && exec && path.ends_with("/start"))
        || (container && path.ends_with("/attach/ws"))
}

/// Relays one request on these connections.
///
/// # Errors
/// When the client is gone, or the answer broke off: both connections are over.
pub async fn relay(client: &mut Wire, engine: &mut Wire, relayed: Relayed<'_>) -> io::Result<End> {
    let Relayed {
        parts,
        body,
        framing,
        measure,
        keeps,
    } = relayed;
    let takes = takes_over(&parts.method, parts.uri.path());
    let framing = match &body {
        Some(body) => Framing::Length(body.len() as u64),
        None => framing,
    };
    let mut wire = head::write_request(parts, framing, takes);
    wire.extend_from_slice(body.as_deref().unwrap_or_default());
    if engine.to.write_all(&wire).await.is_err() {
        return Ok(End::Silent);
    }
    let answered = {
        let mut down = pin!(answer(
            &mut engine.from,
            &mut client.to,
            &parts.method,
            takes
        ));
        // The body goes, and its answer may come before all of it went.
        let (early, whole) = {
            let mut up = pin!(upload(&mut client.from, &mut engine.to, measure, framing));
            tokio::select! {
                biased;
                sent = &mut up => (None, sent.is_ok()),
                answered = &mut down => {
                    let answered = answered?;
                    // Where the engine goes on with the connection, it reads the rest.
                    let reads = answered.is_some_and(|a| a.keeps || over(&a, takes));
                    (Some(answered), reads && up.await.is_ok())
                }
            }
        };
        let answered = match early {
            Some(answered) => answered,
            None => {
                let watched = async {
                    if whole {
                        client.from.end().await;
                    }
                    // The engine sees what it would see of the client itself: it ends what nobody waits for. Who has asked
                    // more is waiting.
                    if client.from.held.is_empty() || !whole {
                        let _ = engine.to.shutdown().await;
                    }
                    client.from.gone().await;
                };
                tokio::select! {
                    biased;
                    answered = &mut down => answered?,
                    () = watched => return Ok(End::Neither),
                }
            }
        };
        match answered {
            None => return Ok(End::Silent),
            Some(answered) if over(&answered, takes) => None,
            Some(_) if !whole => return Ok(End::Neither),
            Some(answered) => Some(answered),
        }
    };
    let Some(answered) = answered else {
        tunnel::join(client, engine).await;
        return Ok(End::Neither);
    };
    // A body that ends with the connection ends there for the client, too.
    if !keeps || answered.framing == Framing::End {
        return Ok(End::Neither);
    }
    Ok(match answered.keeps {
        true if !client.from.over() => End::Both,
        // It was told to the client.
        _ => End::Neither,
    })
}

/// Whether this answer is where the connection is taken over: it says so, or has a body without an end.
fn over(answered: &Answered, takes: bool) -> bool {
    takes
        && (answered.status == 101 || (answered.status == 200 && answered.framing == Framing::End))
}

/// Sends the answer's head and, unless it takes the connection over, its body. None: there was none.
async fn answer(
    from: &mut Reader,
    to: &mut OwnedWriteHalf,
    method: &Method,
    takes: bool,
) -> io::Result<Option<Answered>> {
    let broken = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut told = false;
    let (answered, length) = loop {
        let length = match from.head().await {
            Ok(Some(length)) => length,
            _ if !told => return Ok(None),
            Ok(None) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Err(e) => return Err(e),
        };
        let head = from.held.get(..length).unwrap_or_default();
        let answered = head::answer(head, method).ok_or_else(|| broken("no HTTP answer"))?;
        if answered.status == 101 && !takes {
            return Err(broken("an upgrade that was not asked for"));
        }
        if answered.status >= 200 || answered.status == 101 {
            break (answered, length);
        }
        send(&mut from.held, length, to).await?;
        told = true;
    };
    if over(&answered, takes) {
        send(&mut from.held, length, to).await?;
        return Ok(Some(answered));
    }
    let mut measure = Measure::new(answered.framing);
    let mut ready = length;
    loop {
        // All that is there goes at once.
        while let Some(rest) = from.held.get(ready..)
            && !rest.is_empty()
            && !measure.done()
        {
            let part = measure.next(rest).map_err(|_| broken("garbled chunks"))?;
            ready += part.len();
        }
        send(&mut from.held, ready, to).await?;
        ready = 0;
        if measure.done() {
            return Ok(Some(answered));
        }
        if !from.more().await? {
            return match measure.lasts() {
                true => Ok(Some(answered)),
                false => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            };
        }
    }
}

/// Sends the client's body, in chunks of our own where it comes in chunks.
async fn upload(
    from: &mut Reader,
    to: &mut OwnedWriteHalf,
    measure: &mut Measure,
    framing: Framing,
) -> io::Result<()> {
    let chunked = framing == Framing::Chunked;
    let mut ready = BytesMut::new();
    while let Some(part) = from.part(measure).await? {
        match part {
            Part::Frame(length) => from.held.advance(length),
            Part::Content(length) if !chunked => send(&mut from.held, length, to).await?,
            Part::Content(length) => {
                ready.extend_from_slice(format!("{length:x}\r\n").as_bytes());
                ready.extend_from_slice(&from.held.split_to(length));
                ready.extend_from_slice(b"\r\n");
            }
        }
        // Chunks that came together go together.
        if from.held.is_empty() && !ready.is_empty() {
            to.write_all(&ready).await?;
            ready.clear();
        }
    }
    if chunked {
        ready.extend_from_slice(b"0\r\n\r\n");
        to.write_all(&ready).await?;
    }
    Ok(())
}
