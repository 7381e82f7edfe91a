//! Heads of requests and answers as they stand on the wire, read as Go's server reads them.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

pub use super::malformed::Malformed;

/// The longest head, bytes, as Docker Engine's.
pub const LONGEST: usize = 1 << 20;
/// The most headers of one head.
const MOST: usize = 256;
/// What this program's own type of targets cannot carry bare, and Go's can; both read the encoded form alike.
const BARE: &AsciiSet = &CONTROLS.add(b'"').add(b'#').add(b'<').add(b'>').add(b'`');

/// How a body is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, the last of them empty.
    Chunked,
    /// To the connection's end; answers only.
    End,
}

/// A request's head.
#[derive(Debug)]
pub struct Asked {
    /// Method, target (path and query only) and headers.
    pub parts: http::request::Parts,
    /// Its body.
    pub framing: Framing,
    /// Whether the client wants to ask more on the same connection.
    pub keeps: bool,
    /// Whether it waits for leave to send the body.
    pub expects: bool,
}

impl Asked {
    /// Whether it expects what no server knows.
    pub fn expects_else(&self) -> bool {
        let expected = self.parts.headers.get(header::EXPECT);
        expected.is_some_and(|value| {
            let known = value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            !known && !value.is_empty() && !self.old()
        })
    }

    /// Whether it speaks HTTP/1.0.
    pub fn old(&self) -> bool {
        self.parts.version == http::Version::HTTP_10
    }
}

/// Where the head ends that `held` begins with: the bytes up to and with its empty line.
pub fn end(held: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let rest = held.get(from..)?;
        let line = rest.iter().position(|b| *b == b'\n')?;
        match rest.get(line + 1..)? {
            [b'\n', ..] => return Some(from + line + 2),
            [b'\r', b'\n', ..] => return Some(from + line + 3),
            _ => from += line + 1,
        }
    }
}

/// Reads a request's head, with its empty line.
///
/// # Errors
/// What Go's server refuses, in its words.
pub fn request(bytes: &[u8]) -> Result<Asked, Malformed> {
    let bad = || Malformed::REQUEST;
    let line = bytes.iter().position(|b| *b == b'\n').ok_or_else(bad)?;
    let (first, rest) = bytes.split_at(line + 1);
    let first = first.strip_suffix(b"\n").unwrap_or(first);
    let first = first.strip_suffix(b"\r").unwrap_or(first);
    let mut words = first.splitn(3, |byte| *byte == b' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    let method = Method::from_bytes(method).map_err(|_| bad())?;
    let old = protocol(version)?;
    let headers = headers(rest)?;
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts == 0 && !old {
        return Err(Malformed::same(
            "400 Bad Request: missing required Host header",
        ));
    }
    if hosts > 1 {
        return Err(bad());
    }
    let framing = framing(&headers, old)?;
    let keeps = if old {
        names(&headers, "keep-alive")
    } else {
        !names(&headers, "close")
    };
    let expects = headers
        .get(header::EXPECT)
        .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        && !old
        && !matches!(framing, Framing::None | Framing::Length(0));
    let mut asked = Request::new(());
    *asked.method_mut() = method;
    *asked.uri_mut() = uri(target)?;
    *asked.headers_mut() = headers;
    *asked.version_mut() = if old {
        http::Version::HTTP_10
    } else {
        http::Version::HTTP_11
    };
    let (parts, ()) = asked.into_parts();
    Ok(Asked {
        parts,
        framing,
        keeps,
        expects,
    })
}

/// Whether it is HTTP/1.0; later versions of HTTP/1 are read as 1.1.
fn protocol(version: &[u8]) -> Result<bool, Malformed> {
    match version.strip_prefix(b"HTTP/") {
        Some([b'1', b'.', minor]) if minor.is_ascii_digit() => Ok(*minor == b'0'),
        Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit() => Err(
            Malformed::same("505 HTTP Version Not Supported: unsupported protocol version"),
        ),
        _ => Err(Malformed::REQUEST),
    }
}

fn headers(bytes: &[u8]) -> Result<HeaderMap, Malformed> {
    let mut found = [httparse::EMPTY_HEADER; MOST];
    let found = match httparse::parse_headers(bytes, &mut found) {
        Ok(httparse::Status::Complete((_, found))) => found,
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TOO_LONG),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Malformed::REQUEST),
    };
    let mut headers = HeaderMap::with_capacity(found.len());
    for field in found.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Malformed::REQUEST);
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// How a request's body is measured. Whatever is said twice and not alike is refused, so that nobody behind reads it in another way.
fn framing(headers: &HeaderMap, old: bool) -> Result<Framing, Malformed> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let (false, Some(coding)) = (old, codings.next()) {
        let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() {
            return Err(Malformed {
                status: "501 Not Implemented",
                body: "Unsupported transfer encoding",
            });
        }
        return Ok(Framing::Chunked);
    }
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let said = number(value).ok_or(Malformed::REQUEST)?;
        if length.is_some_and(|before| before != said) {
            return Err(Malformed::REQUEST);
        }
        length = Some(said);
    }
    Ok(length.map_or(Framing::None, Framing::Length))
}

fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse::<u64>().ok())??;
    i64::try_from(number).is_ok().then_some(number)
}

/// Whether `Connection` names this.
fn names(headers: &HeaderMap, what: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case(what))
}

/// Path and query of a target in origin or absolute form.
fn uri(target: &[u8]) -> Result<Uri, Malformed> {
    let bad = || Malformed::REQUEST;
    if target.iter().any(u8::is_ascii_control) {
        return Err(bad());
    }
    let target = percent_encode(target, BARE).to_string();
    let path = if target.starts_with('/') {
        target.as_str()
    } else {
        let (scheme, rest) = target.split_once("://").ok_or_else(bad)?;
        let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(letters) {
            return Err(bad());
        }
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        rest.get(at..).unwrap_or_default()
    };
    if !escapes(path.split('?').next().unwrap_or_default()) {
        return Err(bad());
    }
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let whole = http::uri::PathAndQuery::try_from(whole).map_err(|_| bad())?;
    Ok(Uri::from(whole))
}

/// Whether each percent sign is followed by two hexadecimal digits.
fn escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    })
}

/// A request's head as it goes to the engine: what it says of its body once and in one way.
pub fn write_request(parts: &http::request::Parts, framing: Framing, upgrades: bool) -> Vec<u8> {
    let version = if parts.version == http::Version::HTTP_10 {
        "1.0"
    } else {
        "1.1"
    };
    let target = parts.uri.path_and_query().map_or("/", |t| t.as_str());
    let mut wire = format!("{} {target} HTTP/{version}\r\n", parts.method).into_bytes();
    for (name, value) in &parts.headers {
        let measured = *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING;
        // An upgrade that nobody asked about could carry requests that nobody here sees.
        if measured || (*name == header::UPGRADE && !upgrades) {
            continue;
        }
        field(&mut wire, name, value);
    }
    measure(&mut wire, framing);
    wire.extend_from_slice(b"\r\n");
    wire
}

fn measure(wire: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => {
            wire.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        Framing::Chunked => wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::End => {}
    }
}

/// A header in Go's spelling.
fn field(wire: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let mut first = true;
    for byte in name.as_str().bytes() {
        wire.push(if first {
            byte.to_ascii_uppercase()
        } else {
            byte
        });
        first = byte == b'-';
    }
    wire.extend_from_slice(b": ");
    wire.extend_from_slice(value.as_bytes());
    wire.extend_from_slice(b"\r\n");
}

/// Head of an answer of our own.
pub fn write_answer(
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    old: bool,
    keeps: bool,
) -> Vec<u8> {
    let version = if old { "1.0" } else { "1.1" };
    let reason = status.canonical_reason().unwrap_or("Unknown");
    let mut wire = format!("HTTP/{version} {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers {
        let ours = [
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::CONNECTION,
        ];
        if !ours.contains(name) {
            field(&mut wire, name, value);
        }
    }
    if !headers.contains_key(header::DATE) {
        let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
        wire.extend_from_slice(format!("Date: {now}\r\n").as_bytes());
    }
    measure(&mut wire, framing);
    match (old, keeps) {
        (true, true) => wire.extend_from_slice(b"Connection: keep-alive\r\n"),
        (false, false) => wire.extend_from_slice(b"Connection: close\r\n"),
        _ => {}
    }
    wire.extend_from_slice(b"\r\n");
    wire
}

/// What the head of an answer of the engine's says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    /// The status' number.
    pub status: u16,
    /// How its body is measured.
    pub framing: Framing,
    /// Whether the engine takes another request on the same connection.
    pub keeps: bool,
}

/// Reads the head of an answer to a request of this method; none: it is no HTTP/1.
pub fn answer(bytes: &[u8], method: &Method) -> Option<Answered> {
    let mut found = [httparse::EMPTY_HEADER; MOST];
    let mut head = httparse::Response::new(&mut found);
    if !head.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let (status, old) = (head.code?, head.version? == 0);
    let has = |name: &str, what: &str| {
        head.headers.iter().any(|field| {
            let value = std::str::from_utf8(field.value).unwrap_or_default();
            let mut tokens = value.split(',');
            field.name.eq_ignore_ascii_case(name)
                && tokens.any(|token| token.trim().eq_ignore_ascii_case(what))
        })
    };
    let mut keeps = if old {
        has("connection", "keep-alive")
    } else {
        !has("connection", "close")
    };
    let length = head
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let bare = *method == Method::HEAD || status < 200 || matches!(status, 204 | 304);
    let framing = if bare {
        Framing::None
    } else if has("transfer-encoding", "chunked") {
        Framing::Chunked
    } else if let Some(length) = length {
        Framing::Length(number(&HeaderValue::from_bytes(length.value).ok()?)?)
    } else {
        keeps = false;
        Framing::End
    };
    Some(Answered {
        status,
        framing,
        keeps,
    })
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
