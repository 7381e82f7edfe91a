//! One measurement, and all of them by round.

use std::{collections::BTreeMap, thread::available_parallelism};

use anyhow::{Context, Result, ensure};
use netd_tests::load::Load;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::systems::Path;

/// The servers' processor; clients have it too where the cost of the way is to be seen, because a wake-up on another
/// processor costs more than any of the ways.
pub const SERVER: usize = 1;
/// A client's on two processors.
const APART: usize = 0;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    StreamApart,
    Stream,
    Requests,
    Connections,
    Datagrams,
    Sockets,
}

impl Figure {
    pub const ALL: [Self; 6] = [
        Self::StreamApart,
        Self::Stream,
        Self::Requests,
        Self::Connections,
        Self::Datagrams,
        Self::Sockets,
    ];

    /// As the table shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StreamApart => "stream, two CPUs, Gbit/s",
            Self::Stream => "stream, Gbit/s",
            Self::Requests => "TCP request/response, k/s",
            Self::Connections => "TCP connect/close, k/s",
            Self::Datagrams => "UDP request/response, k/s",
            Self::Sockets => "UDP with a new socket, k/s",
        }
    }
}

/// Of each figure, system and path: the rounds' rates.
#[derive(Default)]
pub struct Rates {
    all: BTreeMap<(Figure, &'static str, &'static str), BTreeMap<usize, f64>>,
    failures: u64,
}

impl Rates {
    /// Measures once.
    ///
    /// # Errors
    /// When a program cannot be started or breaks.
    pub fn take(&mut self, round: usize, figure: Figure, path: &Path, seconds: f64) -> Result<()> {
        let rate = self
            .measure(figure, path, seconds)
            .with_context(|| format!("{}, {}, {}", figure.name(), path.system, path.name));
        let rate = match rate {
            // Another build may have a limit that this one does not: nought, and on with the rest.
            Err(error) if path.system == "other" => {
                println!("{error:#}");
                0.0
            }
            rate => rate?,
        };
        self.all
            .entry((figure, path.system, path.name))
            .or_default()
            .insert(round, rate);
        Ok(())
    }

    /// One system's rates by round.
    pub fn of(&self, figure: Figure, system: &'static str, path: &'static str) -> Vec<f64> {
        let found = self.all.get(&(figure, system, path));
        found.into_iter().flatten().map(|(_, rate)| *rate).collect()
    }

    /// How many connections and exchanges failed in all.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    fn measure(&mut self, figure: Figure, path: &Path, seconds: f64) -> Result<f64> {
        let to = [path.service()];
        let load = match figure {
            Figure::StreamApart => return pinned(APART, || stream(path, seconds)),
            Figure::Stream => return pinned(SERVER, || stream(path, seconds)),
            Figure::Requests => Load::hold("tcp", &to),
            Figure::Connections => Load::connect(&to),
            Figure::Datagrams => Load::hold("udp", &to),
            Figure::Sockets => Load::exchange(&to),
        };
        // A system that fails must not take long over it.
        let load = load.seconds(seconds).option("patience", 300);
        let tally = pinned(SERVER, || load.run(&path.client))?;
        if tally.failed() > 0 {
            println!(
                "{}, {}, {}: {}",
                figure.name(),
                path.system,
                path.name,
                tally.line()
            );
        }
        self.failures += tally.failed();
        Ok(tally.rate() / 1000.0)
    }
}

/// One TCP stream, Gbit/s as received.
fn stream(path: &Path, seconds: f64) -> Result<f64> {
    // iperf3 takes whole seconds, and nought for no end.
    let (address, seconds) = (
        path.address.to_string(),
        seconds.ceil().max(1.0).to_string(),
    );
    let words = ["iperf3", "-c", &address, "-t", &seconds, "-J"];
    let output = path.client.run(&words)?;
    ensure!(output.ok, "iperf3: {}", output.text());
    let report: serde_json::Value = serde_json::from_str(&output.stdout)?;
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.context("no rate in iperf3's report")? / 1e9)
}

/// Runs `work`, and every program that it starts, on one processor.
pub fn pinned<T>(processor: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this)?;
    let mut set = CpuSet::new();
    set.set(processor % available_parallelism()?.get().max(1))?;
    sched_setaffinity(this, &set)?;
    let done = work();
    sched_setaffinity(this, &before)?;
    done
}
