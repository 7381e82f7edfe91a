//! The hook of a container's creation, for what no `start` follows: it hears of the container as OCI's runtime specification says.

use std::io::Read;

use serde_json::Value;

use crate::{
    attach::{attach, missing},
    client::Client,
    command_line::{CommandLine, Invocation},
    create::PATIENCE,
    failure::{Failure, Result},
};

/// Connects the container whose state stands here.
///
/// # Errors
/// When it is no state, netd has no sandbox for it, refuses or is not there.
pub fn hook(line: &CommandLine, call: &Invocation<'_>, state: impl Read) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Failure::internal("reading the container's state", e);
    let state: Value = serde_json::from_reader(state).map_err(|e| failed(&e))?;
    let id = state["id"].as_str().ok_or_else(|| failed(&"no id"))?;
    let pid = state["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok());
    let pid = pid
        .filter(|pid| *pid > 0)
        .ok_or_else(|| failed(&"no pid"))?;
    let mut client = Client::new(&line.address)?;
    if client.sandbox(id, PATIENCE)?.is_none() {
        return Err(missing(id));
    }
    attach(&mut client, &call.root(), id, pid)
}
