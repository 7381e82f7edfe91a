//! Any bytes as a server's answer to a question that was forwarded: what is not its answer is passed over, and what is
//! reaches the asker under its id and with no more bytes than it takes.

#![no_main]

use std::sync::{Arc, LazyLock};

use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;
use netd::dns::{
    message::{Asked, Outcome, Transport, handle},
    table::{Table, View},
};

/// `a.example A` with the id 0xabcd and without EDNS.
const REQUEST: &[u8] =
    b"\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01";

/// The id under which the server was asked.
const ID: u16 = 0x0101;

static ASKED: LazyLock<Asked> = LazyLock::new(|| {
    let view = Arc::new(View::default());
    match handle(&Table::default(), &view, 5, REQUEST, Transport::Udp) {
        Outcome::Forward(asked) => asked,
        other => panic!("not forwarded: {other:?}"),
    }
});

fuzz_target!(|answer: &[u8]| {
    // Any id is tried as the right one, so that more than the id is looked at.
    let mut answer = answer.to_vec();
    if let Some(id) = answer.first_chunk_mut() {
        *id = ID.to_be_bytes();
    }
    let Some(message) = ASKED.answered(ID, &answer) else {
        return;
    };
    assert!(ASKED.answered(ID ^ 1, &answer).is_none(), "another id");
    let given = ASKED.relayed(answer, &message);
    assert_eq!(given[..2], REQUEST[..2]);
    assert!(given.len() <= 512, "{} bytes", given.len());
    let given = Message::from_vec(&given).expect("an answer that can be read");
    assert_eq!(given.queries.len(), 1);
});
