//! The `flows` and `drops` commands and flags. Knows neither the daemon nor how answers look.

use clap::{ArgGroup, Args, Subcommand};

/// `flows` alone lists; with a command it does more.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Flows {
    /// What to do instead of listing.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Which flows.
    #[command(flatten)]
    pub filter: Filter,
    /// Prints what is there and then each flow that begins, changes or ends, until interrupted.
    #[arg(short, long)]
    pub watch: bool,
    /// Ids, both addresses of a translation, and bytes to the last one.
    #[arg(long)]
    pub no_trunc: bool,
}

/// Commands for flows.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Ends flows and prints how many; their next packet begins a new one, where it may.
    Rm(Rm),
}

/// Flags of `flows rm`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").required(true).multiple(true)
    .args(["sandbox", "network", "protocol", "published", "ip", "port", "all"]))]
pub struct Rm {
    /// Which flows.
    #[command(flatten)]
    pub filter: Filter,
    /// All of them.
    #[arg(long, conflicts_with_all = ["sandbox", "network", "protocol", "published", "ip", "port"])]
    pub all: bool,
}

/// Flows that have all that is given.
#[derive(Args, Debug, Default)]
pub struct Filter {
    /// From or to this sandbox: name, id or unique prefix of an id.
    #[arg(long)]
    pub sandbox: Option<String>,
    /// From or to a sandbox on this network: name, id or unique prefix of an id.
    #[arg(long)]
    pub network: Option<String>,
    /// tcp, udp, icmp, icmpv6, sctp or a number.
    #[arg(long, value_parser = protocol)]
    pub protocol: Option<u8>,
    /// Only those that met a published port.
    #[arg(long)]
    pub published: bool,
    /// One of their addresses, before or after translation; or a CIDR.
    #[arg(long, value_name = "IP[/LENGTH]")]
    pub ip: Option<String>,
    /// One of their ports, before or after translation.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
}

/// Flags of `drops`.
#[derive(Args, Debug)]
pub struct Drops {
    /// Prints packets as they are refused, a line each, until interrupted.
    #[arg(short, long)]
    pub follow: bool,
    /// Only what this sandbox sent: name, id or unique prefix of an id.
    #[arg(long, requires = "follow")]
    pub sandbox: Option<String>,
    /// Only what was refused for this reason, as `drops` shows it; several: any of them.
    #[arg(long = "reason", value_name = "REASON", requires = "follow")]
    pub reasons: Vec<String>,
}

/// Names of protocols with their numbers.
pub const PROTOCOLS: [(&str, u8); 7] = [
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("icmpv6", 58),
    ("sctp", 132),
    ("dccp", 33),
    ("udplite", 136),
];

/// The number of a protocol.
///
/// # Errors
/// Neither a name nor a number.
fn protocol(text: &str) -> Result<u8, String> {
    let lower = text.to_lowercase();
    let mut names = PROTOCOLS.iter();
    if let Some((_, number)) = names.find(|(name, _)| *name == lower) {
        return Ok(*number);
    }
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("neither tcp, udp, icmp, icmpv6, sctp, nor a number from 1 to 255".to_owned()),
    }
}
