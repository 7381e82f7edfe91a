//! One run of dnsperf, and the daemon's processor time beside it.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use netd_tests::run::Scope;
use nix::unistd::{SysconfVar, sysconf};

/// What the client does.
#[derive(Clone, Copy)]
pub enum Load {
    /// As many questions as are answered, this many under way.
    Most(u32),
    /// So many each second; each one's time is taken.
    Steady(u32),
}

/// The loads of a comparison.
pub const LOADS: &[(&str, Load)] = &[
    ("64 under way", Load::Most(64)),
    ("1,000 a second", Load::Steady(1000)),
];

/// Figures of a run.
#[derive(Default)]
pub struct Run {
    rate: f64,
    lost: f64,
    half: f64,
    late: f64,
    cost: f64,
}

/// One of a run's figures.
#[derive(Clone, Copy)]
pub enum Measure {
    /// Answers each second.
    Rate,
    /// Questions without an answer within 5 s.
    Lost,
    /// Half of the answers come within this time.
    Half,
    /// All but one in a hundred come within this time.
    Late,
    /// The daemon's processor time for each question.
    Cost,
}

impl Measure {
    /// In the order of the table.
    pub const ALL: [Self; 5] = [Self::Rate, Self::Lost, Self::Half, Self::Late, Self::Cost];

    /// With its unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "answers a second",
            Self::Lost => "lost",
            Self::Half => "p50, µs",
            Self::Late => "p99, µs",
            Self::Cost => "daemon's CPU, µs/question",
        }
    }
}

impl Run {
    /// One figure.
    pub fn value(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Rate => self.rate,
            Measure::Lost => self.lost,
            Measure::Half => self.half,
            Measure::Late => self.late,
            Measure::Cost => self.cost,
        }
    }
}

/// Runs dnsperf once. `pid`: the daemon that answers.
pub fn run(scope: &Scope, pid: u32, file: &Path, load: Load, seconds: usize) -> Result<Run> {
    let (file, seconds) = (file.display().to_string(), seconds.to_string());
    let mut words = vec!["dnsperf", "-s", "127.0.0.11", "-d", &file, "-l", &seconds];
    let number;
    match load {
        Load::Most(under_way) => {
            number = under_way.to_string();
            words.extend(["-c", "8", "-q", &number, "-v"]);
        }
        Load::Steady(rate) => {
            number = rate.to_string();
            words.extend(["-c", "8", "-Q", &number, "-v"]);
        }
    }
    let before = processor_time(pid)?;
    let output = scope.run(&words)?;
    let spent = processor_time(pid)? - before;
    ensure!(output.ok, "dnsperf: {}", output.text());
    let completed = figure(&output.stdout, "Queries completed:")?;
    let mut times = times(&output.stdout)?;
    times.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        let time = times.get(index.min(times.len().saturating_sub(1)));
        time.map_or(0.0, |seconds| seconds * 1e6)
    };
    Ok(Run {
        rate: figure(&output.stdout, "Queries per second:")?,
        lost: figure(&output.stdout, "Queries lost:")?,
        half: quantile(0.5),
        late: quantile(0.99),
        cost: spent / completed.max(1.0) * 1e6,
    })
}

/// The time of each answer: lines as `> NOERROR web. A 0.000123`. Another code than NOERROR is an error.
fn times(text: &str) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("> ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.get(1) == Some(&"T") || words.get(1) == Some(&"I") {
            // Timed out or interrupted; counted as lost.
            continue;
        }
        ensure!(words.get(1) == Some(&"NOERROR"), "an answer: {line}");
        times.push(words.last().context("no time")?.parse()?);
    }
    Ok(times)
}

/// The number behind these words.
fn figure(text: &str, words: &str) -> Result<f64> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(words));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    let word = word.with_context(|| format!("dnsperf did not say {words}: {text}"))?;
    word.parse().with_context(|| word.to_owned())
}

/// Seconds of processor time that a process has had.
fn processor_time(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, which may hold spaces, ends with the last bracket.
    let (_, rest) = text.rsplit_once(") ").context("stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks: f64 = [11, 12]
        .into_iter()
        .filter_map(|at| fields.get(at)?.parse::<f64>().ok())
        .sum();
    let second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    Ok(ticks / second as f64)
}
