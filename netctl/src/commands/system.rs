//! `drops`, `stats`, `status`, `events`.

use std::fmt::Write;

use netd_proto::v1::{
    Drop, EndpointStats, Event, GetStatusRequest, GetStatusResponse, ListDropsRequest,
    ListStatsRequest, WatchRequest,
};
use serde_json::Value;

use super::{answer, print};
use crate::{
    cli::Output,
    client::Client,
    failure::Result,
    format::{json, table::Table, time::rfc3339},
};

/// Refused packets.
///
/// # Errors
/// The daemon's refusal.
pub async fn drops(client: &Client, output: Output) -> Result<()> {
    let mut service = client.system();
    let rows = service.list_drops(ListDropsRequest {}).await?.into_inner();
    answer(
        output,
        || drops_table(&rows.drops),
        || Value::Array(rows.drops.iter().map(json::drop_row).collect()),
    )
}

fn drops_table(drops: &[Drop]) -> String {
    let mut table = Table::new(&[
        "SANDBOX", "NETWORK", "REASON", "PACKETS", "BYTES", "MEANING",
    ]);
    for drop in drops {
        let sandbox = match drop.sandbox_name.as_str() {
            "" => "(host)",
            name => name,
        };
        table.row([
            sandbox,
            &drop.network_name,
            &drop.reason_name,
            &drop.packets.to_string(),
            &drop.bytes.to_string(),
            &drop.description,
        ]);
    }
    table.render()
}

/// Packets and bytes.
///
/// # Errors
/// The daemon's refusal.
pub async fn stats(client: &Client, output: Output) -> Result<()> {
    let mut service = client.system();
    let rows = service.list_stats(ListStatsRequest {}).await?.into_inner();
    answer(
        output,
        || stats_table(&rows.stats),
        || Value::Array(rows.stats.iter().map(json::stats_row).collect()),
    )
}

fn stats_table(stats: &[EndpointStats]) -> String {
    let mut table = Table::new(&[
        "SANDBOX",
        "NETWORK",
        "INTERFACE",
        "RX PACKETS",
        "RX BYTES",
        "TX PACKETS",
        "TX BYTES",
        "DROPPED",
    ]);
    for row in stats {
        let numbers = [
            row.rx_packets,
            row.rx_bytes,
            row.tx_packets,
            row.tx_bytes,
            row.dropped_packets,
        ];
        let names = [&row.sandbox_name, &row.network_name, &row.interface_name];
        let names = names.into_iter().cloned();
        table.row(names.chain(numbers.map(|number| number.to_string())));
    }
    table.render()
}

/// The daemon's state.
///
/// # Errors
/// The daemon's refusal.
pub async fn status(client: &Client, output: Output) -> Result<()> {
    let mut service = client.system();
    let status = service.get_status(GetStatusRequest {}).await?.into_inner();
    answer(output, || status_text(&status), || json::status(&status))
}

fn status_text(status: &GetStatusResponse) -> String {
    let mut table = Table::default();
    for (name, value) in [
        ("netd", &status.version),
        ("Instance", &status.instance),
        ("Process", &status.pid.to_string()),
        ("Started", &rfc3339(status.started.as_ref())),
        ("Kernel", &status.kernel_release),
        ("Map layout", &status.abi_version.to_string()),
        ("State", &status.state_directory),
        ("Run", &status.run_directory),
        ("Pins", &status.pin_directory),
        ("Cgroup", &status.cgroup),
        ("Networks", &status.networks.to_string()),
        ("Sandboxes", &status.sandboxes.to_string()),
        ("Endpoints", &status.endpoints.to_string()),
        ("Ports", &status.publications.to_string()),
    ] {
        table.row([format!("{name}:"), value.clone()]);
    }
    let mut text = table.render();
    if !status.programs.is_empty() {
        let mut table = Table::new(&["PROGRAM", "HOOK", "ID", "TARGET"]);
        for program in &status.programs {
            table.row([
                &program.name,
                &program.hook,
                &program.program_id.to_string(),
                &program.target,
            ]);
        }
        text = text + "\n" + &table.render();
    }
    if !status.maps.is_empty() {
        let mut table = Table::new(&["MAP", "ENTRIES", "CAPACITY"]);
        for map in &status.maps {
            let numbers = [map.entries.to_string(), map.capacity.to_string()];
            table.row([map.name.clone()].into_iter().chain(numbers));
        }
        text = text + "\n" + &table.render();
    }
    for warning in &status.warnings {
        text = text + "\nWarning: " + warning;
    }
    if !status.warnings.is_empty() {
        text.push('\n');
    }
    text
}

/// Events, a line each, until the daemon ends or the user interrupts.
///
/// # Errors
/// The daemon's refusal or end.
pub async fn events(client: &Client, output: Output) -> Result<()> {
    let mut stream = client.events().watch(WatchRequest {}).await?.into_inner();
    while let Some(event) = stream.message().await? {
        match output {
            Output::Text => print(&event_line(&event))?,
            Output::Json => print(&format!("{}\n", json::event(&event)))?,
        }
    }
    Ok(())
}

/// As `docker events` prints it.
fn event_line(event: &Event) -> String {
    let mut attributes: Vec<String> = event
        .attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    attributes.sort();
    let mut line = rfc3339(event.time.as_ref());
    // Writing to memory cannot fail.
    let _ = write!(line, " {} {} {}", event.r#type, event.action, event.id);
    if !attributes.is_empty() {
        let _ = write!(line, " ({})", attributes.join(", "));
    }
    line + "\n"
}
