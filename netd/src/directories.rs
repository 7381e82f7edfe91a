//! The directories of an instance: made, marked as its own, and held by one process at a time. What is in them and was
//! not made by netd is left alone.
//!
//! Three things are locked (flock(2): the lock goes with the process, however it ends):
//! - the instance's name, by the directory of its pins. A file system of its own kind holds no file to lock, but its
//!   directories can be; whoever shares the pins shares the lock, whatever else of theirs is mounted elsewhere;
//! - the state and the run directory, each by its marker `netd.lock`, which says whose it is.
//!
//! Beside the directory of the pins, `@NAME` is a symbolic link to the state that they were made from: links and pins
//! outlive the daemon, and one that is started with another state would take them for left over.

mod clean;
mod contents;
mod marker;
mod name;

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::fcntl::{Flock, FlockArg};

pub use clean::{
    Cleaned, FILES, clean_files, clean_namespaces, is_id, remove_files, remove_socket,
};
use contents::{Contents, Role, check};
use marker::Marker;
pub use name::Name;

use crate::{
    config::Instance,
    error::{Error, Result},
};

/// The way out where something of netd's cannot be written.
pub const WRITABLE: &str = "make it writable, or give other directories by --state and --run";

/// The marker of a directory, and what its lock is on.
const MARKER: &str = "netd.lock";

/// Where the instance's namespaces are: one for each sandbox, by its name.
pub fn namespaces(run: &Path) -> PathBuf {
    run.join("netns")
}

/// Where the files for names are: a directory for each sandbox, by its id.
pub fn files(run: &Path) -> PathBuf {
    run.join("files")
}

/// An empty file: a start that could not store marks of what it was making. The next one takes nothing as whole.
pub fn unmarked(run: &Path) -> PathBuf {
    run.join("unmarked")
}

/// The directories of an instance, held by this process until it is dropped.
#[derive(Debug)]
pub struct Directories {
    held: Vec<Held>,
    name: Arc<Name>,
}

/// One directory.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    role: Role,
    /// netd made it.
    made: bool,
    /// It had been marked before.
    marked: bool,
    lock: Flock<File>,
}

/// Takes the instance: at most one daemon at a time has its name, its state and its run directory. Makes what is
/// missing; what cannot be taken leaves nothing behind.
pub fn hold(instance: &Instance) -> Result<Directories> {
    take(instance, true)
}

/// As [`hold`], but makes nothing, for what is about to be removed.
pub fn hold_existing(instance: &Instance) -> Result<Directories> {
    take(instance, false)
}

fn take(instance: &Instance, make: bool) -> Result<Directories> {
    instance.check()?;
    let wanted = [(Role::Run, &instance.run), (Role::State, &instance.state)];
    // All are looked at before anything is made.
    let mut found = Vec::new();
    for (role, path) in wanted {
        found.push((role, path, check(role, path)?));
    }
    let mut directories = Directories {
        held: Vec::new(),
        name: Arc::new(Name::hold(instance)?),
    };
    directories.name.check_owner()?;
    let mut made = Vec::new();
    for (role, path, contents) in found {
        if !make && matches!(contents, Contents::Missing | Contents::Nothing) {
            continue;
        }
        match hold_one(role, path, instance, &mut made) {
            Ok(one) => directories.held.push(one),
            Err(e) => {
                // While the locks are held.
                undo(&made);
                return Err(e);
            }
        }
    }
    if make && let Err(e) = directories.name.mark() {
        undo(&made);
        return Err(e);
    }
    Ok(directories)
}

impl Directories {
    /// The instance's name, which goes when nobody holds it any more.
    pub fn name(&self) -> Arc<Name> {
        Arc::clone(&self.name)
    }

    /// Whether nothing can have been stored yet: it is the first time that the state directory is held. Any other time an
    /// empty store is a damaged one.
    pub fn new_state(&self) -> bool {
        let state = self.held.iter().find(|held| held.role == Role::State);
        state.is_some_and(|held| !held.marked)
    }

    /// Removes the marks, and of the directories those that netd made, if they are empty: the last step of a purge.
    pub fn remove(mut self) -> Result<()> {
        // One may be in the other.
        self.held
            .sort_by_key(|held| std::cmp::Reverse(held.path.components().count()));
        for held in self.held.drain(..) {
            let marker = held.path.join(MARKER);
            fs::remove_file(&marker)
                .map_err(|e| Error::internal(format!("removing {}", marker.display()), e))?;
            if held.made {
                // It stays if it holds what netd has not made.
                let _ = fs::remove_dir(&held.path);
            }
            drop(held.lock);
        }
        Ok(())
    }
}

/// Makes a directory with all above it; what was made is noted, the innermost last.
fn make(path: &Path, mode: u32, made: &mut Vec<PathBuf>) -> Result<bool> {
    let mut missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
    missing.reverse();
    for directory in &missing {
        let fail = |e| Error::internal(format!("creating {}", directory.display()), e);
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
            other => other.map_err(fail)?,
        }
        made.push(directory.to_path_buf());
        // Whatever the umask.
        let mode = if *directory == path { mode } else { 0o755 };
        fs::set_permissions(directory, Permissions::from_mode(mode)).map_err(fail)?;
    }
    Ok(missing.last() == Some(&path))
}

/// Takes back what was made for an instance that could not be taken.
fn undo(made: &[PathBuf]) {
    for path in made.iter().rev() {
        let _ = if path.is_dir() {
            fs::remove_dir(path)
        } else {
            fs::remove_file(path)
        };
    }
}

/// Holds one directory: makes it if it is missing, marks it, locks it.
fn hold_one(role: Role, path: &Path, instance: &Instance, made: &mut Vec<PathBuf>) -> Result<Held> {
    let what = role.name();
    let marker = path.join(MARKER);
    let fail = |e: &dyn std::fmt::Display| Error::internal(format!("lock {}", marker.display()), e);
    let mut new = false;
    let lock = loop {
        new |= make(path, role.mode(), made)?;
        if !marker.exists() {
            made.push(marker.clone());
        }
        let file = Marker::open(&marker).map_err(|e| match e.kind() {
            ErrorKind::ReadOnlyFilesystem => fail(&e).hint(WRITABLE),
            _ => fail(&e),
        })?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(file, e)| {
            // It is the other's, whoever was first to make it.
            made.retain(|path| *path != marker);
            if e == nix::Error::EWOULDBLOCK {
                let other = Marker::of(&file).map(|m| (m.pid, m.instance));
                let (pid, name) = other.unwrap_or_default();
                // An earlier version does not tell its name.
                let who = if name.is_empty() {
                    "an instance".to_owned()
                } else {
                    format!("instance {name}")
                };
                in_use(pid, &who, what, path).hint(format!(
                    "stop it first, or give another --instance, --state and --run: every instance has directories of its own, \
                     which follow its name unless --{what} is given"
                ))
            } else {
                fail(&e)
            }
        })?;
        // Removed by a purge, between our opening and our locking?
        if same(&lock, &marker) {
            break lock;
        }
    };
    let before = Marker::of(&lock);
    if let Some(before) = before.as_ref().filter(|b| !b.instance.is_empty())
        && before.instance != instance.name
    {
        made.retain(|path| *path != marker);
        return Err(Error::conflict(format!(
            "the {what} directory {} is that of instance {}",
            path.display(),
            before.instance
        ))
        .hint(format!(
            "give another --{what}; or, to be rid of that instance, run netd --purge with its --instance, --state and --run"
        )));
    }
    let marked = before.is_some();
    let by_netd = before.as_ref().map_or(new, |b| b.made);
    Marker::new(instance, before, by_netd)
        .write(&lock)
        .map_err(|e| fail(&e))?;
    Ok(Held {
        path: path.to_owned(),
        role,
        made: by_netd,
        marked,
        lock,
    })
}

fn in_use(pid: u32, who: &str, what: &str, path: &Path) -> Error {
    let pid = if pid == 0 {
        String::new()
    } else {
        format!(" (pid {pid})")
    };
    Error::conflict(format!(
        "another netd{pid} runs {who} with the {what} directory {}",
        path.display()
    ))
}

/// Whether an open file is what stands at `path`.
fn same(file: &File, path: &Path) -> bool {
    let there = fs::symlink_metadata(path);
    let here = file.metadata();
    matches!((here, there), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(test)]
mod tests;
