//! Copies of the resolvers' sockets outlive the daemon in a store: a keeper process, or the service manager. One thread
//! speaks to the store, so that nobody else waits for it, and gives a new one all sockets when the old one has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd as _, BorrowedFd},
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
    keeper::{Keeper, Process},
    manager::{self, Manager},
    sockets::{Descriptors, Pair},
};
use crate::error::{Error, Result};

/// Sockets of an earlier daemon, by key.
pub type Kept = BTreeMap<String, Descriptors>;

/// How long to wait before a store is replaced that did not last: at first, and at most.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// One that lasted for so long is replaced at once.
const LASTING: Duration = Duration::from_secs(30);

/// Where copies of sockets are. Its calls may wait for some seconds.
pub trait Store: Send {
    /// Keeps a sandbox's sockets under this key.
    fn keep(&mut self, key: &str, pair: [BorrowedFd<'_>; 2]) -> Result<()>;

    /// Lets go of this key.
    fn forget(&mut self, key: &str) -> Result<()>;

    /// Hangs up when the store has ended, with all that it had; `None`: it does not end before the daemon.
    fn end(&self) -> Option<BorrowedFd<'_>>;

    /// Another store in place of one that has ended or failed.
    fn renew(&mut self);
}

enum Command {
    Keep(String, Arc<Pair>),
    Forget(String),
    /// Forgets what was kept of an earlier daemon and nobody took over.
    Discard,
    /// Answers when all before has been done, or cannot be.
    Flush(oneshot::Sender<()>),
}

/// The way to the thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Keeping {
    commands: mpsc::Sender<Command>,
    wake: Arc<EventFd>,
}

impl Keeping {
    /// Finds the store and what an earlier daemon put there, and starts the thread. It may wait for some seconds.
    pub fn start(run: &Path) -> Result<(Self, Kept)> {
        let mut kept = manager::given();
        let manager = Manager::find(!kept.is_empty());
        let mut held = BTreeSet::new();
        if manager.is_some() {
            held.extend(kept.keys().cloned());
        }
        let found = Keeper::find(run).unwrap_or_else(|e| {
            tracing::warn!("{e}; the resolvers' sockets are opened anew");
            None
        });
        let listed = found.map(|keeper| (keeper.list(), keeper));
        let mut process = None;
        match listed {
            Some((Ok(all), keeper)) => {
                if manager.is_none() {
                    held.extend(all.keys().cloned());
                    process = Some(keeper);
                } else {
                    // From now on the manager has them.
                    end(keeper);
                }
                kept.extend(all);
            }
            Some((Err(e), keeper)) => {
                tracing::warn!("{e}; the resolvers' sockets are opened anew");
                // It would keep their port.
                end(keeper);
            }
            None => {}
        }
        let store: Box<dyn Store> = match manager {
            Some(manager) => Box::new(manager),
            None => Box::new(Process::new(run, process)),
        };
        Ok((Self::of(store, held)?, kept))
    }

    /// With a store that has these keys.
    fn of(store: Box<dyn Store>, held: BTreeSet<String>) -> Result<Self> {
        let fail = |e: std::io::Error| Error::internal("keeping the resolvers' sockets", e);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags).map_err(|e| fail(e.into()))?;
        let wake = Arc::new(wake);
        let (commands, waiting) = mpsc::channel();
        let keeping = Thread {
            store,
            wake: Arc::clone(&wake),
            wanted: BTreeMap::new(),
            missing: BTreeSet::new(),
            held,
            loss: None,
        };
        thread::Builder::new()
            .name("dns-kept".into())
            .spawn(move || keeping.run(&waiting))
            .map_err(fail)?;
        Ok(Self { commands, wake })
    }

    fn send(&self, command: Command) {
        // The thread ends with this only.
        let _ = self.commands.send(command);
        let _ = self.wake.write(1);
    }

    /// Keeps a sandbox's sockets.
    pub fn keep(&self, key: &str, pair: Arc<Pair>) {
        self.send(Command::Keep(key.to_owned(), pair));
    }

    /// Lets go of a sandbox's sockets.
    pub fn forget(&self, key: &str) {
        self.send(Command::Forget(key.to_owned()));
    }

    /// Lets go of all that was there at the start and is not kept since.
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

impl Drop for Keeping {
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
    store: Box<dyn Store>,
    wake: Arc<EventFd>,
    /// What shall be kept.
    wanted: BTreeMap<String, Arc<Pair>>,
    /// Of these, what the store does not have.
    missing: BTreeSet<String>,
    /// What the store has.
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
                    Ok(command) => self.take(command),
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
        let end = self.store.end();
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

    fn take(&mut self, command: Command) {
        match command {
            Command::Keep(key, pair) => {
                if !self.held.contains(&key) {
                    self.missing.insert(key.clone());
                }
                self.wanted.insert(key, pair);
            }
            Command::Forget(key) => {
                self.wanted.remove(&key);
                self.missing.remove(&key);
                self.forget(&key);
            }
            Command::Discard => {
                let wanted = &self.wanted;
                let stray = self.held.iter().filter(|key| !wanted.contains_key(*key));
                let stray: Vec<String> = stray.cloned().collect();
                stray.iter().for_each(|key| self.forget(key));
            }
            Command::Flush(_) => {}
        }
    }

    fn forget(&mut self, key: &str) {
        if self.held.remove(key)
            && let Err(e) = self.store.forget(key)
        {
            tracing::warn!("{e}; it is replaced");
            self.lost();
        }
    }

    /// The store has nothing; another one gets all: at once, unless this one did not last.
    fn lost(&mut self) {
        self.store.renew();
        self.held.clear();
        self.missing = self.wanted.keys().cloned().collect();
        let now = Instant::now();
        let wait = match self.loss {
            Some((at, wait)) if now < at + LASTING => (wait * 2).clamp(RETRY[0], RETRY[1]),
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

    /// Gives the store what it does not have.
    fn catch_up(&mut self) {
        while self.pause().is_zero()
            && let Some(key) = self.missing.first().cloned()
        {
            let pair = self.wanted.get(&key);
            let kept = pair.map_or(Ok(()), |pair| self.store.keep(&key, pair.descriptors()));
            match kept {
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
