//! Where fetched things are kept, and how several processes that want the same thing wait for each other.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Names another directory for everything that is fetched.
const VARIABLE: &str = "NETD_ENGINES";

/// The directory of everything that is fetched: `engines` of cargo's target directory, or what `NETD_ENGINES` names.
///
/// # Errors
/// When the running program's own path cannot be read.
pub fn place() -> Result<PathBuf> {
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return std::path::absolute(path).context(VARIABLE);
    }
    let mut directory = env::current_exe().context("the path of the running program")?;
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    directory.pop();
    Ok(directory.join("engines"))
}

/// A thing that is fetched once: whole when its mark says so.
#[derive(Debug)]
pub struct Entry {
    directory: PathBuf,
}

impl Entry {
    /// The entry of this name; nothing is made yet.
    ///
    /// # Errors
    /// As [`place`].
    pub fn new(name: &str) -> Result<Self> {
        let directory = place()?.join(name);
        Ok(Self { directory })
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The mark's text if the entry is whole and was made by this recipe at this place: programs in it know their path.
    pub fn whole(&self, recipe: &str) -> Option<String> {
        let text = fs::read_to_string(self.directory.join("whole")).ok()?;
        text.strip_prefix(&self.stamp(recipe)).map(str::to_owned)
    }

    /// Makes it by `work` unless it is whole; `work` may find what an interrupted one left, and returns the mark's text.
    ///
    /// # Errors
    /// What `work` says.
    pub fn make(&self, recipe: &str, work: impl FnOnce(&Path) -> Result<String>) -> Result<String> {
        if let Some(text) = self.whole(recipe) {
            return Ok(text);
        }
        let directory = &self.directory;
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let path = directory.join("lock");
        let lock = File::create(&path).with_context(|| path.display().to_string())?;
        // Whoever holds it makes the same thing; it is let go with the process.
        lock.lock().with_context(|| path.display().to_string())?;
        if let Some(text) = self.whole(recipe) {
            return Ok(text);
        }
        let text = work(directory)?;
        let (new, mark) = (directory.join("whole.new"), directory.join("whole"));
        fs::write(&new, self.stamp(recipe) + &text)
            .and_then(|()| fs::rename(&new, &mark))
            .with_context(|| mark.display().to_string())?;
        Ok(text)
    }

    fn stamp(&self, recipe: &str) -> String {
        format!("{}\n{recipe}\n", self.directory.display())
    }
}
