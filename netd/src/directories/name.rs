//! An instance's name, held by a lock on the directory of its pins; and the mark beside it, of the state that they were made
//! from.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nix::fcntl::{Flock, FlockArg};

use super::{MARKER, in_use, marker::Marker, same};
use crate::{
    config::Instance,
    dataplane::object::ensure_bpffs,
    error::{Error, Result},
};

/// The name, held until this is dropped.
#[derive(Debug)]
pub struct Name {
    instance: String,
    state: PathBuf,
    pins: PathBuf,
    owner: PathBuf,
    lock: Mutex<Flock<File>>,
}

impl Name {
    /// Takes the name.
    pub(super) fn hold(instance: &Instance) -> Result<Self> {
        let pins = instance.pin_root();
        let owner = owner_path(&pins);
        let held = lock(&pins)?.ok_or_else(|| {
            let state = fs::read_link(&owner).unwrap_or_default();
            let marker = Marker::read(&state.join(MARKER));
            let pid = marker.map_or(0, |m| m.pid);
            let who = format!("instance {}", instance.name);
            in_use(pid, &who, "state", &state).hint(
                "stop it first, or give this one another --instance: its name must be its own on this host",
            )
        })?;
        Ok(Self {
            lock: Mutex::new(held),
            instance: instance.name.clone(),
            state: instance.state.clone(),
            pins,
            owner,
        })
    }

    /// Holds the name still, whatever became of the directory: somebody may have removed it, and with it what the lock is on.
    /// Says whether it had to be made anew.
    ///
    /// # Errors
    /// When it cannot be made, or another process has locked one that was made meanwhile.
    pub fn keep(&self) -> Result<bool> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if same(&held, &self.pins) {
            return Ok(false);
        }
        let new = lock(&self.pins)?.ok_or_else(|| {
            let shown = self.pins.display();
            Error::conflict(format!(
                "{shown} was removed, and another process has locked the one that is there now: nothing is pinned"
            ))
            .hint(format!(
                "end that process (fuser {shown} names it); this daemon then pins everything again by itself"
            ))
        })?;
        self.mark()?;
        *held = new;
        Ok(true)
    }

    /// Refuses to take over pins and links that were made from another state, which is still there.
    pub(super) fn check_owner(&self) -> Result<()> {
        let used = fs::read_dir(&self.pins).is_ok_and(|mut found| found.next().is_some());
        let (true, Ok(other)) = (used, fs::read_link(&self.owner)) else {
            return Ok(());
        };
        let theirs = Marker::read(&other.join(MARKER)).filter(|m| m.instance == self.instance);
        let ours = Marker::read(&self.state.join(MARKER));
        // A copy, or the same by another path, has the same id.
        let id = |marker: Option<Marker>| marker.map(|m| m.id);
        if theirs.is_none() || id(theirs) == id(ours) {
            return Ok(());
        }
        let (name, shown) = (&self.instance, other.display());
        Err(Error::conflict(format!(
            "the networks of instance {name} were made from the state in {shown}, not in {}",
            self.state.display()
        ))
        .hint(format!(
            "start it with --state {shown}, or give this one another --instance; netd --purge with --instance {name} --state \
             {shown} removes those networks"
        )))
    }

    /// Says beside the pins whose they are.
    pub(super) fn mark(&self) -> Result<()> {
        if fs::read_link(&self.owner).is_ok_and(|to| to == self.state) {
            return Ok(());
        }
        let _ = fs::remove_file(&self.owner);
        std::os::unix::fs::symlink(&self.state, &self.owner)
            .map_err(|e| Error::internal(format!("creating {}", self.owner.display()), e))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // Pins that are there keep their directory, and the mark beside it.
        match fs::remove_dir(&self.pins) {
            Err(e) if e.kind() != ErrorKind::NotFound => {}
            _ => {
                let _ = fs::remove_file(&self.owner);
                // The common one goes with the last instance.
                let _ = self.pins.parent().map(fs::remove_dir);
            }
        }
    }
}

/// Makes the directory of the pins where it is missing, and locks it; `None`: another process has.
fn lock(pins: &Path) -> Result<Option<Flock<File>>> {
    ensure_bpffs()?;
    let fail = |e: &dyn std::fmt::Display| Error::internal(format!("lock {}", pins.display()), e);
    loop {
        fs::create_dir_all(pins).map_err(|e| fail(&e))?;
        let directory = match File::open(pins) {
            // Removed by another's end.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            other => other.map_err(|e| fail(&e))?,
        };
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(held) if same(&held, pins) => return Ok(Some(held)),
            Ok(_) => {}
            Err((_, nix::Error::EWOULDBLOCK)) => return Ok(None),
            Err((_, e)) => return Err(fail(&e)),
        }
    }
}

/// Beside the pins; no instance has such a name.
pub(super) fn owner_path(pins: &Path) -> PathBuf {
    let mut name = OsString::from("@");
    name.push(pins.file_name().unwrap_or_default());
    pins.with_file_name(name)
}
