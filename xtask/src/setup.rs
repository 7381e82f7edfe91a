//! What the build and the tests need, installed where it is missing.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::run;

/// Programs of the tests and the demo.
const TOOLS: [&str; 16] = [
    "iproute2",
    "iputils-ping",
    "curl",
    "iperf3",
    "tcpdump",
    "nftables",
    "iptables",
    "python3",
    "python3-scapy",
    "python3-venv",
    "bpftool",
    "socat",
    "bind9-dnsutils",
    "dnsperf",
    "gcc",
    "libc6-dev",
];

/// What the comparison with a real Docker Engine needs; its service is not started.
pub const DOCKER: [&str; 2] = ["docker.io", "busybox-static"];

/// Debian's compiler for the eBPF programs, with the LLVM that its linker needs.
const COMPILER: [&str; 8] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "rust-web-clippy",
    "llvm-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
    "g++",
];

/// The version that is known to build the programs.
const LINKER: &str = "0.13.0";

/// What looks at dependencies, and what makes the Debian package.
const CHECKS: [(&str, &str); 3] = [
    ("cargo-deny", "0.20.2"),
    ("cargo-machete", "0.9.2"),
    ("cargo-deb", "3.8.0"),
];
/// The version of buf that lints the API.
const BUF: &str = "1.75.0";

/// Installs what is missing and says what.
pub fn setup() -> Result<()> {
    let nightly = nightly_llvm();
    let mut wanted = TOOLS.to_vec();
    if nightly.is_none() {
        wanted.extend(COMPILER);
    }
    packages(&wanted)?;
    if nightly.is_none() {
        ensure!(
            debian_rust() >= Some(90),
            "Debian's rustc-web is older than 1.90 and cannot build the eBPF programs; enable the security and updates \
             suites of the release, or install rustup's nightly with rust-src"
        );
    }
    components()?;
    buf()?;
    linker(nightly)
}

/// The program that lints the API.
pub fn buf_program() -> PathBuf {
    run::target().join("tools/node_modules/.bin/buf")
}

/// Installs it from npm into the target directory.
fn buf() -> Result<()> {
    let program = buf_program().display().to_string();
    if run::output(&[&program, "--version"]).is_some_and(|version| version.trim() == BUF) {
        return Ok(());
    }
    if run::output(&["npm", "--version"]).is_none() {
        packages(&["npm"])?;
    }
    println!("setup: installing buf {BUF} from npm");
    let directory = run::target().join("tools");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let (place, package) = (
        directory.display().to_string(),
        format!("@bufbuild/buf@{BUF}"),
    );
    run::checked(&mut run::command(&[
        "npm",
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--prefix",
        &place,
        &package,
    ]))
}

/// Whether the eBPF programs are built by rustup's nightly: its LLVM's major version.
pub fn nightly_llvm() -> Option<u32> {
    let sysroot = run::output(&["rustup", "run", "nightly", "rustc", "--print", "sysroot"])?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    if !source.exists() {
        return None;
    }
    let version = run::output(&["rustup", "run", "nightly", "rustc", "-vV"])?;
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

/// Minor version of Debian's compiler.
fn debian_rust() -> Option<u32> {
    run::output(&["/usr/bin/rustc", "--version"])?
        .split('.')
        .nth(1)?
        .parse()
        .ok()
}

/// Installs the Debian packages that are missing.
pub fn packages(wanted: &[&str]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup: installing Debian packages: {}", missing.join(" "));
    ensure!(
        run::output(&["apt-get", "--version"]).is_some(),
        "no apt-get here; install what serves as these Debian packages: {}",
        missing.join(" ")
    );
    let apt = |words: &[&str]| {
        let words = [
            &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"],
            words,
        ]
        .concat();
        run::sudo(&words)
    };
    apt(&["update"])?;
    apt(&[
        &["install", "--yes", "--no-install-recommends"],
        missing.as_slice(),
    ]
    .concat())
}

fn installed(package: &str) -> bool {
    run::output(&["dpkg-query", "-W", "-f=${db:Status-Status}", package])
        .is_some_and(|state| state == "installed")
}

/// rustfmt and clippy of the toolchain in use.
fn components() -> Result<()> {
    for (program, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if run::output(&[program, "--version"]).is_none() {
            println!("setup: adding {component} to the Rust toolchain");
            run::checked(&mut run::command(&[
                "rustup",
                "component",
                "add",
                component,
            ]))?;
        }
    }
    Ok(())
}

fn linker(nightly: Option<u32>) -> Result<()> {
    if has_tool("bpf-linker")? {
        return Ok(());
    }
    let llvm = nightly.unwrap_or(22);
    let packages_of_llvm = [
        &format!("llvm-{llvm}-dev"),
        "libzstd-dev",
        "zlib1g-dev",
        "g++",
    ];
    packages(&packages_of_llvm)?;
    let feature = format!("llvm-{llvm}");
    let more = ["--no-default-features", "--features", feature.as_str()];
    let mut install = tool("bpf-linker", LINKER, &more);
    run::checked(install.env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}")))
}

/// Installs what lint and package take beside the build's own tools, where it is missing, and says what.
pub fn checks() -> Result<()> {
    for (name, version) in CHECKS {
        if !has_tool(name)? {
            run::checked(&mut tool(name, version, &[]))?;
        }
    }
    Ok(())
}

/// Whether a program that cargo installs is there.
fn has_tool(name: &str) -> Result<bool> {
    let home =
        env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|home| format!("{home}/.cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let path = Path::new(&home).join("bin").join(name);
    Ok(path.exists() || run::output(&[name, "--version"]).is_some())
}

/// What installs a program of crates.io in this version; says so.
fn tool(name: &str, version: &str, more: &[&str]) -> Command {
    println!("setup: installing {name} {version} (some minutes)");
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let words = ["install", name, "--version", version, "--locked"];
    run::command(&[&[cargo.as_str()], words.as_slice(), more].concat())
}
