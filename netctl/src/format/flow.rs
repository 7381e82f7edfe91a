//! Flows and refused packets as text and as JSON. Knows the messages of the API, not where they come from.

use netd_proto::v1::{DroppedPacket, Flow, FlowAddresses, FlowChange, flow_change::Kind};
use prost_types::Duration;
use serde_json::{Value, json};

use super::{table::Table, time::rfc3339};
use crate::cli::flow::PROTOCOLS;

/// Name of the sandbox that a flow is shown under.
pub fn sandbox(flow: &Flow) -> &str {
    let name = flow.sandbox.as_ref().map_or("", |s| &s.sandbox_name);
    if name.is_empty() { "(gone)" } else { name }
}

fn peer(flow: &Flow) -> &str {
    flow.peer.as_ref().map_or("", |p| &p.sandbox_name)
}

/// A protocol's name, or its number.
fn protocol(number: u32) -> String {
    let mut names = PROTOCOLS.iter();
    let found = names.find(|(_, known)| u32::from(*known) == number);
    found.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// `192.0.2.7:80`, `[2001:db8::7]:80`, without the port where there is none.
fn at(address: &str, port: u32) -> String {
    match (address.contains(':'), port) {
        (_, 0) => address.to_owned(),
        (true, port) => format!("[{address}]:{port}"),
        (false, port) => format!("{address}:{port}"),
    }
}

fn source(a: &FlowAddresses) -> String {
    at(&a.source_address, a.source_port)
}

fn destination(a: &FlowAddresses) -> String {
    at(&a.destination_address, a.destination_port)
}

/// What became of the addresses: the side that was translated, or both.
fn translated(flow: &Flow, whole: bool) -> String {
    let (Some(before), Some(after)) = (&flow.original, &flow.translated) else {
        return String::new();
    };
    let shared = if flow.shared_port { " (shared)" } else { "" };
    let to = format!("-> {}", destination(after));
    match (
        source(before) != source(after),
        destination(before) != destination(after),
    ) {
        (false, false) if !whole => "-".to_owned(),
        (true, false) if !whole => format!("{} ->{shared}", source(after)),
        (false, true) if !whole => to,
        _ => format!("{} {to}{shared}", source(after)),
    }
}

fn path(flow: &Flow) -> String {
    let original = flow.original.clone().unwrap_or_default();
    format!("{} -> {}", source(&original), destination(&original))
}

/// Two digits' worth of a time, as `3s`, `4m12s`, `2h3m`, `5d7h`.
fn short(duration: Option<&Duration>) -> String {
    let seconds = duration.map_or(0, |d| d.seconds.max(0));
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days}d{}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h{}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m{}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

fn seconds(duration: Option<&Duration>) -> f64 {
    duration.map_or(0.0, |d| {
        d.seconds as f64 + f64::from(d.nanos / 1_000_000) / 1000.0
    })
}

/// Bytes as people write them, in powers of ten.
fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if number < 999.95 || unit == "TB" {
            return match unit {
                "B" => format!("{bytes}B"),
                _ => format!("{number:.1}{unit}"),
            };
        }
        number /= 1000.0;
    }
    bytes.to_string()
}

fn amounts(flow: &Flow, whole: bool) -> [String; 2] {
    let bytes = |n: u64| if whole { n.to_string() } else { size(n) };
    [
        format!("{}/{}", flow.packets, flow.answer_packets),
        format!("{}/{}", bytes(flow.bytes), bytes(flow.answer_bytes)),
    ]
}

fn state(flow: &Flow) -> String {
    let name = flow.state().as_str_name();
    name.trim_start_matches("STATE_").to_lowercase()
}

/// A row for each flow; packets and bytes of both directions, answers behind the stroke.
pub fn table(flows: &[Flow], whole: bool) -> String {
    let id: &[&str] = if whole { &["FLOW ID"] } else { &[] };
    let head = [
        "SANDBOX",
        "PROTO",
        "STATE",
        "SOURCE -> DESTINATION",
        "TRANSLATED",
        "AGE",
        "LEFT",
        "PACKETS",
        "BYTES",
    ];
    let mut table = Table::new(&[id, &head].concat());
    for flow in flows {
        let mut cells: Vec<String> = id.iter().map(|_| flow.id.clone()).collect();
        cells.extend([
            sandbox(flow).to_owned(),
            protocol(flow.protocol),
            state(flow),
            path(flow),
            translated(flow, whole),
            short(flow.age.as_ref()),
            short(flow.left.as_ref()),
        ]);
        cells.extend(amounts(flow, whole));
        table.row(cells);
    }
    table.render()
}

fn addresses(a: Option<&FlowAddresses>) -> Value {
    let a = a.cloned().unwrap_or_default();
    json!({
        "SourceAddress": a.source_address,
        "SourcePort": a.source_port,
        "DestinationAddress": a.destination_address,
        "DestinationPort": a.destination_port,
    })
}

/// A flow.
pub fn json(flow: &Flow) -> Value {
    let here = flow.sandbox.clone().unwrap_or_default();
    let there = flow.peer.clone().unwrap_or_default();
    let direction = flow.direction().as_str_name();
    json!({
        "Id": flow.id,
        "Sandbox": here.sandbox_name,
        "SandboxId": here.sandbox_id,
        "Network": here.network_name,
        "EndpointId": here.endpoint_id,
        "Peer": there.sandbox_name,
        "PeerId": there.sandbox_id,
        "PeerNetwork": there.network_name,
        "PeerEndpointId": there.endpoint_id,
        "Protocol": protocol(flow.protocol),
        "Direction": direction.trim_start_matches("DIRECTION_").to_lowercase(),
        "State": state(flow),
        "Original": addresses(flow.original.as_ref()),
        "Translated": addresses(flow.translated.as_ref()),
        "Published": flow.published,
        "SharedPort": flow.shared_port,
        "Began": rfc3339(flow.began.as_ref()),
        "AgeSeconds": seconds(flow.age.as_ref()),
        "IdleSeconds": seconds(flow.idle.as_ref()),
        "LeftSeconds": seconds(flow.left.as_ref()),
        "Packets": flow.packets,
        "Bytes": flow.bytes,
        "AnswerPackets": flow.answer_packets,
        "AnswerBytes": flow.answer_bytes,
    })
}

fn kind(change: &FlowChange) -> String {
    let name = change.kind().as_str_name();
    name.trim_start_matches("KIND_").to_lowercase()
}

/// A change, as a line of JSON without its end.
pub fn change_json(change: &FlowChange) -> Value {
    json!({
        "Time": rfc3339(change.time.as_ref()),
        "Kind": kind(change),
        "Flow": change.flow.as_ref().map(json),
        "Lost": change.lost,
    })
}

/// A change as a line.
pub fn change_line(change: &FlowChange, whole: bool) -> String {
    let time = rfc3339(change.time.as_ref());
    let Some(flow) = &change.flow else {
        return match change.kind() {
            Kind::Lost => format!("{time} lost {} changes, read too slowly\n", change.lost),
            _ => format!("{time} {}\n", kind(change)),
        };
    };
    let [packets, bytes] = amounts(flow, whole);
    let to = match peer(flow) {
        "" => String::new(),
        peer => format!(" to {peer}"),
    };
    format!(
        "{time} {} {}{to} {} {} {} ({}) {packets} packets {bytes} bytes, {} old\n",
        kind(change),
        sandbox(flow),
        protocol(flow.protocol),
        state(flow),
        path(flow),
        translated(flow, whole),
        short(flow.age.as_ref()),
    )
}

/// Letters of the TCP flags, as tcpdump orders them.
fn flags(bits: u32) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = names.iter().enumerate().filter(|(i, _)| bits >> i & 1 != 0);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

/// A refused packet as a line.
pub fn dropped_line(packet: &DroppedPacket) -> String {
    let from = match packet.sandbox_name.as_str() {
        "" => "(host)",
        name => name,
    };
    let what = if packet.source_address.is_empty() {
        format!("on {}", packet.interface_name)
    } else {
        let mut what = format!(
            "{} {} -> {}",
            protocol(packet.protocol),
            at(&packet.source_address, packet.source_port),
            at(&packet.destination_address, packet.destination_port),
        );
        match packet.protocol {
            6 => what.push_str(&format!(" [{}]", flags(packet.tcp_flags))),
            1 | 58 => what.push_str(&format!(" type {}", packet.icmp_type)),
            _ => {}
        }
        what
    };
    let mut line = format!(
        "{} {from} {what} {}: {}",
        rfc3339(packet.time.as_ref()),
        packet.reason_name,
        packet.description
    );
    if packet.left_out > 0 {
        line.push_str(&format!(" ({} before it not told)", packet.left_out));
    }
    if packet.lost > 0 {
        line.push_str(&format!(" ({} before it lost)", packet.lost));
    }
    line + "\n"
}

/// A refused packet.
pub fn dropped_json(packet: &DroppedPacket) -> Value {
    let read = !packet.source_address.is_empty();
    json!({
        "Time": rfc3339(packet.time.as_ref()),
        "Number": packet.reason,
        "Reason": packet.reason_name,
        "Description": packet.description,
        "Sandbox": packet.sandbox_name,
        "Network": packet.network_name,
        "EndpointId": packet.endpoint_id,
        "Interface": packet.interface_name,
        "Protocol": if read { protocol(packet.protocol) } else { String::new() },
        "SourceAddress": packet.source_address,
        "SourcePort": packet.source_port,
        "DestinationAddress": packet.destination_address,
        "DestinationPort": packet.destination_port,
        "TcpFlags": flags(packet.tcp_flags),
        "IcmpType": packet.icmp_type,
        "Bytes": packet.bytes,
        "LeftOut": packet.left_out,
        "Lost": packet.lost,
    })
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
