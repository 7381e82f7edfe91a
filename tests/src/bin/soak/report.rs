//! The sum: which failures are explained, and the table of all.

use std::collections::BTreeMap;

use anyhow::Result;
use netd_tests::load::Tally;
use serde_json::{Value, json};

use crate::ledger::{Book, Ledger};

/// How many unexplained failures of a class are shown one by one.
const SHOWN: usize = 4;

/// One line of the table.
struct Row {
    class: String,
    tally: Tally,
    explained: BTreeMap<String, u64>,
    unexplained: u64,
}

/// The whole.
pub struct Report {
    book: Book,
    /// When the ledger was opened.
    begun: u64,
    rows: Vec<Row>,
    /// Whose it is, and a sentence.
    unexplained: Vec<(String, String)>,
}

/// Looks for the change behind every failure.
///
/// # Errors
/// When what a client wrote cannot be read.
pub fn judge(ledger: &Ledger) -> Result<Report> {
    let book = ledger.read();
    let seconds = |moment: u64| moment.saturating_sub(ledger.begun()) as f64 / 1e9;
    let mut rows = Vec::new();
    let mut unexplained: Vec<(String, String)> = Vec::new();
    for trouble in &book.troubles {
        unexplained.push(("netd".to_owned(), trouble.clone()));
    }
    for (name, class) in &book.classes {
        let mut row = Row {
            class: name.clone(),
            tally: Tally::sum(&class.tallies),
            explained: BTreeMap::new(),
            unexplained: 0,
        };
        for failure in ledger.failures(name)? {
            let causes = book
                .changes
                .iter()
                .filter(|one| one.explains(class, &failure));
            // The shortest says most.
            let cause = causes.min_by_key(|one| one.ended.saturating_sub(one.begun));
            if let Some(change) = cause {
                *row.explained.entry(change.what.clone()).or_default() += 1;
                continue;
            }
            row.unexplained += 1;
            let sentence = format!(
                "{} from {} to {}, begun at {:.3} s, failed at {:.3} s",
                failure.error,
                failure.from,
                failure.to,
                seconds(failure.begun),
                seconds(failure.ended)
            );
            unexplained.push((name.clone(), sentence));
        }
        if row.tally.ok == 0 {
            row.unexplained += 1;
            unexplained.push((name.clone(), "no attempt ever succeeded".to_owned()));
        }
        rows.push(row);
    }
    Ok(Report {
        book,
        begun: ledger.begun(),
        rows,
        unexplained,
    })
}

impl Report {
    fn seconds(&self, moment: u64) -> f64 {
        moment.saturating_sub(self.begun) as f64 / 1e9
    }

    /// Whether nothing is unexplained.
    pub fn clean(&self) -> bool {
        self.unexplained.is_empty()
    }

    /// Prints it.
    pub fn print(&self) {
        println!(
            "\n{:42} {:>9} {:>9} {:>7} {:>6} {:>9} {:>9} {:>11}  explained by",
            "connections",
            "attempted",
            "ok",
            "resent",
            "slow",
            "p99 us",
            "explained",
            "UNEXPLAINED"
        );
        let mut sums = [0; 4];
        for row in &self.rows {
            let explained: u64 = row.explained.values().sum();
            let causes: Vec<String> = row
                .explained
                .iter()
                .map(|(what, count)| format!("{what} {count}"))
                .collect();
            println!(
                "{:42} {:>9} {:>9} {:>7} {:>6} {:>9} {:>9} {:>11}  {}",
                row.class,
                row.tally.attempts,
                row.tally.ok,
                row.tally.retried,
                row.tally.slow,
                row.tally.p99,
                explained,
                row.unexplained,
                causes.join(", ")
            );
            for (sum, one) in
                sums.iter_mut()
                    .zip([row.tally.attempts, row.tally.ok, explained, row.unexplained])
            {
                *sum += one;
            }
        }
        println!();
        for (what, count) in &self.book.counts {
            println!("{count:6} times: {what}");
        }
        for (what, sent) in &self.book.floods {
            let frames: u64 = sent.iter().map(|one| one.frames).sum();
            let seconds: f64 = sent.iter().map(|one| one.seconds).sum();
            println!(
                "{frames:9} frames at {:.0}/s: {what}",
                frames as f64 / seconds
            );
        }
        let mut shown = BTreeMap::new();
        for (class, line) in &self.unexplained {
            let shown: &mut usize = shown.entry(class).or_default();
            *shown += 1;
            if *shown <= SHOWN {
                println!("UNEXPLAINED: {class}: {line}");
            }
        }
        for (class, count) in shown.iter().filter(|(_, count)| **count > SHOWN) {
            println!("UNEXPLAINED: {class}: and {} more", count - SHOWN);
        }
        let [attempts, ok, explained, unexplained] = sums;
        println!(
            "{attempts} attempted, {ok} ok, {explained} explained, {unexplained} unexplained; {} other troubles",
            self.book.troubles.len()
        );
    }

    /// The same for programs, with every unexplained failure.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "connections": row.class, "tally": row.tally, "explained": row.explained,
                    "unexplained": row.unexplained,
                })
            })
            .collect();
        let changes: Vec<Value> = self
            .book
            .changes
            .iter()
            .map(|one| {
                let [begun, ended] = [one.begun, one.ended].map(|moment| self.seconds(moment));
                json!({"what": one.what, "ends": one.ends, "begun": begun, "ended": ended})
            })
            .collect();
        json!({
            "rows": rows, "unexplained": self.unexplained, "counts": self.book.counts,
            "floods": self.book.floods, "changes": changes,
        })
    }
}
