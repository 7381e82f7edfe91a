//! The marker of a directory: whose it is, and who holds it. A line of JSON in the file that is locked.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::config::Instance;

/// The longest that is read.
const MOST: u64 = 4096;

/// What a marker says. Fields of later versions are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Empty: that of an earlier version, which did not say so.
    pub instance: String,
    /// Random, hexadecimal: the same in a copy.
    pub id: String,
    /// Who holds it, or held it last.
    pub pid: u32,
    /// netd made the directory, and removes it when nothing else is in it.
    pub made: bool,
}

impl Marker {
    /// What the holder writes; `before` is what stood there.
    pub fn new(instance: &Instance, before: Option<Self>, made: bool) -> Self {
        let known = before.map(|b| b.id).filter(|id| !id.is_empty());
        Self {
            instance: instance.name.clone(),
            id: known.unwrap_or_else(|| format!("{:032x}", rand::rng().random::<u128>())),
            pid: std::process::id(),
            made,
        }
    }

    /// Opens the file, for reading and writing, or makes it.
    pub fn open(path: &Path) -> io::Result<File> {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(path)
    }

    /// What stands at `path`, if that is a marker.
    pub fn read(path: &Path) -> Option<Self> {
        let mut options = File::options();
        options
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
        Self::of(&options.open(path).ok()?)
    }

    /// What stands in an open file, if that is a marker.
    pub fn of(file: &File) -> Option<Self> {
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = vec![0; usize::try_from(MOST).ok()?];
        let length = file.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        Self::parse(text)
    }

    fn parse(text: &str) -> Option<Self> {
        // Before there were markers, the file had the number of the process alone.
        if let Ok(pid) = text.trim().parse() {
            return Some(Self {
                pid,
                made: true,
                ..Self::default()
            });
        }
        let marker: Self = serde_json::from_str(text).ok()?;
        (!marker.instance.is_empty() && !marker.id.is_empty()).then_some(marker)
    }

    /// Whether the file at `path` is a marker, or was to become one when the daemon was killed.
    pub fn may_be(path: &Path) -> bool {
        let empty = || {
            let mut byte = [0];
            let file = File::open(path);
            file.is_ok_and(|mut f| f.read(&mut byte).is_ok_and(|n| n == 0))
        };
        Self::read(path).is_some() || empty()
    }

    /// Writes it over what stands in the file.
    pub fn write(&self, file: &File) -> io::Result<()> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        // In this order a daemon that is killed between leaves a marker or nothing.
        file.set_len(0)?;
        file.write_all_at(text.as_bytes(), 0)
    }
}
