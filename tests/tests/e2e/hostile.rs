//! Messages to the resolver that no client should send, each with what must come back.

use hickory_proto::op::ResponseCode;

use Wanted::{Anything, Code, Nothing};

/// What must come back.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// No answer.
    Nothing,
    /// An answer with this code.
    Code(ResponseCode),
    /// An answer or none: it is somebody else's, or a matter of taste.
    Anything,
}

/// What it is, the message, what must come back.
pub type Case = (&'static str, Vec<u8>, Wanted);

/// Id 0xabcd, then flags, counts and the rest.
pub fn message(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    bytes.extend(rest);
    bytes
}

/// A question that wants recursion, with this rest.
fn query(rest: &[u8]) -> Vec<u8> {
    message(0x0100, [1, 0, 0, 0], rest)
}

/// The question for `web` of a type and class.
pub fn web(kind: u16, class: u16) -> Vec<u8> {
    let mut bytes = b"\x03web\x00".to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(class.to_be_bytes());
    bytes
}

/// `web A` with this in the additional section.
fn with_more(count: u16, more: &[u8]) -> Vec<u8> {
    message(0x0100, [1, 0, 0, count], &[&web(1, 1), more].concat())
}

/// An OPT record of a version, with a length of data and the data.
fn opt(version: u8, length: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 41, 4, 208, 0, version, 0, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    bytes
}

fn headers() -> Vec<Case> {
    let plain = web(1, 1);
    let mut cases: Vec<Case> = (0..12)
        .map(|length| ("too short for a header", vec![0xab; length], Nothing))
        .collect();
    cases.extend([
        ("an answer", message(0x8180, [1, 0, 0, 0], &plain), Nothing),
        (
            "an answer of nothing",
            message(0x8000, [0; 4], &[]),
            Nothing,
        ),
        (
            "a header alone",
            message(0x0100, [0; 4], &[]),
            Code(ResponseCode::FormErr),
        ),
        (
            "no question",
            message(0x0100, [0; 4], &plain),
            Code(ResponseCode::FormErr),
        ),
        (
            "two questions",
            message(
                0x0100,
                [2, 0, 0, 0],
                &[plain.clone(), plain.clone()].concat(),
            ),
            Code(ResponseCode::FormErr),
        ),
        (
            "many questions",
            message(0x0100, [0xffff, 0, 0, 0], &plain),
            Code(ResponseCode::FormErr),
        ),
        (
            "a question that is missing",
            message(0x0100, [1, 0, 0, 0], &[]),
            Code(ResponseCode::FormErr),
        ),
        (
            "records that are missing",
            message(0x0100, [1, 0xffff, 0xffff, 0xffff], &plain),
            Code(ResponseCode::FormErr),
        ),
        (
            "the mark of truncation",
            message(0x0300, [1, 0, 0, 0], &plain),
            Anything,
        ),
        (
            "reserved bits",
            message(0x0140, [1, 0, 0, 0], &plain),
            Anything,
        ),
        ("a code", message(0x010f, [1, 0, 0, 0], &plain), Anything),
        (
            "bytes behind the end",
            query(&[plain.clone(), vec![0xff; 40]].concat()),
            Anything,
        ),
    ]);
    for opcode in [1_u16, 2, 3, 4, 5, 6, 7, 15] {
        let flags = opcode << 11 | 0x0100;
        let code = Code(ResponseCode::NotImp);
        cases.push(("an operation", message(flags, [1, 0, 0, 0], &plain), code));
        cases.push((
            "an operation without a question",
            message(flags, [0; 4], &[]),
            code,
        ));
    }
    cases
}

fn questions() -> Vec<Case> {
    let bad = Code(ResponseCode::FormErr);
    let long: Vec<u8> = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(4);
    let mut longest = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(3);
    longest.extend([b"\x3d".as_slice(), &[b'a'; 61]].concat());
    let end = [0, 0, 1, 0, 1];
    let mut cases = vec![
        (
            "a pointer to itself",
            query(b"\xc0\x0c\x00\x01\x00\x01"),
            bad,
        ),
        (
            "two pointers in a ring",
            query(b"\xc0\x0e\xc0\x0c\x00\x01\x00\x01"),
            bad,
        ),
        (
            "a ring with labels",
            query(b"\x01a\xc0\x0c\x00\x01\x00\x01"),
            bad,
        ),
        (
            "a pointer forwards",
            query(b"\xc0\x20\x00\x01\x00\x01"),
            bad,
        ),
        (
            "a pointer beyond the end",
            query(b"\xff\xff\x00\x01\x00\x01"),
            bad,
        ),
        ("half a pointer", query(b"\xc0"), bad),
        (
            "a label of an unknown kind",
            query(b"\x43www\x00\x00\x01\x00\x01"),
            bad,
        ),
        ("another", query(b"\x83www\x00\x00\x01\x00\x01"), bad),
        ("a label that goes beyond the end", query(b"\x3fweb"), bad),
        ("a name without an end", query(b"\x03web"), bad),
        ("no type", query(b"\x03web\x00"), bad),
        ("half a type", query(b"\x03web\x00\x00"), bad),
        ("no class", query(b"\x03web\x00\x00\x01"), bad),
        ("half a class", query(b"\x03web\x00\x00\x01\x00"), bad),
        (
            "a name of 257 bytes",
            query(&[long.as_slice(), &end].concat()),
            bad,
        ),
        (
            "a name of 255 bytes",
            query(&[longest.as_slice(), &end].concat()),
            Anything,
        ),
        ("the root", query(&end), Anything),
        (
            "bytes that are no text",
            query(b"\x04\x00\xff.\x80\x00\x00\x01\x00\x01"),
            Anything,
        ),
        (
            "a dot in a label",
            query(b"\x09web.front\x00\x00\x01\x00\x01"),
            Anything,
        ),
        ("type 0", query(&web(0, 1)), Anything),
        ("OPT as a type", query(&web(41, 1)), Anything),
        ("type 65535", query(&web(65535, 1)), Anything),
    ];
    for class in [0, 2, 3, 4, 254, 255, 65535] {
        cases.push((
            "a class",
            query(&web(1, class)),
            Code(ResponseCode::Refused),
        ));
    }
    for kind in [251, 252] {
        cases.push((
            "a transfer",
            query(&web(kind, 1)),
            Code(ResponseCode::Refused),
        ));
    }
    cases
}

fn extensions() -> Vec<Case> {
    let (bad, ok) = (Code(ResponseCode::FormErr), Code(ResponseCode::NoError));
    vec![
        ("EDNS", with_more(1, &opt(0, 0, &[])), ok),
        (
            "EDNS of version 1",
            with_more(1, &opt(1, 0, &[])),
            Code(ResponseCode::BADVERS),
        ),
        (
            "EDNS of version 255",
            with_more(1, &opt(255, 0, &[])),
            Code(ResponseCode::BADVERS),
        ),
        (
            "a cookie",
            with_more(1, &opt(0, 12, b"\x00\x0a\x00\x0812345678")),
            ok,
        ),
        (
            "an unknown option",
            with_more(1, &opt(0, 6, b"\xff\xf0\x00\x02ab")),
            ok,
        ),
        ("EDNS twice", with_more(2, &opt(0, 0, &[]).repeat(2)), bad),
        (
            "EDNS beyond the end",
            with_more(1, &opt(0, 100, &[0; 4])),
            bad,
        ),
        ("half of EDNS", with_more(1, &opt(0, 0, &[])[..7]), bad),
        (
            "an option beyond the end",
            with_more(1, &opt(0, 4, &[0, 10, 0, 200])),
            Anything,
        ),
        (
            "half an option",
            with_more(1, &opt(0, 3, &[0, 10, 0])),
            Anything,
        ),
        (
            "EDNS that says 1",
            with_more(1, b"\x00\x00\x29\x00\x01\x00\x00\x00\x00\x00\x00"),
            ok,
        ),
        (
            "EDNS that says 65535",
            with_more(1, b"\x00\x00\x29\xff\xff\x00\x00\x00\x00\x00\x00"),
            ok,
        ),
        (
            "EDNS with a name",
            with_more(1, b"\x01x\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"),
            Anything,
        ),
        (
            "a record that is a ring",
            with_more(1, b"\xc0\x15\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04abcd"),
            bad,
        ),
        (
            "an address that is too short",
            with_more(1, b"\x01x\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x02ab"),
            bad,
        ),
    ]
}

/// All of them.
pub fn all_cases() -> Vec<Case> {
    [headers(), questions(), extensions()].concat()
}
