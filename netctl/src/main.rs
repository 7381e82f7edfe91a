//! netctl: netd's command line. A client of the gRPC API, which knows nothing of the kernel but how to enter a
//! sandbox for `exec`.

mod cli;
mod client;
mod exec;
mod networks;
mod pools;
mod ports;
mod sandboxes;
mod show;
mod system;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use cli::{Cli, Command, Output};
use serde_json::Value;

/// Why a command ends without success: exit code and message.
struct Failure(u8, String);

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self(1, client::refusal(&status))
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self(1, message)
    }
}

type Outcome = Result<(), Failure>;

/// Prints `text`, or with `--output json` the value.
fn print(output: Output, value: &Value, text: impl FnOnce() -> String) {
    let text = if output == Output::Json {
        show::pretty(value)
    } else {
        text()
    };
    if !text.is_empty() {
        // A reader that went away (head) is no error.
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, message)) => {
            if !message.is_empty() {
                eprintln!("Error: {message}");
            }
            ExitCode::from(code)
        }
    }
}

async fn run(cli: Cli) -> Outcome {
    match &cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "netctl",
                &mut std::io::stdout(),
            );
            return Ok(());
        }
        Command::Man => {
            let page = clap_mangen::Man::new(Cli::command());
            return page
                .render(&mut std::io::stdout())
                .map_err(|e| Failure(1, e.to_string()));
        }
        _ => {}
    }
    let channel = client::connect(&cli.address).await?;
    match cli.command {
        Command::Network(command) => networks::run(channel, cli.output, command).await,
        Command::Sandbox(command) => sandboxes::run(channel, cli.output, command).await,
        Command::Port(command) => sandboxes::ports(channel, cli.output, command).await,
        other => system::run(channel, cli.output, &other).await,
    }
}
