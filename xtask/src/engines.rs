//! Docker engines and clients that tests run, fetched before them.

use anyhow::Result;

use crate::run;

/// Builds the program that knows what the tests need, and fetches it into the target directory, where it is missing.
pub fn engines() -> Result<()> {
    run::cargo(&["build", "-p", "netd-tests", "--bin", "engines"])?;
    fetch()
}

/// As [`engines`], with the program built already.
pub fn fetch() -> Result<()> {
    let program = run::target().join("debug/engines");
    run::checked(&mut run::command(&[&program.display().to_string()]))
}
