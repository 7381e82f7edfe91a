//! The `names` commands and flags. Knows neither the daemon nor how answers look.

use clap::Subcommand;

/// Commands for names.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Says what a sandbox's resolver answers to a question, without asking others.
    Resolve {
        /// A, AAAA, PTR, ...
        #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "A")]
        kind: String,
        /// Who asks: name, id or unique prefix of an id.
        sandbox: String,
        /// The name, or an address for PTR.
        name: String,
    },
    /// Lists the names that a sandbox's resolver knows by itself.
    #[command(visible_alias = "list")]
    Ls {
        /// Who asks: name, id or unique prefix of an id.
        sandbox: String,
    },
}
