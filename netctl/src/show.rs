//! What is printed: Docker's JSON, plain JSON, and tables. Pure.

use netd_proto::v1;
use serde_json::{Map, Value, json};

use crate::ports;

fn sorted(map: &std::collections::HashMap<String, String>) -> Value {
    let ordered: std::collections::BTreeMap<_, _> = map.iter().collect();
    Value::Object(
        ordered
            .into_iter()
            .map(|(k, v)| (k.clone(), json!(v)))
            .collect(),
    )
}

/// RFC 3339 with nanoseconds, UTC.
fn time(t: Option<&prost_types::Timestamp>) -> String {
    t.map(ToString::to_string).unwrap_or_default()
}

/// A network as `docker network inspect` prints it.
pub fn network(n: &v1::Network) -> Value {
    let ipam = n.ipam.clone().unwrap_or_default();
    let pool = |p: &v1::IpamPool| {
        let mut out = Map::new();
        out.insert("Subnet".into(), json!(p.subnet));
        if !p.ip_range.is_empty() {
            out.insert("IPRange".into(), json!(p.ip_range));
        }
        if !p.gateway.is_empty() {
            out.insert("Gateway".into(), json!(p.gateway));
        }
        if !p.aux_addresses.is_empty() {
            out.insert("AuxiliaryAddresses".into(), sorted(&p.aux_addresses));
        }
        Value::Object(out)
    };
    let container = |e: &v1::Endpoint| {
        let value = json!({
            "Name": e.sandbox_name,
            "EndpointID": e.id,
            "MacAddress": e.mac_address,
            "IPv4Address": e.ipv4_address,
            "IPv6Address": e.ipv6_address,
        });
        (e.sandbox_id.clone(), value)
    };
    json!({
        "Name": n.name,
        "Id": n.id,
        "Created": time(n.created.as_ref()),
        "Scope": n.scope,
        "Driver": n.driver,
        "EnableIPv4": n.enable_ipv4,
        "EnableIPv6": n.enable_ipv6,
        "IPAM": {
            "Driver": ipam.driver,
            "Options": sorted(&ipam.options),
            "Config": ipam.pools.iter().map(pool).collect::<Vec<_>>(),
        },
        "Internal": n.internal,
        "Attachable": n.attachable,
        "Ingress": n.ingress,
        "ConfigFrom": { "Network": n.config_from },
        "ConfigOnly": n.config_only,
        "Containers": n.endpoints.iter().map(container).collect::<Map<_, _>>(),
        "Options": sorted(&n.options),
        "Labels": sorted(&n.labels),
    })
}

/// An endpoint.
pub fn endpoint(e: &v1::Endpoint) -> Value {
    json!({
        "Id": e.id,
        "Network": e.network_name,
        "NetworkId": e.network_id,
        "Sandbox": e.sandbox_name,
        "Interface": e.interface_name,
        "HostInterface": e.host_interface,
        "MacAddress": e.mac_address,
        "IPv4Address": e.ipv4_address,
        "IPv6Address": e.ipv6_address,
        "IPv4Gateway": e.ipv4_gateway,
        "IPv6Gateway": e.ipv6_gateway,
        "Aliases": e.aliases,
        "DriverOpts": sorted(&e.driver_options),
        "GwPriority": e.gateway_priority,
        "DefaultRoute": e.default_route,
    })
}

/// A sandbox.
pub fn sandbox(s: &v1::Sandbox) -> Value {
    json!({
        "Id": s.id,
        "Name": s.name,
        "Created": time(s.created.as_ref()),
        "Hostname": s.hostname,
        "Labels": sorted(&s.labels),
        "NetnsPath": s.netns_path,
        "Owned": s.owned,
        "Running": s.running,
        "Endpoints": s.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "Ports": s.publications.iter().map(publication).collect::<Vec<_>>(),
    })
}

/// A publication.
pub fn publication(p: &v1::Publication) -> Value {
    let spec = p.spec.clone().unwrap_or_default();
    json!({
        "Sandbox": p.sandbox_name,
        "HostIp": spec.host_ip,
        "HostPort": ports::show_range(spec.host_port_first, spec.host_port_last),
        "Port": ports::show_range(spec.port_first, spec.port_last),
        "Protocol": ports::protocol(&spec),
        "Active": p.active,
    })
}

/// A row of `drops`.
pub fn drop_row(d: &v1::Drop) -> Value {
    json!({
        "Sandbox": d.sandbox_name,
        "Network": d.network_name,
        "EndpointId": d.endpoint_id,
        "Reason": d.reason_name,
        "Number": d.reason,
        "Description": d.description,
        "Packets": d.packets,
        "Bytes": d.bytes,
    })
}

/// A row of `stats`.
pub fn stats_row(s: &v1::EndpointStats) -> Value {
    json!({
        "Sandbox": s.sandbox_name,
        "Network": s.network_name,
        "EndpointId": s.endpoint_id,
        "Interface": s.interface_name,
        "RxPackets": s.rx_packets,
        "RxBytes": s.rx_bytes,
        "TxPackets": s.tx_packets,
        "TxBytes": s.tx_bytes,
        "Dropped": s.dropped_packets,
    })
}

/// The daemon's state.
pub fn status(s: &v1::GetStatusResponse) -> Value {
    let program = |p: &v1::AttachedProgram| json!({ "Name": p.name, "Target": p.target, "Hook": p.hook, "Id": p.program_id });
    let map =
        |m: &v1::MapUsage| json!({ "Name": m.name, "Entries": m.entries, "Capacity": m.capacity });
    json!({
        "Health": "serving",
        "Version": s.version,
        "Instance": s.instance,
        "Pid": s.pid,
        "Started": time(s.started.as_ref()),
        "Kernel": s.kernel_release,
        "AbiVersion": s.abi_version,
        "StateDirectory": s.state_directory,
        "RunDirectory": s.run_directory,
        "PinDirectory": s.pin_directory,
        "Cgroup": s.cgroup,
        "Networks": s.networks,
        "Sandboxes": s.sandboxes,
        "Endpoints": s.endpoints,
        "Publications": s.publications,
        "Programs": s.programs.iter().map(program).collect::<Vec<_>>(),
        "Maps": s.maps.iter().map(map).collect::<Vec<_>>(),
        "Warnings": s.warnings,
    })
}

/// An event.
pub fn event(e: &v1::Event) -> Value {
    json!({
        "Time": time(e.time.as_ref()),
        "Type": e.r#type,
        "Action": e.action,
        "Actor": { "ID": e.id, "Attributes": sorted(&e.attributes) },
    })
}

/// With an indentation of four, as Docker's CLI has it.
pub fn pretty(value: &Value) -> String {
    use serde_json::ser::{PrettyFormatter, Serializer};
    let mut out = Vec::new();
    let mut serializer =
        Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    "));
    // Writing to memory does not fail, and a `Value` is always representable.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    String::from_utf8_lossy(&out).into_owned()
}

/// A table with columns three spaces apart, as Docker's.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        rows.iter()
            .map(|r| r[i].chars().count())
            .chain([head[i].len()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let last = cells.len() - 1;
        let padded = cells.iter().enumerate().map(|(i, c)| {
            if i == last {
                (*c).to_owned()
            } else {
                format!("{c:<w$}   ", w = widths[i])
            }
        });
        padded.collect::<String>()
    };
    let mut lines = vec![line(head.to_vec())];
    lines.extend(
        rows.iter()
            .map(|r| line(r.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}
