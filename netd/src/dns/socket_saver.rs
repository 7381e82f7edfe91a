//! Saves copies of the resolvers' sockets in a store that outlives the daemon. One thread speaks to the store, so that
//! nobody else waits for it, and fills a new store when the old one has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd as _,
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use tokio::sync::oneshot;

use super::{
    fd_store::{self, FdStore},
    keeper::{Keeper, KeeperStore},
    socket_store::{SocketStore, StoredSockets},
    sockets::Pair,
};
use crate::error::{Error, Result};

/// How long to wait before replacing a store that ended soon after its start: first and longest wait.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// A store that ran for at least so long is replaced at once.
const STABLE: Duration = Duration::from_secs(30);

enum Command {
    Save(String, Arc<Pair>),
    Remove(String),
    /// Removes what an earlier daemon stored and nobody took over.
    Discard,
    /// Answers when all commands before it are done, or have failed.
    Flush(oneshot::Sender<()>),
}

/// Handle of the thread, which ends when this is dropped.
#[derive(Debug)]
pub struct SocketSaver {
    commands: mpsc::Sender<Command>,
    wake: Arc<EventFd>,
}

impl SocketSaver {
    /// Finds the store and what an earlier daemon put there, and starts the thread. It may wait for some seconds.
    pub fn start(run: &Path) -> Result<(Self, StoredSockets)> {
        let mut stored = fd_store::received();
        let fd_store = FdStore::find(!stored.is_empty());
        let mut held = BTreeSet::new();
        if fd_store.is_some() {
            held.extend(stored.keys().cloned());
        }
        let found = Keeper::find(run).unwrap_or_else(|e| {
            tracing::warn!("{e}; the resolvers' sockets are opened anew");
            None
        });
        let listed = found.map(|keeper| (keeper.list(), keeper));
        let mut process = None;
        match listed {
            Some((Ok(all), keeper)) => {
                if fd_store.is_none() {
                    held.extend(all.keys().cloned());
                    process = Some(keeper);
                } else {
                    // The service manager stores them from now on.
                    end(keeper);
                }
                stored.extend(all);
            }
            Some((Err(e), keeper)) => {
                tracing::warn!("{e}; the resolvers' sockets are opened anew");
                // It would keep their port.
                end(keeper);
            }
            None => {}
        }
        let store: Box<dyn SocketStore> = match fd_store {
            Some(fd_store) => Box::new(fd_store),
            None => Box::new(KeeperStore::new(run, process)),
        };
        Ok((Self::start_thread(store, held)?, stored))
    }

    /// Starts the thread with a store that has these keys.
    fn start_thread(store: Box<dyn SocketStore>, held: BTreeSet<String>) -> Result<Self> {
        let fail = |e: std::io::Error| Error::internal("keeping the resolvers' sockets", e);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags).map_err(|e| fail(e.into()))?;
        let wake = Arc::new(wake);
        let (commands, waiting) = mpsc::channel();
        let saver = Thread {
            store,
            wake: Arc::clone(&wake),
            wanted: BTreeMap::new(),
            missing: BTreeSet::new(),
            held,
            loss: None,
        };
        thread::Builder::new()
            .name("dns-saver".into())
            .spawn(move || saver.run(&waiting))
            .map_err(fail)?;
        Ok(Self { commands, wake })
    }

    fn send(&self, command: Command) {
        // The thread ends with this only.
        let _ = self.commands.send(command);
        let _ = self.wake.write(1);
    }

    /// Saves a sandbox's sockets.
    pub fn save(&self, key: &str, pair: Arc<Pair>) {
        self.send(Command::Save(key.to_owned(), pair));
    }

    /// Removes a sandbox's sockets from the store.
    pub fn remove(&self, key: &str) {
        self.send(Command::Remove(key.to_owned()));
    }

    /// Removes what an earlier daemon stored and this one has not saved since.
    pub fn discard(&self) {
        self.send(Command::Discard);
    }

    /// Waits until the store has all, or failed.
    pub async fn flush(&self) {
        let (done, all) = oneshot::channel();
        self.send(Command::Flush(done));
        let _ = all.await;
    }
}

impl Drop for SocketSaver {
    fn drop(&mut self) {
        // Without a sender the thread ends when it looks.
        self.commands = mpsc::channel().0;
        let _ = self.wake.write(1);
    }
}

/// Ends a keeper that is not needed or does not answer.
fn end(keeper: Keeper) {
    if let Err(e) = keeper.quit() {
        tracing::warn!("{e}");
    }
}

struct Thread {
    store: Box<dyn SocketStore>,
    wake: Arc<EventFd>,
    /// What the store shall have.
    wanted: BTreeMap<String, Arc<Pair>>,
    /// Of these, what the store does not have.
    missing: BTreeSet<String>,
    /// What the store has (keys).
    held: BTreeSet<String>,
    /// When the last store was lost, and how long to wait from then on.
    loss: Option<(Instant, Duration)>,
}

impl Thread {
    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        loop {
            if self.wait() {
                tracing::warn!("what kept the resolvers' sockets has ended; it is replaced");
                self.lost();
            }
            let mut flushes = Vec::new();
            loop {
                match commands.try_recv() {
                    Ok(Command::Flush(done)) => flushes.push(done),
                    Ok(command) => self.apply(command),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.catch_up();
            for done in flushes {
                let _ = done.send(());
            }
        }
    }

    /// Waits for something to do. Says whether the store has ended.
    fn wait(&self) -> bool {
        let mut watched = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        // Its end is reported in any case (poll(2), POLLHUP).
        let end = self.store.hangup();
        watched.extend(end.map(|fd| PollFd::new(fd, PollFlags::empty())));
        let timeout = match self.missing.is_empty() {
            true => PollTimeout::NONE,
            false => {
                let millis = u16::try_from(self.pause().as_millis()).unwrap_or(u16::MAX);
                millis.saturating_add(1).into()
            }
        };
        // An interrupted wait is a short one.
        let _ = poll(&mut watched, timeout);
        let ended = watched.get(1).is_some_and(|fd| fd.any() == Some(true));
        let _ = self.wake.read();
        ended
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Save(key, pair) => {
                if !self.held.contains(&key) {
                    self.missing.insert(key.clone());
                }
                self.wanted.insert(key, pair);
            }
            Command::Remove(key) => {
                self.wanted.remove(&key);
                self.missing.remove(&key);
                self.remove(&key);
            }
            Command::Discard => {
                let wanted = &self.wanted;
                let stray = self.held.iter().filter(|key| !wanted.contains_key(*key));
                let stray: Vec<String> = stray.cloned().collect();
                stray.iter().for_each(|key| self.remove(key));
            }
            Command::Flush(_) => {}
        }
    }

    fn remove(&mut self, key: &str) {
        if self.held.remove(key)
            && let Err(e) = self.store.remove(key)
        {
            tracing::warn!("{e}; it is replaced");
            self.lost();
        }
    }

    /// The store and its content are lost: starts another one and saves everything again, at once unless stores end quickly.
    fn lost(&mut self) {
        self.store.restart();
        self.held.clear();
        self.missing = self.wanted.keys().cloned().collect();
        let now = Instant::now();
        let wait = match self.loss {
            Some((at, wait)) if now < at + STABLE => (wait * 2).clamp(RETRY[0], RETRY[1]),
            _ => Duration::ZERO,
        };
        self.loss = Some((now, wait));
    }

    /// How long the store is left alone.
    fn pause(&self) -> Duration {
        let end = self.loss.map(|(at, wait)| at + wait);
        end.map_or(Duration::ZERO, |at| {
            at.saturating_duration_since(Instant::now())
        })
    }

    /// Saves what the store lacks.
    fn catch_up(&mut self) {
        while self.pause().is_zero()
            && let Some(key) = self.missing.first().cloned()
        {
            let pair = self.wanted.get(&key);
            let saved = pair.map_or(Ok(()), |pair| self.store.put(&key, pair.descriptors()));
            match saved {
                Ok(()) => {
                    self.missing.remove(&key);
                    self.held.insert(key);
                }
                Err(e) => {
                    tracing::warn!("{e}; questions asked while netd restarts would be lost");
                    self.lost();
                }
            }
        }
    }
}
