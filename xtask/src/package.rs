//! The Debian package: binaries, the unit, settings, manual pages and completions.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{run, setup};

/// Makes the package, of a release build unless others are named.
pub fn package(words: &[&str]) -> Result<()> {
    let (mut built, mut output) = (None, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} what?"))?;
        match *word {
            "--built" if ["debug", "release"].contains(value) => built = Some(*value),
            "--output" => output = Some(*value),
            _ => bail!("package: [--built debug|release] [--output DIR], not {word} {value}"),
        }
    }
    if built.is_none() {
        setup::setup()?;
        setup::checks()?;
        run::cargo(&[
            "build",
            "--release",
            "--locked",
            "-p",
            "netd",
            "-p",
            "netd-docker",
            "-p",
            "netctl",
        ])?;
        // An engine calls it several times for each container: without libraries to look for it begins sooner.
        run::cargo(&[
            "rustc",
            "--release",
            "--locked",
            "-p",
            "netd-runc",
            "--bin",
            "netd-runc",
            "--",
            "-C",
            "target-feature=+crt-static",
        ])?;
    }
    let profile = built.unwrap_or("release");
    let binaries = run::target().join(profile);
    documents(&binaries.join("netctl"))?;
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut deb = run::command(&[&cargo, "deb", "-q", "-p", "netd", "--no-build"]);
    if profile == "debug" {
        // cargo-deb packs releases only: these binaries lie where a release's would.
        let staged = run::root().join("target/package/target");
        fs::create_dir_all(staged.join("release"))?;
        for name in ["netd", "netctl", "netd-docker", "netd-runc"] {
            fs::copy(binaries.join(name), staged.join("release").join(name))
                .with_context(|| format!("{name} of the {profile} build"))?;
        }
        deb.env("CARGO_TARGET_DIR", staged);
        deb.args(["--no-strip", "--fast"]);
    } else {
        // The package's binaries are stripped; their debug information is a package of its own.
        deb.arg("--dbgsym");
    }
    if let Some(output) = output {
        deb.args(["--output", output]);
    }
    run::checked(&mut deb)
}

/// Manual pages and completions, written by netctl itself.
fn documents(netctl: &Path) -> Result<()> {
    let netctl = netctl.display().to_string();
    let root = run::root().join("target/package");
    let (man, completions) = (root.join("man"), root.join("completions"));
    for directory in [&man, &completions] {
        // A page of a command that is no more must not stay.
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let directory = man.display().to_string();
    run::checked(&mut run::command(&[
        &netctl,
        "man",
        "--directory",
        &directory,
    ]))?;
    for (shell, name) in [
        ("bash", "netctl"),
        ("zsh", "_netctl"),
        ("fish", "netctl.fish"),
    ] {
        let text = run::output(&[&netctl, "completions", shell])
            .with_context(|| format!("{netctl} completions {shell}"))?;
        fs::write(completions.join(name), text)?;
    }
    Ok(())
}
