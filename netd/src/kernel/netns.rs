//! Network namespaces: making, opening and entering them. Work inside one is done on a thread of its own that ends,
//! so that no runtime worker is ever left in the wrong namespace.

use std::{
    fs::{self, File},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::error::{Error, Kind, Result};

/// An open network namespace; it lives at least as long as this.
#[derive(Clone, Debug)]
pub struct Netns {
    file: Arc<File>,
    path: PathBuf,
}

impl Netns {
    /// Opens the namespace at `path`. Errors: `NotFound`, `Invalid` (not a network namespace).
    pub fn open(path: &Path) -> Result<Self> {
        const HINT: &str =
            "give the path of an existing namespace, such as /proc/PID/ns/net or /run/netns/NAME";
        let file = File::open(path).map_err(|e| {
            let missing = e.kind() == std::io::ErrorKind::NotFound;
            let kind = if missing {
                Kind::NotFound
            } else {
                Kind::Internal
            };
            Error::new(kind, format!("network namespace {}: {e}", path.display())).hint(HINT)
        })?;
        // NS_GET_NSTYPE (Linux 4.11): _IO(0xb7, 3).
        const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
        // SAFETY: this ioctl takes no argument; on a descriptor of another kind it fails.
        let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
        if kind != libc::CLONE_NEWNET {
            return Err(
                Error::invalid(format!("{} is not a network namespace", path.display())).hint(HINT),
            );
        }
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
        })
    }

    /// The namespace of the calling process.
    pub fn current() -> Result<Self> {
        Self::open(Path::new("/proc/self/ns/net"))
    }

    /// Device and inode: the same for every path to one namespace.
    pub fn identity(&self) -> Result<(u64, u64)> {
        let meta = self
            .file
            .metadata()
            .map_err(|e| Error::internal(self.path.display(), e))?;
        Ok((meta.dev(), meta.ino()))
    }

    /// For netlink attributes.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Makes a namespace that stays until [`Netns::remove`], by a bind mount at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let fail = |e: &dyn std::fmt::Display| {
            Error::internal(format!("making namespace {}", path.display()), e)
        };
        place(path)?;
        let made = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| fail(&e))?;
            bind(Path::new("/proc/thread-self/ns/net"), path).map_err(|e| fail(&e))
        });
        if let Err(e) = made {
            let _ = fs::remove_file(path);
            return Err(e);
        }
        Self::open(path)
    }

    /// As [`Netns::create`], without holding up the runtime.
    pub async fn create_async(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Self::create(&path))
            .await
            .unwrap_or_else(|e| Err(Error::internal("making a namespace", e)))
    }

    /// Keeps this namespace reachable at another path.
    pub fn link(&self, path: &Path) -> Result<()> {
        place(path)?;
        let from = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        bind(&from, path).map_err(|e| {
            let _ = fs::remove_file(path);
            Error::internal(format!("binding namespace to {}", path.display()), e)
        })
    }

    /// Takes away what [`Netns::create`] or [`Netns::link`] left at `path`; nothing there is fine.
    pub fn remove(path: &Path) -> Result<()> {
        // Not mounted after a reboot; the file itself is what must go.
        let _ = umount2(path, MntFlags::MNT_DETACH);
        match fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::internal(format!("removing {}", path.display()), e))
            }
            _ => Ok(()),
        }
    }

    /// Runs `work` inside the namespace, on a thread that ends.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        on_thread(|| {
            setns(&*self.file, CloneFlags::CLONE_NEWNET).map_err(|e| {
                Error::internal(format!("entering namespace {}", self.path.display()), e)
            })?;
            work()
        })
    }
}

/// An empty file to mount on.
fn place(path: &Path) -> Result<()> {
    let fail = |e| Error::internal(format!("creating {}", path.display()), e);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(fail)?;
    }
    File::create(path).map(drop).map_err(fail)
}

fn bind(from: &Path, to: &Path) -> nix::Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}

fn on_thread<R: Send>(work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, work)
            .map_err(|e| Error::internal("starting a thread", e))?;
        thread.join().unwrap_or_else(|_| {
            Err(Error::internal(
                "work in a namespace",
                "the thread panicked",
            ))
        })
    })
}
