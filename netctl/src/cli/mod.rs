//! The command line: commands and flags. Knows neither the daemon nor how answers look.

pub mod network;
pub mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::{address::Address, spec::Spec};

/// Container networks in the kernel, without iptables: the client of netd.
#[derive(Parser, Debug)]
#[command(
    name = "netctl",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "Exit codes: 0; 1 refused, with a message; 2 usage.")]
pub struct Cli {
    /// Where netd listens.
    #[arg(
        long,
        env = "NETD_ADDRESS",
        default_value = "unix:///run/netd/netd.sock"
    )]
    #[arg(global = true, value_name = "unix://PATH")]
    pub address: Address,
    /// How answers are printed.
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How answers are printed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Networks.
    #[command(subcommand)]
    Network(network::Command),
    /// Sandboxes: network namespaces that networks are connected to.
    #[command(subcommand)]
    Sandbox(SandboxCommand),
    /// Ports of the host that lead to sandboxes.
    #[command(subcommand)]
    Port(PortCommand),
    /// Refused packets, by endpoint and reason.
    Drops,
    /// Packets and bytes, by endpoint.
    Stats,
    /// The daemon's health, versions and attached programs.
    Status,
    /// Prints events as they happen, until interrupted.
    Events,
    /// Prints the completions of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Prints the manual page of netctl or of one of its commands.
    Man {
        /// The command, as in `netctl man network create`.
        command: Vec<String>,
        /// Writes the pages of all commands to this directory instead.
        #[arg(long, value_name = "DIRECTORY", conflicts_with = "command")]
        directory: Option<PathBuf>,
    },
}

/// Commands for sandboxes.
#[derive(Subcommand, Debug)]
pub enum SandboxCommand {
    /// Makes a sandbox and prints its id.
    Create(SandboxCreate),
    /// Lists sandboxes.
    #[command(visible_alias = "list")]
    Ls {
        /// Ids only.
        #[arg(short, long)]
        quiet: bool,
        /// Ids in full.
        #[arg(long)]
        no_trunc: bool,
    },
    /// Shows all of one or more sandboxes.
    Inspect {
        /// Template of the output, as in '{{.NetnsPath}}'.
        #[arg(short, long)]
        format: Option<String>,
        /// Names, ids or unique prefixes of ids.
        #[arg(required = true, value_name = "SANDBOX")]
        sandboxes: Vec<String>,
    },
    /// Removes sandboxes: their endpoints, their published ports, and a namespace that netd made.
    #[command(visible_alias = "remove")]
    Rm {
        /// Does not mind a sandbox that does not exist.
        #[arg(short, long)]
        force: bool,
        /// Names, ids or unique prefixes of ids.
        #[arg(required = true, value_name = "SANDBOX")]
        sandboxes: Vec<String>,
    },
    /// Runs a command in a sandbox's network namespace.
    ///
    /// Ends with the command's exit code; 125 when the namespace cannot be entered, 126 when the command cannot be run, 127
    /// when it is not found.
    Exec {
        /// Name, id or unique prefix of an id.
        sandbox: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// Flags of `sandbox create`.
#[derive(Args, Debug)]
pub struct SandboxCreate {
    /// Its name.
    pub name: String,
    /// An existing network namespace; without this and --pid, netd makes one.
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    pub netns: Option<PathBuf>,
    /// The network namespace of a process.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Its host name.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Labels.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::label)]
    pub labels: Vec<(String, String)>,
    /// Published ports, as docker -p: [ip:][hostport[-range]:]port[-range][/tcp|udp|sctp].
    #[arg(short, long = "publish", value_name = "SPEC")]
    pub ports: Vec<Spec>,
    /// Networks to connect to, in order.
    #[arg(long = "network", value_name = "NETWORK")]
    pub networks: Vec<String>,
}

/// Commands for published ports.
#[derive(Subcommand, Debug)]
pub enum PortCommand {
    /// Publishes ports of a sandbox on the host; all or none.
    Publish(PortSpecs),
    /// Lists published ports.
    #[command(visible_alias = "list")]
    Ls {
        /// Those of one sandbox.
        sandbox: Option<String>,
    },
    /// Takes publications back.
    Unpublish(PortSpecs),
}

/// Ports of a sandbox.
#[derive(Args, Debug)]
pub struct PortSpecs {
    /// Name, id or unique prefix of an id.
    pub sandbox: String,
    /// As docker -p: [ip:][hostport[-range]:]port[-range][/tcp|udp|sctp].
    #[arg(required = true, value_name = "SPEC")]
    pub specs: Vec<Spec>,
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
