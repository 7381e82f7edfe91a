//! Scale of the control plane: attaching alone and with many in flight, thousands of endpoints and networks, memory and
//! the time of a restart; beside Docker's own figures from the same machine, taken in the same run.
//!
//! Prints figures; it judges nothing.

mod docker;
mod netd;

use std::time::Duration;

use anyhow::Result;
use clap::Parser;

/// What operations cost, alone and at scale.
#[derive(Debug, Parser)]
#[command(name = "scale")]
struct Words {
    /// Endpoints that are there at once.
    #[arg(default_value_t = 4096)]
    endpoints: usize,
    /// Networks that are there at once.
    #[arg(default_value_t = 2000)]
    networks: usize,
    /// Do not take a Docker Engine's figures.
    #[arg(long)]
    without_docker: bool,
}

/// Latencies of one kind of operation.
#[derive(Default)]
pub struct Figures(Vec<Duration>);

impl Figures {
    /// Adds one.
    pub fn add(&mut self, one: Duration) {
        self.0.push(one);
    }

    /// The value below which this share of all lies, milliseconds.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
    }

    /// One line.
    pub fn print(&self, what: &str) {
        println!(
            "{what:58} n {:5}  p50 {:8.2} ms  p99 {:8.2} ms  max {:8.2} ms",
            self.0.len(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0)
        );
    }
}

fn main() -> Result<()> {
    let words = Words::parse();
    netd::measure(words.endpoints, words.networks)?;
    if !words.without_docker {
        docker::measure()?;
    }
    Ok(())
}
