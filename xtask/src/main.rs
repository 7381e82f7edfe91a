//! `cargo xtask COMMAND`: set-up, build, demo, lab, tests and checks.
//!
//! It has almost no dependencies, so that the first command starts quickly. It must not know how netd works; it calls
//! cargo and the package manager.

mod check;
mod engines;
mod package;
mod run;
mod setup;
mod soak;
mod test;
mod tidy;
mod vm;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask COMMAND
  setup              install what is missing (Debian packages, the eBPF linker, Docker engines for the tests), and say what
  engines            only the Docker engines and clients that the tests run, into target/engines or where NETD_ENGINES says
  build [--release]  target/{debug,release}/{netd,netd-docker,netd-runc,netctl}
  demo               show what netd does, step by step, in network namespaces
  demo docker        the same for Docker's own clients, on a real engine through netd's socket
  lab                a shell in such a world, with the daemon running
  soak [--minutes N] connections, floods, changes and kills at once, with an account of all that failed
                     [--output FILE]
  bench [--quick]    speed of every path against a bare veth pair and plain routing; beside another build of the
                     daemon: [--daemon PATH]
  scale              cost of control operations, alone and at scale, beside a real Docker Engine:
                     [--without-docker] [ENDPOINTS [NETWORKS]]
  dns-bench          speed of names, beside a real Docker Engine's resolver: [ROUNDS [SECONDS]]
  docker-bench       what Docker's requests cost through netd's socket, beside the engine by itself: [ROUNDS [PARALLEL]]
  test               set-up, checks, build and all tests
  vm [--kernel 6.1|6.12]
     [--keep]        the daemon on other kernels, in virtual machines (qemu)
  package            a Debian package: binaries, unit, settings, manual pages, completions; of binaries that are built
                     already: [--built debug|release]; into another directory: [--output DIR]
  lint               rustfmt and clippy, of the eBPF programs too; licences, doubles and known faults of dependencies; buf, of the API
  tidy               rules for files that no compiler knows";

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        // Before anything is installed, built or run.
        ref words if words.iter().any(|word| matches!(*word, "--help" | "-h")) => {
            println!("{USAGE}");
            Ok(())
        }
        ["setup"] => {
            setup::setup()?;
            setup::checks()?;
            engines::engines()
        }
        ["engines"] => engines::engines(),
        ["build"] => {
            setup::setup()?;
            build(&[])
        }
        ["build", "--release"] => {
            setup::setup()?;
            build(&["--release"])
        }
        ["demo"] => world("demo", &[], &[]),
        ["demo", "docker"] => world("demo_docker", &[], &[]),
        ["lab"] => world("lab", &[], &[]),
        ["soak", ref more @ ..] => world("soak", &["--release"], more),
        ["bench", ref more @ ..] => world("bench", &["--release"], more),
        ["scale", ref more @ ..] if only(more, &["--without-docker"]) => {
            if !more.contains(&"--without-docker") {
                setup::packages(&setup::DOCKER)?;
            }
            world("scale", &["--release"], more)
        }
        ["dns-bench", ref more @ ..] if only(more, &[]) => {
            setup::packages(&setup::DOCKER)?;
            world("names", &["--release"], more)
        }
        ["docker-bench", ref more @ ..] if only(more, &[]) => {
            engines::engines()?;
            world("docker_speed", &["--release"], more)
        }
        ["test"] => test::test(),
        ["vm", ref more @ ..] => vm::vm(more),
        ["package", ref more @ ..] => package::package(more),
        ["lint"] => {
            setup::setup()?;
            setup::checks()?;
            check::lint()
        }
        ["tidy"] => tidy::tidy(),
        ["help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

/// What users install.
const PROGRAMS: [&str; 8] = [
    "-p",
    "netd",
    "-p",
    "netd-docker",
    "-p",
    "netd-runc",
    "-p",
    "netctl",
];

fn build(profile: &[&str]) -> Result<()> {
    run::cargo(&[&["build"], &PROGRAMS[..], profile].concat())
}

/// Whether there is nothing but numbers and these options: what follows installs packages, and must not for a slip of the pen.
fn only(words: &[&str], options: &[&str]) -> bool {
    let fine = |word: &&str| options.contains(word) || word.parse::<usize>().is_ok();
    words.iter().all(fine)
}

/// Builds the daemon, netctl and the tests' programs beside each other and runs one of the latter with more words.
fn world(program: &str, profile: &[&str], more: &[&str]) -> Result<()> {
    setup::setup()?;
    build(&[&["-p", "netd-tests"], profile].concat())?;
    let directory = if profile.is_empty() {
        "debug"
    } else {
        "release"
    };
    let path = run::target().join(directory).join(program);
    run::sudo(&[&[path.display().to_string().as_str()], more].concat())
}
