//! Kernels and busybox from Debian's packages, unpacked under `target/vm` and not installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::run;

use super::{place, text};

/// Debian 12, whatever Debian runs here: its own kernel is 6.1, that of its backports 6.12.
const SOURCES: &str = "\
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian-security bookworm-security main
deb http://deb.debian.org/debian bookworm-backports main
";

/// Signs those lists; of the package debian-archive-keyring.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The file with the package's version, beside what was unpacked.
const VERSION: &str = "VERSION";

/// An unpacked kernel.
pub struct Kernel {
    /// As `6.1.192`.
    pub version: String,
    /// What a boot loader loads.
    pub image: PathBuf,
    /// The directory with its modules.
    pub modules: PathBuf,
}

/// What is fetched; Debian's lists are read once, and only if something is missing.
#[derive(Default)]
pub struct Packages {
    apt: Option<Apt>,
}

impl Packages {
    /// The kernel of a series, fetched where it is missing.
    pub fn kernel(&mut self, series: &str) -> Result<Kernel> {
        // Debian 12 numbers the kernels of 6.1 by their interface (6.1.0-50), those of backports by their version.
        let numbers = if series == "6.1" {
            r"6\.1\.0-[0-9]+".to_owned()
        } else {
            format!(r"{}[0-9.]*\+deb[0-9]+", series.replace('.', r"\."))
        };
        let pattern = format!("^linux-image-{numbers}-amd64(-unsigned)?$");
        let root = self.unpacked(&format!("linux-{series}"), &pattern)?;
        let image = fs::read_dir(root.join("boot"))
            .with_context(|| text(&root.join("boot")))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| text(path).contains("/vmlinuz-"))
            .with_context(|| {
                format!(
                    "{} holds no boot/vmlinuz-*; remove it to have it fetched again",
                    root.display()
                )
            })?;
        let version = fs::read_to_string(root.join(VERSION)).unwrap_or_default();
        // 6.12.95-1~bpo12+1: what Debian made of 6.12.95.
        let version = version.trim().split('-').next().unwrap_or_default();
        let modules = ["usr/lib/modules", "lib/modules"].map(|path| root.join(path));
        Ok(Kernel {
            version: if version.is_empty() { series } else { version }.to_owned(),
            image,
            modules: modules
                .into_iter()
                .find(|path| path.exists())
                .with_context(|| format!("{} holds no lib/modules", root.display()))?,
        })
    }

    /// The path of a busybox without libraries.
    pub fn busybox(&mut self) -> Result<PathBuf> {
        let root = self.unpacked("busybox", "^busybox-static$")?;
        ["bin/busybox", "usr/bin/busybox"]
            .map(|path| root.join(path))
            .into_iter()
            .find(|path| path.exists())
            .with_context(|| format!("{} holds no bin/busybox", root.display()))
    }

    /// The directory into which the newest package whose name matches is unpacked.
    fn unpacked(&mut self, name: &str, pattern: &str) -> Result<PathBuf> {
        let root = place().join(name);
        if root.exists() {
            let version = fs::read_to_string(root.join(VERSION)).unwrap_or_default();
            println!(
                "vm: {name} {} is in {} (remove that to have the newest one fetched)",
                version.trim(),
                root.display()
            );
            return Ok(root);
        }
        let apt = match self.apt.take() {
            Some(apt) => apt,
            None => Apt::new()?,
        };
        let apt = self.apt.insert(apt);
        let package = apt.newest(pattern)?;
        println!("vm: fetching Debian's {package}");
        // In a directory of its own, which takes its name when all is in it.
        let part = place().join(format!("{name}.part"));
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&part)?;
        apt.download(&package, &part)?;
        let file = fs::read_dir(&part)?
            .flatten()
            .map(|entry| text(&entry.path()))
            .find(|path| path.ends_with(".deb"))
            .with_context(|| format!("apt-get download {package} left no file"))?;
        let version = run::output(&["dpkg-deb", "-f", &file, "Version"])
            .with_context(|| format!("dpkg-deb cannot read {file}"))?;
        run::checked(&mut run::command(&["dpkg-deb", "-x", &file, &text(&part)]))?;
        fs::write(part.join(VERSION), &version)?;
        fs::remove_file(&file)?;
        fs::rename(&part, &root).with_context(|| text(&root))?;
        println!(
            "vm: {name} {} unpacked in {}",
            version.trim(),
            root.display()
        );
        Ok(root)
    }
}

/// apt with lists of its own, so that neither the machine's sources nor its lists matter or change.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// With fresh lists.
    fn new() -> Result<Self> {
        ensure!(
            run::output(&["apt-get", "--version"]).is_some(),
            "no apt-get here, by which the guests' kernels are fetched: cargo xtask vm needs Debian or what descends from it"
        );
        ensure!(
            Path::new(KEYS).exists(),
            "{KEYS} is missing, so Debian's package lists cannot be trusted; install debian-archive-keyring"
        );
        let directory = place().join("apt");
        fs::create_dir_all(directory.join("lists/partial"))?;
        fs::create_dir_all(directory.join("cache/archives/partial"))?;
        let sources = SOURCES.replace("deb ", &format!("deb [arch=amd64 signed-by={KEYS}] "));
        fs::write(directory.join("sources.list"), sources)?;
        // What is installed here must not count as something that can be fetched.
        fs::write(directory.join("status"), "")?;
        let path = |name: &str| text(&directory.join(name));
        let settings = [
            format!("Dir::Etc::SourceList={}", path("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".into(),
            format!("Dir::State::Lists={}", path("lists")),
            format!("Dir::State::Status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            "Acquire::Languages=none".into(),
            "APT::Update::Error-Mode=any".into(),
            // Otherwise it wants to write into our directories as another user.
            "APT::Sandbox::User=".into(),
        ];
        let options = settings
            .into_iter()
            .flat_map(|setting| ["-o".to_owned(), setting])
            .collect();
        let apt = Self { options };
        println!("vm: reading Debian 12's package lists");
        run::checked(&mut run::command(&apt.words("apt-get", &["-qq", "update"]))).context(
            "Debian 12's package lists (deb.debian.org) cannot be read; apt says why above, and uses the proxy of apt.conf",
        )?;
        Ok(apt)
    }

    fn words<'a>(&'a self, program: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec![program];
        words.extend(self.options.iter().map(String::as_str));
        words.extend(more);
        words
    }

    /// The name with the highest numbers among those that match; signed before unsigned, which is the same kernel.
    fn newest(&self, pattern: &str) -> Result<String> {
        let search = self.words("apt-cache", &["search", "--names-only", pattern]);
        let found = run::output(&search).context("apt-cache search failed")?;
        found
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .max_by_key(|name| (numbers(name), !name.ends_with("-unsigned")))
            .map(str::to_owned)
            .with_context(|| {
                format!(
                    "neither Debian 12 nor its security updates and backports (bookworm, bookworm-security and \
                     bookworm-backports of deb.debian.org) have a package {pattern}; unpack another one by \
                     dpkg-deb -x into the directory of {} that another series has, or leave this kernel out by --kernel",
                    place().display()
                )
            })
    }

    /// The package's file in a directory.
    fn download(&self, package: &str, directory: &Path) -> Result<()> {
        let words = self.words("apt-get", &["-qq", "download", package]);
        run::checked(run::command(&words).current_dir(directory))
    }
}

/// The numbers in a name: 6.1.9 is before 6.1.10.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn kernels_are_ordered_by_their_numbers() {
        let older = "linux-image-6.12.9+deb12-amd64";
        let newer = "linux-image-6.12.95+deb12-amd64-unsigned";
        assert!(numbers(older) < numbers(newer), "{older} {newer}");
    }
}
