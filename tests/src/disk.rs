//! A file system with little room, so that a full disk can be had without filling one.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::World;

/// A tmpfs of a given size, unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts it at `path`, which is made.
    ///
    /// # Errors
    /// Without root.
    pub fn mount(path: &Path, kib: u32) -> Result<Self> {
        fs::create_dir_all(path)?;
        remount(path, kib, MsFlags::empty())?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Gives it another size, KiB.
    ///
    /// # Errors
    /// When more is in it already.
    pub fn resize(&self, kib: u32) -> Result<()> {
        remount(&self.path, kib, MsFlags::MS_REMOUNT)
    }

    /// Takes all room that is left, by one file.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.path.join("filler");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        let page = [0_u8; 4096];
        // Ends when there is no room left.
        while file.write_all(&page).is_ok() {}
        Ok(path)
    }
}

fn remount(path: &Path, kib: u32, flags: MsFlags) -> Result<()> {
    let size = format!("size={kib}k,mode=0700");
    mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        flags,
        Some(size.as_str()),
    )
    .with_context(|| format!("a tmpfs of {kib} KiB at {}", path.display()))
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It goes with the machine's last look at it in any case.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

impl World {
    /// Puts netd's state directory on a disk of this size. The daemon must not have run yet.
    ///
    /// # Errors
    /// As [`SmallDisk::mount`].
    pub fn with_small_disk(&mut self, kib: u32) -> Result<()> {
        self.disk = Some(SmallDisk::mount(&self.state_directory(), kib)?);
        Ok(())
    }

    /// That disk.
    ///
    /// # Errors
    /// When the world has none.
    pub fn disk(&self) -> Result<&SmallDisk> {
        self.disk.as_ref().context("the world has no disk")
    }
}
