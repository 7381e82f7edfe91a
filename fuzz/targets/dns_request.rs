//! Any bytes as a request to the resolver: they are decided without a panic, and what is answered is an answer to them
//! that its asker can read and has room for.

#![no_main]

use std::sync::LazyLock;

use hickory_proto::op::{Edns, Message, MessageType};
use libfuzzer_sys::fuzz_target;
use netd::dns::{
    message::{Outcome, Transport, handle},
    table::{Holder, Membership, Table, View},
};

/// Two networks, aliases, links with and without a target, and an alias that does not fit a datagram.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::default();
    for number in 0..60_u8 {
        let membership = |network: u32, zone: &str| Membership {
            network,
            zone: zone.into(),
            named: true,
            names: vec![format!("c{number}"), "all".into()],
            canonical: format!("C{number}"),
            holder: Holder {
                v4: Some([10, 1, u8::try_from(network).unwrap_or(0), number].into()),
                v6: (number % 2 == 0).then(|| [0xfd00, 0, 0, 0, 0, 0, 0, number.into()].into()),
            },
            links: vec![("l".into(), "c1".into()), ("gone".into(), "nobody".into())],
        };
        table.put(View {
            sandbox: format!("s{number}").into(),
            memberships: vec![membership(1, "front"), membership(2, "back")],
            forwards: true,
            ..View::default()
        });
    }
    table
});

fuzz_target!(|request: &[u8]| {
    let view = TABLE.view("s0").expect("it was put there").clone();
    for over in [Transport::Udp, Transport::Tcp] {
        match handle(&TABLE, &view, 5, request, over) {
            Outcome::Silence => {
                assert!(request.len() < 12 || request[2] & 0x80 != 0, "no answer");
            }
            Outcome::Answer(bytes) => {
                answers(request, &bytes);
                if over == Transport::Udp {
                    assert!(bytes.len() <= room(request), "{} bytes", bytes.len());
                }
            }
            Outcome::Forward(asked) => {
                assert_eq!(asked.bytes, request);
                answers(request, &asked.failed());
                assert_eq!(asked.with_id(0x1234)[2..], request[2..]);
            }
        }
    }
});

/// A message that answers the request.
fn answers(request: &[u8], bytes: &[u8]) {
    let message = Message::from_vec(bytes).expect("an answer that can be read");
    assert_eq!(bytes[..2], request[..2]);
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(
        message.metadata.recursion_desired,
        request[2] & 1 == 1,
        "RD"
    );
}

/// What the asker takes by UDP.
fn room(request: &[u8]) -> usize {
    let message = Message::from_vec(request).ok();
    let said = message.and_then(|m| m.edns.as_ref().map(Edns::max_payload));
    said.map_or(512, |size| usize::from(size).max(512))
}
