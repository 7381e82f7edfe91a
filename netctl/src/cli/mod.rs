//! The command line: commands and flags. Knows neither the daemon nor how answers look.

pub mod connection;
pub mod endpoint;
pub mod flow;
pub mod names;
pub mod network;
pub mod sandbox;
pub mod values;

use std::{collections::HashMap, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::spec::Spec;

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
    /// How the daemon is reached.
    #[command(flatten)]
    pub connection: connection::Connection,
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
    Sandbox(sandbox::Command),
    /// Endpoints: interfaces of sandboxes on networks.
    #[command(subcommand)]
    Endpoint(endpoint::Command),
    /// Names, as the resolvers of sandboxes answer them.
    #[command(subcommand)]
    Names(names::Command),
    /// Ports of the host that lead to sandboxes.
    #[command(subcommand)]
    Port(PortCommand),
    /// Flows: what is remembered of connections and exchanges of datagrams that leave their network.
    Flows(Box<flow::Flows>),
    /// Refused packets, by endpoint and reason.
    Drops(flow::Drops),
    /// Packets and bytes, by endpoint.
    Stats,
    /// The daemon's health, versions and attached programs.
    Status,
    /// Prints events as they happen, until interrupted.
    Events(Events),
    /// The daemon as a whole.
    #[command(subcommand)]
    System(SystemCommand),
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

/// Flags of `events`.
#[derive(Args, Debug)]
pub struct Events {
    /// Only those with name=value; type, event, network, sandbox, label. Several of one name: any of them.
    #[arg(short, long = "filter", value_name = "NAME=VALUE", value_parser = values::filter)]
    pub filters: Vec<(String, String)>,
    /// json, or a template of one event, as in '{{.Action}} {{.Actor.Attributes.name}}'.
    #[arg(long)]
    pub format: Option<String>,
}

/// Commands for the daemon.
#[derive(Subcommand, Debug)]
pub enum SystemCommand {
    /// Compares the kernel with what is wanted, mends the difference as a start does, and says what it mended.
    Reconcile,
    /// Prints every change of networks, sandboxes and endpoints, a line each, until interrupted.
    Watch(Watch),
}

/// Flags of `system watch`.
#[derive(Args, Debug)]
pub struct Watch {
    /// Changes after this revision first.
    #[arg(long, value_name = "REVISION", conflicts_with = "snapshot")]
    pub from: Option<u64>,
    /// What is there first.
    #[arg(long)]
    pub snapshot: bool,
    /// Events, too.
    #[arg(long)]
    pub events: bool,
    /// Only objects of these types.
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    pub types: Vec<ObjectType>,
    /// Only objects that match, as in 'name="front" AND label.tier!="test"'.
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
}

/// A type of objects.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectType {
    /// Networks.
    Network,
    /// Sandboxes, with their published ports.
    Sandbox,
    /// Endpoints.
    Endpoint,
}

/// Labels to change.
#[derive(Args, Clone, Debug, Default)]
pub struct Labels {
    /// Sets a label; others stay.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::label)]
    pub set: Vec<(String, String)>,
    /// Removes a label.
    #[arg(long = "label-rm", value_name = "KEY")]
    pub removed: Vec<String>,
}

impl Labels {
    /// Whether none is to change.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }

    /// The labels afterwards.
    pub fn applied(self, mut labels: HashMap<String, String>) -> HashMap<String, String> {
        labels.retain(|key, _| !self.removed.contains(key));
        labels.extend(self.set);
        labels
    }
}

/// Commands for published ports.
#[derive(Subcommand, Debug)]
pub enum PortCommand {
    /// Publishes ports of a sandbox on the host; all or none.
    Publish(PortSpecs),
    /// Lists published ports.
    #[command(visible_alias = "list")]
    Ls {
        /// Only those that match, as in 'protocol="udp" AND label.tier="web"'.
        #[arg(short, long, value_name = "FILTER")]
        filter: Option<String>,
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
