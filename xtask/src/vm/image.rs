//! A guest's initramfs: the daemon, the tools that try it with their libraries, and the kernel's modules.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::run;

use super::{debian::Kernel, place, text};

/// The guest's first process.
const INIT: &str = include_str!("init.sh");

/// Ours.
const BINARIES: [&str; 3] = ["netd", "netctl", "netd-probe"];

/// This machine's; busybox does the rest.
const TOOLS: [&str; 4] = ["ip", "ping", "bpftool", "socat"];

/// What a distribution's kernel has not built in. None of them needs another one.
const MODULES: [&str; 4] = ["veth", "dummy", "sch_ingress", "cls_bpf"];

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTERS: u32 = 0o020_600;

/// Makes it, beside the kernel; returns its path.
pub fn build(kernel: &Kernel, busybox: &Path) -> Result<PathBuf> {
    let mut archive = Archive::default();
    archive.add("init", PROGRAM, INIT.as_bytes());
    // The kernel opens it for the first process before that can mount anything.
    archive.device("dev/console", (5, 1));
    archive.file("bin/busybox", PROGRAM, busybox)?;
    let mut libraries = BTreeSet::new();
    let stripped = place().join("stripped");
    fs::create_dir_all(&stripped)?;
    for name in BINARIES {
        let built = run::target().join("debug").join(name);
        // Symbols are most of a debug build.
        let path = stripped.join(name);
        run::checked(&mut run::command(&[
            "strip",
            "-o",
            &text(&path),
            &text(&built),
        ]))?;
        libraries.extend(needs(&path)?);
        archive.file(&format!("sbin/{name}"), PROGRAM, &path)?;
    }
    for name in TOOLS {
        let path = tool(name)?;
        libraries.extend(needs(&path)?);
        archive.file(&format!("sbin/{name}"), PROGRAM, &path)?;
    }
    for library in &libraries {
        archive.file(library.trim_start_matches('/'), PROGRAM, Path::new(library))?;
    }
    for name in MODULES {
        let path = module(&kernel.modules, name).with_context(|| {
            format!(
                "the kernel {} has no module {name} in {}",
                kernel.version,
                kernel.modules.display()
            )
        })?;
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        ensure!(
            ending == "ko" || ending == "xz",
            "{}: busybox, which unpacks the modules in the guest, knows .ko.xz alone",
            path.display()
        );
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("modules/{file}"), FILE, &path)?;
    }
    let path = place().join(format!("initramfs-{}.cpio", kernel.version));
    fs::write(&path, archive.end()).with_context(|| text(&path))?;
    Ok(path)
}

/// The libraries of a program, and the loader, by their paths.
fn needs(program: &Path) -> Result<Vec<String>> {
    let told = run::output(&["ldd", &text(program)])
        .with_context(|| format!("ldd cannot tell the libraries of {}", program.display()))?;
    ensure!(
        !told.contains("not found"),
        "{} has libraries that this machine has not: {told}",
        program.display()
    );
    // libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…), or /lib64/ld-linux-x86-64.so.2 (0x…)
    let paths = told
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(str::to_owned);
    Ok(paths.collect())
}

/// The path of a program that set-up has installed.
fn tool(name: &str) -> Result<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    // The administrator's programs are not in everybody's path.
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.exists())
        .with_context(|| format!("no {name} in {path} or /usr/sbin; cargo xtask setup installs it"))
}

/// The file of a kernel's module.
fn module(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.iter().find_map(|path| {
        if path.is_dir() {
            return module(path, name);
        }
        let file = path.file_name()?.to_string_lossy();
        let rest = file.strip_prefix(name)?;
        (rest == ".ko" || rest.starts_with(".ko.")).then(|| path.clone())
    })
}

/// A cpio archive in the form that the kernel unpacks (`newc`; Documentation/driver-api/early-userspace/buffer-format).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// A copy of a file, its directories before it.
    fn file(&mut self, name: &str, mode: u32, from: &Path) -> Result<()> {
        let data = fs::read(from).with_context(|| text(from))?;
        ensure!(
            u32::try_from(data.len()).is_ok(),
            "{}: too large for an initramfs",
            from.display()
        );
        self.add(name, mode, &data);
        Ok(())
    }

    fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.parents(name);
        self.entry(name, mode, (0, 0), data);
    }

    fn device(&mut self, name: &str, number: (u32, u32)) {
        self.parents(name);
        self.entry(name, CHARACTERS, number, &[]);
    }

    fn parents(&mut self, name: &str) {
        let ends: Vec<usize> = name.match_indices('/').map(|(at, _)| at).collect();
        for directory in ends.iter().filter_map(|&end| name.get(..end)) {
            if self.directories.insert(directory.to_owned()) {
                self.entry(directory, DIRECTORY, (0, 0), &[]);
            }
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let length = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // Number, mode, owner, group, links, time, size, device, device that it is, length of the name, sum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            length,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_directories_before_their_files() {
        let mut archive = Archive::default();
        archive.add("a/b/c", FILE, b"hello");
        archive.add("a/b/d", FILE, b"");
        let bytes = archive.end();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).expect("text alone");
        let heads: Vec<&str> = text.split("070701").skip(1).collect();
        let names: Vec<&str> = heads
            .iter()
            .map(|head| head[104..].split('\0').next().expect("a name"))
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/b/d", "TRAILER!!!"]);
        // The mode of the directory; the size of the file and what it holds.
        assert_eq!(&heads[0][8..16], "000041ed");
        assert_eq!(&heads[2][48..56], "00000005");
        assert!(heads[2].contains("hello\0"));
    }
}
