//! No request to make a container, or about networks, reaches the engine as its client wrote it.

mod common;

use std::{fs, os::unix::fs::PermissionsExt as _};

use common::{Front, wait};

/// For a network that is the engine's own.
const BODY: &str = r#"{"Image":"x","HostConfig":{"NetworkMode":"bridge"}}"#;

fn post(target: &str, body: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn p04_no_spelling_of_a_path_goes_by() {
    let front = Front::start();
    for target in [
        "/containers/create",
        "/v1.51/containers/create?name=x",
        "/v1.051/containers/create",
        "/v1.51.0/containers/create",
        "/v1.51./containers/create",
        "//containers/create",
        "/v1.51//containers/create",
        "/./containers/create",
        "/x/../containers/create",
        "/v1.51/../containers/create",
        "/containers/x/%2e%2e/create",
        "/containers/x/.%2E/create",
        "/containers%2fcreate",
        "/%63ontainers/creat%65",
        "/v1%2e51/containers/create",
        "/%76%31.51/containers/create",
        "http://docker/containers/create",
        "http://docker//containers/create",
        "unix://a/containers/create",
        "http://a@b:1/containers%2Fcreate",
    ] {
        for target in [target.to_owned(), target.replace("containers", "networks")] {
            let mut client = front.asks(post(&target, BODY));
            let answer = client.rest();
            // netd is away: nothing could be made.
            let status = answer.split(' ').nth(1).unwrap_or_default();
            assert!(
                matches!(status, "301" | "400" | "503"),
                "{target}: {answer}"
            );
            assert!(front.asked_already().is_none(), "{target}");
        }
    }
}

#[test]
fn p04_no_second_request_hides_in_a_first() {
    let front = Front::start();
    let hidden = post("/containers/create", BODY);
    // Each is one request with a body, or none that is taken.
    for (head, body) in [
        (
            "GET /_ping HTTP/1.1\r\nHost: d\r\nContent-Length: LEN\r\n",
            "",
        ),
        (
            "GET /_ping HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: LEN\r\n",
            "",
        ),
        (
            "POST /build HTTP/1.1\r\nHost: d\r\ncontent-length: LEN\r\nConnection: Content-Length\r\n",
            "",
        ),
        (
            "POST /build HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "chunked",
        ),
    ] {
        let head = head.replace("LEN", &hidden.len().to_string());
        let body = match body {
            "chunked" => format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
            _ => hidden.clone(),
        };
        let mut client = front.asks(format!("{head}\r\n{body}"));
        let mut engine = front.asked();
        let head = engine.head().to_ascii_lowercase();
        let lengths = head.matches("\r\ncontent-length:").count();
        let chunks = head.matches("\r\ntransfer-encoding:").count();
        assert_eq!(lengths + chunks, 1, "{head}");
        engine.exactly(body.len());
        engine.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        client.head();
        assert_eq!(client.rest(), "");
        assert_eq!(engine.rest(), "");
    }
    for head in [
        "GET /_ping HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\nContent-Length: LEN\r\n",
        "GET /_ping HTTP/1.1\r\nHost: d\r\nContent-Length : LEN\r\n",
        "GET /_ping HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: xchunked\r\n",
        "GET /_ping HTTP/1.1\r\nHost: d\r\nTransfer-Encoding:\u{b}chunked\r\n",
        "GET /_ping HTTP/1.1\r\nHost: d\r\nA: b\rTransfer-Encoding: chunked\r\n",
        "GET /_ping HTTP/1.1\r\nHost: d\r\nA: b\r\n Transfer-Encoding: chunked\r\n",
    ] {
        let head = head.replace("LEN", &hidden.len().to_string());
        let answer = front.asks(format!("{head}\r\n{hidden}")).rest();
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(matches!(status, "400" | "501"), "{head}: {answer}");
        assert!(front.asked_already().is_none(), "{head}");
    }
}

#[test]
fn p04_no_spelling_of_a_body_goes_by() {
    let front = Front::start();
    for body in [
        r#"{"hostconfig":{"networkmode":"bridge"}}"#,
        r#"{"HostConfig":{"NetworkMode":"none"},"HOSTCONFIG":{"NetworkMode":"bridge"}}"#,
        r#"{"HostConfig":{"NetworkMode":"bridge","networkmode":"none","NetworkMode":"bridge"}}"#,
        r#"{"HostConfig":{"NetworkMode":"none","Networ\u212aMode":"bridge"}}"#,
        r#"{"HostConfig":{"NetworkMode":"none"},"Ho\u017ftConfig":{"NetworkMode":"bridge"}}"#,
        r#"{"HostConfig":{"NetworkMode":"none"},"HostConfig":null}"#,
        r#"{"HostConfig":{"NetworkMode":"none"}}{"HostConfig":{"NetworkMode":"bridge"}}"#,
        r#"{"HostConfig":{"NetworkMode":"None"}}"#,
        r#"{"HostConfig":{"NetworkMode":"none "}}"#,
        r#"{"NetworkMode":"none"}"#,
        "{}",
        "",
    ] {
        let answer = front.asks(post("/containers/create", body)).rest();
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(matches!(status, "400" | "503"), "{body}: {answer}");
        assert!(front.asked_already().is_none(), "{body}");
    }
}

#[test]
fn p04_what_is_not_netds_goes_on_as_it_came() {
    let front = Front::start();
    let body = r#" {"Image":"x", "hostConfig":{"networkMode":"host"},"Memory":1.0} "#;
    let mut client = front.asks(post("/containers/create?name=x", body));
    let mut engine = front.asked();
    let head = engine.head();
    assert!(
        head.starts_with("POST /containers/create?name=x HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(engine.exactly(body.len()), body.as_bytes());
    engine.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 201"));
}

#[test]
fn p04_too_much_is_refused() {
    let front = Front::start();
    let mut client = front.asks("POST /networks/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n");
    client.flood();
    assert!(client.head().starts_with("HTTP/1.1 413 "));
    let long = format!(
        "GET /_ping HTTP/1.1\r\nHost: d\r\nA: {}",
        "a".repeat(2 << 20)
    );
    let mut client = front.client();
    // It is refused before it is over.
    let _ = std::io::Write::write_all(&mut client.stream, long.as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 431 "));
    // A thousand clients that say nothing hold up nobody.
    let silent: Vec<_> = (0..1000).map(|_| front.client()).collect();
    let mut client = front.asks("GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut engine = front.asked();
    engine.head();
    engine.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.head();
    drop(silent);
}

#[test]
fn p04_the_engine_may_come_later() {
    let mut front = Front::without_engine();
    let answer = front
        .asks("GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        .rest();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Is the docker daemon running?"), "{answer}");
    front.engine();
    let mut client = front.asks("GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut engine = front.asked();
    engine.head();
    engine.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.head();
}

#[test]
fn p04_refusals_carry_the_engines_headers() {
    let front = Front::start();
    let answer = front
        .asks("GET /networks HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        .rest();
    // netd is away.
    assert!(answer.contains("\r\nApi-Version: 1.51\r\n"), "{answer}");
    assert!(
        answer.contains("\r\nServer: Docker/x (linux)\r\n"),
        "{answer}"
    );
    let answer = front
        .asks("GET /networks/a/../b HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        .rest();
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
    assert!(!answer.contains("Api-Version"), "{answer}");
    // What the engine does not serve it refuses itself.
    let mut client = front.asks("GET /v1.52/networks HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut engine = front.asked();
    assert!(engine.head().starts_with("GET /v1.52/networks "));
    engine.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    client.head();
}

#[test]
fn p04_the_socket_is_kept() {
    let mut front = Front::start();
    let path = front.socket();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o660, "{mode:o}");
    fs::remove_file(&path).unwrap();
    wait("the socket again", || path.exists());
    wait("its listener", || {
        std::os::unix::net::UnixStream::connect(&path).is_ok()
    });
    // What others put in its place stays.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "theirs").unwrap();
    front.stop();
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    // Its own goes with it.
    let mut front = Front::start();
    let path = front.socket();
    front.stop();
    assert!(!path.exists());
}
