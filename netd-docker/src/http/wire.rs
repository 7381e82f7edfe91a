//! Streams that are read ahead, and whether the other side is gone.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use bytes::{Buf as _, BytesMut};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    head,
    measure::{Measure, Part},
};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// Bytes that are read ahead of whoever asked before.
const AHEAD: usize = 64 << 10;

/// One side's connection.
#[derive(Debug)]
pub struct Wire {
    /// What comes from it.
    pub from: Reader,
    /// What goes to it.
    pub to: OwnedWriteHalf,
}

impl Wire {
    /// Of a stream from which nothing was read.
    pub fn new(stream: UnixStream) -> Self {
        let (half, to) = stream.into_split();
        let from = Reader {
            half,
            held: BytesMut::new(),
            ended: false,
        };
        Self { from, to }
    }

    /// Whether the other side has said nothing, and not closed.
    pub fn quiet(&self) -> bool {
        if !self.from.held.is_empty() || self.from.ended {
            return false;
        }
        let mut byte = [0];
        let tried = self.from.half.try_read(&mut byte);
        tried.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
    }
}

/// What comes of a stream.
#[derive(Debug)]
pub struct Reader {
    half: OwnedReadHalf,
    /// Read, and not yet used.
    pub held: BytesMut,
    /// Whether the other side sends no more.
    pub ended: bool,
}

impl Reader {
    /// Reads on; false at the end. Nothing is lost where it is not awaited to its end.
    pub async fn more(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.held.reserve(CHUNK);
        let read = self.half.read_buf(&mut self.held).await?;
        self.ended = read == 0;
        Ok(read > 0)
    }

    /// Whether nothing more comes, nor is held.
    pub fn over(&self) -> bool {
        self.ended && self.held.is_empty()
    }

    /// Waits until a head is there and gives its length; none: the stream ended before its first byte.
    pub async fn head(&mut self) -> io::Result<Option<usize>> {
        let mut seen = 0;
        loop {
            // A head's last line break may be among those that were seen.
            let from = seen;
            if let Some(end) = head::end(self.held.get(from..).unwrap_or_default()) {
                return Ok(Some(from + end));
            }
            let last = self.held.iter().rposition(|b| *b == b'\n');
            let before = self.held.get(..last.unwrap_or_default());
            let before = before.and_then(|b| b.iter().rposition(|b| *b == b'\n'));
            seen = before.unwrap_or_default();
            if self.held.len() > head::LONGEST {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            if !self.more().await? {
                if self.held.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
    }

    /// The next part of a body, which stays held; none at its end.
    pub async fn part(&mut self, measure: &mut Measure) -> io::Result<Option<Part>> {
        if measure.done() {
            return Ok(None);
        }
        if self.held.is_empty() && !self.more().await? {
            if measure.lasts() {
                return Ok(None);
            }
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let part = measure.next(&self.held);
        let part =
            part.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "garbled chunks"))?;
        Ok(Some(part))
    }

    /// Takes the empty lines away that old clients send behind a body.
    pub fn skip_breaks(&mut self) {
        let breaks = self.held.iter().take(4);
        let breaks = breaks.take_while(|b| matches!(b, b'\r' | b'\n')).count();
        self.held.advance(breaks);
    }

    /// Waits until the other side sends no more, or is gone. What it sends meanwhile is held.
    pub async fn end(&mut self) {
        while self.held.len() < AHEAD {
            match self.more().await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
        // Whoever asks that much ahead is watched for being gone only.
        self.gone().await;
    }

    /// Waits until the other side is gone: it neither sends nor reads any more.
    pub async fn gone(&self) {
        if let Err(e) = gone(self.half.as_ref()).await {
            tracing::debug!("watching a connection: {e}");
            std::future::pending::<()>().await;
        }
    }
}

async fn gone(stream: &UnixStream) -> io::Result<()> {
    // A descriptor of its own has a registration of its own: the stream's is always ready once one side has ended.
    let watched: OwnedFd = stream.as_fd().try_clone_to_owned()?;
    let watched = UnixStream::from_std(watched.into())?;
    loop {
        watched.writable().await?;
        let asked = watched.try_io(Interest::WRITABLE, || {
            let mut asked = [PollFd::new(watched.as_fd(), PollFlags::empty())];
            poll(&mut asked, PollTimeout::ZERO)?;
            let said = asked
                .first()
                .and_then(PollFd::revents)
                .unwrap_or(PollFlags::empty());
            if said.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
                return Ok(());
            }
            // Waits for the next change.
            Err(io::Error::from(io::ErrorKind::WouldBlock))
        });
        match asked {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            asked => return asked,
        }
    }
}

/// Sends the first `length` bytes that are held. What was sent is held no more, also where this is not awaited to its end.
pub async fn send(held: &mut BytesMut, length: usize, to: &mut OwnedWriteHalf) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let sent = to.write(held.get(..left).unwrap_or_default()).await?;
        if sent == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        held.advance(sent);
        left -= sent;
    }
    Ok(())
}

/// Copies what comes until its end, and ends it at the other side.
pub async fn copy(from: &mut Reader, to: &mut OwnedWriteHalf) -> io::Result<()> {
    loop {
        let length = from.held.len();
        send(&mut from.held, length, to).await?;
        if !from.more().await? {
            return to.shutdown().await;
        }
    }
}
