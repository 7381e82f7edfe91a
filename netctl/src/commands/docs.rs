//! Completions and manual pages, made from the definition of the command line. Knows no daemon.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::print;
use crate::{
    cli::Cli,
    failure::{Failure, Result},
};

/// Prints the completions of a shell.
///
/// # Errors
/// When standard output is closed.
pub fn completions(shell: Shell) -> Result<()> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "netctl", &mut bytes);
    print(&String::from_utf8_lossy(&bytes))
}

/// Prints the manual page of a command, or writes all to a directory.
///
/// # Errors
/// An unknown command, or a directory that cannot be written.
pub fn man(words: &[String], directory: Option<&Path>) -> Result<()> {
    let mut command = Cli::command();
    if let Some(directory) = directory {
        return clap_mangen::generate_to(command, directory).map_err(|error| {
            Failure::new(format!("cannot write to {}: {error}", directory.display()))
        });
    }
    // Gives subcommands their whole names.
    command.build();
    for word in words {
        command = command.find_subcommand(word).cloned().ok_or_else(|| {
            Failure::new(format!("netctl {} is no command", words.join(" ")))
                .hint("`netctl help` lists them")
                .code(2)
        })?;
    }
    let mut bytes = Vec::new();
    Man::new(command).render(&mut bytes)?;
    print(&String::from_utf8_lossy(&bytes))
}
