//! Flows and refused packets: pages, streams, and what netctl makes of them.

use netd_proto::v1::{
    DeleteFlowsRequest, DeleteFlowsResponse, DroppedPacket, Flow, FlowAddresses, FlowChange,
    FlowEnd, ListFlowsRequest, ListFlowsResponse, WatchDropsRequest, flow::State,
    flow_change::Kind,
};
use serde_json::Value;

use crate::recorder::Daemon;

fn flow(sandbox: &str, port: u32) -> Flow {
    let addresses = |source: &str| FlowAddresses {
        source_address: source.into(),
        source_port: port,
        destination_address: "198.51.100.2".into(),
        destination_port: 80,
    };
    Flow {
        sandbox: Some(FlowEnd {
            sandbox_name: sandbox.into(),
            ..Default::default()
        }),
        protocol: 6,
        state: State::Opening.into(),
        original: Some(addresses("10.0.0.2")),
        translated: Some(addresses("198.51.100.1")),
        ..Default::default()
    }
}

#[test]
fn p02_flows_of_all_pages_by_sandbox() {
    let daemon = Daemon::start();
    let ready = || {
        daemon.will(ListFlowsResponse {
            flows: vec![flow("web", 1), flow("db", 2)],
            next_page_token: "more".into(),
        });
        daemon.will(ListFlowsResponse {
            flows: vec![flow("web", 3)],
            next_page_token: String::new(),
        });
    };
    ready();
    assert_eq!(
        daemon.ok("flows --network front --protocol udp --ip 10.0.0.0/8 --port 53"),
        "\
SANDBOX   PROTO     STATE     SOURCE -> DESTINATION           TRANSLATED          AGE       LEFT      PACKETS   BYTES
db        tcp       opening   10.0.0.2:2 -> 198.51.100.2:80   198.51.100.1:2 ->   0s        0s        0/0       0B/0B
web       tcp       opening   10.0.0.2:1 -> 198.51.100.2:80   198.51.100.1:1 ->   0s        0s        0/0       0B/0B
web       tcp       opening   10.0.0.2:3 -> 198.51.100.2:80   198.51.100.1:3 ->   0s        0s        0/0       0B/0B
"
    );
    let seen = daemon.seen::<ListFlowsRequest>();
    let filter = seen[1].filter.clone().unwrap();
    assert_eq!(seen[1].page_token, "more");
    assert_eq!(
        (filter.network.as_str(), filter.address.as_str()),
        ("front", "10.0.0.0/8")
    );
    assert_eq!((filter.protocol, filter.port), (17, 53));
    ready();
    let shown = daemon.json("flows");
    assert_eq!(shown.as_array().unwrap().len(), 3);
    assert_eq!(shown[0]["Translated"]["SourceAddress"], "198.51.100.1");
}

#[test]
fn p02_flows_as_they_change() {
    let daemon = Daemon::start();
    let ready = || {
        let change = |kind: Kind, flow| FlowChange {
            kind: kind.into(),
            flow,
            ..Default::default()
        };
        daemon.will(vec![
            change(Kind::Present, Some(flow("web", 1))),
            change(Kind::Synced, None),
            change(Kind::Ended, Some(flow("web", 1))),
        ]);
    };
    ready();
    let lines = daemon.ok("flows --watch");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].contains(" present web tcp opening 10.0.0.2:1 -> 198.51.100.2:80 "));
    assert!(lines[1].ends_with(" synced"));
    ready();
    let lines = daemon.ok("flows --watch --output json");
    let kind = |line: &str| serde_json::from_str::<Value>(line).unwrap()["Kind"].clone();
    let kinds: Vec<_> = lines.lines().map(kind).collect();
    assert_eq!(kinds, ["present", "synced", "ended"]);
}

#[test]
fn p02_flows_rm_says_how_many() {
    let daemon = Daemon::start();
    for count in [1, 2, 3] {
        daemon.will(DeleteFlowsResponse { count });
    }
    assert_eq!(daemon.ok("flows rm --sandbox web"), "1 flow ended\n");
    assert_eq!(daemon.ok("flows rm --all"), "2 flows ended\n");
    assert_eq!(daemon.json("flows rm --published")["Ended"], 3);
    let seen = daemon.seen::<DeleteFlowsRequest>();
    assert!(!seen[0].all && seen[1].all);
    assert_eq!(seen.len(), 3);
}

#[test]
fn x03_drops_as_they_come() {
    let daemon = Daemon::start();
    let ready = || {
        let packet = DroppedPacket {
            reason_name: "isolated".into(),
            description: "The address belongs to another network.".into(),
            sandbox_name: "web".into(),
            source_address: "10.0.0.2".into(),
            source_port: 4000,
            destination_address: "10.1.0.2".into(),
            destination_port: 53,
            protocol: 17,
            ..Default::default()
        };
        let second = DroppedPacket {
            left_out: 5,
            ..packet.clone()
        };
        daemon.will(vec![packet, second]);
    };
    ready();
    let lines = daemon.ok("drops --follow --sandbox web --reason isolated");
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0].ends_with(
        " web udp 10.0.0.2:4000 -> 10.1.0.2:53 isolated: The address belongs to another network."
    ));
    assert!(lines[1].ends_with(" (5 before it not told)"));
    ready();
    let lines = daemon.ok("--output json drops --follow");
    let left_out = |line: &str| serde_json::from_str::<Value>(line).unwrap()["LeftOut"].clone();
    let left_out: Vec<_> = lines.lines().map(left_out).collect();
    assert_eq!(left_out, [0, 5]);
    let seen = daemon.seen::<WatchDropsRequest>();
    assert_eq!(seen[0].sandbox, "web");
    assert_eq!(seen[0].reasons, ["isolated"]);
}
