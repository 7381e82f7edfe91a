//! Formatting and lints, of the workspace and of the eBPF programs; what they depend on.

use anyhow::Result;

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
        crate::test::FEATURES,
        "--",
        "-D",
        "warnings",
    ])?;
    ebpf()?;
    dependencies()
}

/// Licences, sources and doubles of all dependencies (deny.toml); known faults, where their list can be had; dependencies
/// that nobody uses.
fn dependencies() -> Result<()> {
    run::cargo(&["machete", "--skip-target-dir"])?;
    run::cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"])?;
    if run::cargo(&["deny", "--log-level", "off", "fetch", "db"]).is_err() {
        println!("lint: the list of known faults cannot be fetched: advisories are not checked");
        return Ok(());
    }
    run::cargo(&["deny", "--locked", "--offline", "check", "advisories"])
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
