//! Flows and refused packets: a daemon of memory with three flows on two pages, and what netctl makes of them.

use netd_proto::v1::{
    DeleteFlowsRequest, DeleteFlowsResponse, Flow, FlowAddresses, FlowChange, FlowEnd,
    ListFlowsRequest, ListFlowsResponse, WatchFlowsRequest, flow::State, flow_change::Kind,
    flow_service_server::FlowService,
};
use tonic::{Request, Response, Status};

use crate::daemon::{Answer, Daemon, Shared};

/// Three flows.
pub struct Flows(pub Shared);

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

#[tonic::async_trait]
impl FlowService for Flows {
    async fn list_flows(&self, request: Request<ListFlowsRequest>) -> Answer<ListFlowsResponse> {
        let request = request.into_inner();
        let page = match request.page_token.as_str() {
            "" => ListFlowsResponse {
                flows: vec![flow("web", 1), flow("db", 2)],
                next_page_token: "more".into(),
            },
            _ => ListFlowsResponse {
                flows: vec![flow("web", 3)],
                next_page_token: String::new(),
            },
        };
        self.0.lock().unwrap().flows.push(request);
        Ok(Response::new(page))
    }

    type WatchFlowsStream = tokio_stream::Iter<std::vec::IntoIter<Result<FlowChange, Status>>>;

    async fn watch_flows(&self, _: Request<WatchFlowsRequest>) -> Answer<Self::WatchFlowsStream> {
        let change = |kind: Kind, flow| {
            Ok(FlowChange {
                kind: kind.into(),
                flow,
                ..Default::default()
            })
        };
        let changes = vec![
            change(Kind::Present, Some(flow("web", 1))),
            change(Kind::Synced, None),
            change(Kind::Ended, Some(flow("web", 1))),
        ];
        Ok(Response::new(tokio_stream::iter(changes)))
    }

    async fn delete_flows(
        &self,
        request: Request<DeleteFlowsRequest>,
    ) -> Answer<DeleteFlowsResponse> {
        let mut seen = self.0.lock().unwrap();
        seen.deletes.push(request.into_inner());
        let count = seen.deletes.len() as u64;
        Ok(Response::new(DeleteFlowsResponse { count }))
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn p02_flows_of_all_pages_by_sandbox() {
    let daemon = Daemon::start();
    assert_eq!(
        daemon.ok("flows --network front --protocol udp --ip 10.0.0.0/8 --port 53"),
        "\
SANDBOX   PROTO     STATE     SOURCE -> DESTINATION           TRANSLATED          AGE       LEFT      PACKETS   BYTES
db        tcp       opening   10.0.0.2:2 -> 198.51.100.2:80   198.51.100.1:2 ->   0s        0s        0/0       0B/0B
web       tcp       opening   10.0.0.2:1 -> 198.51.100.2:80   198.51.100.1:1 ->   0s        0s        0/0       0B/0B
web       tcp       opening   10.0.0.2:3 -> 198.51.100.2:80   198.51.100.1:3 ->   0s        0s        0/0       0B/0B
"
    );
    {
        let seen = daemon.seen.lock().unwrap();
        let filter = seen.flows[1].filter.clone().unwrap();
        assert_eq!(seen.flows[1].page_token, "more");
        assert_eq!(
            (filter.network.as_str(), filter.address.as_str()),
            ("front", "10.0.0.0/8")
        );
        assert_eq!((filter.protocol, filter.port), (17, 53));
    }
    let shown = json(&daemon.ok("--output json flows"));
    assert_eq!(shown.as_array().unwrap().len(), 3);
    assert_eq!(shown[0]["Translated"]["SourceAddress"], "198.51.100.1");
}

#[test]
fn p02_flows_as_they_change() {
    let daemon = Daemon::start();
    let lines = daemon.ok("flows --watch");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].contains(" present web tcp opening 10.0.0.2:1 -> 198.51.100.2:80 "));
    assert!(lines[1].ends_with(" synced"));
    let lines = daemon.ok("flows --watch --output json");
    let kinds: Vec<_> = lines.lines().map(|l| json(l)["Kind"].clone()).collect();
    assert_eq!(kinds, ["present", "synced", "ended"]);
}

#[test]
fn p02_flows_rm_says_how_many() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok("flows rm --sandbox web"), "1 flow ended\n");
    assert_eq!(daemon.ok("flows rm --all"), "2 flows ended\n");
    let shown = json(&daemon.ok("--output json flows rm --published"));
    assert_eq!(shown["Ended"], 3);
    let (_, said) = daemon.fails(2, "flows rm");
    assert!(said.contains("--all"), "{said}");
    let seen = daemon.seen.lock().unwrap();
    assert!(!seen.deletes[0].all && seen.deletes[1].all);
    assert_eq!(seen.deletes.len(), 3);
}

#[test]
fn x03_drops_as_they_come() {
    let daemon = Daemon::start();
    let lines = daemon.ok("drops --follow --sandbox web --reason isolated");
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0].ends_with(
        " web udp 10.0.0.2:4000 -> 10.1.0.2:53 isolated: The address belongs to another network."
    ));
    assert!(lines[1].ends_with(" (5 before it not told)"));
    let lines = daemon.ok("--output json drops --follow");
    let left_out: Vec<_> = lines.lines().map(|l| json(l)["LeftOut"].clone()).collect();
    assert_eq!(left_out, [0, 5]);
    let seen = daemon.seen.lock().unwrap();
    assert_eq!(seen.drops[0].sandbox, "web");
    assert_eq!(seen.drops[0].reasons, ["isolated"]);
}

#[test]
fn p02_status_shows_flows() {
    let daemon = Daemon::start();
    let text = daemon.ok("status");
    for part in ["24 of 262144", "7 were over, 2 of them early"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let shown = json(&daemon.ok("--output json status"));
    assert_eq!(shown["Flows"]["EndedEarly"], 2);
}
