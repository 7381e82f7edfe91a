//! All checks and all tests, with a sum at the end.

use std::{
    env,
    io::{BufRead, BufReader},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};

use crate::{check, engines, run, setup, soak, tidy, vm};

/// Set-up, checks, build, tests; the last line says how many passed and failed.
pub fn test() -> Result<()> {
    ensure!(
        run::is_root(),
        "the tests make network namespaces and load eBPF: run cargo xtask test as root"
    );
    setup::setup()?;
    setup::checks()?;
    tidy::tidy()?;
    check::lint()?;
    // The tests drive these binaries, which cargo test alone does not build.
    run::cargo(&[
        "build",
        "--workspace",
        "--locked",
        "--features",
        run::FEATURES,
    ])?;
    engines::fetch()?;
    let (mut passed, mut failed, ok) = tests()?;
    if soak::short()? {
        passed += 1;
    } else {
        failed += 1;
    }
    println!("\nthe oldest kernel, in a virtual machine");
    let (here, not) = vm::oldest()?;
    (passed, failed) = (passed + here, failed + not);
    println!("{passed} passed, {failed} failed");
    ensure!(ok && failed == 0, "some tests failed");
    Ok(())
}

/// Runs cargo test to the end of the last crate, shows its output and adds up its results.
fn tests() -> Result<(u64, u64, bool)> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let words = [
        &cargo,
        "test",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--features",
        run::FEATURES,
    ];
    let mut child = run::command(&words)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo test")?;
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        println!("{line}");
        // test result: ok. 3 passed; 0 failed; ...
        if let Some(result) = line.strip_prefix("test result: ") {
            passed += count(result, "passed");
            failed += count(result, "failed");
        }
    }
    Ok((passed, failed, child.wait()?.success()))
}

/// The number in front of a word.
fn count(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text
        .split([' ', ';'])
        .filter(|word| !word.is_empty())
        .collect();
    let at = words
        .iter()
        .position(|found| *found == word)
        .and_then(|at| at.checked_sub(1));
    at.and_then(|at| words.get(at)?.parse().ok()).unwrap_or(0)
}
