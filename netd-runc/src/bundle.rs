//! A container's bundle: what stands in its config.json, and what of it is changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::{
    failure::{Failure, Result},
    replace::replace,
};

/// The annotation of containers that must not start without netd.
pub const ANNOTATION: &str = "io.netd.network";

/// A word of the hook by which engines up to 27 look at a container's namespace. Up to 25 it switches IPv6 off in it.
const SETKEY: &str = "libnetwork-setkey";

/// The network namespace that a container asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The host's.
    Host,
    /// One of its own, which is empty.
    Own,
    /// One that is there already.
    Joined,
}

/// What is mounted, and from where.
pub struct Files<'a> {
    /// The source of /etc/resolv.conf.
    pub resolv_conf: &'a str,
    /// The source of /etc/hosts.
    pub hosts: &'a str,
}

/// A bundle's config.json.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    spec: Map<String, Value>,
}

impl Bundle {
    /// Reads it. None: it is not what a runtime takes, which the runtime says best.
    pub fn read(directory: &Path) -> Option<Self> {
        let path = directory.join("config.json");
        let spec = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        Some(Self { path, spec })
    }

    /// Whether the container must not start without netd.
    pub fn annotated(&self) -> bool {
        let annotations = self.spec.get("annotations").and_then(Value::as_object);
        annotations.is_some_and(|all| all.contains_key(ANNOTATION))
    }

    /// The network namespace that it asks for.
    pub fn namespace(&self) -> Namespace {
        let linux = self
            .spec
            .get("linux")
            .and_then(|linux| linux.get("namespaces"));
        let mut all = linux.and_then(Value::as_array).into_iter().flatten();
        match all.find(|one| one["type"] == "network") {
            None => Namespace::Host,
            Some(one) if one["path"].as_str().is_some_and(|path| !path.is_empty()) => {
                Namespace::Joined
            }
            Some(_) => Namespace::Own,
        }
    }

    /// Mounts these files in place of the engine's own. What a user mounts there stays.
    pub fn use_files(&mut self, id: &str, files: &Files<'_>) {
        let mounts = self.spec.get_mut("mounts").and_then(Value::as_array_mut);
        for mount in mounts.into_iter().flatten() {
            let file = match mount["destination"].as_str() {
                Some("/etc/resolv.conf") => files.resolv_conf,
                Some("/etc/hosts") => files.hosts,
                _ => continue,
            };
            let source = mount["source"].as_str().unwrap_or_default();
            if is_engines(source, id) && !file.is_empty() {
                mount["source"] = file.into();
            }
        }
    }

    /// Takes out the hook that looks at the container's namespace, as no engine's network is there to be seen.
    pub fn drop_setkey(&mut self) {
        let Some(hooks) = self.spec.get_mut("hooks").and_then(Value::as_object_mut) else {
            return;
        };
        let Some(prestart) = hooks.get_mut("prestart").and_then(Value::as_array_mut) else {
            return;
        };
        let count = prestart.len();
        prestart.retain(|hook| {
            let words = hook["args"].as_array();
            !words.is_some_and(|words| words.iter().any(|word| word == SETKEY))
        });
        if prestart.is_empty() && count > 0 {
            hooks.remove("prestart");
        }
    }

    /// Has this program called when the container's namespaces are there, and nothing runs in them yet.
    pub fn add_hook(&mut self, program: &Path, words: &[String]) {
        let hook = json!({"path": program.display().to_string(), "args": words});
        let hooks = self.spec.entry("hooks").or_insert_with(|| json!({}));
        // What is no object is no hook; the runtime says so.
        if let Some(hooks) = hooks.as_object_mut() {
            let all = hooks.entry("createRuntime").or_insert_with(|| json!([]));
            if let Some(all) = all.as_array_mut() {
                all.push(hook);
            }
        }
    }

    /// Puts it in the place of what was read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<()> {
        let text = serde_json::to_vec(&self.spec);
        let text = text.map_err(|e| Failure::internal(self.path.display(), e))?;
        replace(&self.path, &text, false)
            .map_err(|e| Failure::internal(format!("writing {}", self.path.display()), e))
    }
}

/// Whether the engine made this file for its container: it lies in a directory of the container's id.
fn is_engines(source: &str, id: &str) -> bool {
    let mut parts = source.rsplit('/');
    matches!(parts.next(), Some("resolv.conf" | "hosts")) && parts.next() == Some(id)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ID: &str = "5e5e";

    fn bundle(spec: &Value) -> (tempfile::TempDir, Bundle) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), spec.to_string()).unwrap();
        let bundle = Bundle::read(directory.path()).unwrap();
        (directory, bundle)
    }

    #[test]
    fn p05_only_what_must_be_is_changed() {
        let before = r#"{"ociVersion":"1.2.0","z":{"b":1,"a":18446744073709551615},"annotations":{"io.netd.network":"front"},"mounts":[{"destination":"/proc","source":"proc"},{"destination":"/etc/resolv.conf","type":"bind","source":"/lib/5e5e/resolv.conf","options":["rbind","rprivate"]},{"destination":"/etc/hostname","source":"/lib/5e5e/hostname"},{"destination":"/etc/hosts","type":"bind","source":"/lib/5e5e/hosts","options":["ro"]}],"hooks":{"prestart":[{"path":"/proc/1/exe","args":["libnetwork-setkey","-exec-root=/x","5e5e","7"]},{"path":"/bin/true"}],"poststop":[]},"linux":{"namespaces":[{"type":"mount"},{"type":"network"}]}}"#;
        let after = r#"{"ociVersion":"1.2.0","z":{"b":1,"a":18446744073709551615},"annotations":{"io.netd.network":"front"},"mounts":[{"destination":"/proc","source":"proc"},{"destination":"/etc/resolv.conf","type":"bind","source":"/n/r","options":["rbind","rprivate"]},{"destination":"/etc/hostname","source":"/lib/5e5e/hostname"},{"destination":"/etc/hosts","type":"bind","source":"/n/h","options":["ro"]}],"hooks":{"prestart":[{"path":"/bin/true"}],"poststop":[],"createRuntime":[{"path":"/bin/netd-runc","args":["netd-runc","netd-hook"]}]},"linux":{"namespaces":[{"type":"mount"},{"type":"network"}]}}"#;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, before).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let mut bundle = Bundle::read(directory.path()).unwrap();
        assert!(bundle.annotated());
        let files = Files {
            resolv_conf: "/n/r",
            hosts: "/n/h",
        };
        bundle.use_files(ID, &files);
        bundle.drop_setkey();
        bundle.add_hook(
            Path::new("/bin/netd-runc"),
            &["netd-runc".into(), "netd-hook".into()],
        );
        bundle.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), after);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn p05_files_that_a_user_mounts_stay() {
        let mounts = json!([
            {"destination": "/etc/hosts", "source": "/srv/other/hosts"},
            {"destination": "/etc/resolv.conf", "source": "/lib/other/resolv.conf"},
            {"destination": "/etc/hosts"},
            {"destination": 7},
        ]);
        let (_directory, mut bundle) = bundle(&json!({"mounts": mounts}));
        bundle.use_files(
            ID,
            &Files {
                resolv_conf: "/n/r",
                hosts: "/n/h",
            },
        );
        assert_eq!(bundle.spec["mounts"], mounts);
    }

    #[test]
    fn p05_the_last_hook_takes_its_list_along() {
        let hooks = json!({"prestart": [{"path": "/x", "args": ["libnetwork-setkey"]}]});
        let (_directory, mut bundle) = bundle(&json!({"hooks": hooks}));
        bundle.drop_setkey();
        assert_eq!(bundle.spec["hooks"], json!({}));
    }

    #[test]
    fn p05_the_namespace_that_is_asked_for() {
        for (linux, wanted) in [
            (json!({"namespaces": [{"type": "network"}]}), Namespace::Own),
            (
                json!({"namespaces": [{"type": "network", "path": ""}]}),
                Namespace::Own,
            ),
            (
                json!({"namespaces": [{"type": "network", "path": "/proc/7/ns/net"}]}),
                Namespace::Joined,
            ),
            (json!({"namespaces": [{"type": "pid"}]}), Namespace::Host),
            (json!({}), Namespace::Host),
            (json!("nonsense"), Namespace::Host),
        ] {
            let (_directory, bundle) = bundle(&json!({"linux": linux}));
            assert_eq!(bundle.namespace(), wanted, "{linux}");
            assert!(!bundle.annotated());
        }
    }

    #[test]
    fn p05_what_is_no_bundle_is_left_to_the_runtime() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Bundle::read(directory.path()).is_none());
        for text in ["", "{", "[]", "7"] {
            fs::write(directory.path().join("config.json"), text).unwrap();
            assert!(Bundle::read(directory.path()).is_none(), "{text}");
        }
    }
}
