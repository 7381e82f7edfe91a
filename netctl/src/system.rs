//! `netctl drops`, `stats`, `status` and `events`.

use netd_proto::v1::{
    GetStatusRequest, ListDropsRequest, ListStatsRequest, WatchRequest,
    event_service_client::EventServiceClient, system_service_client::SystemServiceClient,
};
use serde_json::Value;
use tonic::transport::Channel;

use crate::{
    Outcome,
    cli::{Command, Output},
    print, show,
};

pub async fn run(channel: Channel, output: Output, command: &Command) -> Outcome {
    let mut client = SystemServiceClient::new(channel.clone());
    match command {
        Command::Drops => {
            let rows = client
                .list_drops(ListDropsRequest {})
                .await?
                .into_inner()
                .drops;
            let value = Value::Array(rows.iter().map(show::drop_row).collect());
            print(output, &value, || {
                let row = |d: &netd_proto::v1::Drop| {
                    let who = if d.sandbox_name.is_empty() {
                        "(host)".to_owned()
                    } else {
                        d.sandbox_name.clone()
                    };
                    let numbers = (d.packets.to_string(), d.bytes.to_string());
                    vec![
                        who,
                        d.network_name.clone(),
                        d.reason_name.clone(),
                        numbers.0,
                        numbers.1,
                        d.description.clone(),
                    ]
                };
                let head = [
                    "SANDBOX",
                    "NETWORK",
                    "REASON",
                    "PACKETS",
                    "BYTES",
                    "DESCRIPTION",
                ];
                show::table(&head, &rows.iter().map(row).collect::<Vec<_>>())
            });
        }
        Command::Stats => {
            let rows = client
                .list_stats(ListStatsRequest {})
                .await?
                .into_inner()
                .stats;
            let value = Value::Array(rows.iter().map(show::stats_row).collect());
            print(output, &value, || {
                let row = |s: &netd_proto::v1::EndpointStats| {
                    let numbers = [
                        s.rx_packets,
                        s.rx_bytes,
                        s.tx_packets,
                        s.tx_bytes,
                        s.dropped_packets,
                    ];
                    let names = [s.sandbox_name.clone(), s.network_name.clone()];
                    names
                        .into_iter()
                        .chain(numbers.iter().map(ToString::to_string))
                        .collect()
                };
                let head = [
                    "SANDBOX",
                    "NETWORK",
                    "RX PACKETS",
                    "RX BYTES",
                    "TX PACKETS",
                    "TX BYTES",
                    "DROPPED",
                ];
                show::table(&head, &rows.iter().map(row).collect::<Vec<_>>())
            });
        }
        Command::Events => {
            let mut events = EventServiceClient::new(channel)
                .watch(WatchRequest {})
                .await?
                .into_inner();
            while let Some(event) = events.message().await? {
                let value = show::event(&event);
                print(Output::Text, &value, || value.to_string());
            }
        }
        _ => {
            let status = client.get_status(GetStatusRequest {}).await?.into_inner();
            let value = show::status(&status);
            // Nested lists read well as indented JSON, better than as a table of tables.
            print(output, &value, || show::pretty(&value));
        }
    }
    Ok(())
}
