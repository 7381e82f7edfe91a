//! Paths of requests, read as Docker Engine's router (gorilla/mux) reads them: percent-decoded, and only in their shortest form.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::Version;

/// What must not stand bare in the path of a `Location` header.
const BARE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'#')
    .add(b'?')
    .add(b'{')
    .add(b'}')
    .add(b'%');

/// What a path says.
#[derive(PartialEq, Eq, Debug)]
pub enum Path {
    /// The version that it names, and what follows, decoded: `/networks/x`.
    Route(Option<Version>, String),
    /// It has empty or dot segments: the client is sent to this one, so that nobody reads it in another way.
    Elsewhere(String),
    /// Nothing that Docker's API has.
    Unknown,
}

impl Path {
    /// Of a request's target, as `/v1.41/networks`.
    pub fn parse(raw: &str) -> Self {
        // Names of other bytes are the names of nothing.
        let decoded = percent_decode_str(raw).decode_utf8_lossy();
        if !decoded.starts_with('/') {
            return Self::Unknown;
        }
        let clean = clean(&decoded);
        if clean != decoded {
            return Self::Elsewhere(utf8_percent_encode(&clean, BARE).to_string());
        }
        let Some(rest) = clean.strip_prefix("/v") else {
            return Self::Route(None, clean);
        };
        let (version, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        // Paths such as /volumes begin with a v, too.
        if version.is_empty() || !version.chars().all(digits) {
            return Self::Route(None, clean);
        }
        match Version::parse(version) {
            Some(version) if !path.is_empty() => Self::Route(Some(version), path.to_owned()),
            _ => Self::Unknown,
        }
    }
}

/// The shortest equal path; a slash at its end stays.
fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let ends = path.ends_with('/') && !kept.is_empty();
    format!("/{}{}", kept.join("/"), if ends { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(version: Option<&str>, path: &str) -> Path {
        Path::Route(version.and_then(Version::parse), path.to_owned())
    }

    #[test]
    fn p04_paths_are_read_as_dockers_router_reads_them() {
        assert_eq!(Path::parse("/networks"), route(None, "/networks"));
        assert_eq!(
            Path::parse("/v1.41/networks/"),
            route(Some("1.41"), "/networks/")
        );
        assert_eq!(Path::parse("/volumes/x"), route(None, "/volumes/x"));
        assert_eq!(Path::parse("/vx/networks"), route(None, "/vx/networks"));
        assert_eq!(Path::parse("/v1.41"), Path::Unknown);
        assert_eq!(
            Path::parse("/v1.41/networks/a%20b"),
            route(Some("1.41"), "/networks/a b")
        );
        for (odd, clean) in [
            ("//networks", "/networks"),
            ("/v1.41/../networks", "/networks"),
            ("/v1.41/containers/%2e%2e/networks", "/v1.41/networks"),
            ("/containers/%2Fweb/json", "/containers/web/json"),
            ("/networks/a/./b%3f", "/networks/a/b%3F"),
        ] {
            assert_eq!(Path::parse(odd), Path::Elsewhere(clean.into()), "{odd}");
        }
        assert_eq!(
            Path::parse("/networks/%ff%00"),
            route(None, "/networks/\u{fffd}\0")
        );
        assert_eq!(Path::parse("networks"), Path::Unknown);
        assert_eq!(Path::parse("*"), Path::Unknown);
    }
}
