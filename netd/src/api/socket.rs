//! The Unix socket: bound, opened to its group, and bound again where others removed it.

use std::{
    fs,
    io::{self, ErrorKind},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::{
    sys::{
        socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr},
        stat::{Mode, fchmod},
    },
    unistd::{Gid, Group},
};
use tokio::{
    net::{UnixListener, UnixStream},
    time::{Interval, MissedTickBehavior, interval, sleep},
};

use crate::error::{Error, Result};

/// How often it is looked whether the socket is still there.
const LOOK: Duration = Duration::from_secs(5);
/// How long to wait where accepting failed: it would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted.
const WAITING: i32 = 1024;

/// Where the socket is, and which group may use it. The group changes with the settings.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    now: Mutex<Now>,
}

/// What changes of it.
#[derive(Debug, Default)]
struct Now {
    group: Option<Gid>,
    /// Device and inode of the socket that was bound.
    bound: Option<(u64, u64)>,
}

impl Place {
    /// For members of this group, or netd's own.
    pub fn new(path: PathBuf, group: Option<Gid>) -> Arc<Self> {
        let now = Mutex::new(Now { group, bound: None });
        Arc::new(Self { path, now })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, e: &dyn std::fmt::Display) -> Error {
        Error::internal(format!("socket {}", self.path.display()), e)
    }

    /// Opens the socket to this group from now on, or to netd's own. One that others removed is opened to it when it is made
    /// again.
    ///
    /// # Errors
    /// When the change is refused.
    pub fn open_to(&self, group: Option<Gid>) -> Result<()> {
        let mut now = self.now();
        now.group = group;
        if self.stands(&now) {
            open_to(&self.path, group).map_err(|e| self.failed(&e))?;
        }
        Ok(())
    }

    /// Whether what stands there is the socket that was bound.
    fn stands(&self, now: &Now) -> bool {
        let there = identity(&self.path);
        there.is_ok_and(|there| there.is_some() && there == now.bound)
    }

    /// Removes the socket, if it is still there.
    pub fn remove(&self) {
        if self.stands(&self.now()) {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Binds it where nothing is.
    fn bind(&self) -> io::Result<UnixListener> {
        // While it is held no setting changes the group.
        let mut now = self.now();
        let listener = listen(&self.path)?;
        let opened = open_to(&self.path, now.group).and_then(|()| identity(&self.path));
        now.bound = opened.inspect_err(|_| drop(fs::remove_file(&self.path)))?;
        Ok(listener)
    }
}

/// The bound socket.
#[derive(Debug)]
pub struct Socket {
    place: Arc<Place>,
    listener: UnixListener,
    look: Interval,
    /// What was last said of a socket that is not there.
    told: Option<String>,
}

impl Socket {
    /// Binds it, in place of a stale one (the run directory's lock is held). Must be called within a runtime.
    ///
    /// # Errors
    /// When it cannot be bound, or opened to its group.
    pub fn bind(place: Arc<Place>) -> Result<Self> {
        match fs::remove_file(&place.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(place.failed(&e)),
            _ => {}
        }
        let listener = place.bind().map_err(|e| place.failed(&e))?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            place,
            listener,
            look,
            told: None,
        })
    }

    /// The next connection.
    pub async fn accept(&mut self) -> UnixStream {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => return stream,
                    Err(e) => {
                        // Out of descriptors, say.
                        tracing::warn!("accepting a connection: {e}");
                        sleep(PAUSE).await;
                    }
                },
                _ = self.look.tick() => self.keep(),
            }
        }
    }

    /// Binds it again where it was removed. Connections of before go on; nobody else can come by the old one. What others put in
    /// its place is left alone.
    fn keep(&mut self) {
        if self.place.stands(&self.place.now()) {
            self.told = None;
            return;
        }
        let place = Arc::clone(&self.place);
        let shown = place.path.display();
        let wrong = match identity(&place.path) {
            Ok(Some(_)) => format!(
                "something else stands in place of the socket {shown}: no client reaches netd by it; remove it, and netd makes \
                 the socket again"
            ),
            Ok(None) => match place.bind() {
                Ok(listener) => {
                    self.listener = listener;
                    tracing::warn!("the socket {shown} was removed, and was made again");
                    self.told = None;
                    return;
                }
                Err(e) => format!(
                    "the socket {shown} was removed, and cannot be made again: {e}; no client reaches netd by it"
                ),
            },
            Err(e) => format!("looking for the socket {shown}: {e}"),
        };
        if self.told.as_ref() != Some(&wrong) {
            tracing::warn!("{wrong}");
            self.told = Some(wrong);
        }
    }
}

/// Device and inode of what stands there, if anything does.
fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match fs::symlink_metadata(path) {
        Ok(data) => Ok(Some((data.dev(), data.ino()))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// A socket at `path` that only its owner can use so far.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // bind(2) gives the file the socket's own mode (Linux, `unix_bind_bsd`), so that there is no moment at which others could come
    // in, and the umask, which is that of all threads, needs no change.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    socket::listen(&socket, Backlog::new(WAITING)?)?;
    UnixListener::from_std(socket.into())
}

/// Opens what is bound to its group: this one, or netd's own.
fn open_to(path: &Path, group: Option<Gid>) -> io::Result<()> {
    let group = group.unwrap_or_else(nix::unistd::getegid);
    std::os::unix::fs::chown(path, None, Some(group.as_raw()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
}

/// The number of a group by its name or number.
///
/// # Errors
/// When there is none.
pub fn group_id(group: &str) -> Result<Gid> {
    if let Ok(number) = group.parse::<u32>() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid),
        Ok(None) => Err(
            Error::invalid(format!("listen: no group is named {group:?}"))
                .hint("groupadd --system NAME, or another group in [listen] or --socket-group"),
        ),
        Err(e) => Err(Error::internal(
            format!("looking up the group {group:?}"),
            e,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p01_nobody_comes_in_before_the_socket_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let _listener = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
        assert_eq!(mode & 0o177, 0, "{mode:o}");
    }
}
