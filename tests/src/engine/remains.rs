//! What an engine that ended, or was killed, leaves behind: taken away, and looked for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};

use super::cgroups::Cgroups;

/// Where the runtime's shims listen; the path is built into them.
const SHIMS: &str = "/run/containerd/s/";

/// Kills what runs on, unmounts what is mounted below `directory`, and removes cgroups and the shims' sockets.
///
/// # Errors
/// When something cannot be removed; the rest is.
pub fn clear(directory: &Path, cgroups: &Cgroups) -> Result<()> {
    let sockets = shim_sockets(directory);
    let killed = cgroups.kill();
    let mut mounts = mounts(directory);
    mounts.reverse();
    let mut unmounted = Ok(());
    for place in mounts {
        if let Err(error) = umount2(&place, MntFlags::MNT_DETACH) {
            unmounted = Err(error).with_context(|| format!("unmounting {}", place.display()));
        }
    }
    for socket in sockets {
        // A shim that ended by itself has removed it.
        let _ = fs::remove_file(socket);
    }
    let removed = cgroups.remove();
    killed.and(unmounted).and(removed)
}

/// One sentence for each thing that still exists.
pub fn find(directory: &Path, cgroups: &Cgroups) -> Vec<String> {
    let mut left: Vec<String> = mounts(directory)
        .iter()
        .map(|place| format!("mount {}", place.display()))
        .collect();
    match cgroups.directories() {
        Ok(all) => left.extend(
            all.iter()
                .map(|place| format!("cgroup {}", place.display())),
        ),
        Err(error) => left.push(format!("{error:#}")),
    }
    left.extend(processes(directory));
    left
}

/// Places below `directory` where something is mounted, in the order in which it was.
fn mounts(directory: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split(' ').nth(1).map(PathBuf::from))
        .filter(|place| place.starts_with(directory))
        .collect()
}

/// Processes whose command line names what is the engine's alone, as shims do; its socket is for others.
fn processes(directory: &Path) -> Vec<String> {
    let name = directory.join("exec").display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&name) {
            let pid = entry.file_name();
            found.push(format!("process {} {line}", pid.to_string_lossy()));
        }
    }
    found
}

/// Sockets of shims that still have a record.
fn shim_sockets(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let tasks = directory.join("exec/containerd/daemon/io.containerd.runtime.v2.task");
    let children = |place: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    for task in children(&tasks).iter().flat_map(|space| children(space)) {
        for name in ["address", "bootstrap.json"] {
            let text = fs::read_to_string(task.join(name)).unwrap_or_default();
            let Some(at) = text.find(SHIMS) else { continue };
            let path = text.get(at..).unwrap_or_default();
            let path = path.split(['"', '\n', ',']).next().unwrap_or_default();
            found.push(PathBuf::from(path));
        }
    }
    found
}
