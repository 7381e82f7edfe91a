//! The way into other namespaces: one thread makes sockets there for all who ask, one after the other, and is at home in
//! between, so that no namespace is kept alive by it. How fast questions come changes nothing about the threads there are.

use std::{io, thread};

use nix::sched::{CloneFlags, setns};
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::{Error, Result},
    kernel::Netns,
};

/// Requests that may be on their way; further ones wait.
const QUEUE: usize = 256;

/// Work in a namespace, with the error if that could not be entered.
struct Job {
    netns: Netns,
    work: Box<dyn FnOnce(io::Result<()>) + Send>,
}

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Entrance {
    jobs: mpsc::Sender<Job>,
}

impl Entrance {
    /// Starts the thread.
    pub fn start() -> Result<Self> {
        let home = Netns::current()?;
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE);
        let enter = |netns: &Netns| setns(netns.fd(), CloneFlags::CLONE_NEWNET);
        let serve = move || {
            while let Some(Job { netns, work }) = waiting.blocking_recv() {
                work(enter(&netns).map_err(io::Error::from));
                if let Err(e) = enter(&home) {
                    // The next one enters its own all the same.
                    tracing::error!("back into the host's network namespace: {e}");
                }
            }
        };
        thread::Builder::new()
            .name("dns-sockets".into())
            .spawn(serve)
            .map_err(|e| Error::internal("starting a thread", e))?;
        Ok(Self { jobs })
    }

    /// What `make` makes inside; it must not wait.
    pub async fn make<T: Send + 'static>(
        &self,
        netns: &Netns,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (done, made) = oneshot::channel();
        let work = Box::new(move |entered: io::Result<()>| {
            // Who asked may not wait any more: then nothing is made.
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
        let entrance = Entrance::start().unwrap();
        let here = Netns::current().unwrap();
        let mut makers = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let make = || Ok(format!("{:?}", thread::current().id()));
            makers.insert(entrance.make(&here, make).await.unwrap());
        }
        assert_eq!(makers.len(), 1);
    }
}
