//! Bodies that are lines of JSON without an end: events, figures.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;

/// The longest line that is read, bytes.
const LONGEST_LINE: usize = 1 << 20;

/// Lines of a body as they come.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    held: BytesMut,
}

impl Lines {
    /// Of this body.
    pub fn new(body: Incoming) -> Self {
        let held = BytesMut::new();
        Self { body, held }
    }

    /// As [`Lines::next`]; none, too, when nobody takes any more what is made of them.
    pub async fn next_for<T>(&mut self, taker: &mpsc::Sender<T>) -> Option<Bytes> {
        tokio::select! {
            () = taker.closed() => None,
            line = self.next() => line,
        }
    }

    /// The next line, without what separates it; none: the body is over.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(at) = self.held.iter().position(|b| *b == b'\n') {
                let line = self.held.split_to(at + 1).freeze();
                let from = line.iter().take_while(|b| **b == 0x1e).count();
                let line = line.slice(from.min(at)..at);
                if line.is_empty() {
                    continue;
                }
                return Some(line);
            }
            if self.held.len() > LONGEST_LINE {
                tracing::warn!("the Docker engine sends a line of more than {LONGEST_LINE} bytes");
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(piece) = frame.data_ref() {
                self.held.extend_from_slice(piece);
            }
        }
    }
}
