//! Formatting and lints, of the workspace, of the eBPF programs and of the API; what they depend on.

use std::fs;

use anyhow::{Context, Result};

use crate::{run, setup};

/// Fails when rustfmt or clippy would change or complain about anything.
pub fn lint() -> Result<()> {
    run::cargo(&["fmt", "--all", "--check"])?;
    run::cargo(&["fmt", "--manifest-path", "netd-ebpf/Cargo.toml", "--check"])?;
    run::cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--features",
        run::FEATURES,
        "--",
        "-D",
        "warnings",
    ])?;
    ebpf()?;
    dependencies()?;
    api()
}

/// Licences, sources and doubles of all dependencies (deny.toml); known faults, where their list can be had; dependencies
/// that nobody uses.
fn dependencies() -> Result<()> {
    // By itself: below `cargo run` it would take the name of cargo's command for a path.
    run::checked(&mut run::command(&["cargo-machete", "--skip-target-dir"]))?;
    run::cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"])?;
    if run::cargo(&["deny", "--log-level", "off", "fetch", "db"]).is_err() {
        println!("lint: the list of known faults cannot be fetched: advisories are not checked");
        return Ok(());
    }
    run::cargo(&["deny", "--locked", "--offline", "check", "advisories"])
}

/// The branch whose API others may have built on, here or where this clone is from.
const BRANCH: [&str; 2] = ["refs/heads/main", "refs/remotes/origin/main"];

/// The API's files by buf.yaml, and against those of the last commit on the branch.
pub fn api() -> Result<()> {
    let program = setup::buf_program().display().to_string();
    run::checked(&mut run::command(&[&program, "lint"]))?;
    // Before its first commit with a buf.yaml, or in a clone without the branch, there is nothing to compare with.
    let known = BRANCH.into_iter().find(|name| {
        run::output(&["git", "cat-file", "-e", &format!("{name}:buf.yaml")]).is_some()
    });
    let Some(commit) = known else {
        println!("lint: no buf.yaml on the branch main; the API is not compared");
        return Ok(());
    };
    // A tree of its own: buf reads no branch of a worktree's repository by itself.
    let directory = run::target().join("api-before");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let (archive, place) = (
        directory.join("api.tar").display().to_string(),
        directory.display().to_string(),
    );
    let pack = [
        "git", "archive", "--output", &archive, commit, "buf.yaml", "proto",
    ];
    run::checked(&mut run::command(&pack))?;
    run::checked(&mut run::command(&["tar", "-xf", &archive, "-C", &place]))?;
    run::checked(&mut run::command(&[
        &program,
        "breaking",
        "--against",
        &place,
    ]))
}

/// clippy with the compiler that builds the programs: only that one has their target's core library.
fn ebpf() -> Result<()> {
    let rest = [
        "clippy",
        "--manifest-path",
        "netd-ebpf/Cargo.toml",
        "--locked",
        "-Z",
        "build-std=core",
        "--target",
        "bpfel-unknown-none",
        "--",
        "-D",
        "warnings",
    ];
    let target = run::target().join("ebpf-clippy");
    let nightly = setup::nightly_llvm().is_some();
    let program = if nightly {
        ["rustup", "run", "nightly", "cargo"].as_slice()
    } else {
        // Not `cargo clippy`: cargo looks for its subcommands in CARGO_HOME first, where rustup's lie.
        &["/usr/bin/cargo-clippy"]
    };
    let mut command = run::command(&[program, rest.as_slice()].concat());
    for name in [
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        command.env_remove(name);
    }
    if !nightly {
        command
            .env("PATH", "/usr/bin:/bin")
            .env("CARGO", "/usr/bin/cargo")
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1");
    }
    run::checked(command.env("CARGO_TARGET_DIR", target))
}
