//! The table in docs/nat.md: every probe has its line there, and what it says of Linux is what Linux does.

use std::{collections::BTreeSet, sync::Mutex, thread};

use anyhow::ensure;
use netd_tests::nat::{Kind, Verdict, all, document};

use crate::Outcome;

#[test]
fn nat_every_requirement_stands_in_the_document() -> Outcome {
    let rows = document::rows()?;
    let listed: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row.id.as_str(), row.test.as_str()))
        .collect();
    let wanted: Vec<(&str, &str)> = all().iter().map(|probe| (probe.id, probe.test)).collect();
    ensure!(
        listed == wanted,
        "docs/nat.md has {listed:#?}, the probes are {wanted:#?}"
    );
    let tests: BTreeSet<&str> = rows.iter().map(|row| row.test.as_str()).collect();
    ensure!(tests.len() == rows.len(), "two lines name one test");
    for row in &rows {
        ensure!(
            row.netd.starts_with("yes") || row.test == "nat_4787_4_port_parity_is_not_kept",
            "{}: the test wants more than {:?}",
            row.id,
            row.netd
        );
    }
    Ok(())
}

#[test]
fn nat_linux_does_what_the_document_says() -> Outcome {
    let rows = document::rows()?;
    let (queue, wrong) = (Mutex::new(all()), Mutex::new(Vec::new()));
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(probe) = next() {
                    let verdict = probe
                        .ask(Kind::Linux)
                        .unwrap_or_else(|error| Verdict::Untried(format!("{error:#}")));
                    println!("{}: {verdict}", probe.id);
                    let row = rows.iter().find(|row| row.test == probe.test);
                    let said = row.map_or("nothing", |row| row.linux.as_str());
                    if said.split([':', ' ']).next() != Some(verdict.word())
                        && let Ok(mut wrong) = wrong.lock()
                    {
                        wrong.push(format!("{}: {said:?}, but {verdict}", probe.id));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_default();
    ensure!(wrong.is_empty(), "docs/nat.md says of Linux: {wrong:#?}");
    Ok(())
}
