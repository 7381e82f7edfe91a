//! Bindings that cannot be in force together, and what is said of them. Pure.

use std::net::{IpAddr, Ipv4Addr};

use super::port_index::PortIndex;
use crate::{
    error::{Error, Reason, Result},
    model::{PortBinding, Sandbox},
};

/// Who else has a port, in messages about one request.
pub(super) const SAME: &str = "the same request";

pub(super) fn allocated(sandbox: &str, binding: &PortBinding, by: &str) -> Error {
    let ip = binding.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let port = binding.host.0;
    Error::conflict(format!(
        "driver failed programming external connectivity on {sandbox}: Bind for {ip}:{port} failed: port is already allocated by {by}"
    ))
    .because(Reason::PortAllocated)
    .about("port", port)
    .about("holder", by)
    .hint("choose another host port")
}

/// Refuses bindings that could never be in force beside those that a stopped sandbox takes when it starts.
pub(super) fn check_beside(stopped: &Sandbox, wanted: &[PortBinding]) -> Result<()> {
    let mut index = PortIndex::default();
    let fixed = stopped.wanted_ports.iter().filter(|b| b.host.0 != 0);
    fixed.for_each(|binding| index.insert(&stopped.id, binding));
    for binding in wanted.iter().filter(|b| b.host.0 != 0) {
        binding.check()?;
        if let Some((_, held)) = index.holder(binding) {
            let name = &stopped.name;
            let by = format!("sandbox {name}, which is stopped and takes {held} when it starts");
            return Err(allocated(name, binding, &by)
                .about("holder", name)
                .hint(format!(
                    "choose another host port, or withdraw that one: netctl port unpublish {name} {held}"
                )));
        }
    }
    Ok(())
}

/// Refuses bindings that could never be in force together.
pub(super) fn check_together(bindings: &[PortBinding]) -> Result<()> {
    let mut index = PortIndex::default();
    for binding in bindings {
        binding.check()?;
        if binding.host.0 == 0 {
            continue;
        }
        if index.holder(binding).is_some() {
            return Err(allocated("the sandbox", binding, SAME));
        }
        index.insert("", binding);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(first: u16, last: u16) -> PortBinding {
        PortBinding {
            host_ip: None,
            host: (first, last),
            within: None,
            target: (first.max(1), last.max(1)),
            protocol: 6,
        }
    }

    #[test]
    fn b22_a_stopped_sandbox_is_named_as_the_holder() {
        let stopped: Sandbox = serde_json::from_value(serde_json::json!({
            "id": "a", "name": "web", "created": 1, "hostname": "web", "labels": {}, "run": null, "ports": [],
            "wanted_ports": [{"host_ip": null, "host": [80, 90], "target": [80, 90], "protocol": 6}],
        }))
        .unwrap();
        let error = check_beside(&stopped, &[binding(85, 85)]).unwrap_err();
        assert_eq!(error.reason, Reason::PortAllocated);
        assert_eq!(error.about["holder"], "web");
        let text = error.to_string();
        for part in [
            "sandbox web, which is stopped",
            "netctl port unpublish web 80-90:80-90/tcp",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(check_beside(&stopped, &[binding(91, 91), binding(0, 0)]).is_ok());
    }

    #[test]
    fn b22_what_could_never_start_is_refused() {
        assert!(check_together(&[binding(80, 90), binding(91, 91)]).is_ok());
        let error = check_together(&[binding(80, 90), binding(85, 85)]).unwrap_err();
        assert_eq!(error.reason, Reason::PortAllocated);
        // Each chosen one is another.
        assert!(check_together(&[binding(0, 0), binding(0, 0)]).is_ok());
    }

    /// B19: as many bindings as a request may have are judged in one go.
    #[test]
    fn b19_many_bindings_are_judged_without_comparing_all_with_all() {
        let all: Vec<PortBinding> = (1..=60_000).map(|port| binding(port, port)).collect();
        check_together(&all).unwrap();
    }
}
