//! Which storage an engine can use in a directory.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// `overlay2` where the directory's file system can be below an overlay, else `vfs`. An engine left to itself would also
/// try what makes devices of its own.
///
/// # Errors
/// When the directory cannot be written.
pub fn driver(directory: &Path) -> Result<&'static str> {
    let place = tempfile::Builder::new()
        .prefix("overlay-")
        .tempdir_in(directory)?;
    let at = |name: &str| place.path().join(name);
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(at(name)).with_context(|| at(name).display().to_string())?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower").display(),
        at("upper").display(),
        at("work").display()
    );
    let mounted = mount(
        Some("overlay"),
        &at("merged"),
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    );
    if mounted.is_err() {
        return Ok("vfs");
    }
    umount2(&at("merged"), MntFlags::MNT_DETACH).context("unmounting an overlay")?;
    Ok("overlay2")
}
