//! An apt of its own: sources, lists and cache in a directory. The machine's are only asked for mirror, proxy and keys.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// Debian's keys, also those of suites newer than the machine's.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The mirror where the machine names none.
const MIRROR: &str = "http://deb.debian.org/debian";

/// An apt that knows one suite.
#[derive(Debug)]
pub struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Writes its settings into `directory`, with an empty list of installed packages.
    ///
    /// # Errors
    /// When apt or Debian's keys are missing on this machine.
    pub fn new(directory: &Path, suite: &str) -> Result<Self> {
        for (program, package) in [
            ("apt-get", "apt"),
            ("dpkg-deb", "dpkg"),
            ("apt-config", "apt"),
        ] {
            ensure!(
                Command::new(program).arg("--version").output().is_ok(),
                "{program} is missing: engines are fetched from Debian's archive; install {package}, or copy the \
                 directory of the engines from a machine that has it and name it by NETD_ENGINES"
            );
        }
        ensure!(
            Path::new(KEYS).exists(),
            "{KEYS} is missing; install debian-archive-keyring"
        );
        for name in ["parts", "lists/partial", "cache/archives/partial"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        let apt = Self {
            directory: directory.to_owned(),
        };
        apt.write("status", "")?;
        apt.write(
            "sources.list",
            &format!("deb [signed-by={KEYS}] {} {suite} main\n", mirror()),
        )?;
        apt.write("apt.conf", &apt.settings())?;
        Ok(apt)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    fn settings(&self) -> String {
        let at = |name: &str| self.directory.join(name).display().to_string();
        let mut lines = vec![
            format!("Dir::Etc \"{}\";", at("parts")),
            format!("Dir::Etc::sourcelist \"{}\";", at("sources.list")),
            format!("Dir::State \"{}\";", at("")),
            format!("Dir::State::lists \"{}\";", at("lists")),
            format!("Dir::State::status \"{}\";", at("status")),
            format!("Dir::Cache \"{}\";", at("cache")),
            format!("Dir::Log \"{}\";", at("")),
        ];
        for (part, at) in [
            ("sourceparts", at("parts")),
            ("parts", at("parts")),
            ("trustedparts", at("parts")),
        ] {
            lines.push(format!("Dir::Etc::{part} \"{at}\";"));
        }
        lines.extend(
            [
                "Acquire::Languages \"none\";",
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";",
                "Acquire::Retries \"3\";",
                // The mirror may be a snapshot that nobody signs anew.
                "Acquire::Check-Valid-Until \"false\";",
                "APT::Sandbox::User \"root\";",
            ]
            .map(str::to_owned),
        );
        lines.extend(proxies());
        lines.join("\n") + "\n"
    }

    /// Reads the suite's list of packages.
    ///
    /// # Errors
    /// What apt said, for one when the mirror cannot be reached.
    pub fn update(&self) -> Result<()> {
        self.run(&["update"], &self.directory)
    }

    /// Downloads packages into a directory; those that are there already are only checked.
    ///
    /// # Errors
    /// What apt said.
    pub fn download(&self, packages: &[&str], into: &Path) -> Result<()> {
        fs::create_dir_all(into).with_context(|| into.display().to_string())?;
        self.run(&[&["download"], packages].concat(), into)
    }

    fn run(&self, words: &[&str], within: &Path) -> Result<()> {
        let output = Command::new("apt-get")
            .arg("-q")
            .args(words)
            .env("APT_CONFIG", self.directory.join("apt.conf"))
            .env("LC_ALL", "C")
            .current_dir(within)
            .output()
            .context("cannot start apt-get")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // With a list that could not be read apt-get update succeeds, and warns.
        let failed = !output.status.success() || said.contains("W: Failed to fetch");
        ensure!(!failed, "apt-get {}: {}", words.join(" "), said.trim());
        Ok(())
    }
}

/// The mirror that the machine takes Debian's packages from.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let found = texts.collect::<Vec<_>>().iter().find_map(|text| {
        let lines = text.lines().filter(|line| {
            line.starts_with("deb ") || line.to_ascii_lowercase().starts_with("uris:")
        });
        let mut words = lines.flat_map(str::split_whitespace);
        words
            .find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))
            .map(str::to_owned)
    });
    found.unwrap_or_else(|| MIRROR.to_owned())
}

/// The machine's settings of how to reach mirrors.
fn proxies() -> Vec<String> {
    let output = Command::new("apt-config").arg("dump").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with("Acquire::http::") || line.starts_with("Acquire::https::"))
        .map(str::to_owned)
        .collect()
}
