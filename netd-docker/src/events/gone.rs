//! Containers that netd knew: the engine tells of them that they were on `none`, for a client they never were.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::{CancellationToken, DropGuard};

/// How many are remembered by one stream of events.
const MOST: usize = 16_384;

/// Ids of containers that netd has forgotten, as far as its events tell.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    ids: Arc<Mutex<Ids>>,
    known: CancellationToken,
}

#[derive(Debug, Default)]
struct Ids {
    all: HashSet<String>,
    order: VecDeque<String>,
}

impl Gone {
    /// Adds one; the oldest gives way.
    pub fn add(&self, id: &str) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.all.insert(id.to_owned()) {
            ids.order.push_back(id.to_owned());
        }
        if ids.order.len() > MOST
            && let Some(oldest) = ids.order.pop_front()
        {
            ids.all.remove(&oldest);
        }
    }

    /// Whether it is one of them.
    pub fn holds(&self, id: &str) -> bool {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.all.contains(id)
    }

    /// Says that all has been told of the time before.
    pub fn is_known(&self) {
        self.known.cancel();
    }

    /// As [`Gone::is_known`], when what this returns is dropped.
    pub fn is_known_at_the_end(&self) -> DropGuard {
        self.known.clone().drop_guard()
    }

    /// Waits for [`Gone::is_known`].
    pub async fn known(&self) {
        self.known.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n11_as_many_as_fit_are_remembered() {
        let gone = Gone::default();
        for number in 0..=MOST {
            gone.add(&number.to_string());
            gone.add(&number.to_string());
        }
        assert!(!gone.holds("0") && gone.holds("1") && gone.holds(&MOST.to_string()));
    }
}
