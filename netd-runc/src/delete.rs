//! `delete`: netd hears that a container has ended. It would see it by itself; so nothing that fails here matters to the engine.

use std::time::Duration;

use crate::{
    client::Client,
    command_line::{CommandLine, Invocation},
    create::Next,
    failure::Result,
    log::{Level, say},
    marker::Marker,
    process::{Runtime, exit_code},
};

/// How long the engine waits for netd.
const PATIENCE: Duration = Duration::from_secs(1);

/// Deletes it, and stops its sandbox.
///
/// # Errors
/// When the runtime cannot be run.
pub fn delete(line: &CommandLine, call: &Invocation<'_>, runtime: &Runtime) -> Result<Next> {
    let Some(id) = call.id() else {
        return Ok(Next::BecomeRuntime);
    };
    // The runtime takes it away with all that it knows. One that cannot be read is netd's to notice.
    let Some(marker) = Marker::read(&call.root(), id).ok().flatten() else {
        return Ok(Next::BecomeRuntime);
    };
    let status = runtime.run(&line.words)?;
    if status.success()
        && let Err(e) = leave(line, id, marker)
    {
        let text =
            format!("{e}; the networks of container {id} go once netd sees that it has ended");
        say(call, Level::Warning, &text);
    }
    Ok(Next::Exit(exit_code(status)))
}

fn leave(line: &CommandLine, id: &str, marker: Marker) -> Result<()> {
    let mut client = Client::new(&line.address)?;
    let found = client.sandbox(id, Duration::ZERO)?;
    // It may have been stopped already, and have started for another process.
    match found.is_some_and(|sandbox| sandbox.pid == marker.pid) {
        true => client.stop(id, Some(PATIENCE)),
        false => Ok(()),
    }
}
