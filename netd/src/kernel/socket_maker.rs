//! Sockets in the namespaces of sandboxes, made by one thread, which returns to the host's namespace after each, so that it
//! keeps no namespace alive. However fast questions come, there is one thread.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use nix::sched::{CloneFlags, setns};
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::{Error, Result},
    kernel::Netns,
};

/// Length of the queue; callers wait while it is full.
const QUEUE: usize = 256;

/// Work to do in a namespace; it is passed the error if the namespace could not be entered.
struct Job {
    netns: Netns,
    work: Box<dyn FnOnce(io::Result<()>) + Send>,
}

/// Handle of the thread, which ends when this is dropped.
#[derive(Debug)]
pub struct SocketMaker {
    jobs: mpsc::Sender<Job>,
}

impl SocketMaker {
    /// Starts the thread; `name`: what it is called.
    pub fn start(name: &str) -> Result<Self> {
        let host = Netns::current()?;
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE);
        let enter = |netns: &Netns| setns(netns.fd(), CloneFlags::CLONE_NEWNET);
        let serve = move || {
            while let Some(Job { netns, work }) = waiting.blocking_recv() {
                // One that panics answers nobody; the next ones are answered.
                let work = AssertUnwindSafe(|| work(enter(&netns).map_err(io::Error::from)));
                if catch_unwind(work).is_err() {
                    tracing::error!("making a socket in a namespace: it panicked");
                }
                if let Err(e) = enter(&host) {
                    // The next job enters its own namespace all the same.
                    tracing::error!("back into the host's network namespace: {e}");
                }
            }
        };
        thread::Builder::new()
            .name(name.into())
            .spawn(serve)
            .map_err(|e| Error::internal("starting a thread", e))?;
        Ok(Self { jobs })
    }

    /// Runs `make` in the namespace and returns its socket. `make` must not block.
    pub async fn make<T: Send + 'static>(
        &self,
        netns: &Netns,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (done, made) = oneshot::channel();
        let work = Box::new(move |entered: io::Result<()>| {
            // Nothing to make if the caller has given up.
            if !done.is_closed() {
                let _ = done.send(entered.and_then(|()| make()));
            }
        });
        let netns = netns.clone();
        let gone = || io::Error::other("the thread for it has ended");
        let job = Job { netns, work };
        self.jobs.send(job).await.map_err(|_| gone())?;
        made.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn b10_one_thread_makes_all_sockets() {
        let maker = SocketMaker::start("b10-sockets").unwrap();
        let here = Netns::current().unwrap();
        let mut makers = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let make = || Ok(format!("{:?}", thread::current().id()));
            makers.insert(maker.make(&here, make).await.unwrap());
        }
        assert_eq!(makers.len(), 1);
    }
}
