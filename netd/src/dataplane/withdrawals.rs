//! Ending the flows of withdrawn publications. That takes a walk of the whole table, so those who wait share the next one.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::{affected::Withdrawn, locked};
use crate::error::{Error, Result};

type Waiting = (Vec<Withdrawn>, oneshot::Sender<Result<()>>);

/// What waits for a walk.
#[derive(Default)]
pub struct Withdrawals {
    waiting: Mutex<Vec<Waiting>>,
    walking: tokio::sync::Mutex<()>,
}

impl Withdrawals {
    /// Ends the flows of these; `walk` ends those of many at once, on a thread that may wait.
    pub async fn end<W>(&self, gone: Vec<Withdrawn>, walk: W) -> Result<()>
    where
        W: FnOnce(&[Withdrawn]) -> Result<()> + Send + 'static,
    {
        if gone.is_empty() {
            return Ok(());
        }
        let (done, mut ended) = oneshot::channel();
        locked(&self.waiting).push((gone, done));
        let _one = self.walking.lock().await;
        // Somebody else's walk may have been for these, too.
        if let Ok(result) = ended.try_recv() {
            return result;
        }
        let (all, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut *locked(&self.waiting))
            .into_iter()
            .unzip();
        let all: Arc<[Withdrawn]> = all.into_iter().flatten().collect();
        let result = tokio::task::spawn_blocking(move || walk(&all))
            .await
            .unwrap_or_else(|e| Err(Error::internal("ending flows", e)));
        for one in waiting {
            // One who has gone needs no answer.
            let _ = one.send(result.clone());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use netd_common::addr::Addr;

    use super::*;

    fn withdrawn(port: u16) -> Vec<Withdrawn> {
        vec![Withdrawn {
            addr: Addr::default(),
            protocol: 6,
            ports: (port, port),
            target_port: port,
            targets: vec![1],
        }]
    }

    /// A hundred that wait while one walks share the next walk, and each publication is in one of the two.
    #[tokio::test(flavor = "multi_thread")]
    async fn b15_a_hundred_withdrawals_share_walks() {
        let all = Arc::new(Withdrawals::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let walks = Arc::new(AtomicUsize::new(0));
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let gone = Arc::new(Mutex::new(gone));
        let ask = |port| {
            let (all, seen, gone) = (Arc::clone(&all), Arc::clone(&seen), Arc::clone(&gone));
            let walks = Arc::clone(&walks);
            tokio::spawn(async move {
                all.end(withdrawn(port), move |these| {
                    walks.fetch_add(1, Ordering::SeqCst);
                    // A walk that takes as long as the test wants.
                    locked(&gone).recv().unwrap();
                    locked(&seen).extend(these.iter().map(|w| w.ports.0));
                    Ok(())
                })
                .await
            })
        };
        let mut asked = vec![ask(0)];
        while walks.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        asked.extend((1..=100).map(ask));
        while locked(&all.waiting).len() < 100 {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        go.send(()).unwrap();
        for one in asked {
            one.await.unwrap().unwrap();
        }
        assert_eq!(walks.load(Ordering::SeqCst), 2);
        let mut seen = locked(&seen).clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..=100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn b15_nothing_withdrawn_is_no_walk() {
        let all = Withdrawals::default();
        all.end(Vec::new(), |_| unreachable!()).await.unwrap();
    }
}
