//! The `endpoint` commands and flags. Knows neither the daemon nor how answers look.

use clap::{Args, Subcommand};

/// Commands for endpoints.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Lists endpoints.
    #[command(visible_alias = "list")]
    Ls {
        /// Only those that match, as in 'network="front" AND label.tier="web"'; labels are the sandboxes'.
        #[arg(short, long, value_name = "FILTER")]
        filter: Option<String>,
        /// Ids only.
        #[arg(short, long)]
        quiet: bool,
        /// Ids in full.
        #[arg(long)]
        no_trunc: bool,
    },
    /// Shows all of one endpoint.
    Inspect(Which),
    /// Changes an endpoint.
    Update(Update),
    /// Compares the kernel with what is wanted of an endpoint, and changes nothing; exit code 1 if they differ.
    Check(Which),
}

/// Which endpoint.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// The network (name, id or unique prefix of an id), or the id of the endpoint alone.
    #[arg(value_name = "NETWORK|ENDPOINT")]
    pub network: String,
    /// The sandbox: name, id or unique prefix of an id.
    pub sandbox: Option<String>,
}

/// Flags of `endpoint update`.
#[derive(Args, Debug)]
pub struct Update {
    /// Its further names on the network, in place of those that it has; an empty one for none.
    #[arg(long = "alias", value_name = "NAME")]
    pub aliases: Vec<String>,
    /// The highest leads the default route.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub gw_priority: Option<i32>,
    /// Which endpoint.
    #[command(flatten)]
    pub which: Which,
}
