//! Removing what netd made in its directories, and nothing else: by names that it can have given, step by step, never a
//! tree as a whole.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::{
    error::{Error, Result},
    kernel::Netns,
};

/// The files that a sandbox has: resolv.conf(5), hosts(5), hostname(5).
pub const FILES: [&str; 3] = ["resolv.conf", "hosts", "hostname"];

/// What was done with something that nobody wants any more. Its text says so to the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cleaned {
    /// It is gone.
    Removed(String),
    /// It stays, and why.
    Left(String),
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed(what) => write!(f, "removed the left-over {what}"),
            Self::Left(why) => f.write_str(why),
        }
    }
}

/// Whether this is a sandbox's id: 64 hexadecimal digits.
pub fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Of the namespaces in `directory`, removes those that netd has made and nobody wants. `known`: names that stand in the
/// store; what has another name is somebody else's. `wanted`: those that stay.
pub fn clean_namespaces(
    directory: &Path,
    known: impl Fn(&str) -> bool,
    wanted: impl Fn(&str) -> bool,
) -> Vec<Cleaned> {
    let mut done = Vec::new();
    for name in names(directory, &mut done) {
        let path = directory.join(&name);
        let shown = path.display();
        match name.to_str() {
            Some(name) if wanted(name) => {}
            Some(name) if known(name) => done.push(match Netns::remove(&path) {
                Ok(()) => Cleaned::Removed(format!("namespace {shown}")),
                Err(e) => Cleaned::Left(e.to_string()),
            }),
            _ => done.push(Cleaned::Left(format!(
                "{shown} is of no sandbox that netd knows, and was left (if it is netd's, umount and remove it)"
            ))),
        }
    }
    done
}

/// Of the sandboxes' files in `directory`, removes those of sandboxes that have none. `wanted`: ids that stay.
pub fn clean_files(directory: &Path, wanted: impl Fn(&str) -> bool) -> Vec<Cleaned> {
    let mut done = Vec::new();
    for name in names(directory, &mut done) {
        let shown = directory.join(&name).display().to_string();
        match name.to_str().filter(|name| is_id(name)) {
            Some(id) if wanted(id) => {}
            Some(id) => done.push(match remove_files(directory, id) {
                Ok(()) => Cleaned::Removed(format!("files {shown}")),
                Err(e) => Cleaned::Left(e.to_string()),
            }),
            None => done.push(Cleaned::Left(format!(
                "{shown} is not the directory of a sandbox, and was left"
            ))),
        }
    }
    done
}

/// Removes the files of one sandbox from `directory`, with the directory of its own; none there is fine. What netd has not
/// made stays, and the directory with it.
pub fn remove_files(directory: &Path, id: &str) -> Result<()> {
    let path = directory.join(id);
    let fail = |e: &dyn fmt::Display| Error::internal(format!("removing {}", path.display()), e);
    if !is_id(id) {
        return Err(fail(&"it is not the directory of a sandbox"));
    }
    let mut options = fs::OpenOptions::new();
    options
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW);
    let own = match options.open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|e| fail(&e))?,
    };
    for name in FILES {
        match unlinkat(&own, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => {}
            Err(e) => return Err(fail(&format!("{name}: {e}"))),
        }
    }
    match fs::remove_dir(&path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {
            Err(fail(&"it holds what netd has not made").hint("look at it, and remove it by hand"))
        }
        Err(e) => Err(fail(&e)),
    }
}

/// Removes a socket that a daemon left; anything else of that name stays.
pub fn remove_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// The names in a directory, sorted; none if it is not there.
fn names(directory: &Path, done: &mut Vec<Cleaned>) -> Vec<std::ffi::OsString> {
    let mut names = Vec::new();
    match fs::read_dir(directory) {
        Ok(found) => names.extend(found.flatten().map(|entry| entry.file_name())),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => done.push(Cleaned::Left(format!(
            "reading {}: {e}",
            directory.display()
        ))),
    }
    names.sort();
    names
}
