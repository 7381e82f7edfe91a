//! Scale of the control plane: attaching alone and with many in flight, thousands of endpoints and networks, memory and
//! the time of a restart; beside Docker's own figures from the same machine, taken in the same run.
//!
//! Prints figures; it judges nothing. `scale [--without-docker] [ENDPOINTS [NETWORKS]]`.

mod docker;
mod netd;

use std::time::Duration;

use anyhow::Result;

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
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = words.iter().filter_map(|w| w.parse::<usize>().ok());
    let endpoints = numbers.next().unwrap_or(4096);
    let networks = numbers.next().unwrap_or(2000);
    netd::measure(endpoints, networks)?;
    if !words.iter().any(|w| w == "--without-docker") {
        docker::measure()?;
    }
    Ok(())
}
