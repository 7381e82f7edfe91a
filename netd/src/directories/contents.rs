//! Whether a directory that the operator names may be taken: a missing or an empty one, or netd's own.

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use super::{MARKER, clean::is_id, marker::Marker};
use crate::error::{Error, Result};

/// One of the two directories that the operator names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// What stays.
    State,
    /// What goes with a reboot.
    Run,
}

impl Role {
    /// As its option is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Run => "run",
        }
    }

    /// The mode that it is made with.
    pub fn mode(self) -> u32 {
        match self {
            Self::State => 0o700,
            // Others reach the socket and the files by their paths, but see no names.
            Self::Run => 0o711,
        }
    }
}

/// What a directory that is to be taken holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// It is not there.
    Missing,
    /// It is empty.
    Nothing,
    /// netd's: by its marker, or by its form.
    Own,
}

/// Refuses a directory that is not the instance's own and may be somebody else's.
pub fn check(role: Role, path: &Path) -> Result<Contents> {
    let (what, shown) = (role.name(), path.display());
    let fail = |e: io::Error| Error::internal(format!("the {what} directory {shown}"), e);
    let refused = |why: &str| {
        Error::conflict(format!("the {what} directory {shown} {why}")).hint(format!(
            "give --{what} a directory of netd's own; it is made if it is missing"
        ))
    };
    let meta = match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Contents::Missing),
        other => other.map_err(fail)?,
    };
    if !meta.is_dir() {
        return Err(refused("is not a directory"));
    }
    if meta.uid() != nix::unistd::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
        return Err(refused("is one that others may write to"));
    }
    let names = fs::read_dir(path)
        .and_then(|found| found.map(|entry| Ok(entry?.file_name())).collect())
        .map_err(fail)?;
    let mut names: Vec<OsString> = names;
    // What a file system of its own brings along.
    names.retain(|name| name != "lost+found");
    if names.is_empty() {
        return Ok(Contents::Nothing);
    }
    if Marker::read(&path.join(MARKER)).is_some() || is_own(role, path, &names) {
        return Ok(Contents::Own);
    }
    Err(refused("holds what netd has not made"))
}

/// Whether everything in a directory without a marker is of the form that netd gives it: one of an earlier version, or of
/// a daemon that was killed before it had marked it.
fn is_own(role: Role, path: &Path, names: &[OsString]) -> bool {
    let is = |name: &OsString, wanted: fn(&fs::FileType) -> bool| {
        fs::symlink_metadata(path.join(name)).is_ok_and(|m| wanted(&m.file_type()))
    };
    let list = |name: &str| fs::read_dir(path.join(name)).into_iter().flatten();
    // Namespaces alone might be anybody's.
    let telling = names.iter().any(|name| name != "netns") || list("netns").next().is_none();
    telling
        && names.iter().all(|name| match (name.to_str(), role) {
            (Some(MARKER), _) => {
                is(name, fs::FileType::is_file) && Marker::may_be(&path.join(name))
            }
            (Some("netd.redb"), Role::State) => is(name, fs::FileType::is_file),
            (Some("unmarked"), Role::Run) => is(name, fs::FileType::is_file),
            (Some("netd.sock" | "keeper.sock"), Role::Run) => is(name, |t| t.is_socket()),
            (Some("netns"), Role::Run) => is(name, fs::FileType::is_dir),
            (Some("files"), Role::Run) => {
                is(name, fs::FileType::is_dir)
                    && list("files").all(|entry| {
                        entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_id))
                    })
            }
            _ => false,
        })
}
