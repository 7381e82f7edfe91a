//! The netd daemon: command line, start, stop.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use netd::{
    config::{Config, Instance},
    daemon,
    dns::keeper,
    error::{Error, Result},
    purge,
};

/// Container networks in the kernel, without iptables.
#[derive(Parser)]
#[command(name = "netd", version)]
struct Arguments {
    /// Name of this instance; several on one host are kept apart by it.
    #[arg(long, default_value = "default")]
    instance: String,
    /// Directory of the stored state.
    #[arg(long, default_value = "/var/lib/netd")]
    state: PathBuf,
    /// Directory of the socket, the namespaces and the files for names.
    #[arg(long, default_value = "/run/netd")]
    run: PathBuf,
    /// cgroup v2 directory whose processes reach published ports; default: the root of the hierarchy.
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// Configuration file (TOML).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Remove every trace of the instance: links, programs, pins, namespaces, files, state.
    #[arg(long)]
    purge: bool,
    /// What to log: error, warn, info, debug, trace, or a filter such as netd::engine=debug.
    #[arg(long, env = "NETD_LOG", default_value = "info")]
    log: String,
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
    let filter = tracing_subscriber::EnvFilter::try_new(&arguments.log).unwrap_or_default();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("netd: {e}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> Result<()> {
    netd::model::check_name("instance", &arguments.instance)?;
    // The name becomes a directory of bpffs, which knows no dots.
    if arguments.instance.contains('.') {
        return Err(Error::invalid(format!(
            "the instance name {} has a dot, which bpffs refuses",
            arguments.instance
        ))
        .hint("only [a-zA-Z0-9][a-zA-Z0-9_-]*"));
    }
    if arguments.instance.len() > 32 {
        return Err(Error::invalid(format!(
            "the instance name {} is too long",
            arguments.instance
        ))
        .hint("at most 32"));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::invalid(
            "netd must run as root: it loads eBPF programs and makes interfaces",
        )
        .hint("use sudo"));
    }
    let config = match &arguments.config {
        None => Config::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| {
                Error::invalid(format!("configuration file {}: {e}", path.display()))
            })?;
            toml::from_str(&text).map_err(|e| {
                Error::invalid(format!("configuration file {}: {e}", path.display()))
            })?
        }
    };
    let instance = Instance {
        name: arguments.instance,
        state: arguments.state,
        run: arguments.run,
        cgroup: arguments.cgroup,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::internal("starting the runtime", e))?;
    if arguments.purge {
        runtime.block_on(purge::run(&instance))
    } else {
        config.check()?;
        runtime.block_on(daemon::run(instance, config))
    }
}
