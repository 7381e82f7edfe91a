//! What is the engine's passes byte by byte: heads, bodies, streams that take the connection over, and every end of them.

mod common;

use common::{Front, wait};

#[test]
fn p04_requests_and_answers_pass_byte_by_byte() {
    let front = Front::start();
    let mut client = front.asks("POST /v1.51/build?a=%2F HTTP/1.1\r\nHost: d\r\nX-Registry-Config: e30=\r\nContent-Length: 5\r\n\r\nhello");
    let mut engine = front.asked();
    assert_eq!(
        engine.head(),
        "POST /v1.51/build?a=%2F HTTP/1.1\r\nHost: d\r\nX-Registry-Config: e30=\r\nContent-Length: 5\r\n\r\n"
    );
    assert_eq!(engine.exactly(5), b"hello");
    // Spelling, order, the reason, the borders of chunks and what follows them.
    let answer = "HTTP/1.1 299 As It Is\r\nZ: 1\r\napi-Version: 1.51\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: r\r\n\r\n";
    engine.send(answer);
    assert_eq!(client.exactly(answer.len()), answer.as_bytes());
    // The same two connections carry the next request.
    client.send("GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n");
    assert!(engine.head().starts_with("GET /_ping "));
    engine.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
    assert!(client.head().starts_with("HTTP/1.1 200 OK"));
    assert_eq!(client.exactly(2), b"OK");
}

#[test]
fn p04_answers_without_a_body_end_at_their_head() {
    let front = Front::start();
    let mut client = front.client();
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("POST", "HTTP/1.1 304 Not Modified\r\n\r\n"),
    ] {
        client.send(format!("{method} /_ping HTTP/1.1\r\nHost: d\r\n\r\n"));
        let mut engine = front.asked_already().unwrap_or_else(|| front.asked());
        engine.head();
        engine.send(head);
        assert_eq!(client.head(), head);
        // An engine may end what it kept.
        drop(engine);
    }
}

#[test]
fn p04_pipelined_requests_are_answered_in_order() {
    let front = Front::start();
    let mut client = front
        .asks("GET /_ping?1 HTTP/1.1\r\nHost: d\r\n\r\nGET /_ping?2 HTTP/1.1\r\nHost: d\r\n\r\n");
    // It may say at once that it asks no more.
    client.finish();
    let mut engine = front.asked();
    for number in 1..=2 {
        assert!(engine.head().starts_with(&format!("GET /_ping?{number} ")));
        engine.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}"
        ));
        client.head();
        assert_eq!(client.exactly(1), number.to_string().as_bytes());
    }
}

#[test]
fn p04_old_clients_are_answered_to_the_end_of_the_connection() {
    let front = Front::start();
    let mut client = front.asks("GET /_ping HTTP/1.0\r\n\r\n");
    let mut engine = front.asked();
    assert_eq!(engine.head(), "GET /_ping HTTP/1.0\r\n\r\n");
    engine.send("HTTP/1.0 200 OK\r\n\r\nabc");
    drop(engine);
    assert_eq!(client.rest(), "HTTP/1.0 200 OK\r\n\r\nabc");
}

#[test]
fn p04_each_piece_is_there_before_the_next() {
    let front = Front::start();
    let mut client = front.asks("GET /containers/x/logs?follow=1 HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut engine = front.asked();
    engine.head();
    engine.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head();
    for piece in ["a", "b", "c"] {
        engine.send(format!("1\r\n{piece}\r\n"));
        assert_eq!(client.exactly(6), format!("1\r\n{piece}\r\n").as_bytes());
    }
}

#[test]
fn p04_the_head_of_a_wait_is_sent_at_once() {
    let front = Front::start();
    let mut client = front.asks("POST /v1.51/containers/x/wait HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut engine = front.asked();
    engine.head();
    engine.send("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n");
    client.head();
    engine.send("{\"StatusCode\":0}");
    client.exactly(16);
}

#[test]
fn p04_a_client_is_told_to_send_its_body() {
    let front = Front::start();
    let mut client = front.asks("PUT /containers/x/archive?path=/ HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut engine = front.asked();
    engine.head();
    engine.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("3\r\nabc\r\n");
    assert_eq!(engine.exactly(8), b"3\r\nabc\r\n");
    client.send("0\r\n\r\n");
    assert_eq!(engine.exactly(5), b"0\r\n\r\n");
    engine.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.head();
}

#[test]
fn p04_a_refusal_reaches_a_client_that_still_sends() {
    let front = Front::start();
    let mut client = front
        .asks("POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 1000000000\r\n\r\nabc");
    let mut engine = front.asked();
    engine.head();
    let answer =
        "HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    engine.send(answer);
    drop(engine);
    assert_eq!(client.rest(), answer);
}

#[test]
fn p04_connections_are_taken_over_with_an_upgrade() {
    let front = Front::start();
    for target in [
        "/v1.51/exec/x/start",
        "/containers/x/attach?stream=1",
        "/session",
        "/grpc",
    ] {
        let mut client = front.asks(format!("POST {target} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"));
        let mut engine = front.asked();
        assert!(engine.head().contains("\r\nUpgrade: tcp\r\n"));
        engine.exactly(2);
        engine.send("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst");
        assert!(client.head().starts_with("HTTP/1.1 101 UPGRADED"));
        assert_eq!(client.exactly(5), b"first");
        client.send("GET /x HTTP/1.1\r\n\r\n");
        assert_eq!(engine.head(), "GET /x HTTP/1.1\r\n\r\n");
        // The client ends its side; what comes later still arrives.
        client.finish();
        assert_eq!(engine.rest(), "");
        engine.send("late");
        assert_eq!(client.exactly(4), b"late");
        drop(engine);
        assert_eq!(client.rest(), "");
    }
}

#[test]
fn p04_connections_are_taken_over_without_an_upgrade() {
    let front = Front::start();
    let mut client = front.asks("POST /exec/x/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}early");
    let mut engine = front.asked();
    engine.head();
    engine.exactly(2);
    engine.send("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n");
    client.head();
    assert_eq!(engine.exactly(5), b"early");
    // The engine ends its side; what the client sends later still arrives.
    engine.finish();
    assert_eq!(client.rest(), "");
    client.send("later");
    assert_eq!(engine.exactly(5), b"later");
    client.finish();
    assert_eq!(engine.rest(), "");
}

#[test]
fn p04_websockets_are_taken_over() {
    let front = Front::start();
    let mut client = front.asks("GET /containers/x/attach/ws?stream=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AA==\r\n\r\n");
    let mut engine = front.asked();
    assert!(engine.head().contains("Upgrade: websocket"));
    engine.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02");
    client.head();
    assert_eq!(client.exactly(2), [1, 2]);
    client.send([3, 4]);
    assert_eq!(engine.exactly(2), [3, 4]);
}

#[test]
fn p04_no_other_request_is_upgraded() {
    let front = Front::start();
    let mut client = front.asks("GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n");
    let mut engine = front.asked();
    assert!(!engine.head().contains("Upgrade: h2c"));
    engine.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n");
    assert_eq!(client.rest(), "");
}

#[test]
fn p04_a_request_of_a_client_that_sends_no_more_is_answered() {
    let front = Front::start();
    let mut client = front.asks("GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n");
    client.finish();
    let mut engine = front.asked();
    engine.head();
    // The engine sees what it would see of the client itself.
    assert_eq!(engine.rest(), "");
    engine.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
    assert!(client.rest().ends_with("\r\n\r\nOK"));
}

#[test]
fn p04_a_client_that_goes_ends_its_request_at_the_engine() {
    let front = Front::start();
    for half in [false, true] {
        let mut client = front.asks("GET /containers/x/logs?follow=1 HTTP/1.1\r\nHost: d\r\n\r\n");
        let mut engine = front.asked();
        engine.head();
        engine.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.head();
        if half {
            client.finish();
            assert_eq!(engine.rest(), "");
        }
        drop(client);
        assert_eq!(engine.rest(), "");
        // Its connection is gone, not only half of it.
        wait("the end at the engine", || gone(&engine));
    }
}

#[test]
fn p04_a_client_that_goes_ends_its_stream_at_the_engine() {
    let front = Front::start();
    for half in [false, true] {
        let mut client = front.asks("POST /containers/x/attach HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n");
        let mut engine = front.asked();
        engine.head();
        engine.send("HTTP/1.1 101 UPGRADED\r\n\r\n");
        client.head();
        if half {
            client.finish();
            assert_eq!(engine.rest(), "");
        }
        client.send_if(!half, "last words");
        drop(client);
        assert_eq!(engine.rest(), if half { "" } else { "last words" });
        wait("the end at the engine", || gone(&engine));
    }
}

#[test]
fn p04_an_engine_that_goes_ends_its_clients() {
    let front = Front::start();
    let mut client = front.asks("GET /images/x/get HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut engine = front.asked();
    engine.head();
    let part = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    engine.send(part);
    client.exactly(part.len());
    drop(engine);
    // Nothing says that this was all.
    assert_eq!(client.rest(), "");
    let mut client = front.asks("POST /containers/x/attach HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut engine = front.asked();
    engine.head();
    engine.send("HTTP/1.1 200 OK\r\n\r\nout");
    drop(engine);
    assert!(client.rest().ends_with("out"));
    wait("the end at the client", || gone(&client));
}

#[test]
fn p04_an_engine_that_says_nothing_is_told_of() {
    let front = Front::start();
    let mut client = front.asks("GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    let mut engine = front.asked();
    engine.head();
    drop(engine);
    let answer = client.rest();
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway"), "{answer}");
    assert!(answer.contains("the connection to the Docker engine at unix://"));
}

#[test]
fn p04_what_nobody_reads_is_not_piled_up() {
    let front = Front::start();
    // To the engine: one of 1 GB that it does not read.
    let mut client =
        front.asks("POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 1000000000\r\n\r\n");
    let mut engine = front.asked();
    engine.head();
    let held = client.flood();
    assert!(held < 4 << 20, "{held} bytes");
    drop((client, engine));
    // To the client.
    let _client = front.asks("GET /images/x/get HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut engine = front.asked();
    engine.head();
    engine.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    let held = engine.flood();
    assert!(held < 4 << 20, "{held} bytes");
}

/// Whether the other side neither sends nor reads any more.
fn gone(wire: &common::Wire) -> bool {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut asked = [PollFd::new(wire.stream.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO).unwrap();
    asked[0].revents().unwrap().contains(PollFlags::POLLHUP)
}
