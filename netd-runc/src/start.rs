//! `start`: the last moment before a container's first instruction. What netd has connected must still be whole.

use netd_proto::v1::{Sandbox, sandbox::State};

use crate::{
    attach::missing,
    client::Client,
    command_line::{CommandLine, Invocation},
    create::PATIENCE,
    failure::{Failure, Result},
    marker::Marker,
};

/// Looks at it. A container that is not netd's is fine.
///
/// # Errors
/// When the container is netd's and its network is not as it should be, or netd is not there.
pub fn check(line: &CommandLine, call: &Invocation<'_>) -> Result<()> {
    let Some(id) = call.id() else {
        return Ok(());
    };
    let Some(marker) = Marker::read(&call.root(), id)? else {
        return Ok(());
    };
    let mut client = Client::new(&line.address)?;
    let Some(sandbox) = client.sandbox(id, PATIENCE)? else {
        return Err(missing(id));
    };
    judge(&sandbox, marker)?;
    let differences = client.differences(&sandbox)?;
    match differences.as_slice() {
        [] => Ok(()),
        some => Err(broken(&sandbox, &some.join("; "))),
    }
}

/// Judges what netd says of the sandbox.
fn judge(sandbox: &Sandbox, marker: Marker) -> Result<()> {
    if sandbox.state() != State::Running {
        let message = format!(
            "the networks of container {} were taken away between its creation and its start; start it again",
            sandbox.name
        );
        return Err(Failure::new("NOT_RUNNING", message));
    }
    if sandbox.pid != marker.pid {
        let message = format!(
            "sandbox {} runs for process {}, not for process {} of this container; stop it (netctl sandbox stop {}) and start the \
             container again",
            sandbox.name, sandbox.pid, marker.pid, sandbox.name
        );
        return Err(Failure::new("CONFLICT", message));
    }
    let missing = sandbox.attachments.iter().find(|attachment| {
        let mut endpoints = sandbox.endpoints.iter();
        !endpoints.any(|endpoint| endpoint.network_name == attachment.network)
    });
    match missing {
        Some(attachment) => {
            let what = format!("it has no endpoint on network {}", attachment.network);
            Err(broken(sandbox, &what))
        }
        None => Ok(()),
    }
}

fn broken(sandbox: &Sandbox, what: &str) -> Failure {
    let message = format!(
        "the networks of container {} are not whole: {what}; start it again (netctl system reconcile mends what it can)",
        sandbox.name
    );
    Failure::new("DEGRADED", message)
}

#[cfg(test)]
mod tests {
    use netd_proto::v1::{Endpoint, EndpointSpec};

    use super::*;

    #[test]
    fn p05_only_a_whole_network_is_started_on() {
        let marker = Marker { pid: 7 };
        let mut sandbox = Sandbox {
            name: "web".into(),
            pid: 7,
            ..Sandbox::default()
        };
        sandbox.set_state(State::Running);
        judge(&sandbox, marker).unwrap();
        sandbox.attachments.push(EndpointSpec {
            network: "front".into(),
            ..EndpointSpec::default()
        });
        let said = judge(&sandbox, marker).unwrap_err();
        assert_eq!(said.reason, "DEGRADED");
        assert!(said.message.contains("front"), "{said}");
        sandbox.endpoints.push(Endpoint {
            network_name: "front".into(),
            ..Endpoint::default()
        });
        judge(&sandbox, marker).unwrap();
        assert_eq!(
            judge(&sandbox, Marker { pid: 8 }).unwrap_err().reason,
            "CONFLICT"
        );
        sandbox.set_state(State::Stopped);
        assert_eq!(judge(&sandbox, marker).unwrap_err().reason, "NOT_RUNNING");
    }
}
