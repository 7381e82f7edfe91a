//! Docker's API on a Unix socket, as a process of its own beside netd.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use netd_docker::Settings;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Docker's API on a Unix socket: networks from netd, all else from a Docker engine behind.
#[derive(Parser)]
#[command(name = "netd-docker", version)]
struct Arguments {
    /// Where Docker's API is served; whoever may use this socket may do what the engine may.
    #[arg(long, value_name = "PATH", default_value = "/run/netd/docker.sock")]
    docker_socket: PathBuf,
    /// Group whose members may use the socket, by name or number; default: root's own.
    #[arg(long, value_name = "GROUP")]
    docker_group: Option<String>,
    /// The Docker engine behind, as unix:///run/docker.sock; without it only networks are served.
    #[arg(long, value_name = "ADDRESS", value_parser = unix)]
    docker_upstream: Option<PathBuf>,
    /// netd's own socket.
    #[arg(long, value_name = "ADDRESS", default_value = "unix:///run/netd/netd.sock", value_parser = unix)]
    address: PathBuf,
    /// What to log: error, warn, info, debug, trace, or a filter such as netd_docker=debug.
    #[arg(long, env = "NETD_LOG", default_value = "info")]
    log: String,
}

/// Each client is an open file, and most have another one at the engine: as many as the system lets us have.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(e) = raised {
        tracing::warn!("raising the limit of open files: {e}");
    }
}

/// The path of a Unix socket.
fn unix(text: &str) -> Result<PathBuf, String> {
    netd_docker::unix_address(text)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("netd-docker: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(&arguments.log)
        .map_err(|e| format!("--log {}: {e}", arguments.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("starting the runtime: {e}"))?;
    let settings = Settings {
        socket: arguments.docker_socket,
        group: arguments.docker_group,
        upstream: arguments.docker_upstream,
        netd: arguments.address,
    };
    runtime.block_on(async move {
        let stop = CancellationToken::new();
        let ended = stop.clone();
        let mut signals = Vec::new();
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            signals.push(signal(kind).map_err(|e| format!("waiting for signals: {e}"))?);
        }
        tokio::spawn(async move {
            let waits = signals.iter_mut().map(|s| Box::pin(s.recv()));
            futures::future::select_all(waits).await;
            ended.cancel();
        });
        netd_docker::serve(settings, stop).await
    })
}
