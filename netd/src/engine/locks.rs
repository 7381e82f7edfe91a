//! Who may work on which object: one request at a time on a sandbox; on a network either its maker or remover alone, or
//! any number of requests that connect sandboxes to it. A sandbox's lock is taken before a network's, never after.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Locks by id, made when they are first asked for.
#[derive(Default)]
pub struct Locks(Mutex<HashMap<String, Arc<RwLock<()>>>>);

/// Alone with an object.
pub type Alone = OwnedRwLockWriteGuard<()>;

/// With others, while nobody is alone with it.
pub type Shared = OwnedRwLockReadGuard<()>;

/// Locks kept before unused ones are looked for.
const KEPT: usize = 1024;

impl Locks {
    fn of(&self, id: &str) -> Arc<RwLock<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(id) {
            return Arc::clone(found);
        }
        if all.len() >= KEPT && all.len().is_power_of_two() {
            all.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(all.entry(id.to_owned()).or_default())
    }

    /// Waits to be alone with an object.
    pub async fn alone(&self, id: &str) -> Alone {
        self.of(id).write_owned().await
    }

    /// Waits until nobody is alone with it.
    pub async fn shared(&self, id: &str) -> Shared {
        self.of(id).read_owned().await
    }

    /// As [`Locks::shared`], of what may be no object at all; nothing is kept of it.
    pub async fn idle(&self, id: &str) {
        let known = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(id).map(Arc::clone)
        };
        if let Some(lock) = known {
            let _free = lock.read().await;
        }
    }

    /// The lock of an object that nobody else can know yet.
    pub fn new_object(&self, id: &str) -> Alone {
        // An id is 256 random bits: the lock is new, so this does not fail; if it did, waiting would be no answer.
        match self.of(id).try_write_owned() {
            Ok(guard) => guard,
            Err(_) => Arc::new(RwLock::new(()))
                .try_write_owned()
                .expect("a lock just made is free"),
        }
    }

    /// Forgets the lock of an object that is gone.
    pub fn forget(&self, id: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }
}
