//! The service manager's store of descriptors (systemd.service(5), FileDescriptorStoreMax=), in place of a keeper where
//! there is one: it gives back at the next start what it was given, and nothing else needs to run meanwhile.

use std::{
    collections::HashMap,
    env,
    os::fd::{BorrowedFd, FromRawFd as _, OwnedFd},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::sys::socket::{SockType, getsockopt, sockopt};
use sd_notify::NotifyState;

use super::socket_store::{SocketStore, StoredSockets};
use crate::error::{Error, Result};

/// What names of ours begin with; others' descriptors are left alone.
const PREFIX: &str = "netd-dns-";

/// Names may not hold the `:` that parts a key, and keys hold no `-`.
fn name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace(':', "-"))
}

fn key(name: &str) -> Option<String> {
    Some(name.strip_prefix(PREFIX)?.replace('-', ":"))
}

/// The store of the manager that started this process.
#[derive(Debug)]
pub struct FdStore(());

impl FdStore {
    /// Finds it. `received`: whether it gave something back. A manager without room for descriptors drops them in silence, so
    /// it must have said how many it takes (`FDSTORE`, since systemd 254; older ones by `Environment=`).
    pub fn find(received: bool) -> Option<Self> {
        let room = env::var("FDSTORE").ok().and_then(|n| n.parse::<u64>().ok());
        let takes = received || room.is_some_and(|n| n > 0);
        let socket = env::var_os("NOTIFY_SOCKET")?;
        (takes && Path::new(&socket).is_absolute()).then_some(Self(()))
    }
}

/// What the manager gave back to this process. Only the first call has it.
pub fn received() -> StoredSockets {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return StoredSockets::new();
    }
    let listed = match sd_notify::listen_fds_with_names() {
        Ok(listed) => listed,
        Err(e) => {
            tracing::warn!("what the service manager gave back: {e}");
            return StoredSockets::new();
        }
    };
    let mut halves: HashMap<String, [Option<OwnedFd>; 2]> = HashMap::new();
    for (raw, name) in listed {
        let Some(key) = key(&name) else {
            continue;
        };
        // SAFETY: the manager made this descriptor for netd alone (sd_listen_fds(3)), under a name that only this module
        // gives, and it is taken once.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        // They come in any order.
        match getsockopt(&fd, sockopt::SockType) {
            Ok(SockType::Datagram) => halves.entry(key).or_default()[0] = Some(fd),
            Ok(SockType::Stream) => halves.entry(key).or_default()[1] = Some(fd),
            _ => tracing::warn!("{name} of the service manager is no socket of a resolver"),
        }
    }
    let complete = |(key, [udp, tcp]): (String, [Option<OwnedFd>; 2])| Some((key, [udp?, tcp?]));
    halves.into_iter().filter_map(complete).collect()
}

fn failed(e: std::io::Error) -> Error {
    Error::internal("the service manager's store of descriptors", e)
}

impl SocketStore for FdStore {
    fn put(&mut self, key: &str, pair: [BorrowedFd<'_>; 2]) -> Result<()> {
        let name = name(key);
        let state = [
            NotifyState::FdStore,
            NotifyState::FdName(&name),
            // An error of a socket is no end of it.
            NotifyState::Custom("FDPOLL=0"),
        ];
        sd_notify::notify_with_fds(&state, &pair).map_err(failed)
    }

    fn remove(&mut self, key: &str) -> Result<()> {
        let name = name(key);
        let state = [NotifyState::FdStoreRemove, NotifyState::FdName(&name)];
        sd_notify::notify(&state).map_err(failed)
    }

    fn hangup(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn restart(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b12_names_are_such_as_the_manager_takes() {
        let id = "ab".repeat(32);
        let longest = format!("{id}:{}:{}", u64::MAX, u64::MAX);
        let name = name(&longest);
        assert!(name.len() <= 255 && !name.contains(':'), "{name}");
        assert_eq!(key(&name), Some(longest));
        assert_eq!(key("netd.socket"), None);
    }
}
