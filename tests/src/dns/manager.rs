//! A service manager that keeps descriptors, as systemd does (systemd.service(5), FileDescriptorStoreMax=), and a stranger
//! who asks the keeper.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{IoSlice, IoSliceMut},
    net::{TcpListener, UdpSocket},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::{fs::OpenOptionsExt as _, net::UnixDatagram, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::{
    cmsg_space,
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect,
            recvmsg, sendmsg, setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use crate::{Process, World, wait_for};

/// The first descriptor that a manager gives (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// The manager of one daemon.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    room: String,
    kept: BTreeMap<String, Vec<OwnedFd>>,
}

impl Manager {
    /// With its socket in this directory; `room`: for so many descriptors.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn new(directory: &Path, room: &str) -> Result<Self> {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            path,
            room: room.to_owned(),
            kept: BTreeMap::new(),
        })
    }

    /// Names, and how many descriptors each has.
    pub fn kept(&self) -> Vec<(String, usize)> {
        let kept = self.kept.iter();
        kept.map(|(name, fds)| (name.clone(), fds.len())).collect()
    }

    /// Keeps two sockets of nobody under a name.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn put(&mut self, name: &str) -> Result<()> {
        let udp = UdpSocket::bind("127.0.0.1:0")?.into();
        let tcp = TcpListener::bind("127.0.0.1:0")?.into();
        self.kept.insert(name.to_owned(), vec![tcp, udp]);
        Ok(())
    }

    /// Does what the daemon has asked for until now.
    ///
    /// # Errors
    /// When a message is none.
    pub fn take(&mut self) -> Result<()> {
        loop {
            let mut bytes = [0; 4096];
            let mut space = cmsg_space!([RawFd; 8]);
            let (length, fds) = {
                let parts = &mut [IoSliceMut::new(&mut bytes)];
                let flags = MsgFlags::MSG_CMSG_CLOEXEC;
                let fd = self.socket.as_raw_fd();
                let got = match recvmsg::<UnixAddr>(fd, parts, Some(&mut space), flags) {
                    Err(Errno::EAGAIN) => return Ok(()),
                    other => other?,
                };
                (got.bytes, rights(got.cmsgs()?))
            };
            let text = std::str::from_utf8(bytes.get(..length).context("length")?)?;
            let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
            let name = value("FDNAME=").unwrap_or("stored").to_owned();
            if value("FDSTORE=") == Some("1") {
                ensure!(value("FDPOLL=") == Some("0"), "{text}");
                self.kept.entry(name).or_default().extend(fds);
            } else if value("FDSTOREREMOVE=") == Some("1") {
                self.kept.remove(&name);
            }
        }
    }

    /// Starts the daemon of a world with all that is kept, and waits until it answers.
    ///
    /// # Errors
    /// When it ends instead.
    pub fn start(&mut self, world: &World) -> Result<Process> {
        self.take()?;
        // In no order that the daemon could count on.
        let mut given: Vec<(&str, BorrowedFd<'_>)> = self
            .kept
            .iter()
            .flat_map(|(name, fds)| fds.iter().map(|fd| (name.as_str(), fd.as_fd())))
            .collect();
        given.reverse();
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let words = world.daemon_words(&[]);
        let mut all = vec!["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"];
        all.extend(words.iter().map(String::as_str));
        let mut scope = world
            .host_scope()
            .env("NOTIFY_SOCKET", &self.path.display().to_string())
            .env("FDSTORE", &self.room);
        if !given.is_empty() {
            scope = scope
                .env("LISTEN_FDS", &given.len().to_string())
                .env("LISTEN_FDNAMES", &names.join(":"));
        }
        let mut command = scope.command(&all)?;
        let count = RawFd::try_from(given.len())?;
        // Copies out of the way, so that none is overwritten before it has its place.
        let copies = given
            .iter()
            .map(|(_, fd)| {
                let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(FIRST + count + 200))?;
                // SAFETY: the kernel has just made the copy.
                Ok(unsafe { OwnedFd::from_raw_fd(raw) })
            })
            .collect::<nix::Result<Vec<_>>>()?;
        // SAFETY: between fork and exec only dup2(2), on descriptors opened before.
        unsafe {
            command.pre_exec(move || {
                for (to, copy) in (FIRST..).zip(&copies) {
                    if libc::dup2(copy.as_raw_fd(), to) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(world.directory().join("netd.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        let mut process = Process::start(&mut command, &all)?;
        let ready = wait_for("netd to answer", 30, || {
            if !process.running() {
                return Some(false);
            }
            let status = world.netctl(&["status"]);
            status.is_ok_and(|output| output.ok).then_some(true)
        });
        ensure!(ready, "netd ended: {}", world.log());
        Ok(process)
    }
}

fn rights(messages: impl Iterator<Item = ControlMessageOwned>) -> Vec<OwnedFd> {
    let raw = messages.filter_map(|message| match message {
        ControlMessageOwned::ScmRights(raw) => Some(raw),
        _ => None,
    });
    // SAFETY: the kernel has just made these descriptors for this process.
    raw.flatten()
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

/// Asks the keeper of a run directory for all that it has, as a user; how many sockets came, `None` when it hung up.
///
/// # Errors
/// When it cannot be reached, or is silent.
pub fn list_keeper(run: &Path, user: u32) -> Result<Option<usize>> {
    // By a descriptor, because the directories above let no others through.
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(run)?;
    let thread = thread::spawn(move || -> Result<Option<usize>> {
        // SAFETY: the system call changes this thread alone, which ends.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) };
        ensure!(done == 0, "setresuid: {}", std::io::Error::last_os_error());
        let kind = SockType::SeqPacket;
        let flags = SockFlag::SOCK_CLOEXEC;
        let keeper = socket(AddressFamily::Unix, kind, flags, None)?;
        setsockopt(&keeper, ReceiveTimeout, &TimeVal::seconds(5))?;
        let path = format!("/proc/thread-self/fd/{}/keeper.sock", directory.as_raw_fd());
        connect(keeper.as_raw_fd(), &UnixAddr::new(path.as_str())?).context(path)?;
        let parts = [IoSlice::new(b"L")];
        let flags = MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<UnixAddr>(keeper.as_raw_fd(), &parts, &[], flags, None) {
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(None),
            other => other?,
        };
        let mut sockets = 0;
        loop {
            let mut bytes = [0; 256];
            let mut space = cmsg_space!([RawFd; 2]);
            let parts = &mut [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let got = recvmsg::<UnixAddr>(keeper.as_raw_fd(), parts, Some(&mut space), flags);
            let got = match got {
                Err(Errno::ECONNRESET) => return Ok(None),
                other => other?,
            };
            sockets += rights(got.cmsgs()?).len();
            match (got.bytes, bytes.first()) {
                (0, _) => return Ok(None),
                (_, Some(b'.')) => return Ok(Some(sockets)),
                _ => {}
            }
        }
    });
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the thread panicked"))?
}
