//! The netd daemon: command line, start, stop.

mod log;

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use netd::{
    config::{DEFAULT, Docker, Instance, Listen, Source},
    daemon,
    dns::keeper,
    error::{Error, Result},
    pki, purge,
};
use netd_runc::setup;

/// Container networks in the kernel, without iptables.
#[derive(Parser)]
#[command(name = "netd", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Name of this instance; several on one host are kept apart by it.
    #[arg(long, default_value = "default")]
    instance: String,
    /// Directory of the stored state; default: /var/lib/netd, for another instance /var/lib/netd@INSTANCE.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Directory of the socket, the namespaces and the files for names; default: /run/netd, for another instance
    /// /run/netd@INSTANCE.
    #[arg(long)]
    run: Option<PathBuf>,
    /// cgroup v2 directory whose processes reach published ports; default: the root of the hierarchy.
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// Configuration file (TOML), read anew at SIGHUP; default: /etc/netd/netd.toml, if it exists and the instance has no
    /// name of its own.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    listen: Flags,
    #[command(flatten)]
    docker: DockerFlags,
    /// Remove every trace of the instance: links, programs, pins, namespaces, files, state.
    #[arg(long)]
    purge: bool,
    /// What to log: error, warn, info, debug, trace, or a filter such as netd::engine=debug.
    #[arg(long, env = "NETD_LOG", default_value = "info")]
    log: String,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the API is served, beside RUN/netd.sock; outweighs [listen] of the configuration.
#[derive(Args)]
struct Flags {
    /// Serve the API over TCP as well, by mutual TLS; clients and their roles stand in [[access]] of the configuration.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The server's certificate, PEM; read anew when it changes.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The authorities whose client certificates are accepted, PEM.
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Group whose members may use the socket, by name or number.
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
}

/// Docker's API; outweighs [docker] of the configuration.
#[derive(Args)]
struct DockerFlags {
    /// Serve Docker's API at this path; whoever may use it may do what the engine behind may.
    #[arg(long, value_name = "PATH")]
    docker_socket: Option<PathBuf>,
    /// The Docker engine behind, as unix:///run/docker.sock: all that is not about networks is passed on to it.
    #[arg(long, value_name = "ADDRESS")]
    docker_upstream: Option<String>,
    /// Group whose members may use the Docker socket, by name or number.
    #[arg(long, value_name = "GROUP")]
    docker_group: Option<String>,
}

/// What netd does beside running.
#[derive(Subcommand)]
enum Command {
    /// Certificates for the API over TCP, of an authority of one's own.
    #[command(subcommand)]
    Pki(pki::Command),
    /// Docker Engine's configuration: its containers' networks are netd's by the runtime `netd`.
    #[command(subcommand)]
    Docker(setup::Command),
}

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|a| a == keeper::FLAG)
    {
        // Nobody reads what it says.
        let kept = keeper::run();
        return if kept.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::Pki(command)) => {
            return ended(pki::run(command).and_then(|made| print(&made)));
        }
        Some(Command::Docker(command)) => {
            let done = setup::run(command).map_err(|e| Error::invalid(e.message));
            return ended(done.and_then(|done| print(&done)));
        }
        None => {}
    }
    let begun = begin_log(&arguments.log);
    ended(begun.and_then(|()| start(arguments)))
}

fn ended(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Where nobody reads it any more, the exit code says it alone.
            let _ = writeln!(io::stderr(), "netd: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output. That its reader is gone, as `head` goes, is no error.
fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::internal("standard output", e))
        }
        _ => Ok(()),
    }
}

/// Begins to log to standard error; in colours where they are seen and wanted.
fn begin_log(wanted: &str) -> Result<()> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(log::filter(wanted)?)
        .with_writer(std::io::stderr)
        // It would say on standard error that this cannot be written, and panic.
        .log_internal_errors(false)
        .with_ansi(!plain && std::io::stderr().is_terminal())
        .init();
    Ok(())
}

fn start(arguments: Arguments) -> Result<()> {
    let instance = Instance::new(
        &arguments.instance,
        arguments.state,
        arguments.run,
        arguments.cgroup,
    )?;
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::invalid(
            "netd must run as root: it loads eBPF programs and makes interfaces",
        )
        .hint("use sudo"));
    }
    let file = arguments.config.or_else(|| {
        let default = instance.name == "default" && Path::new(DEFAULT).exists();
        default.then(|| DEFAULT.into())
    });
    let flags = arguments.listen;
    let source = Source {
        file,
        listen: Listen {
            address: flags.listen,
            tls_cert: flags.tls_cert,
            tls_key: flags.tls_key,
            tls_client_ca: flags.tls_client_ca,
            group: flags.socket_group,
        },
        docker: Docker {
            socket: arguments.docker.docker_socket,
            upstream: arguments.docker.docker_upstream,
            group: arguments.docker.docker_group,
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::internal("starting the runtime", e))?;
    if arguments.purge {
        // It needs nothing that the configuration says, which may be gone.
        runtime.block_on(purge::run(&instance))
    } else {
        runtime.block_on(daemon::run(instance, source))
    }
}
