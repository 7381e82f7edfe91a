//! netd's command line client: reads the command line, asks the daemon over gRPC, prints the answer.
//!
//! It must not know how netd does its work: everything it says comes from an answer of the API. The one
//! thing it does itself is to enter a sandbox's namespace (`sandbox exec`).
//!
//! With `--output json` a refusal is a line of JSON on standard error: `Error`, `Code` (gRPC's name) and `Hint`.
//!
//! Exit codes: 0; 1 refused, with a message on standard error; 2 usage. `sandbox exec` ends with the exit code
//! of its command, or 125, 126 and 127 as `docker` does.

mod address;
mod attachment;
mod cli;
mod client;
mod commands;
mod failure;
mod format;
mod ipam;
mod spec;
mod when;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // One thread: `sandbox exec` changes the namespace of the thread that becomes the command.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            failure::say(&format!(
                "Error: cannot start the client's runtime: {error}\n"
            ));
            return ExitCode::FAILURE;
        }
    };
    let output = cli.output;
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output),
    }
}
