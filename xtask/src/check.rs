//! Formatting and lints, of the workspace and of the eBPF programs.

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
        "--",
        "-D",
        "warnings",
    ])?;
    ebpf()
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
    let mut command = if setup::nightly_llvm().is_some() {
        run::command(&[&["rustup", "run", "nightly", "cargo"], rest.as_slice()].concat())
    } else {
        let mut command = run::command(&[&["/usr/bin/cargo"], rest.as_slice()].concat());
        // rustup's own directories come first in PATH and would give their clippy-driver to Debian's cargo.
        command
            .env("PATH", "/usr/bin:/bin")
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1");
        command
    };
    for name in [
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        command.env_remove(name);
    }
    run::checked(command.env("CARGO_TARGET_DIR", target))
}
