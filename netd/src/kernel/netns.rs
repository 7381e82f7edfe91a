//! Network namespaces: making, opening, telling apart and entering them. Work inside one is done on a thread of its own
//! that ends, so that no runtime worker is ever left in the wrong namespace.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::ErrorKind,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    os::unix::fs::{DirBuilderExt as _, MetadataExt, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{FsType, fstatfs},
};
use tokio::sync::{Semaphore, oneshot};

use self::identity::here;
use crate::error::{Error, Kind, Reason, Result};
use crate::model::Identity;

/// What is wrong with a path, and the way out.
const HINT: &str =
    "give the path of an existing namespace, such as /proc/PID/ns/net or /run/netns/NAME";

/// How long a path that others gave may take to be opened.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How many paths may be about to be opened at a time: each that hangs keeps a thread.
static OPENING: Semaphore = Semaphore::const_new(32);

/// How many namespaces may be about to be made at a time: each keeps a thread, and the kernel makes them one after the other.
static MAKING: Semaphore = Semaphore::const_new(4);

/// An open network namespace; it lives at least as long as this.
#[derive(Clone, Debug)]
pub struct Netns {
    file: Arc<File>,
    path: PathBuf,
    identity: Arc<OnceLock<Identity>>,
}

impl Netns {
    /// Opens the namespace at `path`. Anything else there is not opened at all: a device or a FIFO notices nothing. A
    /// path on a file system that does not answer holds up the caller; [`Netns::open_async`] is for those of others.
    ///
    /// Errors: `NotFound`, `Invalid` (not a network namespace).
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |e: std::io::Error| {
            let kind = match e.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Kind::NotFound,
                _ if matches!(
                    e.raw_os_error(),
                    Some(nix::libc::ELOOP | nix::libc::ENAMETOOLONG)
                ) =>
                {
                    Kind::Invalid
                }
                _ => Kind::Internal,
            };
            Error::new(kind, format!("network namespace {}: {e}", path.display())).hint(HINT)
        };
        let other =
            || Error::invalid(format!("{} is not a network namespace", path.display())).hint(HINT);
        let place = look(path, 0).map_err(fail)?;
        if !is_namespace(&place).map_err(fail)? {
            return Err(other());
        }
        // The same object, whatever the path leads to by now.
        let file = File::open(by_fd(&place)).map_err(fail)?;
        // NS_GET_NSTYPE (Linux 4.11): _IO(0xb7, 3).
        const NS_GET_NSTYPE: nix::libc::c_ulong = 0xb703;
        // SAFETY: this ioctl takes no argument.
        let kind = unsafe { nix::libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
        if kind != nix::libc::CLONE_NEWNET {
            return Err(other());
        }
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            identity: Arc::default(),
        })
    }

    /// As [`Netns::open`], without holding up the runtime: a path that does not answer within [`PATIENCE`] is refused.
    /// Its thread waits on by itself, and neither other requests nor the end of the process wait for it.
    pub async fn open_async(path: &Path) -> Result<Self> {
        let late = || {
            let shown = path.display();
            Error::new(
                Kind::Unavailable,
                format!(
                    "network namespace {shown}: no answer within {} s",
                    PATIENCE.as_secs()
                ),
            )
            .hint("its file system hangs: give a path of another, such as /proc/PID/ns/net")
        };
        let opened = async {
            // Never closed.
            let permit = OPENING
                .acquire()
                .await
                .map_err(|e| Error::internal("opening a namespace", e))?;
            let (tell, told) = oneshot::channel();
            let path = path.to_owned();
            // None of the runtime's own threads: it waits for those when it ends.
            thread::Builder::new()
                .name("netns-open".into())
                .spawn(move || {
                    let opened = Self::open(&path);
                    drop(permit);
                    // Nobody waits any more.
                    let _ = tell.send(opened);
                })
                .map_err(|e| Error::internal("starting a thread", e))?;
            told.await
                .unwrap_or_else(|e| Err(Error::internal("opening a namespace", e)))
        };
        tokio::time::timeout(PATIENCE, opened)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// Opens the namespace at `path` if it is still the one that `identity` tells. `None`: nothing is there any more, or
    /// something else.
    pub fn open_same(path: &Path, identity: &Identity) -> Result<Option<Self>> {
        match Self::open(path) {
            Ok(found) => Ok((found.identity()? == *identity).then_some(found)),
            Err(e) if matches!(e.kind, Kind::NotFound | Kind::Invalid) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The namespace of the calling process.
    pub fn current() -> Result<Self> {
        Self::open(Path::new("/proc/self/ns/net"))
    }

    /// What tells it from every other one. Asked from the kernel once.
    pub fn identity(&self) -> Result<Identity> {
        if let Some(known) = self.identity.get() {
            return Ok(*known);
        }
        let identity = self.run(here)?;
        Ok(*self.identity.get_or_init(|| identity))
    }

    /// Asks the kernel for the identities of many, as far as they are not known, on one thread: a start finds thousands.
    ///
    /// # Errors
    /// Of the first one that cannot be entered.
    pub fn identify(all: &[Self]) -> Result<()> {
        let unknown = || all.iter().filter(|n| n.identity.get().is_none());
        if unknown().next().is_none() {
            return Ok(());
        }
        on_thread(|| {
            for netns in unknown() {
                netns.enter()?;
                let identity = here()?;
                netns.identity.get_or_init(|| identity);
            }
            Ok(())
        })
    }

    /// Device and inode: the same for every path to one namespace, but given again once it has gone.
    pub fn inode(&self) -> Result<(u64, u64)> {
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

    /// Makes a namespace that stays until [`Netns::remove`], by a bind mount at `path`. Its loopback device is up. Errors:
    /// `Conflict` (something is there).
    pub fn create(path: &Path) -> Result<Self> {
        on_thread(|| Self::create_here(path))
    }

    /// As [`Netns::create`], without holding up the runtime.
    pub async fn create_async(path: &Path) -> Result<Self> {
        let fail = |e: &dyn std::fmt::Display| Error::internal("making a namespace", e);
        let _permit = MAKING.acquire().await.map_err(|e| fail(&e))?;
        let (tell, told) = oneshot::channel();
        let path = path.to_owned();
        thread::Builder::new()
            .name("netns".into())
            .spawn(move || tell.send(Self::create_here(&path)))
            .map_err(|e| fail(&e))?;
        told.await.unwrap_or_else(|e| Err(fail(&e)))
    }

    /// Makes it around the calling thread, which must end.
    fn create_here(path: &Path) -> Result<Self> {
        let fail = |e: &dyn std::fmt::Display| {
            Error::internal(format!("making namespace {}", path.display()), e)
        };
        place(path)?;
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| fail(&e))?;
            loopback::set_up().map_err(|e| fail(&e))?;
            // The thread that would be asked for it later is here already.
            let identity = here()?;
            let own = Path::new("/proc/thread-self/ns/net");
            // Before it has a name: nothing can fail behind that, and leave it there.
            let file = File::open(own).map_err(|e| fail(&e))?;
            bind(own, path).map_err(|e| fail(&e))?;
            Ok(Self {
                file: Arc::new(file),
                path: path.to_owned(),
                identity: Arc::new(identity.into()),
            })
        };
        make().inspect_err(|_| {
            let _ = fs::remove_file(path);
        })
    }

    /// Keeps this namespace alive and reachable at another path, by a bind mount. Errors: `Conflict` (something is
    /// there).
    pub fn link(&self, path: &Path) -> Result<()> {
        place(path)?;
        bind(&by_fd(&self.file), path).map_err(|e| {
            let _ = fs::remove_file(path);
            Error::internal(format!("binding namespace to {}", path.display()), e)
        })
    }

    /// Takes away what [`Netns::create`] or [`Netns::link`] left at `path`; nothing there is fine. Anything else stays.
    /// Errors: `Conflict` (it is something else).
    pub fn remove(path: &Path) -> Result<()> {
        let fail = |e: &dyn std::fmt::Display| {
            Error::internal(format!("removing namespace {}", path.display()), e)
        };
        loop {
            match left_at(path) {
                Ok(LeftAt::Nothing) => return Ok(()),
                // One may be mounted over another.
                Ok(LeftAt::Namespace) => {
                    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
                        .map_err(|e| fail(&e))?;
                }
                Ok(LeftAt::Place) => {
                    return match fs::remove_file(path) {
                        Err(e) if e.kind() != ErrorKind::NotFound => Err(fail(&e)),
                        _ => Ok(()),
                    };
                }
                Ok(LeftAt::Other) => {
                    return Err(Error::conflict(format!(
                        "{} is not a namespace that netd made",
                        path.display()
                    ))
                    .hint("move it away by hand"));
                }
                Err(e) => return Err(fail(&e)),
            }
        }
    }

    /// Runs `work` inside the namespace, on a thread that ends.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        on_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// Takes the calling thread there; only one that ends.
    fn enter(&self) -> Result<()> {
        setns(&*self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|e| Error::internal(format!("entering namespace {}", self.path.display()), e))
    }
}

/// An empty file to mount on. One that a killed daemon left is as good as a new one.
fn place(path: &Path) -> Result<()> {
    let fail = |e| Error::internal(format!("creating {}", path.display()), e);
    if let Some(parent) = path.parent() {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o711)
            .create(parent)
            .map_err(fail)?;
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o000)
        .open(path);
    match made {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => match left_at(path) {
            Ok(LeftAt::Place) => Ok(()),
            _ => Err(
                Error::conflict(format!("{} is there already", path.display()))
                    .because(Reason::NamespaceInUse)
                    .about("path", path.display())
                    .hint("choose another name; or stop what uses it, unmount it and remove it"),
            ),
        },
        other => other.map(drop).map_err(fail),
    }
}

/// What stands where netd puts namespaces.
enum LeftAt {
    Nothing,
    /// A namespace, mounted.
    Namespace,
    /// The empty file that one was, or was to be, mounted on.
    Place,
    Other,
}

fn left_at(path: &Path) -> std::io::Result<LeftAt> {
    let found = match look(path, nix::libc::O_NOFOLLOW) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(LeftAt::Nothing),
        other => other?,
    };
    if is_namespace(&found)? {
        return Ok(LeftAt::Namespace);
    }
    let meta = found.metadata()?;
    Ok(if meta.is_file() && meta.len() == 0 {
        LeftAt::Place
    } else {
        LeftAt::Other
    })
}

/// A look at what is at `path`, without opening it.
fn look(path: &Path, flags: i32) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_PATH | flags);
    options.open(path)
}

/// Whether it is a namespace of any kind.
fn is_namespace(file: &File) -> std::io::Result<bool> {
    // linux/magic.h; a file system that nothing else is on.
    const NSFS_MAGIC: FsType = FsType(0x6e73_6673);
    Ok(fstatfs(file)?.filesystem_type() == NSFS_MAGIC)
}

/// A path to the very object that is open.
fn by_fd(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
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

mod identity;
mod loopback;
#[cfg(test)]
mod tests;
