//! The keeper: a small process that holds the resolvers' sockets while the daemon is away, so that questions wait in
//! them instead of being lost. The daemon gives it a copy of every socket and takes them back at its next start. Their
//! messages are one byte for the operation, then a key; sockets travel beside them (unix(7), SCM_RIGHTS).
//!
//! Neither side waits for the other without end: the daemon ends a keeper that does not answer.

use std::{
    collections::BTreeMap,
    fs,
    io::{IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill},
        socket::{
            AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag,
            SockType, UnixAddr, accept4, bind, connect, getsockopt, listen, recvmsg, sendmsg,
            setsockopt, socket, sockopt,
        },
        stat::{Mode, fchmod},
        time::{TimeVal, TimeValLike as _},
    },
    unistd::{Pid, geteuid},
};

use super::{
    socket_store::{SocketStore, StoredSockets},
    sockets::Descriptors,
};
use crate::error::{Error, Result};

/// The hidden flag by which netd becomes the keeper; its standard input is the socket to listen on.
pub const FLAG: &str = "--keep-sockets";

/// Keep these sockets under this key.
const KEEP: u8 = b'K';
/// Forget this key.
const FORGET: u8 = b'F';
/// List all: an [`ENTRY`] for each, then [`END`].
const LIST: u8 = b'L';
/// A key with its sockets.
const ENTRY: u8 = b'E';
/// No more entries.
const END: u8 = b'.';
/// Let go of everything and end.
const QUIT: u8 = b'Q';

/// The longest key, bytes.
const KEY: usize = 128;

/// How long the other side may take for one message, seconds. It does nothing else, so this is for machines that are overloaded.
const TIMEOUT: i64 = 3;

/// Daemons that wait to be served: one, and those that were killed while they waited.
const BACKLOG: i32 = 16;

/// Where the keeper of an instance listens.
pub fn path(run: &Path) -> PathBuf {
    run.join("keeper.sock")
}

fn failed(e: Errno) -> Error {
    let cause = match e {
        Errno::EAGAIN => "it does not answer".to_owned(),
        other => other.to_string(),
    };
    Error::internal("the keeper of the resolvers' sockets", cause)
}

/// Sending and receiving fail after [`TIMEOUT`].
fn set_timeouts(socket: &OwnedFd) -> nix::Result<()> {
    let timeout = TimeVal::seconds(TIMEOUT);
    setsockopt(socket, sockopt::SendTimeout, &timeout)?;
    setsockopt(socket, sockopt::ReceiveTimeout, &timeout)
}

fn send(to: &OwnedFd, operation: u8, key: &str, pair: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let descriptors: Vec<_> = pair.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let beside = if pair.is_empty() { &[][..] } else { &rights };
    let first = [operation];
    let parts = [IoSlice::new(&first), IoSlice::new(key.as_bytes())];
    sendmsg::<UnixAddr>(to.as_raw_fd(), &parts, beside, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

/// A message: operation, key, and the sockets that came with it.
type Message = (u8, String, Option<Descriptors>);

/// The next message. `None`: the other side has gone.
fn receive(from: &OwnedFd) -> nix::Result<Option<Message>> {
    let mut space = cmsg_space!([std::os::fd::RawFd; 2]);
    let mut bytes = [0; 1 + KEY];
    let (length, descriptors) = {
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let got = recvmsg::<UnixAddr>(from.as_raw_fd(), parts, Some(&mut space), flags)?;
        let mut descriptors = Vec::new();
        for message in got.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows them.
                descriptors.extend(
                    raw.into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
        (got.bytes, descriptors)
    };
    let Some((operation, key)) = bytes.get(..length).and_then(<[u8]>::split_first) else {
        return Ok(None);
    };
    let key = String::from_utf8_lossy(key).into_owned();
    Ok(Some((*operation, key, descriptors.try_into().ok())))
}

fn seqpacket() -> nix::Result<OwnedFd> {
    let kind = SockType::SeqPacket;
    let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    set_timeouts(&socket)?;
    Ok(socket)
}

/// The next daemon, if it is one: the socket's mode keeps others out, and so does this.
fn accept(listener: &impl AsFd) -> nix::Result<Option<OwnedFd>> {
    let raw = match accept4(listener.as_fd().as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        Err(Errno::EINTR | Errno::ECONNABORTED) => return Ok(None),
        other => other?,
    };
    // SAFETY: the kernel has just made this descriptor for this process, and nobody else knows it.
    let daemon = unsafe { OwnedFd::from_raw_fd(raw) };
    let who = getsockopt(&daemon, sockopt::PeerCredentials)?;
    setsockopt(&daemon, sockopt::SendTimeout, &TimeVal::seconds(TIMEOUT))?;
    Ok((who.uid() == geteuid().as_raw()).then_some(daemon))
}

/// Is the keeper: serves one daemon after the other until it holds nothing when one goes, or is asked to end.
pub fn run() -> Result<()> {
    // As ps(1) and top(1) show it; without a name it serves as well.
    let _ = prctl::set_name(c"netd-keeper");
    let listener = std::io::stdin();
    let backlog = Backlog::new(BACKLOG).map_err(failed)?;
    // Whoever connects learns from the kernel who listened last: so that a daemon can find this process.
    listen(&listener, backlog).map_err(failed)?;
    let mut kept: BTreeMap<String, Descriptors> = BTreeMap::new();
    loop {
        let Some(daemon) = accept(&listener).map_err(failed)? else {
            continue;
        };
        while let Ok(Some((operation, key, pair))) = receive(&daemon) {
            match (operation, pair) {
                (KEEP, Some(pair)) => drop(kept.insert(key, pair)),
                (FORGET, _) => drop(kept.remove(&key)),
                (LIST, _) => {
                    for (key, pair) in &kept {
                        if send(&daemon, ENTRY, key, &pair.each_ref().map(AsFd::as_fd)).is_err() {
                            break;
                        }
                    }
                    // A daemon that has gone is noticed by the next receive.
                    let _ = send(&daemon, END, "", &[]);
                }
                (QUIT, _) => return Ok(()),
                // A daemon of another version.
                _ => {}
            }
        }
        if kept.is_empty() {
            return Ok(());
        }
    }
}

/// The daemon's side of a keeper that runs.
#[derive(Debug)]
pub struct Keeper(OwnedFd);

impl Keeper {
    /// Reaches the keeper that runs, if one does.
    pub fn find(run: &Path) -> Result<Option<Self>> {
        let socket = seqpacket().map_err(failed)?;
        let address = UnixAddr::new(&path(run)).map_err(failed)?;
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => {}
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => return Ok(None),
            Err(e) => return Err(failed(e)),
        }
        let who = getsockopt(&socket, sockopt::PeerCredentials).map_err(failed)?;
        if who.uid() != geteuid().as_raw() {
            let owner = format!("it is user {}'s process {}", who.uid(), who.pid());
            return Err(
                Error::internal("the keeper of the resolvers' sockets", owner)
                    .hint(format!("remove {}", path(run).display())),
            );
        }
        Ok(Some(Self(socket)))
    }

    /// Starts one; whatever listened before does so no more.
    fn start(run: &Path) -> Result<(Self, Child)> {
        let path = path(run);
        // Left behind by a keeper that was killed.
        let _ = fs::remove_file(&path);
        let listener = seqpacket().map_err(failed)?;
        // The mode of the name that bind makes is this one less the umask.
        fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed)?;
        let address = UnixAddr::new(&path).map_err(failed)?;
        bind(listener.as_raw_fd(), &address).map_err(failed)?;
        listen(&listener, Backlog::new(BACKLOG).map_err(failed)?).map_err(failed)?;
        // The keeper waits for daemons as long as it lives.
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::seconds(0)).map_err(failed)?;
        // By this path it is this very program, also after its file was replaced.
        let mut child = Command::new("/proc/self/exe")
            .arg0("netd")
            .arg(FLAG)
            .stdin(Stdio::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .map_err(|e| Error::internal("starting the keeper of the resolvers' sockets", e))?;
        match Self::find(run) {
            Ok(Some(keeper)) => Ok((keeper, child)),
            found => {
                let _ = child.kill();
                let _ = child.wait();
                Err(found.err().unwrap_or_else(|| failed(Errno::ECONNREFUSED)))
            }
        }
    }

    /// Copies of all that it has.
    pub fn list(&self) -> Result<StoredSockets> {
        send(&self.0, LIST, "", &[]).map_err(failed)?;
        let mut all = StoredSockets::new();
        while let Some((operation, key, pair)) = receive(&self.0).map_err(failed)? {
            match (operation, pair) {
                (ENTRY, Some(pair)) => drop(all.insert(key, pair)),
                (END, _) => return Ok(all),
                _ => {}
            }
        }
        let ended = Error::internal("the keeper of the resolvers' sockets", "it ended");
        Err(ended)
    }

    /// Ends it, and waits until it has ended; by force if it does not answer.
    pub fn quit(self) -> Result<()> {
        let asked = send(&self.0, QUIT, "", &[]);
        match asked.and_then(|()| self.ended()) {
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(_) => self.kill(),
        }
    }

    /// Waits until its end of the connection is closed.
    fn ended(&self) -> nix::Result<()> {
        loop {
            match receive(&self.0) {
                Ok(Some(_)) => {}
                Ok(None) | Err(Errno::ECONNRESET) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Ends one that does not answer, also if it is stopped.
    fn kill(self) -> Result<()> {
        let who = getsockopt(&self.0, sockopt::PeerCredentials).map_err(failed)?;
        let words = fs::read(format!("/proc/{}/cmdline", who.pid())).unwrap_or_default();
        // One of an older version cannot be found by its connection, and the number may be another's by now.
        if words.split(|b| *b == 0).nth(1) != Some(FLAG.as_bytes()) {
            return Err(failed(Errno::EAGAIN)
                .hint(format!("end the process {FLAG} of this instance by hand")));
        }
        match kill(Pid::from_raw(who.pid()), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(failed(e)),
        }
        self.ended().map_err(failed)
    }
}

/// A keeper process as a [`SocketStore`]; started when there is something to store, unless one runs.
#[derive(Debug)]
pub struct KeeperStore {
    run: PathBuf,
    keeper: Option<Keeper>,
    /// If this daemon started it.
    child: Option<Child>,
}

impl KeeperStore {
    /// Of this run directory; `found`: the one that runs.
    pub fn new(run: &Path, found: Option<Keeper>) -> Self {
        Self {
            run: run.to_owned(),
            keeper: found,
            child: None,
        }
    }

    fn send(&mut self, operation: u8, key: &str, pair: &[BorrowedFd<'_>]) -> Result<()> {
        if self.keeper.is_none() {
            let (keeper, child) = Keeper::start(&self.run)?;
            (self.keeper, self.child) = (Some(keeper), Some(child));
        }
        let keeper = self.keeper.as_ref();
        keeper.map_or(Ok(()), |k| send(&k.0, operation, key, pair).map_err(failed))
    }
}

impl SocketStore for KeeperStore {
    fn put(&mut self, key: &str, pair: [BorrowedFd<'_>; 2]) -> Result<()> {
        self.send(KEEP, key, &pair)
    }

    fn remove(&mut self, key: &str) -> Result<()> {
        match self.keeper {
            Some(_) => self.send(FORGET, key, &[]),
            None => Ok(()),
        }
    }

    fn hangup(&self) -> Option<BorrowedFd<'_>> {
        self.keeper.as_ref().map(|keeper| keeper.0.as_fd())
    }

    fn restart(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It has ended or must: two would answer the next daemon.
            let _ = child.kill();
            let _ = child.wait();
        } else if let Some(Err(e)) = self.keeper.take().map(Keeper::quit) {
            tracing::warn!("{e}");
        }
        self.keeper = None;
    }
}
