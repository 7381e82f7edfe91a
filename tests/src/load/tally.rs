//! What became of many attempts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Microseconds beyond which an attempt that succeeded counts as slow: less than TCP waits before it sends a SYN again.
const SLOW: u32 = 900_000;

/// The sum of a client's attempts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// All.
    pub attempts: u64,
    /// Answered rightly.
    pub ok: u64,
    /// Failed, by phase and error: `connect ECONNREFUSED`, `receive timeout`.
    pub errors: BTreeMap<String, u64>,
    /// Datagrams that were sent once more before an answer came.
    pub retried: u64,
    /// Succeeded after more than 0.9 s, so that something was lost on the way.
    pub slow: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Microseconds of the median success.
    pub p50: u32,
    /// Microseconds that one of a hundred successes exceeded.
    pub p99: u32,
    /// Microseconds of the slowest success.
    pub max: u32,
}

impl Tally {
    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Successes per second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.ok as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let mut text = format!(
            "{} of {} ok, {:.0}/s, p50 {} us, p99 {} us, max {} us",
            self.ok,
            self.attempts,
            self.rate(),
            self.p50,
            self.p99,
            self.max
        );
        for (what, count) in [("sent again", self.retried), ("slow", self.slow)] {
            if count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        for (error, count) in &self.errors {
            text += &format!(", {count} {error}");
        }
        text
    }

    /// The sum of several clients that ran at the same time; quantiles are those of the worst.
    pub fn sum(all: &[Self]) -> Self {
        let mut sum = Self::default();
        for one in all {
            sum.attempts += one.attempts;
            sum.ok += one.ok;
            sum.retried += one.retried;
            sum.slow += one.slow;
            sum.seconds = sum.seconds.max(one.seconds);
            sum.p50 = sum.p50.max(one.p50);
            sum.p99 = sum.p99.max(one.p99);
            sum.max = sum.max.max(one.max);
            for (error, count) in &one.errors {
                *sum.errors.entry(error.clone()).or_default() += count;
            }
        }
        sum
    }
}

/// One attempt that failed, as a client writes it down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// When it began, as [`super::now`]; of a long connection, its last success.
    pub begun: u64,
    /// When its connection was made: as above, or long before.
    pub made: u64,
    /// When it failed.
    pub ended: u64,
    /// Phase and error, as in [`Tally::errors`].
    pub error: String,
    /// Where it went.
    pub to: String,
    /// From which of its own addresses, if it had one yet.
    pub from: String,
}

/// What one thread of a client counts.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    tally: Tally,
    micros: Vec<u32>,
}

impl Recorder {
    /// Adds a success.
    pub fn ok(&mut self, nanos: u64, retried: u64) {
        let micros = u32::try_from(nanos / 1000).unwrap_or(u32::MAX);
        self.tally.attempts += 1;
        self.tally.ok += 1;
        self.tally.retried += retried;
        self.tally.slow += u64::from(micros > SLOW);
        self.micros.push(micros);
    }

    /// Adds a failure.
    pub fn failed(&mut self, error: &str) {
        self.tally.attempts += 1;
        *self.tally.errors.entry(error.to_owned()).or_default() += 1;
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, mut other: Self) {
        self.tally = Tally::sum(&[std::mem::take(&mut self.tally), other.tally]);
        self.micros.append(&mut other.micros);
    }

    /// The end.
    pub fn tally(mut self, seconds: f64) -> Tally {
        self.micros.sort_unstable();
        let last = self.micros.len().saturating_sub(1);
        let at = |share: usize| {
            let index = (self.micros.len() * share / 100).min(last);
            self.micros.get(index).copied().unwrap_or_default()
        };
        Tally {
            seconds,
            p50: at(50),
            p99: at(99),
            max: at(100),
            ..self.tally
        }
    }
}
