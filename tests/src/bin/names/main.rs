//! Speed of names: dnsperf in a sandbox against netd's resolver and in a container against a real Docker Engine's, in
//! turn, in one run: names of the same network and forwarded ones.
//!
//! Prints figures; it judges nothing.

mod perf;
mod sides;

use anyhow::Result;
use clap::Parser;

use perf::{Measure, Run};
use sides::Sides;

/// Speed of names.
#[derive(Debug, Parser)]
#[command(name = "names")]
struct Words {
    /// Rounds.
    #[arg(default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(default_value_t = 3)]
    seconds: usize,
}

fn main() -> Result<()> {
    let Words { rounds, seconds } = Words::parse();
    let sides = Sides::new()?;
    let mut measures = Vec::new();
    for (what, file) in [
        ("names of the network", sides.local()),
        ("forwarded names", sides.forwarded()),
    ] {
        for (how, load) in perf::LOADS {
            measures.push((what, file, *how, *load, [Vec::new(), Vec::new()]));
        }
    }
    for round in 0..rounds {
        println!("round {} of {rounds}", round + 1);
        for (_, file, _, load, runs) in &mut measures {
            // Who comes first changes, so that neither always finds the machine warm.
            for turn in 0..2 {
                let which = (turn + round) % 2;
                let (side, runs) = (&sides.both()[which], &mut runs[which]);
                runs.push(perf::run(&side.scope, side.pid, file, *load, seconds)?);
            }
        }
    }
    println!(
        "\nmedians of {rounds} rounds of {seconds} s [least to most]; ratio: median of the rounds' netd / Docker"
    );
    for (what, _, how, _, [netd, docker]) in &measures {
        println!("\n{what}, {how}");
        table(netd, docker);
    }
    sides.end()
}

fn table(netd: &[Run], docker: &[Run]) {
    println!("  {:26} {:>30} {:>30} {:>7}", "", "netd", "Docker", "ratio");
    for measure in Measure::ALL {
        let of = |runs: &[Run]| {
            runs.iter()
                .map(|run| run.value(measure))
                .collect::<Vec<f64>>()
        };
        let (left, right) = (of(netd), of(docker));
        let ratios: Vec<f64> = left
            .iter()
            .zip(&right)
            .filter(|(_, right)| **right > 0.0)
            .map(|(left, right)| left / right)
            .collect();
        let ratio = if ratios.is_empty() {
            "-".to_owned()
        } else {
            format!("{:.2}", median(&ratios))
        };
        println!(
            "  {:26} {:>30} {:>30} {ratio:>7}",
            measure.name(),
            spread(&left),
            spread(&right)
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(*value, sorted[middle - 1]),
        (None, _) => 0.0,
    }
}

fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{:.1} [{least:.1} to {most:.1}]", median(values))
}
