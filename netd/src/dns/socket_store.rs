//! What stores copies of the resolvers' sockets while the daemon is away: a process ([`super::keeper`]) or the service
//! manager ([`super::fd_store`]).

use std::{collections::BTreeMap, os::fd::BorrowedFd};

use super::sockets::Descriptors;
use crate::error::Result;

/// Sockets that an earlier daemon stored, by key.
pub type StoredSockets = BTreeMap<String, Descriptors>;

/// Stores copies of sockets. Its calls may block for some seconds.
pub trait SocketStore: Send {
    /// Stores a sandbox's sockets under this key.
    fn put(&mut self, key: &str, pair: [BorrowedFd<'_>; 2]) -> Result<()>;

    /// Removes the sockets of this key.
    fn remove(&mut self, key: &str) -> Result<()>;

    /// A descriptor that hangs up (POLLHUP) when the store has ended with all that it had; `None`: it outlives the daemon.
    fn hangup(&self) -> Option<BorrowedFd<'_>>;

    /// Replaces a store that has ended or failed.
    fn restart(&mut self);
}
