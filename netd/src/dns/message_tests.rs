//! Requests as others send them, good and bad, and answers as servers send them.

use hickory_proto::serialize::binary::BinEncodable as _;
use proptest::prelude::*;

use super::*;
use crate::dns::table::Membership;

fn table() -> Table {
    let mut table = Table::default();
    let holder = Holder {
        v4: Some([10, 1, 0, 2].into()),
        v6: None,
    };
    table.put(View {
        sandbox: "a".into(),
        memberships: vec![Membership {
            network: 1,
            zone: "front".into(),
            named: true,
            names: vec!["web".into()],
            canonical: "Web.Front.".into(),
            holder,
            links: vec![("gone".into(), "nobody".into())],
        }],
        ..View::default()
    });
    table
}

fn ask_over(request: &[u8], over: Transport) -> Outcome {
    let table = table();
    let view = table.view("a").unwrap().clone();
    handle(&table, &view, 5, request, over)
}

fn ask(request: &[u8]) -> Outcome {
    ask_over(request, Transport::Udp)
}

fn request(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn answered(outcome: Outcome) -> Message {
    match outcome {
        Outcome::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("no answer: {other:?}"),
    }
}

fn code(bytes: &[u8]) -> u8 {
    match ask(bytes) {
        Outcome::Answer(bytes) => bytes[3] & 0xf,
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn s05_the_asked_spelling_comes_back() {
    let asked = request("wEb.fRONT.", RecordType::A);
    let got = answered(ask(&asked.to_vec().unwrap()));
    assert_eq!(got.metadata.id, 0x1234);
    assert!(got.metadata.recursion_available && got.metadata.recursion_desired);
    assert!(got.queries[0].name().eq_case(asked.queries[0].name()));
    assert!(got.answers[0].name.eq_case(asked.queries[0].name()));
    assert_eq!(got.answers[0].ttl, 5);
}

#[test]
fn s05_known_names_are_never_forwarded() {
    for kind in [
        RecordType::AAAA,
        RecordType::TXT,
        RecordType::MX,
        RecordType::PTR,
    ] {
        let got = answered(ask(&request("web.", kind).to_vec().unwrap()));
        assert_eq!(got.metadata.response_code, ResponseCode::NoError);
        assert!(got.answers.is_empty());
    }
    let got = answered(ask(&request("web.", RecordType::ANY).to_vec().unwrap()));
    assert_eq!(got.answers.len(), 1);
    let got = answered(ask(&request("gone.", RecordType::A).to_vec().unwrap()));
    assert_eq!(got.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn s01_reverse_questions() {
    let asked = request("2.0.1.10.in-addr.arpa.", RecordType::PTR);
    let got = answered(ask(&asked.to_vec().unwrap()));
    let RData::PTR(name) = &got.answers[0].data else {
        panic!("{got:?}");
    };
    assert_eq!(name.0.to_string(), "Web.Front.");
    for other in [
        "9.0.1.10.in-addr.arpa.",
        "1.10.in-addr.arpa.",
        "x.in-addr.arpa.",
    ] {
        let asked = request(other, RecordType::PTR).to_vec().unwrap();
        assert!(matches!(ask(&asked), Outcome::Forward(_)), "{other}");
    }
}

#[test]
fn s04_hostile_requests_get_the_right_code() {
    let good = request("web.", RecordType::A).to_vec().unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert!(
        matches!(ask(&good[..11]), Outcome::Silence),
        "shorter than a head"
    );
    assert!(matches!(ask(&with(2, 0x81)), Outcome::Silence), "an answer");
    assert_eq!(code(&with(2, 0x28)), 4, "an update");
    assert_eq!(code(&with(5, 2)), 1, "two questions announced");
    assert_eq!(code(&with(5, 0)), 1, "none");
    assert_eq!(code(&good[..good.len() - 1]), 1, "truncated");
    assert_eq!(code(&with(good.len() - 1, 3)), 5, "class CH");
    let mut looped = good[..12].to_vec();
    looped.extend([0xc0, 12, 0, 1, 0, 1]);
    assert_eq!(code(&looped), 1, "a name that points at itself");
    looped[13] = 200;
    assert_eq!(code(&looped), 1, "a name that points out of the message");
    assert_eq!(code(&request(".", RecordType::AXFR).to_vec().unwrap()), 5);
    let mut versioned = request("web.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    versioned.set_edns(edns);
    let got = answered(ask(&versioned.to_vec().unwrap()));
    assert_eq!(u16::from(got.metadata.response_code), 16, "BADVERS");
}

#[test]
fn s04_answers_are_checked_against_the_question() {
    let bytes = request("Example.com.", RecordType::A).to_vec().unwrap();
    let Outcome::Forward(asked) = ask(&bytes) else {
        panic!("not forwarded");
    };
    let reply = |name: &str, kind| {
        let mut message = request(name, kind).into_response();
        message.metadata.id = 7;
        message.to_vec().unwrap()
    };
    let right = reply("Example.com.", RecordType::A);
    assert!(asked.answered(7, &right).is_some());
    assert!(asked.answered(8, &right).is_none());
    assert!(
        asked
            .answered(7, &reply("example.com.", RecordType::A))
            .is_none()
    );
    assert!(
        asked
            .answered(7, &reply("Example.com.", RecordType::AAAA))
            .is_none()
    );
    assert!(asked.answered(7, &asked.with_id(7)).is_none(), "a question");
    let message = asked.answered(7, &right).unwrap();
    let relayed = asked.relayed(right, &message);
    assert_eq!(relayed[..2], [0x12, 0x34]);
}

#[test]
fn s04_what_is_too_long_for_udp_says_so() {
    let bytes = request("big.example.", RecordType::TXT).to_vec().unwrap();
    for (over, cut) in [(Transport::Udp, true), (Transport::Tcp, false)] {
        let Outcome::Forward(asked) = ask_over(&bytes, over) else {
            panic!("not forwarded");
        };
        let mut reply = request("big.example.", RecordType::TXT).into_response();
        for n in 0..60u8 {
            let data = RData::A(A([192, 0, 2, n].into()));
            reply.add_answer(Record::from_rdata(asked.query.name().clone(), 1, data));
        }
        let whole = reply.to_bytes().unwrap();
        let message = asked.answered(0x1234, &whole).unwrap();
        let relayed = asked.relayed(whole, &message);
        let got = Message::from_vec(&relayed).unwrap();
        assert_eq!(got.metadata.truncation, cut);
        assert_eq!(got.answers.len() < 60, cut);
        assert!(relayed.len() <= asked.limit);
    }
}

#[test]
fn b23_as_many_whole_records_as_fit() {
    let mut table = table();
    for n in 0..100u8 {
        let mut view = View::clone(table.view("a").unwrap());
        view.sandbox = format!("many{n}").into();
        view.memberships[0].names = vec!["many".into()];
        view.memberships[0].holder.v4 = Some([10, 2, 0, n].into());
        table.put(view);
    }
    let view = table.view("a").unwrap().clone();
    let mut asked = request("many.", RecordType::A);
    for (size, least) in [(None, 20), (Some(1232), 70), (Some(4096), 100)] {
        if let Some(size) = size {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            asked.set_edns(edns);
        }
        let limit = usize::from(size.unwrap_or(512));
        let outcome = handle(&table, &view, 5, &asked.to_vec().unwrap(), Transport::Udp);
        let got = answered(outcome);
        let length = got.to_vec().unwrap().len();
        assert!(
            got.answers.len() >= least,
            "{size:?}: {}",
            got.answers.len()
        );
        assert!(length <= limit, "{size:?}: {length}");
        assert_eq!(got.metadata.truncation, got.answers.len() < 100);
        // One more would not fit.
        assert!(!got.metadata.truncation || length + 16 > limit, "{size:?}");
    }
}

#[test]
fn b23_what_is_added_goes_before_an_answer_is_cut() {
    let bytes = request("a.example.", RecordType::A).to_vec().unwrap();
    let Outcome::Forward(asked) = ask(&bytes) else {
        panic!("not forwarded");
    };
    let mut reply = request("a.example.", RecordType::A).into_response();
    let record = |n| {
        let data = RData::A(A([192, 0, 2, n].into()));
        Record::from_rdata(asked.query.name().clone(), 1, data)
    };
    reply.add_answer(record(1));
    for n in 0..60 {
        reply.add_additional(record(n));
    }
    let bytes = reply.to_bytes().unwrap();
    let message = asked.answered(0x1234, &bytes).unwrap();
    let got = Message::from_vec(&asked.relayed(bytes, &message)).unwrap();
    assert_eq!((got.answers.len(), got.additionals.len()), (1, 0));
    assert!(!got.metadata.truncation);
}

#[test]
fn b23_a_refusal_need_not_repeat_the_question() {
    let bytes = request("a.example.", RecordType::A).to_vec().unwrap();
    let Outcome::Forward(asked) = ask(&bytes) else {
        panic!("not forwarded");
    };
    for (code, counts) in [
        (ResponseCode::FormErr, true),
        (ResponseCode::Refused, true),
        (ResponseCode::NotImp, true),
        (ResponseCode::NoError, false),
        (ResponseCode::NXDomain, false),
    ] {
        let mut reply = Message::response(7, OpCode::Query);
        reply.metadata.response_code = code;
        let bytes = reply.to_vec().unwrap();
        assert!(asked.answered(8, &bytes).is_none(), "{code}: another id");
        let message = asked.answered(7, &bytes);
        assert_eq!(message.is_some(), counts, "{code}");
        if let Some(message) = message {
            let given = Message::from_vec(&asked.relayed(bytes, &message)).unwrap();
            assert_eq!(given.metadata.response_code, code);
            assert_eq!((given.metadata.id, given.queries.len()), (0x1234, 1));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_have_an_outcome(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for over in [Transport::Udp, Transport::Tcp] {
            if let Outcome::Answer(answer) = ask_over(&bytes, over) {
                prop_assert!(answer.len() >= HEAD && answer[2] & 0x80 != 0);
                prop_assert_eq!(&answer[..2], &bytes[..2]);
            }
        }
    }

    #[test]
    fn any_change_of_a_request_has_an_outcome(
        at in 0usize..40,
        byte in any::<u8>(),
        cut in 0usize..40,
    ) {
        let mut bytes = request("web.front.", RecordType::A).to_vec().unwrap();
        bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        bytes[11] = 1;
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % length);
        if let Outcome::Forward(asked) = ask(&bytes) {
            prop_assert!(asked.failed().len() >= HEAD);
            let _ = asked.answered(0, &bytes);
        }
    }
}
