//! Packets built from what one wants to see in them, with right sums unless they are to be wrong.

use std::net::IpAddr;

use crate::packet::{L3, read, sum, transport_sum};

/// What follows the IP header.
#[derive(Clone, Debug)]
pub enum Body {
    Tcp {
        ports: (u16, u16),
        flags: u8,
        numbers: (u32, u32),
        mss: Option<u16>,
    },
    Udp {
        ports: (u16, u16),
        sum: bool,
    },
    /// SCTP, UDP-Lite, DCCP.
    Ports {
        protocol: u8,
        ports: (u16, u16),
    },
    Echo {
        request: bool,
        id: u16,
    },
    Icmp {
        kind: u8,
        code: u8,
        rest: u32,
        quote: Vec<u8>,
    },
    /// GRE, ESP and the like.
    Plain {
        protocol: u8,
    },
}

/// Part of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub id: u16,
    /// In units of eight bytes.
    pub offset: u16,
    pub more: bool,
}

/// A packet to build.
#[derive(Clone, Debug)]
pub struct Form {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub body: Body,
    pub payload: usize,
    pub part: Option<Part>,
    /// IPv4: words of options. IPv6: extension headers.
    pub options: Vec<u8>,
    pub macs: [[u8; 6]; 2],
}

fn transport(v4: bool, body: &Body) -> (u8, Vec<u8>) {
    let ports = |p: &(u16, u16)| [p.0.to_be_bytes(), p.1.to_be_bytes()].concat();
    match body {
        Body::Tcp {
            ports: p,
            flags,
            numbers,
            mss,
        } => {
            let mut b = ports(p);
            b.extend(numbers.0.to_be_bytes());
            b.extend(numbers.1.to_be_bytes());
            let mut options = Vec::new();
            if let Some(mss) = mss {
                options.extend([1, 2, 4]);
                options.extend(mss.to_be_bytes());
                options.extend([1, 1, 0]);
            }
            b.extend([
                ((5 + options.len() / 4) as u8) << 4,
                *flags,
                1,
                0,
                0,
                0,
                0,
                0,
            ]);
            b.extend(options);
            (6, b)
        }
        Body::Udp { ports: p, .. } => (17, [ports(p), vec![0; 4]].concat()),
        Body::Ports { protocol, ports: p } => (*protocol, [ports(p), vec![0; 12]].concat()),
        Body::Echo { request, id } => {
            let kind = match (v4, request) {
                (true, true) => 8,
                (true, false) => 0,
                (false, true) => 128,
                (false, false) => 129,
            };
            let id = id.to_be_bytes();
            (icmp(v4), vec![kind, 0, 0, 0, id[0], id[1], 0, 1])
        }
        Body::Icmp {
            kind,
            code,
            rest,
            quote,
        } => {
            let mut b = vec![*kind, *code, 0, 0];
            b.extend(rest.to_be_bytes());
            b.extend(quote);
            (icmp(v4), b)
        }
        Body::Plain { protocol } => (*protocol, vec![0; 8]),
    }
}

const fn icmp(v4: bool) -> u8 {
    if v4 { 1 } else { 58 }
}

/// The bytes, Ethernet header included.
pub fn build(form: &Form) -> Vec<u8> {
    let v4 = form.src.is_ipv4();
    let (protocol, mut data) = transport(v4, &form.body);
    let later = form.part.is_some_and(|p| p.offset > 0);
    if later {
        data.clear();
    }
    data.extend((0..form.payload).map(|i| i as u8));
    let mut b = [form.macs[0].as_slice(), &form.macs[1]].concat();
    b.extend(if v4 { [8, 0] } else { [0x86, 0xdd] });
    if v4 {
        header_v4(form, protocol, data.len(), &mut b)
    } else {
        header_v6(form, protocol, data.len(), &mut b)
    }
    let l4 = b.len();
    let udp = matches!(form.body, Body::Udp { .. }) && !later;
    if udp {
        let length = (data.len() as u16).to_be_bytes();
        data[4..6].copy_from_slice(&length);
    }
    b.extend(data);
    let Some(seen) = read(&b, L3, v4, false) else {
        return b;
    };
    let Some(at) = seen.sum_at().filter(|at| at + 2 <= b.len()) else {
        return b;
    };
    if matches!(form.body, Body::Udp { sum: false, .. }) {
        return b;
    }
    let pseudo = if seen.pseudo() {
        (b.len() - l4) as u32 + u32::from(protocol)
    } else {
        0
    };
    let field = 0xffff - ((transport_sum(&b, &seen) + pseudo) % 0xffff) as u16;
    b[at..at + 2].copy_from_slice(&field.to_be_bytes());
    b
}

fn header_v4(form: &Form, protocol: u8, length: usize, b: &mut Vec<u8>) {
    let words = form.options.len().min(10);
    let total = (20 + 4 * words + length) as u16;
    b.extend([0x45 + words as u8, 0]);
    b.extend(total.to_be_bytes());
    let part = form.part.unwrap_or(Part {
        id: 0,
        offset: 0,
        more: false,
    });
    b.extend(part.id.to_be_bytes());
    b.extend((part.offset | u16::from(part.more) << 13).to_be_bytes());
    b.extend([form.ttl, protocol, 0, 0]);
    for addr in [form.src, form.dst] {
        if let IpAddr::V4(a) = addr {
            b.extend(a.octets());
        }
    }
    b.extend((0..words).flat_map(|_| [1, 1, 1, 1]));
    let field = (0xffff - sum(&b[L3..])) as u16;
    b[L3 + 10..L3 + 12].copy_from_slice(&field.to_be_bytes());
}

fn header_v6(form: &Form, protocol: u8, length: usize, b: &mut Vec<u8>) {
    let kinds = form.options.iter().map(|o| [0, 60, 43][usize::from(o % 3)]);
    let mut chain: Vec<u8> = kinds.collect();
    if form.part.is_some() {
        chain.push(44);
    }
    b.extend([0x60, 0, 0, 0]);
    let size = chain.len() * 8 + length + form.options.iter().filter(|o| **o > 200).count() * 8;
    b.extend((size as u16).to_be_bytes());
    b.extend([*chain.first().unwrap_or(&protocol), form.ttl]);
    for addr in [form.src, form.dst] {
        if let IpAddr::V6(a) = addr {
            b.extend(a.octets());
        }
    }
    for (i, kind) in chain.iter().enumerate() {
        let next = *chain.get(i + 1).unwrap_or(&protocol);
        if *kind == 44 {
            let part = form.part.expect("a fragment header is a fragment's");
            b.extend([next, 0]);
            b.extend((part.offset << 3 | u16::from(part.more)).to_be_bytes());
            b.extend(u32::from(part.id).to_be_bytes());
        } else if form.options[i] > 200 {
            b.extend([next, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        } else {
            b.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
    }
}
