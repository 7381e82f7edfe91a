//! The `sandbox` commands and flags. Knows neither the daemon nor how answers look.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use netd_proto::v1::ExtraHost;

use super::{
    Labels,
    values::{extra_host, ip_address, label, search_domain},
};
use crate::{
    attachment::Attachment,
    spec::{Exposed, Spec},
};

/// Commands for sandboxes.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Makes a sandbox and prints its id.
    Create(Box<Create>),
    /// Lists sandboxes.
    #[command(visible_alias = "list")]
    Ls {
        /// Only those that match, as in 'state="running" AND label.tier="web"'.
        #[arg(short, long, value_name = "FILTER")]
        filter: Option<String>,
        /// Ids only.
        #[arg(short, long)]
        quiet: bool,
        /// Ids in full.
        #[arg(long)]
        no_trunc: bool,
    },
    /// Shows all of one or more sandboxes.
    Inspect {
        /// json, or a template of one sandbox, as in '{{.NetnsPath}}'.
        #[arg(short, long)]
        format: Option<String>,
        /// Names, ids or unique prefixes of ids.
        #[arg(required = true, value_name = "SANDBOX")]
        sandboxes: Vec<String>,
    },
    /// Gives a sandbox another name.
    Rename {
        /// Name, id or unique prefix of an id.
        sandbox: String,
        /// The new name.
        name: String,
    },
    /// Changes a sandbox, running or stopped; what is not given stays.
    Update(Box<Update>),
    /// Starts a stopped sandbox: makes or takes its namespace, connects it, publishes its ports.
    Start {
        /// An existing network namespace; without this and --pid, netd makes one.
        #[arg(long, value_name = "PATH", conflicts_with = "pid")]
        netns: Option<PathBuf>,
        /// The network namespace of a process.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        pid: Option<u32>,
        /// Name, id or unique prefix of an id.
        sandbox: String,
    },
    /// Stops sandboxes: disconnects them and keeps what they were asked to be for the next start.
    Stop {
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
    /// The command sees the sandbox's host name, and its files at /etc/resolv.conf, /etc/hosts and /etc/hostname; all
    /// other files are those of the caller. On the host network it sees the host's.
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
pub struct Create {
    /// Its name.
    pub name: String,
    /// Its id, 64 hexadecimal digits in lower case; else netd chooses one.
    #[arg(long)]
    pub id: Option<String>,
    /// An existing network namespace; without this and --pid, netd makes one.
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    pub netns: Option<PathBuf>,
    /// The network namespace of a process.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Its host name.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    #[command(flatten)]
    pub names: Names,
    /// Labels.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Only registers it; `sandbox start` gives it a namespace and connects it.
    #[arg(long, conflicts_with_all = ["netns", "pid"])]
    pub stopped: bool,
    /// Published ports, as docker -p: [ip:][hostport[-range]:]port[-range][/tcp|udp|sctp].
    #[arg(short, long = "publish", value_name = "SPEC")]
    pub ports: Vec<Spec>,
    /// Ports that its software listens on, for --publish-all.
    #[arg(long = "expose", value_name = "PORT[-PORT][/PROTOCOL]")]
    pub exposed: Vec<Exposed>,
    /// Publishes every exposed port on a free port of the host.
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Networks to connect to, in order: NETWORK, or
    /// name=NETWORK[,ip=,ip6=,mac-address=,alias=,link=,link-local-ip=,driver-opt=,gw-priority=,interface=].
    #[arg(long = "network", value_name = "NETWORK")]
    pub networks: Vec<Attachment>,
}

/// How names are looked up in a sandbox.
#[derive(Args, Debug, Default)]
pub struct Names {
    /// Its domain name.
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// Name servers that are asked, from the sandbox, instead of the host's.
    #[arg(long = "dns", value_name = "IP", value_parser = ip_address)]
    pub dns: Vec<String>,
    /// Search domains instead of the host's; a single dot for none.
    #[arg(long = "dns-search", value_name = "DOMAIN", value_parser = search_domain)]
    pub dns_search: Vec<String>,
    /// Options of resolv.conf(5), besides the host's.
    #[arg(long = "dns-option", alias = "dns-opt", value_name = "OPTION")]
    pub dns_options: Vec<String>,
    /// Lines of /etc/hosts: NAME:IP or NAME=IP; host-gateway for the host's address.
    #[arg(long = "add-host", value_name = "NAME:IP", value_parser = extra_host)]
    pub extra_hosts: Vec<ExtraHost>,
}

/// Flags of `sandbox update`.
#[derive(Args, Debug)]
pub struct Update {
    /// Its host name.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// In place of those that it has.
    #[command(flatten)]
    pub names: Names,
    /// Labels.
    #[command(flatten)]
    pub labels: Labels,
    /// Published ports in place of those that it has, as docker -p.
    #[arg(short, long = "publish", value_name = "SPEC")]
    pub ports: Vec<Spec>,
    /// Ports that its software listens on, in place of those that it has.
    #[arg(long = "expose", value_name = "PORT[-PORT][/PROTOCOL]")]
    pub exposed: Vec<Exposed>,
    /// Name, id or unique prefix of an id.
    pub sandbox: String,
}
