//! `drops`, `stats`, `status`, `system reconcile`.

use netd_proto::v1::{
    Drop, EndpointStats, GetStatusRequest, GetStatusResponse, ListDropsRequest, ListStatsRequest,
    ReconcileRequest, WatchDropsRequest,
};
use serde_json::{Value, json};

use super::{answer, ended, print};
use crate::{
    cli::{Output, flow::Drops},
    client::Client,
    failure::{Failure, Result},
    format::{flow, json, table::Table, time::rfc3339},
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

/// Refused packets as they come, a line each, until the daemon ends or the user interrupts.
///
/// # Errors
/// The daemon's refusal or end.
pub async fn follow(client: &Client, flags: Drops, output: Output) -> Result<()> {
    let request = WatchDropsRequest {
        sandbox: flags.sandbox.unwrap_or_default(),
        reasons: flags.reasons,
    };
    let mut service = client.system();
    let mut packets = service.watch_drops(request).await?.into_inner();
    while let Some(packet) = packets.message().await? {
        match output {
            Output::Text => print(&flow::dropped_line(&packet))?,
            Output::Json => print(&format!("{}\n", flow::dropped_json(&packet)))?,
        }
    }
    Ok(())
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
    let flows = status.flows.unwrap_or_default();
    let of = |used: u64, all: u64| format!("{used} of {all}");
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
        ("Flow entries", &of(flows.entries, flows.capacity)),
        (
            "Mappings",
            &format!(
                "{}, resting ones too",
                of(flows.mappings, flows.mappings_capacity)
            ),
        ),
        (
            "So far",
            &format!(
                "{} flows shared a port, {} were over, {} of them early for want of room",
                flows.shared_ports, flows.ended, flows.ended_early
            ),
        ),
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
    for reason in &status.not_serving {
        text = text + "\nNot serving: " + reason;
    }
    for object in &status.degraded {
        let kind = json::object_type(object.r#type());
        let reasons = object.reasons.join("; ");
        text = text + &format!("\nDegraded: {kind} {}: {reasons}", object.name);
    }
    for warning in &status.warnings {
        text = text + "\nWarning: " + warning;
    }
    let said = [
        status.warnings.len(),
        status.degraded.len(),
        status.not_serving.len(),
    ];
    if said.iter().any(|count| *count > 0) {
        text.push('\n');
    }
    text
}

/// Has the daemon mend what differs from the desired state. Says what was mended, then what could not be.
///
/// # Errors
/// The daemon's refusal, or something that could not be mended.
pub async fn reconcile(client: &Client, output: Output) -> Result<()> {
    let mut service = client.system();
    let answered = service.reconcile(ReconcileRequest {}).await?.into_inner();
    let text = || match answered.mended.as_slice() {
        [] if answered.failed.is_empty() => "Nothing to mend.\n".to_owned(),
        [] => String::new(),
        sentences => sentences.join("\n") + "\n",
    };
    let json = || json!({"Mended": answered.mended, "Failed": answered.failed});
    let shown = answer(output, text, json);
    let failures = answered
        .failed
        .iter()
        .map(|why| Failure::new(format!("not mended: {why}")));
    ended(output, shown, &failures.collect::<Vec<_>>())
}
