//! The netd daemon: command line, start, stop.

mod log;

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

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
    match begin_log(&arguments.log).and_then(|()| start(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("netd: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Begins to log to standard error; in colours where they are seen and wanted.
fn begin_log(wanted: &str) -> Result<()> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(log::filter(wanted)?)
        .with_writer(std::io::stderr)
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::internal("starting the runtime", e))?;
    if arguments.purge {
        // It needs nothing that the configuration says, which may be gone.
        runtime.block_on(purge::run(&instance))
    } else {
        let config = configuration(arguments.config.as_deref())?;
        runtime.block_on(daemon::run(instance, config))
    }
}

fn configuration(path: Option<&Path>) -> Result<Config> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let fail = |e: &dyn std::fmt::Display| {
        Error::invalid(format!("configuration file {}: {e}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|e| fail(&e))?;
    let config: Config = toml::from_str(&text).map_err(|e| fail(&e))?;
    config.check()?;
    Ok(config)
}
