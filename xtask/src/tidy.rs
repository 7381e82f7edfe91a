//! Rules for files that no compiler knows.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::run;

/// Lines that a source file may have.
const LINES: usize = 400;

/// Opens the comment that says why a file is longer.
const MARKER: &str = "// tidy: long:";

/// Fails with one line for each breach.
pub fn tidy() -> Result<()> {
    let listed = run::output(&[
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ])
    .context("git ls-files failed; tidy looks at the files of the repository")?;
    let mut breaches = Vec::new();
    for name in listed.lines() {
        // Deleted but not yet committed, or not text.
        let Ok(text) = fs::read_to_string(run::root().join(name)) else {
            continue;
        };
        if name.ends_with(".rs") {
            source(name, &text, &mut breaches);
        }
        places(name, &text, &mut breaches);
    }
    if breaches.is_empty() {
        return Ok(());
    }
    bail!("tidy:\n{}", breaches.join("\n"))
}

fn source(name: &str, text: &str, breaches: &mut Vec<String>) {
    if !text.starts_with("//! ") {
        breaches.push(format!(
            "{name}: starts without a //! comment that tells its job"
        ));
    }
    let lines = text.lines().count();
    if lines > LINES && !text.contains(MARKER) {
        breaches.push(format!(
            "{name}: {lines} lines, at most {LINES}; divide it or say why after `{MARKER}`"
        ));
    }
}

/// Paths, mirrors and registries of one machine.
fn places(name: &str, text: &str, breaches: &mut Vec<String>) {
    let mut homes = vec![
        "/ho".to_owned() + "me/",
        "/ro".to_owned() + "ot/",
        "/Us".to_owned() + "ers/",
    ];
    // Where this very clone lies, unless that is a place that every machine has.
    let here = run::root().display().to_string();
    if here.matches('/').count() > 1 {
        homes.push(here);
    }
    for (index, line) in text.lines().enumerate() {
        if homes.iter().any(|home| line.contains(home.as_str())) {
            breaches.push(format!("{name}:{}: a path of one machine", index + 1));
        }
        let registry = name.ends_with("Cargo.lock") && line.starts_with("source = ");
        if registry && !line.contains("https://github.com/rust-lang/crates.io-index") {
            breaches.push(format!(
                "{name}:{}: a registry other than crates.io",
                index + 1
            ));
        }
    }
}
