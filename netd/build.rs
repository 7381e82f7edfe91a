//! Builds the eBPF object with its own compiler and flags, and hands its path to the crate as `NETD_EBPF_OBJECT`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Rust that can compile `core` for the BPF target.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    /// Debian's compiler is a stable one: it must be told to allow `-Z build-std`.
    bootstrap: bool,
}

fn main() {
    if let Err(message) = build() {
        eprintln!("error: the eBPF object was not built: {message}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|e| e.to_string())?)
        .join("../netd-ebpf");
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|e| e.to_string())?);
    for path in [
        "../netd-ebpf/src",
        "../netd-ebpf/Cargo.toml",
        "../netd-ebpf/Cargo.lock",
        "../netd-common/src",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=PATH");
    let toolchain = nightly().or_else(debian).ok_or(
        "no Rust for the BPF target: needs rustup's nightly with rust-src, or Debian's rustc-web, cargo-web and \
         rust-web-src of at least 1.90; `cargo xtask setup` installs what is missing",
    )?;
    let target = out.join("ebpf");
    let mut command = Command::new(&toolchain.cargo);
    // What cargo set for the build of the daemon must not steer the build for another target.
    for (name, _) in env::vars() {
        if name.starts_with("CARGO")
            || name.starts_with("RUST")
            || matches!(name.as_str(), "TARGET" | "HOST")
        {
            command.env_remove(name);
        }
    }
    for kept in ["CARGO_HOME", "RUSTUP_HOME"] {
        if let Ok(value) = env::var(kept) {
            command.env(kept, value);
        }
    }
    let path = env::var("PATH").unwrap_or_default();
    let home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|h| format!("{h}/.cargo")));
    let path = home.map_or(path.clone(), |h| format!("{path}:{h}/bin"));
    command
        .current_dir(&source)
        .env("PATH", path)
        .env("RUSTC", &toolchain.rustc)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            // v3: atomic instructions (Linux 5.12). The linker's own default would have LLVM copy byte by byte, by calls.
            "-Cdebuginfo=2\x1f-Clink-arg=--btf\x1f-Clinker=bpf-linker\x1f-Ctarget-cpu=v3\x1f\
             -Clink-arg=--disable-expand-memcpy-in-order",
        )
        .args([
            "build",
            "--release",
            "-Z",
            "build-std=core",
            "--target",
            "bpfel-unknown-none",
            "--target-dir",
        ])
        .arg(&target);
    if toolchain.bootstrap {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    let done = command
        .output()
        .map_err(|e| format!("{}: {e}", toolchain.cargo.display()))?;
    if !done.status.success() {
        return Err(format!(
            "{}\n(`cargo xtask setup` installs what is missing, bpf-linker too)",
            String::from_utf8_lossy(&done.stderr)
        ));
    }
    let object = target.join("bpfel-unknown-none/release/netd-ebpf");
    let embedded = out.join("netd-ebpf.o");
    fs::copy(&object, &embedded).map_err(|e| format!("{}: {e}", object.display()))?;
    println!("cargo::rustc-env=NETD_EBPF_OBJECT={}", embedded.display());
    Ok(())
}

/// rustup's nightly, if it has the sources of `core`.
fn nightly() -> Option<Toolchain> {
    let which = |tool: &str| {
        let found = Command::new("rustup")
            .args(["which", "--toolchain", "nightly", tool])
            .output()
            .ok()?;
        found
            .status
            .success()
            .then(|| PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()))
    };
    let rustc = which("rustc")?;
    has_source(&rustc).then_some(())?;
    Some(Toolchain {
        cargo: which("cargo")?,
        rustc,
        bootstrap: false,
    })
}

/// Debian's packages, if they are new enough.
fn debian() -> Option<Toolchain> {
    let rustc = PathBuf::from("/usr/bin/rustc");
    let version = Command::new(&rustc).arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let minor: u32 = version.split('.').nth(1)?.parse().ok()?;
    (minor >= 90 && has_source(&rustc)).then_some(Toolchain {
        cargo: PathBuf::from("/usr/bin/cargo"),
        rustc,
        bootstrap: true,
    })
}

fn has_source(rustc: &Path) -> bool {
    let Ok(found) = Command::new(rustc).args(["--print", "sysroot"]).output() else {
        return false;
    };
    Path::new(String::from_utf8_lossy(&found.stdout).trim())
        .join("lib/rustlib/src/rust/library/core")
        .exists()
}
