//! Docker's `network` commands and flags. Knows neither the daemon nor how answers look.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::{Args, Subcommand};
use netd_proto::v1::Link;

use super::{
    Labels,
    values::{boolean, filter, label, link},
};

/// Commands for networks.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Makes a network and prints its id.
    Create(Box<Create>),
    /// Lists networks.
    #[command(visible_alias = "list")]
    Ls(List),
    /// Shows all of one or more networks.
    Inspect {
        /// json, or a template of one network, as in '{{range .IPAM.Config}}{{.Subnet}} {{end}}'.
        #[arg(short, long)]
        format: Option<String>,
        /// Taken as Docker takes it; everything is shown anyway.
        #[arg(short, long)]
        verbose: bool,
        /// Names, ids or unique prefixes of ids.
        #[arg(required = true, value_name = "NETWORK")]
        networks: Vec<String>,
    },
    /// Changes the labels of a network.
    Update {
        #[command(flatten)]
        labels: Labels,
        /// Name, id or unique prefix of an id.
        network: String,
    },
    /// Connects a sandbox to a network.
    Connect(Connect),
    /// Disconnects a sandbox from a network.
    Disconnect {
        /// As of docker: netd clears what a lost namespace left in any case.
        #[arg(short, long)]
        force: bool,
        /// Name, id or unique prefix of an id.
        network: String,
        /// Name, id or unique prefix of an id.
        sandbox: String,
    },
    /// Removes all networks that no running sandbox is connected to; never bridge, host and none.
    Prune {
        /// Does not ask.
        #[arg(short, long)]
        force: bool,
        /// Only those with until=TIME (10m, 1h30m, 2026-01-31, 2026-01-31T10:00:00Z, seconds of Unix time),
        /// label=KEY[=VALUE] or label!=KEY[=VALUE].
        #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = filter)]
        filters: Vec<(String, String)>,
    },
    /// Removes networks.
    #[command(visible_alias = "remove")]
    Rm {
        /// Does not mind a network that does not exist.
        #[arg(short, long)]
        force: bool,
        /// Names, ids or unique prefixes of ids.
        #[arg(required = true, value_name = "NETWORK")]
        networks: Vec<String>,
    },
}

/// Flags of `network create`.
#[derive(Args, Debug)]
pub struct Create {
    /// Its name.
    #[arg(value_name = "NETWORK")]
    pub name: String,
    /// Driver that manages the network.
    #[arg(short, long, default_value = "bridge")]
    pub driver: String,
    /// Driver specific options.
    #[arg(short = 'o', long = "opt", value_name = "KEY=VALUE", value_parser = label)]
    pub options: Vec<(String, String)>,
    /// Subnet in CIDR form; one for each family.
    #[arg(long = "subnet", value_name = "CIDR", value_delimiter = ',')]
    pub subnets: Vec<String>,
    /// Gateway of a subnet.
    #[arg(long = "gateway", value_name = "ADDRESS", value_delimiter = ',')]
    pub gateways: Vec<String>,
    /// Part of a subnet that sandboxes get their addresses from.
    #[arg(long = "ip-range", value_name = "CIDR", value_delimiter = ',')]
    pub ranges: Vec<String>,
    /// Addresses of a subnet that are kept free.
    #[arg(long = "aux-address", value_name = "NAME=ADDRESS", value_parser = label)]
    pub aux: Vec<(String, String)>,
    /// Driver that manages the addresses.
    #[arg(long, default_value = "default", value_name = "DRIVER")]
    pub ipam_driver: String,
    /// Options of that driver.
    #[arg(long = "ipam-opt", value_name = "KEY=VALUE", value_parser = label)]
    pub ipam_options: Vec<(String, String)>,
    /// Nothing leaves the network or enters it.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", value_parser = boolean, hide_default_value = true)]
    pub internal: bool,
    /// IPv6 addresses.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = boolean)]
    pub ipv6: Option<bool>,
    /// IPv4 addresses; on unless --ipv4=false.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = boolean)]
    pub ipv4: Option<bool>,
    /// Sandboxes may be connected by hand.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", value_parser = boolean, hide_default_value = true)]
    pub attachable: bool,
    /// A swarm's routing mesh.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", value_parser = boolean, hide_default_value = true)]
    pub ingress: bool,
    /// The network's scope.
    #[arg(long)]
    pub scope: Option<String>,
    /// Labels.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Only holds a configuration for others.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", value_parser = boolean, hide_default_value = true)]
    pub config_only: bool,
    /// The network whose configuration is used.
    #[arg(long, value_name = "NETWORK")]
    pub config_from: Option<String>,
}

/// Flags of `network ls`.
#[derive(Args, Debug)]
pub struct List {
    /// Only those with name=value; driver, id, label, name, scope, type (custom, builtin), dangling.
    #[arg(short, long = "filter", value_name = "NAME=VALUE", value_parser = filter)]
    pub filters: Vec<(String, String)>,
    /// table, 'table TEMPLATE', json, or a template of one row, as in '{{.ID}}: {{.Driver}}'.
    #[arg(long)]
    pub format: Option<String>,
    /// Ids in full.
    #[arg(long)]
    pub no_trunc: bool,
    /// Ids only.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Flags of `network connect`.
#[derive(Args, Debug)]
pub struct Connect {
    /// Name, id or unique prefix of an id.
    pub network: String,
    /// Name, id or unique prefix of an id.
    pub sandbox: String,
    /// IPv4 address.
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<Ipv4Addr>,
    /// IPv6 address.
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<Ipv6Addr>,
    /// Further names on the network.
    #[arg(long = "alias", value_name = "NAME")]
    pub aliases: Vec<String>,
    /// A further name for another sandbox, for this one only; the other need not exist yet.
    #[arg(long = "link", value_name = "SANDBOX[:ALIAS]", value_parser = link)]
    pub links: Vec<Link>,
    /// Additional address of 169.254.0.0/16 or fe80::/10.
    #[arg(long = "link-local-ip", value_name = "ADDRESS", value_delimiter = ',')]
    pub link_local_ips: Vec<IpAddr>,
    /// Options of the endpoint.
    #[arg(long = "driver-opt", value_name = "KEY=VALUE", value_parser = label)]
    pub driver_options: Vec<(String, String)>,
    /// The highest leads the default route; ties go to the first name.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    #[arg(default_value_t = 0, hide_default_value = true)]
    pub gw_priority: i32,
    /// Ethernet address of the interface.
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<String>,
    /// Name of the interface in the sandbox; else the first free one of eth0, eth1, ...
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
}
