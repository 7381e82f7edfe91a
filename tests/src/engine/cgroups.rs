//! The cgroups of an engine: one for its own programs and one for its containers, below one of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Where the engine and its containers live.
#[derive(Debug)]
pub struct Cgroups {
    /// In the cgroup v2 hierarchy.
    path: PathBuf,
    /// The same from the hierarchy's root, with a slash in front.
    name: String,
}

/// Mounted hierarchies: type and directory.
fn hierarchies() -> Result<Vec<(String, PathBuf)>> {
    let mounts = fs::read_to_string("/proc/mounts").context("/proc/mounts")?;
    let all = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup")
            .then(|| (kind.to_owned(), PathBuf::from(place)))
    });
    Ok(all.collect())
}

impl Cgroups {
    /// Makes them in `parent`, or in the root.
    ///
    /// # Errors
    /// When no cgroup v2 hierarchy is mounted, or without root.
    pub fn create(name: &str, parent: Option<&Path>) -> Result<Self> {
        let all = hierarchies()?;
        let root = all.iter().find(|(kind, _)| kind == "cgroup2");
        let root = &root.context("no cgroup v2 hierarchy is mounted")?.1;
        let path = parent.unwrap_or(root).join(name);
        let relative = path
            .strip_prefix(root)
            .with_context(|| format!("{} is not below {}", path.display(), root.display()))?;
        let cgroups = Self {
            name: format!("/{}", relative.display()),
            path,
        };
        // Programs live in a leaf: beside controllers that are passed on there must be none.
        let programs = cgroups.programs();
        fs::create_dir_all(&programs).with_context(|| programs.display().to_string())?;
        Ok(cgroups)
    }

    /// Where the engine's own programs start.
    pub fn programs(&self) -> PathBuf {
        self.path.join("programs")
    }

    /// The engine's setting `cgroup-parent`.
    pub fn of_containers(&self) -> String {
        format!("{}/containers", self.name)
    }

    /// Kills everything in them and waits until it is gone.
    ///
    /// # Errors
    /// When something stays.
    pub fn kill(&self) -> Result<()> {
        let file = self.path.join("cgroup.kill");
        if !file.exists() {
            return Ok(());
        }
        fs::write(&file, "1").with_context(|| file.display().to_string())?;
        patiently(|| {
            let events = fs::read_to_string(self.path.join("cgroup.events"))?;
            let empty = events.lines().any(|line| line == "populated 0");
            empty
                .then_some(())
                .ok_or_else(|| io::Error::other("killed processes stay"))
        })
        .with_context(|| self.path.display().to_string())
    }

    /// Removes them from all hierarchies; an engine makes its containers' in the old ones, too.
    ///
    /// # Errors
    /// When a process is in one.
    pub fn remove(&self) -> Result<()> {
        for directory in self.directories()? {
            patiently(|| remove(&directory)).with_context(|| directory.display().to_string())?;
            // In the old hierarchies the ones above are the engine's making, too; they stay while others use them.
            let above = directory.ancestors().skip(1);
            for parent in above.take(self.name.matches('/').count() - 1) {
                if directory.starts_with(&self.path) || fs::remove_dir(parent).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Those that exist.
    ///
    /// # Errors
    /// When the mounted hierarchies cannot be read.
    pub fn directories(&self) -> Result<Vec<PathBuf>> {
        let name = self.name.trim_start_matches('/');
        let all = hierarchies()?.into_iter().map(|(_, root)| root.join(name));
        Ok(all.filter(|directory| directory.exists()).collect())
    }
}

/// Removes a tree of cgroups, leaves first.
fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// Killed processes leave a cgroup a moment after they were reaped.
fn patiently(mut work: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match work() {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
