//! Questions and answers as bytes: what a request asks, and how it is answered from the table. Pure: every input gives
//! an outcome.

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR},
    },
    serialize::binary::{BinDecodable as _, BinDecoder},
};
use rand::seq::SliceRandom as _;

use super::table::{Holder, Known, Table, View};

/// Bytes of a message's head (RFC 1035, 4.1.1).
const HEAD: usize = 12;

/// Bytes of a UDP answer to an asker that says nothing of its size (RFC 1035, 4.2.1).
const PLAIN: usize = 512;

/// Bytes of a UDP message that we say to take, which fits every path (RFC 9715).
const PAYLOAD: u16 = 1232;

/// Addresses in one answer; more would not fit a message.
const RECORDS: usize = 1500;

/// Bytes of the shortest record (RFC 1035, 4.1.3): a pointer to a name, and no data.
const SHORTEST: usize = 12;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// An answer may be too long.
    Udp,
    /// Answers of 65,535 bytes.
    Tcp,
}

/// A question for other servers.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The whole request.
    pub bytes: Vec<u8>,
    /// Its question.
    pub query: Query,
    /// Bytes that the asker takes.
    pub limit: usize,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It is no request: no answer.
    Silence,
    /// The answer.
    Answer(Vec<u8>),
    /// Others must be asked.
    Forward(Asked),
}

/// Decides a request. `ttl`: seconds.
pub fn handle(table: &Table, view: &View, ttl: u32, request: &[u8], over: Transport) -> Outcome {
    let Ok(head) = Header::read(&mut BinDecoder::new(request)) else {
        return Outcome::Silence;
    };
    if head.metadata.message_type == MessageType::Response {
        return Outcome::Silence;
    }
    let refused = |code| Outcome::Answer(bare(request, code));
    if head.metadata.op_code != OpCode::Query {
        return refused(ResponseCode::NotImp);
    }
    if head.counts.queries != 1 {
        return refused(ResponseCode::FormErr);
    }
    let Ok(message) = Message::from_vec(request) else {
        return refused(ResponseCode::FormErr);
    };
    let Some(query) = message.queries.first() else {
        return refused(ResponseCode::FormErr);
    };
    let limit = limit(&message, over);
    let done = |code, answers| Outcome::Answer(answer(&message, code, answers, limit));
    if message.edns.as_ref().is_some_and(|e| e.version() != 0) {
        return done(ResponseCode::BADVERS, Vec::new());
    }
    let transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
    if query.query_class() != DNSClass::IN || transfer {
        return done(ResponseCode::Refused, Vec::new());
    }
    match local(table, view, query, ttl) {
        Some((code, answers)) => done(code, answers),
        None => Outcome::Forward(Asked {
            bytes: request.to_vec(),
            query: query.clone(),
            limit,
        }),
    }
}

/// Bytes that the asker of this message takes.
fn limit(message: &Message, over: Transport) -> usize {
    match over {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => message
            .edns
            .as_ref()
            .map_or(PLAIN, |e| usize::from(e.max_payload()).max(PLAIN)),
    }
}

/// What is known here of a question; `None`: others may know.
pub(super) fn local(
    table: &Table,
    view: &View,
    query: &Query,
    ttl: u32,
) -> Option<(ResponseCode, Vec<Record>)> {
    let asked = query.name();
    let kind = query.query_type();
    if let Some(address) = reverse(asked) {
        // A name that is none (too long) is not known.
        let name = Name::from_ascii(&*table.name_of(view, address)?).ok()?;
        let data = RData::PTR(PTR(name));
        let record = Record::from_rdata(asked.clone(), ttl, data);
        let wanted = matches!(kind, RecordType::PTR | RecordType::ANY);
        let answers = wanted.then_some(record).into_iter().collect();
        return Some((ResponseCode::NoError, answers));
    }
    let suits = |holder: &Holder| match kind {
        RecordType::A => holder.v4.is_some(),
        RecordType::AAAA => holder.v6.is_some(),
        _ => true,
    };
    match table.find(view, &plain(asked)?, suits) {
        Known::Unknown => None,
        Known::Dangling => Some((ResponseCode::NXDomain, Vec::new())),
        Known::Held(holders) => {
            let mut answers = records(asked, kind, &holders, ttl);
            answers.shuffle(&mut rand::rng());
            answers.truncate(RECORDS);
            Some((ResponseCode::NoError, answers))
        }
    }
}

fn records(asked: &Name, kind: RecordType, holders: &[Holder], ttl: u32) -> Vec<Record> {
    let wants = |this| kind == this || kind == RecordType::ANY;
    let one = |holder: &Holder| {
        let v4 = holder.v4.filter(|_| wants(RecordType::A));
        let v6 = holder.v6.filter(|_| wants(RecordType::AAAA));
        let v4 = v4.map(|a| RData::A(A(a)));
        let data = v4.into_iter().chain(v6.map(|a| RData::AAAA(AAAA(a))));
        data.map(|d| Record::from_rdata(asked.clone(), ttl, d))
            .collect::<Vec<_>>()
    };
    holders.iter().flat_map(one).collect()
}

/// A name in lower case with dots between its labels; `None` where a label holds a dot or is no text: no sandbox is
/// called so.
fn plain(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if label.contains(&b'.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(std::str::from_utf8(label).ok()?);
    }
    text.make_ascii_lowercase();
    Some(text)
}

/// The address that a name below in-addr.arpa or ip6.arpa (RFC 1035, 3.5; RFC 3596, 2.5) stands for.
fn reverse(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// An answer without its question, to what could not be read. `request`: at least [`HEAD`] bytes.
fn bare(request: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut head = [0; HEAD];
    if let [first, second, flags, ..] = *request {
        // The question's id, opcode and RD; QR and RA.
        head[..4].copy_from_slice(&[first, second, flags & 0x79 | 0x80, 0x80 | code.low()]);
    }
    head.to_vec()
}

fn response(request: &Message, code: ResponseCode) -> Message {
    let mut message = Message::response(request.metadata.id, OpCode::Query);
    message.metadata.recursion_desired = request.metadata.recursion_desired;
    message.metadata.checking_disabled = request.metadata.checking_disabled;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_rcode_high(code.high());
        message.set_edns(edns);
    }
    message
}

fn answer(request: &Message, code: ResponseCode, answers: Vec<Record>, limit: usize) -> Vec<u8> {
    let mut message = response(request, code);
    message.answers = answers;
    fitted(message, limit).unwrap_or_else(|| {
        let id = request.metadata.id.to_be_bytes();
        bare(&[id[0], id[1], 0], ResponseCode::ServFail)
    })
}

/// A message in at most `limit` bytes: without what was added for convenience, then with as many whole records as fit
/// and the mark that it is cut (RFC 2181, 9). `None`: not even its question fits, or it cannot be written.
fn fitted(mut message: Message, limit: usize) -> Option<Vec<u8>> {
    let written = |message: &Message| message.to_vec().ok().filter(|b| b.len() <= limit);
    if let Some(whole) = written(&message) {
        return Some(whole);
    }
    message.additionals.clear();
    message.signature = None;
    if let Some(bytes) = written(&message) {
        return Some(bytes);
    }
    message.authorities.clear();
    message.metadata.truncation = true;
    let mut answers = std::mem::take(&mut message.answers);
    answers.truncate(limit / SHORTEST);
    let mut best = written(&message).or_else(|| {
        message.edns = None;
        written(&message)
    })?;
    // How many fit: `low` do, `high` do not.
    let (mut low, mut high) = (0, answers.len() + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        message.answers = answers.get(..middle).unwrap_or_default().to_vec();
        match written(&message) {
            Some(bytes) => (best, low) = (bytes, middle),
            None => high = middle,
        }
    }
    Some(best)
}

impl Asked {
    /// The answer when nobody else gave one.
    pub fn failed(&self) -> Vec<u8> {
        self.answered_by(ResponseCode::ServFail)
    }

    /// An answer of this code alone.
    fn answered_by(&self, code: ResponseCode) -> Vec<u8> {
        match Message::from_vec(&self.bytes) {
            Ok(request) => answer(&request, code, Vec::new(), self.limit),
            Err(_) => bare(&self.bytes, code),
        }
    }

    /// The request under another id.
    pub fn with_id(&self, id: u16) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(head) = bytes.first_chunk_mut() {
            *head = id.to_be_bytes();
        }
        bytes
    }

    /// Reads what a server sent. `None`: it is no answer to this question under this id, in this very spelling
    /// (draft-vixie-dnsext-dns0x20).
    pub fn answered(&self, id: u16, bytes: &[u8]) -> Option<Message> {
        let message = Message::from_vec(bytes).ok()?;
        let same = match message.queries.as_slice() {
            [query] => {
                query.name().eq_case(self.query.name())
                    && query.query_type() == self.query.query_type()
                    && query.query_class() == self.query.query_class()
            }
            // Who refuses a question, or could not read it, need not repeat it.
            [] => !matches!(
                message.metadata.response_code,
                ResponseCode::NoError | ResponseCode::NXDomain
            ),
            _ => false,
        };
        let head = &message.metadata;
        (same && head.id == id && head.message_type == MessageType::Response).then_some(message)
    }

    /// A server's answer for the asker: under its id and no longer than it takes.
    pub fn relayed(&self, mut bytes: Vec<u8>, message: &Message) -> Vec<u8> {
        let id = self.bytes.first_chunk().copied().unwrap_or_default();
        if message.queries.is_empty() {
            // The asker wants to see its question again.
            return self.answered_by(message.metadata.response_code);
        }
        if bytes.len() > self.limit {
            let mut short = message.clone();
            short.metadata.id = u16::from_be_bytes(id);
            return fitted(short, self.limit).unwrap_or_else(|| self.failed());
        }
        if let Some(head) = bytes.first_chunk_mut() {
            *head = id;
        }
        bytes
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
