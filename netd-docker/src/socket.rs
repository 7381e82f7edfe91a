//! The Unix socket: bound, opened to its group, and bound again where others removed it.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::{
        socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr},
        stat::{Mode, fchmod},
    },
    unistd::{Gid, Group, chown},
};
use tokio::{
    net::{UnixListener, UnixStream},
    time::{Interval, MissedTickBehavior, interval, sleep},
};

/// How often it is looked whether the socket is still there.
const LOOK: Duration = Duration::from_secs(5);
/// How long to wait where accepting failed: it would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted.
const WAITING: i32 = 1024;

/// A bound socket.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    group: Option<Gid>,
    listener: UnixListener,
    /// Device and inode of what was bound.
    bound: Option<(u64, u64)>,
    look: Interval,
    /// What was last said of a socket that is not there.
    told: Option<String>,
}

impl Socket {
    /// Binds it, mode 0660 and of its group, in place of one that nobody listens at. Must be called within a runtime.
    ///
    /// # Errors
    /// When it cannot be bound, or opened to its group, or somebody serves it already.
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, String> {
        let group = group.map(gid).transpose()?;
        clear(path)?;
        let failed = |what: &str, e: &dyn std::fmt::Display| {
            format!("{what} the Docker socket {}: {e}", path.display())
        };
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(|e| failed("making the directory of", &e))?;
        }
        let (listener, bound) = listen(path, group).map_err(|e| failed("binding", &e))?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            path: path.to_owned(),
            group,
            listener,
            bound,
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
                        tracing::warn!("accepting at {}: {e}", self.path.display());
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
        let shown = self.path.display();
        let wrong = match identity(&self.path) {
            Ok(there) if there.is_some() && there == self.bound => {
                self.told = None;
                return;
            }
            Ok(Some(_)) => format!(
                "something else stands in place of the Docker socket {shown}: no client reaches it; remove that, and the socket \
                 is made again"
            ),
            Ok(None) => match listen(&self.path, self.group) {
                Ok((listener, bound)) => {
                    tracing::warn!("the Docker socket {shown} was removed, and was made again");
                    (self.listener, self.bound, self.told) = (listener, bound, None);
                    return;
                }
                Err(e) => format!(
                    "the Docker socket {shown} was removed, and cannot be made again: {e}; no client reaches it"
                ),
            },
            Err(e) => format!("looking for the Docker socket {shown}: {e}"),
        };
        if self.told.as_ref() != Some(&wrong) {
            tracing::warn!("{wrong}");
            self.told = Some(wrong);
        }
    }

    /// Removes it, if what stands there is what was bound here.
    pub fn remove(self) {
        let there = identity(&self.path);
        if there.is_ok_and(|there| there.is_some() && there == self.bound) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode of what stands there, if anything does.
pub fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match fs::symlink_metadata(path) {
        Ok(data) => Ok(Some((data.dev(), data.ino()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes a socket that nobody listens at.
fn clear(path: &Path) -> Result<(), String> {
    let failed = |what: &str, e: &dyn std::fmt::Display| {
        format!("{what} the Docker socket {}: {e}", path.display())
    };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("looking for", &e)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(format!(
                "{} is there and no socket: another path, or remove it",
                path.display()
            ));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(format!(
            "somebody serves {} already (Docker's own engine?): another path for --docker-socket, or stop it",
            path.display()
        )),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|e| failed("removing the stale", &e))
        }
        Err(e) => Err(failed("looking at", &e)),
    }
}

/// Listens at `path`, for members of the group.
fn listen(path: &Path, group: Option<Gid>) -> io::Result<(UnixListener, Option<(u64, u64)>)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // bind(2) gives the file the socket's own mode (Linux, `unix_bind_bsd`), so that nobody comes in before its group is set, and
    // the umask, which is that of all threads, needs no change.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let opened = || {
        if group.is_some() {
            chown(path, None, group)?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        socket::listen(&socket, Backlog::new(WAITING)?)?;
        identity(path)
    };
    let bound = opened().inspect_err(|_| drop(fs::remove_file(path)))?;
    Ok((UnixListener::from_std(socket.into())?, bound))
}

/// A group by name or number.
fn gid(name: &str) -> Result<Gid, String> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!(
            "the group {name} of the Docker socket does not exist: groupadd --system {name}, or another one"
        )),
        Err(e) => Err(format!("looking for the group {name}: {e}")),
    }
}
