//! What the test name server does with a question: the first label of the name says it.
//!
//! | first label | what comes back |
//! |---|---|
//! | `a`, `a-…` | A [`V4`], AAAA [`V6`], TXT, MX; other types: no data |
//! | `v4` | A only |
//! | `nN` | A [`numbered`] |
//! | `big` | 100 addresses: truncated over UDP, whole over TCP |
//! | `medium` | 40 addresses in one datagram, whatever the asker's size |
//! | `echo` | TXT: transport, asker's address, its EDNS size |
//! | `nx`, and all others | NXDOMAIN with an SOA |
//! | `servfail`, `refused`, `formerr`, `notimp` | that code |
//! | `silent` | nothing |
//! | `wait-MILLIS` | as `a`, so much later |
//! | `wrongid`, `wrongname`, `wrongtype`, `wrongport` | first an answer with [`FORGED`] that is wrong there, then the right one |
//! | `wrongbare` | first a refusal under another id that leaves out the question, then the right answer |
//! | `barerefused` | a refusal that leaves out the question |
//! | `forged` | only the wrong ones |
//! | `mutant-N` | the right one with some bytes changed, as N has it |
//! | `loop`, `garbage`, `short`, `empty`, `noquestion`, `query` | a message that is none |
//!
//! Addresses asked backwards have the name `host.example.`.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, MX, PTR, SOA, TXT},
    },
};

/// The address of `a`.
pub const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// As [`V4`].
pub const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 1);
/// The address that nobody may ever be told.
pub const FORGED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// How long the answers may be kept, seconds.
pub const TTL: u32 = 300;
/// Begins names that are answered as ever, also with `--always`.
pub const MARK: &str = "mark-";
/// The name of every address.
pub const HOST: &str = "host.example.";

/// The address of `nN`.
pub fn numbered(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 0).to_bits() | (number & 0x003f_ffff))
}

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

impl Transport {
    /// As the log has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// One message that goes back.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The message.
    pub bytes: Vec<u8>,
    /// How long it is held back.
    pub after: Duration,
    /// From another port than the one that was asked (UDP only).
    pub elsewhere: bool,
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }
}

/// What goes back, in this order. `always` takes the place of the first label.
///
/// # Errors
/// When an answer cannot be put together.
pub fn replies(
    request: &Message,
    transport: Transport,
    peer: SocketAddr,
    always: Option<&str>,
) -> Result<Vec<Reply>> {
    let query = request.queries.first().context("no question")?;
    let label = query.name().iter().next().unwrap_or_default();
    let label = String::from_utf8_lossy(label).to_lowercase();
    // The mark that a test sends for itself is answered whatever the others are.
    let always = always.filter(|_| !label.starts_with(MARK));
    let word = always.unwrap_or(&label);
    let right = || addresses(request, query);
    let whole = |message: Message| -> Result<Vec<Reply>> { Ok(vec![message.to_vec()?.into()]) };
    if query.name().to_ascii().to_lowercase().ends_with(".arpa.") && always.is_none() {
        return whole(backwards(request, query)?);
    }
    match word {
        "big" if transport == Transport::Udp => whole(many(request, query, 100)?.truncate()),
        "big" => whole(many(request, query, 100)?),
        "medium" => whole(many(request, query, 40)?),
        "echo" => whole(echo(request, query, transport, peer)?),
        "servfail" => whole(failed(request, ResponseCode::ServFail)),
        "refused" => whole(failed(request, ResponseCode::Refused)),
        "formerr" => whole(failed(request, ResponseCode::FormErr)),
        "notimp" => whole(failed(request, ResponseCode::NotImp)),
        "silent" => Ok(Vec::new()),
        "wrongid" | "wrongname" | "wrongtype" | "wrongport" => Ok(vec![
            forged(request, query, word)?,
            right()?.to_vec()?.into(),
        ]),
        "wrongbare" => {
            let mut refusal = bare(request);
            refusal.metadata.id ^= 0x5555;
            Ok(vec![refusal.to_vec()?.into(), right()?.to_vec()?.into()])
        }
        "barerefused" => whole(bare(request)),
        "forged" => ["wrongid", "wrongname", "wrongtype", "wrongport"]
            .map(|how| forged(request, query, how))
            .into_iter()
            .collect(),
        "loop" => Ok(vec![looped(request)?.into()]),
        "garbage" => {
            let mut bytes = request.metadata.id.to_be_bytes().to_vec();
            bytes.extend([0x81, 0x80, 0, 1, 0, 9, 0, 9, 0, 9]);
            bytes.extend([0xff; 300]);
            Ok(vec![bytes.into()])
        }
        "short" => Ok(vec![request.metadata.id.to_be_bytes().to_vec().into()]),
        "empty" => Ok(vec![Vec::new().into()]),
        "noquestion" => {
            let mut answer = right()?;
            answer.queries.clear();
            whole(answer)
        }
        "query" => {
            let mut answer = right()?;
            answer.metadata.message_type = MessageType::Query;
            whole(answer)
        }
        "a" | "v4" => whole(right()?),
        _ => match word.split_once('-') {
            Some(("wait", millis)) => Ok(vec![Reply {
                after: Duration::from_millis(millis.parse()?),
                ..right()?.to_vec()?.into()
            }]),
            Some(("a", _)) => whole(right()?),
            Some(("mutant", seed)) => Ok(vec![mutant(right()?.to_vec()?, seed.parse()?).into()]),
            _ if number(word).is_some() => whole(right()?),
            _ => whole(failed(request, ResponseCode::NXDomain)),
        },
    }
}

/// The number of `nN`.
fn number(label: &str) -> Option<u32> {
    label.strip_prefix('n')?.parse().ok()
}

/// An answer without data, as the question wants it.
fn response(request: &Message) -> Message {
    let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
    answer.metadata.recursion_desired = request.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        answer.set_edns(Edns::new());
    }
    answer
}

fn failed(request: &Message, code: ResponseCode) -> Message {
    let mut answer = response(request);
    answer.metadata.response_code = code;
    if code == ResponseCode::NXDomain {
        answer.add_authority(soa());
    }
    answer
}

/// A refusal that leaves out the question.
fn bare(request: &Message) -> Message {
    let mut answer = failed(request, ResponseCode::Refused);
    answer.queries.clear();
    answer.edns = None;
    answer
}

fn soa() -> Record {
    let name = |text| Name::from_ascii(text).unwrap_or_default();
    let data = SOA::new(
        name("ns.example."),
        name("admin.example."),
        1,
        60,
        60,
        60,
        60,
    );
    Record::from_rdata(name("example."), TTL, RData::SOA(data))
}

fn addresses(request: &Message, query: &Query) -> Result<Message> {
    let mut answer = response(request);
    let label = query.name().iter().next().unwrap_or_default();
    let label = String::from_utf8_lossy(label).to_lowercase();
    let data = match query.query_type() {
        RecordType::A => {
            let address = number(&label).map_or(V4, numbered);
            Some(RData::A(A(address)))
        }
        RecordType::AAAA if label != "v4" && number(&label).is_none() => {
            Some(RData::AAAA(AAAA(V6)))
        }
        RecordType::TXT => Some(RData::TXT(TXT::new(vec!["a text".into()]))),
        RecordType::MX => Some(RData::MX(MX::new(10, Name::from_ascii(HOST)?))),
        _ => None,
    };
    match data {
        Some(data) => answer.add_answer(Record::from_rdata(query.name().clone(), TTL, data)),
        None => answer.add_authority(soa()),
    };
    Ok(answer)
}

fn many(request: &Message, query: &Query, count: u32) -> Result<Message> {
    let mut answer = response(request);
    for number in 0..count {
        let data = RData::A(A(numbered(number)));
        answer.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
    }
    Ok(answer)
}

fn echo(
    request: &Message,
    query: &Query,
    transport: Transport,
    peer: SocketAddr,
) -> Result<Message> {
    let mut answer = response(request);
    let size = request.edns.as_ref().map_or(0, Edns::max_payload);
    let text = format!("{} {} {size}", transport.name(), peer.ip());
    let data = RData::TXT(TXT::new(vec![text]));
    answer.add_answer(Record::from_rdata(query.name().clone(), 0, data));
    Ok(answer)
}

fn backwards(request: &Message, query: &Query) -> Result<Message> {
    let mut answer = response(request);
    if query.query_type() == RecordType::PTR {
        let data = RData::PTR(PTR(Name::from_ascii(HOST)?));
        answer.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
    }
    Ok(answer)
}

/// An answer with [`FORGED`] that nobody may take.
fn forged(request: &Message, query: &Query, how: &str) -> Result<Reply> {
    let mut answer = response(request);
    let data = RData::A(A(FORGED));
    answer.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
    let question = answer.queries.first_mut().context("no question")?;
    match how {
        "wrongid" => answer.metadata.id ^= 0x5555,
        "wrongname" => {
            question.set_name(Name::from_ascii("victim.example.")?);
        }
        "wrongtype" => {
            question.set_query_type(RecordType::NS);
        }
        _ => {}
    }
    Ok(Reply {
        elsewhere: how == "wrongport",
        ..answer.to_vec()?.into()
    })
}

/// An answer whose record's name points at itself.
fn looped(request: &Message) -> Result<Vec<u8>> {
    let mut bytes = response(request).to_vec()?;
    bytes.truncate(bytes.len().min(4096));
    if let Some(count) = bytes.get_mut(6..12) {
        count.copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    }
    // The OPT record, if there was one, is overwritten by what counts as the answer.
    if request.edns.is_some() {
        bytes.truncate(bytes.len() - 11);
    }
    let at = u16::try_from(bytes.len())? | 0xc000;
    bytes.extend(at.to_be_bytes());
    bytes.extend([0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
    Ok(bytes)
}

/// Changes, cuts off or adds some bytes behind the id.
fn mutant(mut bytes: Vec<u8>, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap_or(0)
    };
    for _ in 0..=random(3) {
        let at = 2 + random(bytes.len().saturating_sub(2));
        match random(8) {
            0 => bytes.truncate(at),
            1 => bytes.extend([0xc0, 0x0c, 0xff]),
            _ => {
                let byte = u8::try_from(random(256)).unwrap_or_default();
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
        }
    }
    bytes
}
