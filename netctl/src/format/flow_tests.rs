//! P02, X03: lines and tables of flows and refused packets.

use netd_proto::v1::{FlowEnd, flow::State};

use super::*;

fn masqueraded() -> Flow {
    Flow {
        id: "00ff".into(),
        sandbox: Some(FlowEnd {
            sandbox_name: "web".into(),
            ..Default::default()
        }),
        protocol: 6,
        state: State::Established.into(),
        original: Some(FlowAddresses {
            source_address: "172.18.0.2".into(),
            source_port: 40000,
            destination_address: "198.51.100.2".into(),
            destination_port: 80,
        }),
        translated: Some(FlowAddresses {
            source_address: "198.51.100.1".into(),
            source_port: 49152,
            destination_address: "198.51.100.2".into(),
            destination_port: 80,
        }),
        age: Some(Duration {
            seconds: 3_725,
            nanos: 0,
        }),
        left: Some(Duration {
            seconds: 59,
            nanos: 999_000_000,
        }),
        packets: 12,
        bytes: 1_234,
        answer_packets: 10,
        answer_bytes: 5_600_000,
        ..Default::default()
    }
}

#[test]
fn p02_a_table_of_flows() {
    let flows = [masqueraded()];
    let wanted = "\
SANDBOX   PROTO     STATE         SOURCE -> DESTINATION                 TRANSLATED              AGE       LEFT      PACKETS   BYTES
web       tcp       established   172.18.0.2:40000 -> 198.51.100.2:80   198.51.100.1:49152 ->   1h2m      59s       12/10     1.2kB/5.6MB
";
    assert_eq!(table(&flows, false), wanted);
    let whole = table(&flows, true);
    for part in [
        "FLOW ID",
        "00ff",
        "198.51.100.1:49152 -> 198.51.100.2:80",
        "1234/5600000",
    ] {
        assert!(whole.contains(part), "{part}: {whole}");
    }
}

#[test]
fn p02_translations() {
    let mut flow = masqueraded();
    flow.shared_port = true;
    assert_eq!(translated(&flow, false), "198.51.100.1:49152 -> (shared)");
    flow.shared_port = false;
    flow.original = flow.translated.clone();
    assert_eq!(translated(&flow, false), "-");
    if let Some(after) = &mut flow.translated {
        after.destination_address = "fd00::2".into();
        after.destination_port = 7000;
    }
    assert_eq!(translated(&flow, false), "-> [fd00::2]:7000");
}

#[test]
fn p02_times_and_sizes() {
    let text = |seconds| short(Some(&Duration { seconds, nanos: 0 }));
    assert_eq!(
        [0, 59, 60, 7_440, 90_000, -5].map(text),
        ["0s", "59s", "1m0s", "2h4m", "1d1h", "0s"]
    );
    assert_eq!(
        [0, 999, 1_000, 999_949, 999_950, u64::MAX].map(size),
        ["0B", "999B", "1.0kB", "999.9kB", "1.0MB", "18446744.1TB"]
    );
    assert_eq!(protocol(58), "icmpv6");
    assert_eq!(protocol(47), "47");
}

#[test]
fn p02_changes() {
    let change = FlowChange {
        kind: Kind::Ended.into(),
        flow: Some(masqueraded()),
        ..Default::default()
    };
    let line = change_line(&change, false);
    assert!(line.contains(" ended web tcp established 172.18.0.2:40000 -> "));
    let json = change_json(&change);
    assert_eq!(json["Kind"], "ended");
    assert_eq!(json["Flow"]["Translated"]["SourcePort"], 49152);
    assert_eq!(json["Flow"]["LeftSeconds"], 59.999);
    let lost = FlowChange {
        kind: Kind::Lost.into(),
        lost: 7,
        ..Default::default()
    };
    assert!(change_line(&lost, false).contains("lost 7 changes"));
}

#[test]
fn x03_refused_packets() {
    let packet = DroppedPacket {
        reason_name: "isolated".into(),
        description: "The address belongs to another network.".into(),
        sandbox_name: "web".into(),
        source_address: "fd00::2".into(),
        source_port: 4000,
        destination_address: "fd01::2".into(),
        destination_port: 80,
        protocol: 6,
        tcp_flags: 0x12,
        left_out: 3,
        ..Default::default()
    };
    assert!(dropped_line(&packet).ends_with(
        " web tcp [fd00::2]:4000 -> [fd01::2]:80 [SYN,ACK] isolated: The address belongs to another network. \
         (3 before it not told)\n"
    ));
    let unread = DroppedPacket {
        reason_name: "unknown-protocol".into(),
        interface_name: "nd-1".into(),
        ..Default::default()
    };
    assert!(dropped_line(&unread).contains(" (host) on nd-1 unknown-protocol: "));
    assert_eq!(dropped_json(&unread)["Protocol"], "");
}
