//! The soak in the tests' world: as a command, and one minute of it as a test.

use std::path::Path;

use anyhow::Result;

use crate::run;

/// How long it takes as one of the tests, minutes.
const SHORT: &str = "1";

/// One minute of it, from the tests' build; whether it passed. Counts as one test.
pub fn short() -> Result<bool> {
    let path = run::target().join("debug/soak");
    println!("\nsoak: {SHORT} minute");
    let passed = run::command(&[&text(&path), "--minutes", SHORT])
        .status()?
        .success();
    println!("test soak ... {}", if passed { "ok" } else { "FAILED" });
    Ok(passed)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
