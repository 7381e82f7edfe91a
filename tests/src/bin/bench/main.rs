//! Speed: every path of netd against a bare veth pair and plain routing without netfilter, and beside another build of
//! the daemon, in interleaved rounds.
//!
//! Prints medians of the rounds' ratios; it judges nothing. `--daemon` with the path of the same build shows how far two
//! equal systems differ.

mod measure;
mod systems;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use crate::{
    measure::{Figure, Rates},
    systems::{Bases, System},
};

/// Speed of netd's paths.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Words {
    /// Three rounds of one second each; less exact.
    #[arg(long)]
    quick: bool,
    /// Another build of the daemon to measure beside this one; its netctl lies beside it, as `netctl` for `netd`.
    #[arg(long)]
    daemon: Option<PathBuf>,
    /// Rounds.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measurement.
    #[arg(long)]
    seconds: Option<f64>,
}

fn main() -> Result<()> {
    let words = Words::parse();
    let rounds = words.rounds.unwrap_or(if words.quick { 3 } else { 5 });
    let seconds = words.seconds.unwrap_or(if words.quick { 1.0 } else { 2.0 });
    let mut systems = vec![System::new("netd", None)?];
    if let Some(path) = &words.daemon {
        systems.push(System::new("other", Some(path))?);
    }
    let bases = Bases::new(&mut systems)?;
    let figures: &[Figure] = if words.quick {
        &Figure::ALL[1..]
    } else {
        &Figure::ALL
    };
    let mut rates = Rates::default();
    for round in 0..rounds {
        for &figure in figures {
            // Both bases, then every path of all systems; who comes first changes with the round.
            for path in bases.paths() {
                rates.take(round, figure, path, seconds)?;
            }
            for index in 0..systems::PATHS.len() {
                for turn in 0..systems.len() {
                    let system = systems.get((turn + round) % systems.len());
                    if let Some(path) = system.and_then(|system| system.paths.get(index)) {
                        rates.take(round, figure, path, seconds)?;
                    }
                }
            }
        }
        println!("round {} of {rounds} done", round + 1);
    }
    table::print(&rates, figures, &systems);
    drop(bases);
    for system in systems {
        system.close()?;
    }
    Ok(())
}
