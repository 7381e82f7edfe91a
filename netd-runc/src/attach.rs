//! Connecting a container that waits for its start.

use std::path::Path;

use crate::{
    client::Client,
    failure::{Failure, Result},
    marker::Marker,
};

/// Starts the container's sandbox in the namespace of its first process, and notes beside what the runtime knows of it that it has.
///
/// # Errors
/// When netd refuses or is not there, or the note cannot be written.
pub fn attach(client: &mut Client, root: &Path, id: &str, pid: u32) -> Result<()> {
    // First: a container that netd connects is never taken for one that it does not know.
    Marker { pid }.write(root, id)?;
    match client.start(id, pid) {
        // The engine was killed, and nobody said that the container's last run had ended.
        Err(e) if e.reason == "ALREADY_RUNNING" => {
            client.stop(id, None)?;
            client.start(id, pid).map(drop)
        }
        started => started.map(drop),
    }
}

/// That netd has no sandbox for a container that must not start without one.
pub fn missing(id: &str) -> Failure {
    let message = format!(
        "netd has no sandbox for container {id}, which was created for its networks; remove the container and create it again"
    );
    Failure::new("NOT_FOUND", message)
}
