//! Requests to a daemon that may be killed at any moment, and the killing.

use std::{
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use netd_tests::World;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Soak;

/// How often a request is made again because the daemon was killed meanwhile.
const ATTEMPTS: usize = 20;

/// Parts of refusals that say that a former attempt came to its end.
const DONE: [&str; 6] = [
    "already",
    "not found",
    "no sandbox",
    "no network",
    "no port",
    "is not connected",
];

/// The world; whoever restarts the daemon has it alone.
pub struct Control {
    world: RwLock<World>,
    down: AtomicBool,
    kills: AtomicU64,
}

impl Control {
    pub fn new(world: World) -> Self {
        Self {
            world: RwLock::new(world),
            down: AtomicBool::new(false),
            kills: AtomicU64::new(0),
        }
    }

    /// The world, as soon as the daemon runs.
    pub fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn into_world(self) -> World {
        self.world
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of netctl's. If the daemon is killed meanwhile it is made again, and what the first one had done
    /// already is no refusal then.
    ///
    /// # Errors
    /// Any refusal otherwise.
    pub fn ctl(&self, line: &str) -> Result<()> {
        let mut again = false;
        for _ in 0..ATTEMPTS {
            if again {
                self.wait_until_up();
            }
            let kills = self.kills.load(Ordering::SeqCst);
            let Err(error) = self.world().ctl(line) else {
                return Ok(());
            };
            let text = error.to_string();
            let killed =
                self.down.load(Ordering::SeqCst) || self.kills.load(Ordering::SeqCst) != kills;
            if !killed {
                let refused = DONE.iter().any(|part| text.contains(part));
                return if again && refused { Ok(()) } else { Err(error) };
            }
            again = true;
        }
        bail!("netctl {line}: the daemon was killed each time")
    }

    /// Waits until a daemon that was killed runs again.
    pub fn wait_until_up(&self) {
        while self.down.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(&self) -> Result<()> {
        let pid = self.world().daemon_pid().context("the daemon is gone")?;
        self.down.store(true, Ordering::SeqCst);
        self.kills.fetch_add(1, Ordering::SeqCst);
        // Not by the world's own way, which would wait for requests under way to end first.
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL).context("kill -9")
    }

    fn revive(&self) -> Result<()> {
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        world.kill()?;
        let started = world.start();
        self.down.store(false, Ordering::SeqCst);
        started
    }
}

/// Kills the daemon, leaves it dead for a second, starts it, lets it run for some. This ends no connection.
///
/// # Errors
/// When it does not start again.
pub fn kills(soak: &Soak) -> Result<()> {
    while !soak.over() {
        soak.pause(Duration::from_secs(5));
        soak.ledger
            .change("the daemon killed", &[], || soak.control.kill())?;
        soak.pause(Duration::from_secs(1));
        soak.ledger
            .change("the daemon started", &[], || soak.control.revive())?;
    }
    Ok(())
}
