//! Tests of heads.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Asked, Malformed> {
    request(text.as_bytes())
}

fn status(text: &str) -> &'static str {
    read(text).unwrap_err().status
}

#[test]
fn p04_heads_are_read_as_gos_server_reads_them() {
    let asked = read("POST http://x/v1.51/a?b={\"c\"} HTTP/1.1\r\nHost: d\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(asked.parts.uri, "/v1.51/a?b={%22c%22}");
    assert_eq!(asked.framing, Framing::Length(7));
    assert!(asked.keeps && asked.expects && !asked.old());
    let asked = read("GET /a#b?c#d HTTP/1.0\n\n").unwrap();
    assert_eq!(asked.parts.uri, "/a%23b?c%23d");
    assert!(asked.old() && !asked.keeps);
    let asked = request(b"GET FTP://x?\xff HTTP/1.0\n\n").unwrap();
    assert_eq!(asked.parts.uri, "/?%FF");
    assert!(
        read("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            .unwrap()
            .keeps
    );
    assert!(
        !read("GET / HTTP/1.2\r\nHost: d\r\nConnection: x, close\r\n\r\n")
            .unwrap()
            .keeps
    );
    // Of both, the chunks count; the same length twice is one.
    let both =
        "POST / HTTP/1.1\r\nHost:\r\nContent-Length: 4\r\nTransfer-Encoding: Chunked\r\n\r\n";
    assert_eq!(read(both).unwrap().framing, Framing::Chunked);
    let twice = "POST / HTTP/1.1\r\nHost:\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n";
    assert_eq!(read(twice).unwrap().framing, Framing::Length(4));
    // HTTP/1.0 has no chunks.
    let old = "POST / HTTP/1.0\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(read(old).unwrap().framing, Framing::Length(4));
}

#[test]
fn p04_what_could_be_read_in_two_ways_is_refused() {
    for head in [
        "hello\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: d\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: d\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: d\r\n\r\n",
        "GET x:/ HTTP/1.1\r\nHost: d\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: d\r\n\r\n",
        "GET /\u{7f} HTTP/1.1\r\nHost: d\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: d\r\n\r\n",
        "GET / http/1.1\r\nHost: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: d\r\nHost: e\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: d\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: +2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 2, 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: d\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 18446744073709551615\r\n\r\n",
    ] {
        assert_eq!(status(head), "400 Bad Request", "{head:?}");
    }
    for coding in [
        "gzip",
        "chunked, chunked",
        "gzip, chunked",
        "identity",
        "\u{b}chunked",
        "chunked\r\nTransfer-Encoding: chunked",
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: {coding}\r\n\r\n");
        assert_ne!(
            read(&head).map(|a| a.framing).ok(),
            Some(Framing::Chunked),
            "{coding}"
        );
        assert!(read(&head).is_err(), "{coding}");
    }
    assert!(status("GET / HTTP/2.0\r\nHost: d\r\n\r\n").starts_with("505"));
    assert!(status("GET / HTTP/1.1\r\n\r\n").ends_with("missing required Host header"));
}

#[test]
fn p04_requests_go_on_saying_their_length_once() {
    let head = "POST /a HTTP/1.1\r\nhost: d\r\nContent-Length: 4\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\nX-Registry-Auth: e30=\r\n\r\n";
    let asked = read(head).unwrap();
    let wire =
        |upgrades| String::from_utf8(write_request(&asked.parts, asked.framing, upgrades)).unwrap();
    assert_eq!(
        wire(false),
        "POST /a HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nX-Registry-Auth: e30=\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    assert!(wire(true).contains("\r\nUpgrade: tcp\r\n"));
}

#[test]
fn p04_answers_end_where_they_say() {
    let read = |text: &str| answer(text.as_bytes(), &Method::GET).unwrap();
    let chunked = read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!((chunked.framing, chunked.keeps), (Framing::Chunked, true));
    let close = read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
    assert_eq!((close.framing, close.keeps), (Framing::Length(2), false));
    let end = read("HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!((end.framing, end.keeps), (Framing::End, false));
    for bare in [
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 101 UPGRADED",
        "HTTP/1.1 100 Continue",
    ] {
        assert_eq!(read(&format!("{bare}\r\n\r\n")).framing, Framing::None);
    }
    let head = answer(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        &Method::HEAD,
    );
    assert_eq!(head.unwrap().framing, Framing::None);
    assert!(answer(b"nonsense\r\n\r\n", &Method::GET).is_none());
}

#[test]
fn p04_heads_end_at_their_empty_line() {
    assert_eq!(end(b"a\r\nb\r\n\r\nc"), Some(8));
    assert_eq!(end(b"a\n\nc"), Some(3));
    assert_eq!(end(b"a\r\nb\r\n\r"), None);
    assert_eq!(end(b""), None);
}

proptest! {
    /// Whatever is taken goes on as something that is read the same again.
    #[test]
    fn p04_what_goes_on_is_what_was_judged(
        target in "[/%#?<>`a-z0-9.{}\"|^\\\\é]{0,30}",
        fields in prop::collection::vec(("[A-Za-z-]{1,12}|Content-Length|Transfer-Encoding", "[ -~]{0,12}|chunked|[0-9]{1,3}"), 0..6),
    ) {
        let mut head = format!("POST /{target} HTTP/1.1\r\nHost: d\r\n");
        for (name, value) in &fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        if let Ok(asked) = read(&head) {
            let again = request(&write_request(&asked.parts, asked.framing, true)).unwrap();
            prop_assert_eq!(again.framing, asked.framing);
            prop_assert_eq!(again.parts.uri, asked.parts.uri);
        }
    }

    #[test]
    fn p04_no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = request(&bytes);
        let _ = answer(&bytes, &Method::GET);
    }
}
