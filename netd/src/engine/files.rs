//! The files that tell a sandbox names: `RUN/files/<sandbox id>/{resolv.conf,hosts,hostname}`. They follow the model, and
//! are written in place, because whoever runs the sandbox's processes mounts them.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{Engine, View, locked, state::State};
use crate::{
    directories,
    driver::Company,
    error::{Error, Result},
    files,
    model::Sandbox,
    resolv_conf::ResolvConf,
};

const RESOLV_CONF: &str = "resolv.conf";
const HOSTS: &str = "hosts";
const HOSTNAME: &str = "hostname";

/// Where a sandbox's files are.
pub struct FilePaths {
    directory: PathBuf,
    /// For /etc/resolv.conf.
    pub resolv_conf: PathBuf,
    /// For /etc/hosts.
    pub hosts: PathBuf,
    /// For /etc/hostname.
    pub hostname: PathBuf,
}

/// Whether a sandbox is in the host's namespace, or will be once it is started.
fn on_host(state: &State, sandbox: &Sandbox) -> bool {
    if sandbox.running() {
        return sandbox.host();
    }
    let mut networks = sandbox.attachments.iter();
    networks.any(|attachment| {
        let network = state.network_named(&attachment.spec.network);
        network.is_some_and(|n| n.driver().company() == Company::Host)
    })
}

/// Where the files of a sandbox are, if it has some: it is not on the host network. They are there while it is stopped, too: whoever
/// runs its processes must name them before there is a process whose namespace it can be started in.
fn paths(directory: &Path, state: &State, sandbox: &Sandbox) -> Option<FilePaths> {
    if on_host(state, sandbox) {
        return None;
    }
    let directory = directory.join(&sandbox.id);
    Some(FilePaths {
        resolv_conf: directory.join(RESOLV_CONF),
        hosts: directory.join(HOSTS),
        hostname: directory.join(HOSTNAME),
        directory,
    })
}

impl View {
    /// Where the files of a sandbox are, if it has some.
    pub fn files(&self, sandbox: &Sandbox) -> Option<FilePaths> {
        paths(&self.files, &self.state, sandbox)
    }
}

impl Engine {
    /// Directory of the sandboxes' files.
    pub(super) fn files_directory(&self) -> PathBuf {
        let files = directories::files(&self.instance.run);
        std::path::absolute(&files).unwrap_or(files)
    }

    /// Writes the files of a sandbox that starts.
    pub(super) fn make_files(&self, sandbox: &str) -> Result<()> {
        self.write_files(sandbox, true).map(drop)
    }

    /// Writes what is missing or not right, but leaves a resolv.conf as it is unless `anew`. Says whether it wrote.
    pub(super) fn write_files(&self, sandbox: &str, anew: bool) -> Result<bool> {
        let _alone = locked(&self.writing);
        let (paths, names, hostname, lines) = {
            let state = self.state();
            let Ok(sandbox) = state.sandbox(sandbox) else {
                return Ok(false);
            };
            let Some(paths) = paths(&self.files_directory(), &state, sandbox) else {
                return Ok(false);
            };
            let names = sandbox.names.clone();
            let hostname = sandbox.hostname.clone();
            (paths, names, hostname, state.host_lines(sandbox))
        };
        fs::create_dir_all(&paths.directory)
            .map_err(|e| Error::internal(format!("creating {}", paths.directory.display()), e))?;
        let mut wrote = false;
        // One that is empty was being written when the daemon was killed.
        let written = fs::metadata(&paths.resolv_conf).is_ok_and(|m| m.len() > 0);
        if anew || !written {
            let host = self.host_resolv_conf();
            wrote |= write(&paths.resolv_conf, &files::resolv_conf(&host, &names))?;
        }
        wrote |= write(&paths.hostname, &files::hostname(&hostname))?;
        wrote |= write(&paths.hosts, &files::hosts(&lines))?;
        Ok(wrote)
    }

    /// The host's own resolv.conf; a host without it has no search domains and no options.
    fn host_resolv_conf(&self) -> ResolvConf {
        let path = &self.config.dns.resolv_conf;
        match fs::read(path) {
            Ok(text) => ResolvConf::parse(&String::from_utf8_lossy(&text)),
            Err(e) => {
                if e.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("reading {}: {e}", path.display());
                }
                ResolvConf::default()
            }
        }
    }

    /// Writes the hosts file of a sandbox whose networks have changed, and those of the sandboxes that link to it.
    pub(super) fn write_hosts(&self, sandbox: &str) -> Result<()> {
        let name = self
            .desired()
            .sandboxes()
            .get(sandbox)
            .map(|s| s.name.clone());
        self.write_hosts_of(sandbox, &name.unwrap_or_default())
    }

    /// As [`Engine::write_hosts`], of a sandbox that may not be desired any more.
    fn write_hosts_of(&self, sandbox: &str, name: &str) -> Result<()> {
        let _alone = locked(&self.writing);
        let (state, directory) = (self.state(), self.files_directory());
        for id in state.linked_to(sandbox, name) {
            let found = state.sandboxes().get(&id);
            let found = found
                .and_then(|s| Some((paths(&directory, &state, s)?.hosts, state.host_lines(s))));
            let Some((path, lines)) = found else {
                continue;
            };
            match write(&path, &files::hosts(&lines)) {
                Err(e) if id == sandbox => return Err(e),
                Err(e) => tracing::warn!("a sandbox that links to {sandbox}: {e}"),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Files of a sandbox that does not run follow what it was asked to be; those of one that will be on the host network, or is
    /// no more, go.
    pub(super) fn follow_files(&self, sandbox: &str) -> Result<()> {
        let wanted = {
            let state = self.state();
            let found = state.sandboxes().get(sandbox);
            found.is_some_and(|s| paths(Path::new(""), &state, s).is_some())
        };
        if wanted {
            return self.write_files(sandbox, false).map(drop);
        }
        let _alone = locked(&self.writing);
        directories::remove_files(&self.files_directory(), sandbox)
    }

    /// Takes what was a sandbox's that has stopped or gone out of the hosts files: its own, which stays while the sandbox does, and
    /// those of the sandboxes that link to it.
    pub(super) fn leave_files(&self, sandbox: &Sandbox) {
        if let Err(e) = self.write_hosts_of(&sandbox.id, &sandbox.name) {
            tracing::warn!("{e}");
        }
    }

    /// At the daemon's start: files of sandboxes that are no more go, those of the others come back. `fresh`: sandboxes
    /// whose namespace is new.
    pub(super) fn restore_files(&self, fresh: &BTreeSet<String>) {
        let state = self.state();
        let wanted = |id: &str| {
            let sandbox = state.sandboxes().get(id);
            // Those of one whose record cannot be used may be in use.
            self.is_quarantined(id)
                || sandbox.is_some_and(|s| paths(&self.files_directory(), &state, s).is_some())
        };
        for done in directories::clean_files(&self.files_directory(), wanted) {
            self.warn(done.to_string());
        }
        for id in state.sandboxes().keys() {
            if let Err(e) = self.write_files(id, fresh.contains(id)) {
                self.warn(e.to_string());
            }
        }
    }

    /// Says so when a sandbox wants the host's address in its hosts file and the host has none there.
    pub(super) fn report_host_gateway(&self, sandbox: &str) {
        let desired = self.desired().clone();
        let Some(sandbox) = desired.sandboxes().get(sandbox).filter(|s| !s.host()) else {
            return;
        };
        let wanted = sandbox.names.hosts.iter().any(|(_, a)| a.is_none());
        if wanted && desired.host_gateways(&sandbox.id).next().is_none() {
            tracing::warn!(
                "sandbox {}: its host-gateway lines are left out, because the host has no address on the network of its \
                default route",
                sandbox.name
            );
        }
    }
}

/// Writes a file in place, so that it stays the one that is mounted elsewhere; only if its text is another. Says whether
/// it was.
fn write(path: &Path, text: &str) -> Result<bool> {
    replace(path, text.as_bytes())
        .map_err(|e| Error::internal(format!("writing {}", path.display()), e))
}

fn replace(path: &Path, text: &[u8]) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC);
    let file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let file = options.create(true).open(path)?;
            // Read by everybody in the sandbox, whatever the daemon's mask.
            file.set_permissions(Permissions::from_mode(0o644))?;
            file
        }
        other => other?,
    };
    let length = file.metadata()?.len();
    if length == text.len() as u64 && holds(&file, text)? {
        return Ok(false);
    }
    file.write_all_at(text, 0)?;
    if length > text.len() as u64 {
        file.set_len(text.len() as u64)?;
    }
    Ok(true)
}

fn holds(mut file: &File, text: &[u8]) -> io::Result<bool> {
    let mut found = Vec::with_capacity(text.len());
    file.by_ref()
        .take(text.len() as u64 + 1)
        .read_to_end(&mut found)?;
    Ok(found == text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn s06_files_are_written_in_place_and_only_if_they_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        let inode = || fs::metadata(&path).unwrap().ino();
        assert!(replace(&path, b"a longer text\n").unwrap());
        let first = inode();
        assert!(!replace(&path, b"a longer text\n").unwrap());
        assert!(replace(&path, b"short\n").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"short\n");
        assert!(replace(&path, b"other\n").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"other\n");
        assert_eq!(inode(), first);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(replace(&link, b"x").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"other\n");
    }
}
