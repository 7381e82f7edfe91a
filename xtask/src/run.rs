//! Starting other programs, from the root of the repository.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Features of the tested daemon: it can be killed at chosen places; nothing else tells it from the shipped one.
pub const FEATURES: &str = "netd/failpoints";

/// Cargo's target directory.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program with its arguments, in the root of the repository.
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words.first().copied().unwrap_or("false"));
    command
        .args(words.get(1..).unwrap_or_default())
        .current_dir(root());
    command
}

/// Runs it; a failure is an error that shows the command.
pub fn checked(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "failed ({status}): {command:?}");
    Ok(())
}

/// Runs cargo.
pub fn cargo(words: &[&str]) -> Result<()> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    checked(&mut command(&[&[cargo.as_str()], words].concat()))
}

/// Runs a program as root: by sudo unless we are root.
pub fn sudo(words: &[&str]) -> Result<()> {
    checked(&mut as_root(words))
}

/// A program that runs as root: by sudo unless we are root.
pub fn as_root(words: &[&str]) -> Command {
    if is_root() {
        command(words)
    } else {
        command(&[&["sudo", "-E"], words].concat())
    }
}

/// Whether we are root.
pub fn is_root() -> bool {
    output(&["id", "-u"]).is_some_and(|id| id.trim() == "0")
}

/// Standard output of a program that succeeded.
pub fn output(words: &[&str]) -> Option<String> {
    let output = command(words).stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
