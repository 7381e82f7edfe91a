//! How an engine is started.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// What is not as usual.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keys of `daemon.json`, over those that the harness sets.
    pub config: Map<String, Value>,
    /// Environment of the engine.
    pub environment: Vec<(String, String)>,
    /// The cgroup v2 directory to make the engine's own in; the root where there is none.
    pub cgroup: Option<PathBuf>,
    /// A directory in front of PATH, as for another runc.
    pub programs: Option<PathBuf>,
    /// No images are imported at the start.
    pub bare: bool,
}

impl Options {
    /// The same, with keys of `daemon.json`; anything but an object changes nothing.
    #[must_use]
    pub fn config(mut self, keys: &Value) -> Self {
        let keys = keys.as_object().cloned().unwrap_or_default();
        self.config.extend(keys);
        self
    }

    /// The same, with another runtime for containers, beside runc.
    #[must_use]
    pub fn runtime(mut self, name: &str, path: &Path, arguments: &[&str], default: bool) -> Self {
        let mut runtime = Map::new();
        runtime.insert("path".into(), path.display().to_string().into());
        if !arguments.is_empty() {
            runtime.insert("runtimeArgs".into(), arguments.into());
        }
        let all = self
            .config
            .entry("runtimes")
            .or_insert_with(|| Map::new().into());
        if let Some(all) = all.as_object_mut() {
            all.insert(name.into(), runtime.into());
        }
        if default {
            self.config.insert("default-runtime".into(), name.into());
        }
        self
    }

    /// The same, with an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The same, with everything of the engine in a cgroup below this one.
    #[must_use]
    pub fn inside(mut self, cgroup: &Path) -> Self {
        self.cgroup = Some(cgroup.to_owned());
        self
    }

    /// The same, without images.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }
}
