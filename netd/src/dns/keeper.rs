//! The keeper: a small process that holds the resolvers' sockets while the daemon is away, so that questions wait in
//! them instead of being lost. The daemon hands it a copy of every socket and takes them back at its next start. Their
//! messages are one byte for the operation, then a key; sockets travel beside them (unix(7), SCM_RIGHTS).

use std::{
    collections::BTreeMap,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind,
    connect, listen, recvmsg, sendmsg, socket_with,
};

use crate::error::{Error, Result};

/// The hidden flag by which netd becomes the keeper; its standard input is the socket to listen on.
pub const FLAG: &str = "--keep-sockets";

/// Keep these sockets under this key.
const KEEP: u8 = b'K';
/// Forget this key.
const FORGET: u8 = b'F';
/// Tell all: an [`ENTRY`] for each, then [`END`].
const LIST: u8 = b'L';
/// A key with its sockets.
const ENTRY: u8 = b'E';
/// No more entries.
const END: u8 = b'.';
/// Let go of everything and end.
const QUIT: u8 = b'Q';

/// The longest key, bytes.
const KEY: usize = 128;

/// Sockets of one key.
type Pair = [OwnedFd; 2];

/// Where the keeper of an instance listens.
pub fn path(run: &Path) -> PathBuf {
    run.join("keeper.sock")
}

fn failed(e: rustix::io::Errno) -> Error {
    Error::internal("the keeper of the resolvers' sockets", e)
}

fn send(to: impl AsFd, operation: u8, key: &str, pair: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !pair.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(pair));
    }
    let first = [operation];
    let parts = [IoSlice::new(&first), IoSlice::new(key.as_bytes())];
    sendmsg(to, &parts, &mut beside, SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(failed)
}

/// A message: operation, key, and the sockets that came with it. `None`: the other side has gone.
fn receive(from: impl AsFd) -> Result<Option<(u8, String, Option<Pair>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 1 + KEY];
    let parts = &mut [IoSliceMut::new(&mut bytes)];
    let got = recvmsg(from, parts, &mut beside, RecvFlags::CMSG_CLOEXEC).map_err(failed)?;
    let fds = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds.collect::<Vec<_>>()),
        _ => None,
    });
    let pair = Pair::try_from(fds.flatten().collect::<Vec<_>>()).ok();
    let Some((operation, key)) = bytes[..got.bytes].split_first() else {
        return Ok(None);
    };
    let key = String::from_utf8_lossy(key).into_owned();
    Ok(Some((*operation, key, pair)))
}

/// Is the keeper: serves one daemon after the other until it holds nothing when one goes, or is told to end.
pub fn run() -> Result<()> {
    // As ps(1) and top(1) show it; without a name it serves as well.
    let _ = rustix::thread::set_name(c"netd-keeper");
    let listener = std::io::stdin();
    let mut kept: BTreeMap<String, Pair> = BTreeMap::new();
    loop {
        let daemon = accept_with(&listener, SocketFlags::CLOEXEC).map_err(failed)?;
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

/// The daemon's side.
#[derive(Debug)]
pub struct Keeper(OwnedFd);

impl Keeper {
    /// Reaches the keeper that runs, if one does.
    pub fn find(run: &Path) -> Result<Option<Self>> {
        let socket = seqpacket()?;
        let address = SocketAddrUnix::new(path(run)).map_err(failed)?;
        Ok(connect(&socket, &address).ok().map(|()| Self(socket)))
    }

    /// Reaches the keeper that runs, or starts one.
    pub fn find_or_start(run: &Path) -> Result<Self> {
        if let Some(found) = Self::find(run)? {
            return Ok(found);
        }
        let path = path(run);
        // Left by a keeper that was killed.
        let _ = std::fs::remove_file(&path);
        let listener = seqpacket()?;
        bind(&listener, &SocketAddrUnix::new(&path).map_err(failed)?).map_err(failed)?;
        listen(&listener, 1).map_err(failed)?;
        let fail = |e| Error::internal("starting the keeper of the resolvers' sockets", e);
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
            .map_err(fail)?;
        // Whoever ends first: nothing of the other remains.
        let reap = move || drop(child.wait());
        std::thread::Builder::new()
            .name("keeper".into())
            .stack_size(64 << 10)
            .spawn(reap)
            .map_err(fail)?;
        Self::find(run)?.ok_or_else(|| {
            Error::internal("the keeper of the resolvers' sockets", "it does not answer")
        })
    }

    /// Hands it a copy of a sandbox' sockets.
    pub fn keep(&self, key: &str, pair: [BorrowedFd<'_>; 2]) -> Result<()> {
        send(&self.0, KEEP, key, &pair)
    }

    /// It lets go of its copy.
    pub fn forget(&self, key: &str) -> Result<()> {
        send(&self.0, FORGET, key, &[])
    }

    /// Copies of all that it has.
    pub fn list(&self) -> Result<BTreeMap<String, Pair>> {
        send(&self.0, LIST, "", &[])?;
        let mut all = BTreeMap::new();
        while let Some((operation, key, pair)) = receive(&self.0)? {
            match (operation, pair) {
                (ENTRY, Some(pair)) => drop(all.insert(key, pair)),
                (END, _) => return Ok(all),
                _ => {}
            }
        }
        Err(Error::internal(
            "the keeper of the resolvers' sockets",
            "it ended",
        ))
    }

    /// Ends it, and waits until it has ended.
    pub fn quit(self) -> Result<()> {
        send(&self.0, QUIT, "", &[])?;
        while receive(&self.0).is_ok_and(|m| m.is_some()) {}
        Ok(())
    }
}

fn seqpacket() -> Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socket_with(family, kind, SocketFlags::CLOEXEC, None).map_err(failed)
}
