//! P01: flows by the API.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use netd_proto::v1::{
    DeleteFlowsRequest, FlowFilter, ListFlowsRequest, WatchFlowsRequest, flow_change::Kind,
    flow_service_client::FlowServiceClient,
};
use netd_tests::{Sandbox, World, world::LAN_V4};
use serde_json::Value;
use tonic::Code;

use crate::{
    Outcome,
    api::channel,
    flows::{flows, number, started},
};

/// Opens one UDP socket after the other, each of which sends one packet.
const FLOOD: &str = "
import socket, sys
for i in range(int(sys.argv[3])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b'x', (sys.argv[1], int(sys.argv[2])))
print('sent')
";

fn flood(sandbox: &Sandbox, count: u32) -> Outcome {
    let (to, count) = (LAN_V4.to_string(), count.to_string());
    let words = ["/usr/bin/python3", "-c", FLOOD, &to, "7001", &count];
    let output = sandbox.scope.run(&words)?;
    ensure!(output.stdout.contains("sent"), "{}", output.text());
    Ok(())
}

#[tokio::test]
async fn p01_flows_by_pages() -> Outcome {
    let (world, web, _servers) = started()?;
    flood(&web, 25)?;
    let mut service = FlowServiceClient::new(channel(&world).await?);
    let mut request = ListFlowsRequest {
        page_size: 10,
        ..Default::default()
    };
    let (mut ids, mut sizes, mut ages) = (BTreeSet::new(), Vec::new(), Vec::new());
    loop {
        let page = service.list_flows(request.clone()).await?.into_inner();
        sizes.push(page.flows.len());
        for flow in page.flows {
            ages.extend(flow.began.map(|t| (t.seconds, t.nanos)));
            ensure!(ids.insert(flow.id.clone()), "twice: {flow:?}");
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    ensure!(sizes == [10, 10, 5], "{sizes:?}");
    ensure!(ages.len() == 25, "{ages:?}");
    // A page that ends with the last flow is the last page.
    request = ListFlowsRequest {
        page_size: 25,
        ..Default::default()
    };
    let page = service.list_flows(request).await?.into_inner();
    ensure!(
        page.flows.len() == 25 && page.next_page_token.is_empty(),
        "{page:?}"
    );
    for (request, part) in [
        (
            ListFlowsRequest {
                page_token: "zzz".into(),
                ..Default::default()
            },
            "zzz",
        ),
        (
            ListFlowsRequest {
                filter: Some(FlowFilter {
                    protocol: 256,
                    ..Default::default()
                }),
                ..Default::default()
            },
            "256",
        ),
        (
            ListFlowsRequest {
                filter: Some(FlowFilter {
                    port: 65_536,
                    ..Default::default()
                }),
                ..Default::default()
            },
            "65536",
        ),
    ] {
        let status = service.list_flows(request).await.expect_err("it was taken");
        ensure!(
            status.code() == Code::InvalidArgument && status.message().contains(part),
            "{status:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn p01_rm_wants_to_know_which() -> Outcome {
    let (world, web, _servers) = started()?;
    web.reach("udp", LAN_V4.into(), 7000)?;
    let mut service = FlowServiceClient::new(channel(&world).await?);
    for request in [
        DeleteFlowsRequest::default(),
        DeleteFlowsRequest {
            filter: Some(FlowFilter {
                published: true,
                ..Default::default()
            }),
            all: true,
        },
    ] {
        let refused = service.delete_flows(request).await;
        let status = refused.expect_err("it was taken");
        ensure!(status.code() == Code::InvalidArgument, "{status:?}");
    }
    ensure!(flows(&world, "")?.len() == 1, "refused, and yet");
    Ok(())
}

#[tokio::test]
async fn p01_who_does_not_read_is_told_what_was_lost() -> Outcome {
    const FLOWS: usize = 4_000;
    let (world, web, _servers) = started()?;
    let mut service = FlowServiceClient::new(channel(&world).await?);
    let request = WatchFlowsRequest {
        interval: Some(prost_types::Duration {
            seconds: 0,
            nanos: 100_000_000,
        }),
        ..Default::default()
    };
    let mut changes = service.watch_flows(request).await?.into_inner();
    let first = changes.message().await?.context("the end")?;
    ensure!(first.kind() == Kind::Synced, "{first:?}");
    // It waits for the reader: a queue of thousand, and what the connection holds.
    let entries = || -> Result<f64> {
        flood(&web, 1_000)?;
        let status = world.ctl("--output json status")?;
        let status: Value = serde_json::from_str(&status)?;
        number(&status["Flows"], "Entries")
    };
    let enough = |_| entries().is_ok_and(|entries| entries >= 2.0 * FLOWS as f64);
    // Some may be lost on the way to the host's end of the veth.
    ensure!((0..20).any(enough), "no flows begin");
    let (mut began, mut lost) = (BTreeSet::new(), 0);
    while began.len() < FLOWS {
        let change = changes.message().await?.context("the end")?;
        match (change.kind(), change.flow) {
            (Kind::Began, Some(flow)) => {
                ensure!(began.insert(flow.id.clone()), "twice: {flow:?}");
            }
            (Kind::Lost, None) => lost += change.lost,
            // A port that was used again.
            (Kind::Updated, Some(_)) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(lost > 0, "nothing was lost");
    Ok(())
}

#[tokio::test]
async fn p01_so_many_may_watch() -> Outcome {
    let world = World::new()?;
    let service = FlowServiceClient::new(channel(&world).await?);
    let mut watches = Vec::new();
    let refused = loop {
        let mut service = service.clone();
        match service.watch_flows(WatchFlowsRequest::default()).await {
            Ok(watch) => watches.push(watch),
            Err(status) => break status,
        }
        ensure!(watches.len() < 100, "without end");
    };
    ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
    // Whoever goes leaves room.
    watches.pop();
    for _ in 0..500 {
        let mut service = service.clone();
        if service
            .watch_flows(WatchFlowsRequest::default())
            .await
            .is_ok()
        {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    anyhow::bail!("no room")
}
