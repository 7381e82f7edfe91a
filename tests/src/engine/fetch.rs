//! Engines of Debian's suites, unpacked into a directory of their own.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::{Suite, apt::Apt, cache::Entry};
use crate::Scope;

/// Told what is done, for somebody who waits.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);

/// Where programs of a package can be.
const PLACES: [&str; 3] = ["usr/sbin", "usr/bin", "usr/libexec/docker/cli-plugins"];

/// The packages of a suite, unpacked.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Where they are from.
    pub suite: Suite,
    /// The directory that stands for `/`.
    pub root: PathBuf,
    /// The engine's version, as `28.5.2`.
    pub version: String,
}

impl Installed {
    /// The suite's packages; fetched now if they are not there.
    ///
    /// # Errors
    /// When they cannot be had: what is missing, and the way out.
    pub fn of(suite: Suite) -> Result<Self> {
        Self::with(suite, &|_| {})
    }

    /// As [`Installed::of`], telling what is done.
    ///
    /// # Errors
    /// As [`Installed::of`].
    pub fn with(suite: Suite, progress: Progress<'_>) -> Result<Self> {
        let entry = Entry::new(suite.name())?;
        let packages = suite.packages();
        let version = entry
            .make(&packages.join(" "), |directory| {
                fetch(suite, &packages, directory, progress)
            })
            .with_context(|| {
                format!("cannot fetch Docker of Debian {suite}; the network is needed once: cargo xtask engines")
            })?;
        Ok(Self {
            suite,
            root: entry.directory().join("root"),
            version,
        })
    }

    /// The path of a program of it.
    ///
    /// # Errors
    /// When it has none of this name.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        program(&self.root, name)
    }

    /// What PATH is for its programs.
    pub fn path(&self) -> String {
        let mut places: Vec<String> = ["usr/sbin", "usr/bin"]
            .map(|place| self.root.join(place).display().to_string())
            .into();
        places.push(std::env::var("PATH").unwrap_or_default());
        // An ordinary user's PATH may lack what iptables and mkfs live in.
        places.push("/usr/sbin:/usr/bin:/sbin:/bin".into());
        places.join(":")
    }
}

fn program(root: &Path, name: &str) -> Result<PathBuf> {
    let mut paths = PLACES.iter().map(|place| root.join(place).join(name));
    paths
        .find(|path| path.exists())
        .with_context(|| format!("no program {name} in {}", root.display()))
}

/// Downloads, unpacks and makes runc run; returns the engine's version.
fn fetch(
    suite: Suite,
    packages: &[&str],
    directory: &Path,
    progress: Progress<'_>,
) -> Result<String> {
    progress(&format!("{suite}: reading Debian's list of packages"));
    let apt = Apt::new(&directory.join("apt"), suite.name())?;
    apt.update()?;
    progress(&format!("{suite}: downloading {}", packages.join(" ")));
    let debs = directory.join("debs");
    apt.download(packages, &debs)?;
    progress(&format!("{suite}: unpacking"));
    let (part, root) = (directory.join("root.part"), directory.join("root"));
    for old in [&part, &root] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| old.display().to_string())?;
        }
    }
    for entry in fs::read_dir(&debs)?.flatten() {
        checked(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(entry.path())
                .arg(&part),
        )?;
    }
    fs::rename(&part, &root).with_context(|| root.display().to_string())?;
    make_runc_run(&root)?;
    let version = version(&root)?;
    let major = version.split('.').next().and_then(|word| word.parse().ok());
    ensure!(
        major.is_some_and(|major| suite.majors().contains(&major)),
        "Debian {suite} has Docker {version}, not {}; the tests must learn it",
        suite.majors().start()
    );
    // Only what was unpacked is needed from now on.
    for used in [directory.join("apt"), debs] {
        fs::remove_dir_all(&used).with_context(|| used.display().to_string())?;
    }
    progress(&format!("{suite}: Docker {version}"));
    Ok(version)
}

/// The engine's version without Debian's part.
fn version(root: &Path) -> Result<String> {
    let path = program(root, "dockerd")?;
    let output = Scope::machine().run(&[&path.display().to_string(), "--version"])?;
    ensure!(output.ok, "{} --version: {}", path.display(), output.text());
    let word = output.stdout.split_whitespace().nth(2);
    let word = word.and_then(|word| word.split(['+', ',', '~']).next());
    Ok(word.context(output.text())?.to_owned())
}

/// Gives runc its suite's C library where the machine's is too old. It executes itself anew from /proc/self/exe, so
/// calling it by the loader does not do; the loader's path is written into it.
fn make_runc_run(root: &Path) -> Result<()> {
    let path = program(root, "runc")?;
    let runc = path.display().to_string();
    if Scope::machine()
        .run(&[&runc, "--version"])
        .is_ok_and(|output| output.ok)
    {
        return Ok(());
    }
    let (libraries, loader) = loader(root)?;
    let patchelf = program(root, "patchelf")?.display().to_string();
    let new = format!("{runc}.new");
    let words = [
        &loader,
        "--library-path",
        &libraries,
        &patchelf,
        "--set-interpreter",
        &loader,
        "--set-rpath",
        &libraries,
        "--output",
        &new,
        &runc,
    ];
    let output = Scope::machine().run(&words)?;
    ensure!(output.ok, "{}: {}", words.join(" "), output.text());
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &path)?;
    let output = Scope::machine().run(&[&runc, "--version"])?;
    ensure!(output.ok, "{runc} does not run: {}", output.text());
    Ok(())
}

/// The directory of a suite's C library, and its loader.
fn loader(root: &Path) -> Result<(String, String)> {
    for directory in fs::read_dir(root.join("usr/lib"))?.flatten() {
        for entry in fs::read_dir(directory.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("ld-linux") {
                let loader = entry.path().display().to_string();
                return Ok((directory.path().display().to_string(), loader));
            }
        }
    }
    bail!("no loader of the C library in {}", root.display())
}

/// Runs a program; its message is in the error.
pub(super) fn checked(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
