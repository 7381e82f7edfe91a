//! The command line's grammar. Flags are Docker's where Docker has the command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Command line of netd, container networks in the kernel without iptables.
#[derive(Parser)]
#[command(name = "netctl", version)]
pub struct Cli {
    /// Where the daemon listens.
    #[arg(
        long,
        global = true,
        env = "NETD_ADDRESS",
        default_value = "unix:///run/netd/netd.sock"
    )]
    pub address: String,
    /// How to print.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Manage networks.
    #[command(subcommand)]
    Network(Network),
    /// Manage sandboxes (network namespaces).
    #[command(subcommand)]
    Sandbox(Sandbox),
    /// Manage published ports.
    #[command(subcommand)]
    Port(Port),
    /// Packets refused, by endpoint and reason.
    Drops,
    /// Packets and bytes, by endpoint.
    Stats,
    /// State of the daemon.
    Status,
    /// Print events as they happen.
    Events,
    /// Print a completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// Networks.
#[derive(Subcommand)]
pub enum Network {
    /// Create a network.
    Create(Box<NetworkCreate>),
    /// List networks.
    #[command(visible_alias = "list")]
    Ls {
        /// Only ids.
        #[arg(short, long)]
        quiet: bool,
        /// Do not shorten ids.
        #[arg(long)]
        no_trunc: bool,
    },
    /// Show networks in full, as Docker does.
    Inspect {
        /// Names, ids or id prefixes.
        #[arg(required = true)]
        networks: Vec<String>,
    },
    /// Connect a sandbox to a network.
    Connect(NetworkConnect),
    /// Disconnect a sandbox from a network.
    Disconnect {
        /// Also if its namespace is gone.
        #[arg(short, long)]
        force: bool,
        /// Network.
        network: String,
        /// Sandbox.
        sandbox: String,
    },
    /// Remove networks.
    #[command(visible_alias = "remove")]
    Rm {
        /// Do not complain about a missing one.
        #[arg(short, long)]
        force: bool,
        /// Names, ids or id prefixes.
        #[arg(required = true)]
        networks: Vec<String>,
    },
}

/// `network create`.
#[derive(Args)]
pub struct NetworkCreate {
    /// Its name.
    pub name: String,
    /// Driver of the network.
    #[arg(short, long, default_value = "bridge")]
    pub driver: String,
    /// Driver option, key=value.
    #[arg(short = 'o', long = "opt", value_name = "KEY=VALUE")]
    pub options: Vec<String>,
    /// Subnet in CIDR form.
    #[arg(long)]
    pub subnet: Vec<String>,
    /// Address of the host on the network.
    #[arg(long)]
    pub gateway: Vec<String>,
    /// Where dynamic addresses come from.
    #[arg(long)]
    pub ip_range: Vec<String>,
    /// Address never given out, name=ip.
    #[arg(long, value_name = "NAME=IP")]
    pub aux_address: Vec<String>,
    /// IPAM driver.
    #[arg(long, default_value = "default")]
    pub ipam_driver: String,
    /// IPAM option, key=value.
    #[arg(long, value_name = "KEY=VALUE")]
    pub ipam_opt: Vec<String>,
    /// Nothing leaves and nothing enters.
    #[arg(long)]
    pub internal: bool,
    /// Give out IPv6 addresses too.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set)]
    pub ipv6: bool,
    /// Give out IPv4 addresses.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set)]
    pub ipv4: bool,
    /// Kept for swarm.
    #[arg(long)]
    pub attachable: bool,
    /// Kept for swarm.
    #[arg(long)]
    pub ingress: bool,
    /// local or swarm.
    #[arg(long, default_value = "")]
    pub scope: String,
    /// Label, key=value.
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Only a configuration for other networks.
    #[arg(long)]
    pub config_only: bool,
    /// Take the configuration of that network.
    #[arg(long, default_value = "")]
    pub config_from: String,
}

/// `network connect`.
#[derive(Args)]
pub struct NetworkConnect {
    /// IPv4 address.
    #[arg(long, default_value = "")]
    pub ip: String,
    /// IPv6 address.
    #[arg(long, default_value = "")]
    pub ip6: String,
    /// Ethernet address.
    #[arg(long, default_value = "")]
    pub mac_address: String,
    /// Name on this network.
    #[arg(long)]
    pub alias: Vec<String>,
    /// Driver option of the endpoint, key=value.
    #[arg(long, value_name = "KEY=VALUE")]
    pub driver_opt: Vec<String>,
    /// The highest one's network has the default route.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub gw_priority: i32,
    /// Network.
    pub network: String,
    /// Sandbox.
    pub sandbox: String,
}

/// Sandboxes.
#[derive(Subcommand)]
pub enum Sandbox {
    /// Create a sandbox.
    Create {
        /// Its name.
        name: String,
        /// An existing namespace.
        #[arg(long, conflicts_with = "pid")]
        netns: Option<PathBuf>,
        /// A process in an existing namespace.
        #[arg(long)]
        pid: Option<u32>,
        /// Its hostname.
        #[arg(long, default_value = "")]
        hostname: String,
        /// Label, key=value.
        #[arg(long, value_name = "KEY=VALUE")]
        label: Vec<String>,
        /// Publish a port: [ip:][hostport[-range]:]port[-range][/protocol].
        #[arg(short, long, value_name = "SPEC")]
        publish: Vec<String>,
        /// Network to connect to at once.
        #[arg(long)]
        network: Vec<String>,
    },
    /// List sandboxes.
    #[command(visible_alias = "list")]
    Ls,
    /// Show sandboxes in full.
    Inspect {
        /// Names, ids or id prefixes.
        #[arg(required = true)]
        sandboxes: Vec<String>,
    },
    /// Remove sandboxes.
    Rm {
        /// Do not complain about a missing one.
        #[arg(short, long)]
        force: bool,
        /// Names, ids or id prefixes.
        #[arg(required = true)]
        sandboxes: Vec<String>,
    },
    /// Run a command inside.
    Exec {
        /// Sandbox.
        sandbox: String,
        /// Command with its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Published ports.
#[derive(Subcommand)]
pub enum Port {
    /// Publish ports of a sandbox.
    Publish {
        /// Sandbox.
        sandbox: String,
        /// [ip:][hostport[-range]:]port[-range][/protocol]
        #[arg(required = true)]
        specs: Vec<String>,
    },
    /// List published ports.
    #[command(visible_alias = "list")]
    Ls {
        /// Only of this sandbox.
        sandbox: Option<String>,
    },
    /// Withdraw published ports.
    Unpublish {
        /// Sandbox.
        sandbox: String,
        /// As they were published.
        #[arg(required = true)]
        specs: Vec<String>,
    },
}
