//! netd's own objects as JSON: names in Docker's manner, times as RFC 3339. Networks are in `docker`.

use netd_proto::v1::{
    Drop, Endpoint, EndpointSpec, EndpointStats, Event, ExposedPort, ExtraHost, GetStatusResponse,
    Link, ObjectType, PortSpec, Publication, Sandbox, extra_host::Target, sandbox::State,
};
use serde::Serialize;
use serde_json::{Value, json, ser::PrettyFormatter};

use super::{docker::map, time::rfc3339};
use crate::spec::protocol_name;

/// The text with Docker's indentation, four spaces, and a newline.
pub fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a value to memory cannot fail; the compact text would be as right.
    let text = match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(bytes).unwrap_or_else(|_| value.to_string()),
        Err(_) => value.to_string(),
    };
    text + "\n"
}

/// An endpoint.
pub fn endpoint(endpoint: &Endpoint) -> Value {
    json!({
        "Id": endpoint.id,
        "NetworkId": endpoint.network_id,
        "Network": endpoint.network_name,
        "SandboxId": endpoint.sandbox_id,
        "Sandbox": endpoint.sandbox_name,
        "Interface": endpoint.interface_name,
        "HostInterface": endpoint.host_interface,
        "MacAddress": endpoint.mac_address,
        "IPv4Address": endpoint.ipv4_address,
        "IPv6Address": endpoint.ipv6_address,
        "IPv4Gateway": endpoint.ipv4_gateway,
        "IPv6Gateway": endpoint.ipv6_gateway,
        "Aliases": endpoint.aliases,
        "DriverOpts": map(&endpoint.driver_options),
        "GwPriority": endpoint.gateway_priority,
        "DefaultRoute": endpoint.default_route,
        "DefaultRouteIPv6": endpoint.default_route_v6,
        "Links": endpoint.links.iter().map(link).collect::<Vec<_>>(),
        "LinkLocalIPs": endpoint.link_local_addresses,
        "Degraded": endpoint.degraded,
        "Revision": endpoint.revision,
    })
}

/// A sandbox.
pub fn sandbox(sandbox: &Sandbox) -> Value {
    let names = sandbox.names.clone().unwrap_or_default();
    json!({
        "Id": sandbox.id,
        "Name": sandbox.name,
        "Created": rfc3339(sandbox.created.as_ref()),
        "Hostname": sandbox.hostname,
        "Domainname": names.domainname,
        "Dns": names.dns,
        "DnsSearch": names.dns_search,
        "DnsOptions": names.dns_options,
        "ExtraHosts": names.extra_hosts.iter().map(extra_host).collect::<Vec<_>>(),
        "ResolvConfPath": sandbox.resolv_conf_path,
        "HostsPath": sandbox.hosts_path,
        "HostnamePath": sandbox.hostname_path,
        "Labels": map(&sandbox.labels),
        "NetnsPath": sandbox.netns_path,
        "Owned": sandbox.owned,
        "Pid": sandbox.pid,
        "State": state(sandbox.state()),
        "Running": sandbox.state() == State::Running,
        "Endpoints": sandbox.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "Ports": sandbox.publications.iter().map(publication).collect::<Vec<_>>(),
        "Attachments": sandbox.attachments.iter().map(attachment).collect::<Vec<_>>(),
        "Exposed": sandbox.exposed.iter().map(exposed).collect::<Vec<_>>(),
        "Degraded": sandbox.degraded,
        "Revision": sandbox.revision,
    })
}

/// A sandbox's state in a word.
pub fn state(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Stopped => "stopped",
        State::Gone => "gone",
        State::Unspecified => "unknown",
    }
}

/// A type of objects in a word.
pub fn object_type(kind: ObjectType) -> &'static str {
    match kind {
        ObjectType::Network => "network",
        ObjectType::Sandbox => "sandbox",
        ObjectType::Endpoint => "endpoint",
        ObjectType::Unspecified => "unknown",
    }
}

/// `target:alias`, as Docker writes it.
fn link(link: &Link) -> String {
    format!("{}:{}", link.target, link.alias)
}

/// `name:address`, as `--add-host` takes it.
fn extra_host(host: &ExtraHost) -> String {
    let address = match &host.target {
        Some(Target::Address(address)) => address,
        _ => "host-gateway",
    };
    format!("{}:{address}", host.name)
}

/// How a sandbox was asked to be on a network.
fn attachment(request: &EndpointSpec) -> Value {
    json!({
        "Network": request.network,
        "IPv4Address": request.ipv4_address,
        "IPv6Address": request.ipv6_address,
        "MacAddress": request.mac_address,
        "Aliases": request.aliases,
        "Links": request.links.iter().map(link).collect::<Vec<_>>(),
        "LinkLocalIPs": request.link_local_addresses,
        "DriverOpts": map(&request.driver_options),
        "GwPriority": request.gateway_priority,
        "Interface": request.interface_name,
    })
}

/// A publication.
pub fn publication(publication: &Publication) -> Value {
    let spec = publication.spec.clone().unwrap_or_default();
    json!({
        "Sandbox": publication.sandbox_name,
        "SandboxId": publication.sandbox_id,
        "HostIp": spec.host_ip,
        // Nothing until one is chosen, as in Docker.
        "HostPort": spec.host_port.map(|first| host_range(&spec, first)).unwrap_or_default(),
        "Port": range(spec.port, spec.count),
        "Protocol": protocol_name(spec.protocol()),
        "Active": publication.active,
    })
}

/// Host side of a publication: `8080`, `127.0.0.1:8080-8082`, `[::1]:80`; `auto` until a port is chosen.
pub fn host_side(spec: &PortSpec) -> String {
    let ports = match spec.host_port {
        None => "auto".to_owned(),
        Some(first) => host_range(spec, first),
    };
    match spec.host_ip.as_str() {
        "" => ports,
        ip if ip.contains(':') => format!("[{ip}]:{ports}"),
        ip => format!("{ip}:{ports}"),
    }
}

/// Sandbox side of a publication: `80/tcp`.
pub fn sandbox_side(spec: &PortSpec) -> String {
    let ports = range(spec.port, spec.count);
    format!("{ports}/{}", protocol_name(spec.protocol()))
}

fn exposed(port: &ExposedPort) -> String {
    let ports = range(port.port, port.count);
    format!("{ports}/{}", protocol_name(port.protocol()))
}

/// Ports of the host: those that are taken, or that one is to be chosen from.
fn host_range(spec: &PortSpec, first: u32) -> String {
    match spec.host_port_last {
        Some(last) => range(first, last.saturating_sub(first) + 1),
        None => range(first, spec.count),
    }
}

fn range(first: u32, count: u32) -> String {
    match count {
        0 | 1 => first.to_string(),
        count => format!("{first}-{}", first.saturating_add(count - 1)),
    }
}

/// A row of `drops`.
pub fn drop_row(drop: &Drop) -> Value {
    json!({
        "Number": drop.reason,
        "Reason": drop.reason_name,
        "Description": drop.description,
        "Sandbox": drop.sandbox_name,
        "Network": drop.network_name,
        "EndpointId": drop.endpoint_id,
        "Packets": drop.packets,
        "Bytes": drop.bytes,
    })
}

/// A row of `stats`.
pub fn stats_row(stats: &EndpointStats) -> Value {
    json!({
        "Sandbox": stats.sandbox_name,
        "Network": stats.network_name,
        "EndpointId": stats.endpoint_id,
        "Interface": stats.interface_name,
        "RxPackets": stats.rx_packets,
        "RxBytes": stats.rx_bytes,
        "TxPackets": stats.tx_packets,
        "TxBytes": stats.tx_bytes,
        "Dropped": stats.dropped_packets,
    })
}

/// The daemon's state.
pub fn status(status: &GetStatusResponse) -> Value {
    let programs = status.programs.iter().map(|program| {
        json!({
            "Name": program.name,
            "Target": program.target,
            "Hook": program.hook,
            "Id": program.program_id,
        })
    });
    let maps = status
        .maps
        .iter()
        .map(|map| json!({ "Name": map.name, "Entries": map.entries, "Capacity": map.capacity }));
    let flows = status.flows.unwrap_or_default();
    json!({
        "Health": if status.not_serving.is_empty() { "serving" } else { "not serving" },
        "NotServing": status.not_serving,
        "Version": status.version,
        "Instance": status.instance,
        "Pid": status.pid,
        "Started": rfc3339(status.started.as_ref()),
        "Kernel": status.kernel_release,
        "AbiVersion": status.abi_version,
        "StateDirectory": status.state_directory,
        "RunDirectory": status.run_directory,
        "PinDirectory": status.pin_directory,
        "Cgroup": status.cgroup,
        "Networks": status.networks,
        "Sandboxes": status.sandboxes,
        "Endpoints": status.endpoints,
        "Publications": status.publications,
        "Programs": programs.collect::<Vec<_>>(),
        "Maps": maps.collect::<Vec<_>>(),
        "Flows": {
            "Entries": flows.entries,
            "Capacity": flows.capacity,
            "Mappings": flows.mappings,
            "MappingsCapacity": flows.mappings_capacity,
            "SharedPorts": flows.shared_ports,
            "Ended": flows.ended,
            "EndedEarly": flows.ended_early,
        },
        "Warnings": status.warnings,
        "Degraded": status.degraded.iter().map(|object| json!({
            "Type": object_type(object.r#type()),
            "Id": object.id,
            "Name": object.name,
            "Reasons": object.reasons,
        })).collect::<Vec<_>>(),
        "Revision": status.revision,
        "OldestRevision": status.oldest_revision,
    })
}

/// An event.
pub fn event(event: &Event) -> Value {
    json!({
        "Time": rfc3339(event.time.as_ref()),
        "Type": event.r#type,
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": map(&event.attributes) },
    })
}
