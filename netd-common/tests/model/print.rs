//! Packets and verdicts in one line each, for whoever reads a failure.

use crate::{
    expect::Expect,
    got::Got,
    packet::{Icmp, L3, read},
};

/// What a packet is.
pub fn packet(bytes: &[u8]) -> String {
    let v4 = match bytes.get(12..14) {
        Some([8, 0]) => true,
        Some([0x86, 0xdd]) => false,
        _ => return format!("no IP packet {bytes:02x?}"),
    };
    let Some(seen) = read(bytes, L3, v4, false) else {
        return format!("unreadable {bytes:02x?}");
    };
    let ports = seen
        .ports
        .map_or(String::new(), |p| format!(" {}>{}", p.0, p.1));
    let flags: String = "FSRPAU"
        .chars()
        .enumerate()
        .filter(|(i, _)| seen.flags >> i & 1 == 1)
        .map(|f| f.1)
        .collect();
    let fragment = match (seen.fragment, seen.later) {
        (Some(id), false) => format!(" first fragment {id}"),
        (Some(id), true) => format!(" later fragment {id}"),
        _ => String::new(),
    };
    let mut text = format!(
        "{}>{} protocol {}{ports} {flags}{fragment} ttl {} {} bytes{}",
        seen.src,
        seen.dst,
        seen.protocol,
        seen.ttl,
        bytes.len() - L3,
        if seen.doubtful { " doubtful" } else { "" },
    );
    if seen.icmp == Some(Icmp::Error) {
        text += &format!(" error {:?}", &bytes[seen.l4..seen.l4 + 2]);
        if let Some(inner) = read(bytes, seen.l4 + 8, v4, true) {
            text += &format!(
                " about {}>{} protocol {} {:?}",
                inner.src, inner.dst, inner.protocol, inner.ports
            );
        }
    }
    text
}

/// What became of a packet.
pub fn got(got: &Got) -> String {
    match got {
        Got::Pass => "passed".into(),
        Got::Drop(why) => format!("dropped ({why})"),
        Got::Deliver(to, p) => format!("delivered to {to}: {}", whole(p)),
        Got::ToHost(to, p) => format!("to the host by {to}: {}", whole(p)),
        Got::Out(by, to, p) => format!("out by {by} to {to}: {}", whole(p)),
        Got::Again => "again".into(),
        Got::Back(by, p) => format!("back by {by}: {}", whole(p)),
        Got::Replicate(network, host) => format!("to all of {network}, and {host}"),
    }
}

/// What may become of a packet.
pub fn expect(expect: &Expect) -> String {
    match expect {
        Expect::Pass => "pass".into(),
        Expect::Drop => "be dropped".into(),
        Expect::Deliver(to, p) => format!("be delivered to {to}: {}", whole(&p.bytes)),
        Expect::ToHost(to, p) => format!("go to the host by {to}: {}", whole(&p.bytes)),
        Expect::Out(p) => format!("go out: {}", whole(&p.bytes)),
        Expect::Replicate(network, host) => format!("go to all of {network}, and {host}"),
        Expect::Error(e) => format!(
            "become error {},{} ({}) from {} out of {}",
            e.kind, e.code, e.number, e.from, e.ifindex
        ),
        Expect::Never(why) => format!("(not: {why})"),
    }
}

fn whole(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().take(100).map(|b| format!("{b:02x}")).collect();
    format!("{}\n    {hex}", packet(bytes))
}
