//! HTTP over a Unix socket, byte by byte: what a socket answers, with the borders and times of its chunks.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long a read waits, unless it is told otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first lines of an answer.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Status line and headers as they came, without the empty line.
    pub text: String,
    /// The status' number.
    pub status: u16,
    /// Names as they came, and values.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The value of the first header of this name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether the body comes in chunks.
    pub fn chunked(&self) -> bool {
        self.header("Transfer-Encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    fn parse(text: String) -> Result<Self> {
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("no HTTP status in {first:?}"))?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Ok(Self {
            text,
            status,
            headers,
        })
    }
}

/// One chunk of a body.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// When it was there, since the connection was opened.
    pub at: Duration,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// An answer to its end.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status and headers.
    pub head: Head,
    /// The body, put together.
    pub body: Vec<u8>,
    /// The chunks that the body came in, if it did.
    pub chunks: Vec<Chunk>,
}

impl Answer {
    /// The status' number.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("no JSON: {} {}", self.status(), self.text()))
    }

    /// What an engine says in a refusal; empty where it says nothing.
    pub fn message(&self) -> String {
        let message = self.json().ok().and_then(|body| {
            let text = body.get("message")?.as_str()?;
            Some(text.to_owned())
        });
        message.unwrap_or_default()
    }
}

/// A connection to a socket.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    opened: Instant,
    /// What was read and not yet asked for.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            opened: Instant::now(),
            buffer: Vec::new(),
        })
    }

    /// From now on a read waits this long at most.
    ///
    /// # Errors
    /// When the time is zero.
    pub fn patience(&self, time: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(time))?)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the other side has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref()).context("sending")
    }

    /// Says that no more comes from here; answers can still be read.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn half_close(&self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Reads the next answer's head.
    ///
    /// # Errors
    /// When the connection ends before, or what comes is not HTTP.
    pub fn head(&mut self) -> Result<Head> {
        let text = self.until(b"\r\n\r\n").context("reading a head")?;
        Head::parse(String::from_utf8_lossy(&text).into_owned())
    }

    /// Reads the next chunk of a body; none at its end.
    ///
    /// # Errors
    /// When the connection ends before, or what comes is no chunk.
    pub fn chunk(&mut self) -> Result<Option<Chunk>> {
        let size = self.until(b"\r\n").context("reading a chunk's size")?;
        let size = String::from_utf8_lossy(&size).into_owned();
        let number = size.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(number, 16)
            .with_context(|| format!("{size:?} is not a chunk's size"))?;
        let bytes = self.exactly(length)?;
        let end = self.exactly(2)?;
        ensure!(end == b"\r\n", "a chunk ends with {end:?}");
        let at = self.opened.elapsed();
        Ok((length > 0).then_some(Chunk { at, bytes }))
    }

    /// Reads the body that belongs to a head (of no answer to HEAD), and the chunks it came in.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn body(&mut self, head: &Head) -> Result<(Vec<u8>, Vec<Chunk>)> {
        if head.status < 200 || matches!(head.status, 204 | 304) {
            return Ok((Vec::new(), Vec::new()));
        }
        if head.chunked() {
            let mut chunks = Vec::new();
            while let Some(chunk) = self.chunk()? {
                chunks.push(chunk);
            }
            let body = chunks.iter().flat_map(|chunk| chunk.bytes.clone());
            return Ok((body.collect(), chunks));
        }
        let body = match head.header("Content-Length") {
            Some(length) => self.exactly(length.parse().context("Content-Length")?)?,
            None => self.rest()?,
        };
        Ok((body, Vec::new()))
    }

    /// Reads one whole answer (to anything but HEAD).
    ///
    /// # Errors
    /// As [`Connection::head`] and [`Connection::body`].
    pub fn answer(&mut self) -> Result<Answer> {
        let head = self.head()?;
        let (body, chunks) = self.body(&head)?;
        Ok(Answer { head, body, chunks })
    }

    /// Reads this many bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            ensure!(
                self.more()?,
                "the connection ended after {} of {length} bytes",
                self.buffer.len()
            );
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Reads to the connection's end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn rest(&mut self) -> Result<Vec<u8>> {
        while self.more()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Whether the other side closes within `time`; what it sends meanwhile is kept.
    ///
    /// # Errors
    /// When reading fails.
    pub fn closed_within(&mut self, time: Duration) -> Result<bool> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.patience(PATIENCE)?;
                return Ok(false);
            }
            self.patience(left)?;
            match self.read() {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(true),
                Err(error) => bail!(error),
            }
        }
    }

    /// Reads up to `mark`, which is taken away.
    fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>> {
        let mut seen = 0;
        loop {
            let unseen = self.buffer.get(seen..).unwrap_or_default();
            if let Some(at) = unseen.windows(mark.len()).position(|part| part == mark) {
                let found = self.buffer.drain(..seen + at).collect();
                self.buffer.drain(..mark.len());
                return Ok(found);
            }
            seen = self.buffer.len().saturating_sub(mark.len() - 1);
            ensure!(
                self.more()?,
                "the connection ended after {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    /// Reads once; false at the end.
    fn more(&mut self) -> Result<bool> {
        match self.read() {
            Ok(length) => Ok(length > 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => bail!(
                "nothing came for too long after {:?}",
                String::from_utf8_lossy(&self.buffer)
            ),
            Err(error) => Err(error).context("reading"),
        }
    }

    fn read(&mut self) -> std::io::Result<usize> {
        let mut part = [0; 1 << 16];
        let length = self.stream.read(&mut part)?;
        self.buffer
            .extend_from_slice(part.get(..length).unwrap_or_default());
        Ok(length)
    }
}

/// One request on a connection of its own; the head ends with the empty line that is added here.
///
/// # Errors
/// When nobody answers.
pub fn exchange(socket: &Path, head: &str, body: &[u8]) -> Result<Answer> {
    let mut connection = Connection::open(socket)?;
    connection.send(format!("{head}\r\n\r\n"))?;
    // Whoever refuses a request unread may close before its body is sent; the answer is there all the same.
    let sent = connection.send(body);
    connection.answer().or_else(|error| {
        sent?;
        Err(error)
    })
}

/// A request with an ordinary head: a host, and type and length of a body, if there is one.
///
/// # Errors
/// When nobody answers.
pub fn request(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<(&str, &[u8])>,
) -> Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close");
    if let Some((kind, bytes)) = body {
        head += &format!(
            "\r\nContent-Type: {kind}\r\nContent-Length: {}",
            bytes.len()
        );
    } else if method == "POST" || method == "PUT" {
        head += "\r\nContent-Length: 0";
    }
    exchange(socket, &head, body.map_or(&[], |(_, bytes)| bytes))
        .with_context(|| format!("{method} {path}"))
}
