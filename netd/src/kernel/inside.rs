//! Netlink work inside a sandbox's namespace. A netlink socket stays in the namespace where it was opened, so one thread is in
//! there for that moment only; the work itself is a task like any other.

use std::{io, sync::OnceLock};

use super::{Netlink, Netns, SocketMaker, rtnl};
use crate::error::{Error, Result};

/// Who opens them.
fn maker() -> Result<&'static SocketMaker> {
    static MAKER: OnceLock<SocketMaker> = OnceLock::new();
    if let Some(maker) = MAKER.get() {
        return Ok(maker);
    }
    let started = SocketMaker::start("netns-sockets")?;
    Ok(MAKER.get_or_init(|| started))
}

/// Does the work with a socket of the namespace. It waits for the task's turn first, with nothing open: whoever removes links, which
/// is done for many at once, then comes behind all that wait.
pub(super) async fn inside<F, R>(netns: &Netns, work: impl FnOnce(Netlink) -> F + Send) -> Result<R>
where
    F: Future<Output = Result<R>> + Send,
{
    let fail = |e: &dyn std::fmt::Display| Error::internal("a netlink socket in a namespace", e);
    let turn = rtnl::turn().await;
    let runtime = tokio::runtime::Handle::current();
    let open = move || {
        let _within = runtime.enter();
        Netlink::open().map_err(io::Error::other)
    };
    let opened = maker()?.make(netns, open).await;
    let (netlink, connection) = opened.map_err(|e| fail(&e))?;
    let done = work(netlink).await;
    drop(turn);
    // The socket holds the namespace, which may be removed next.
    let _ = connection.await;
    done
}

/// Runs what must be done by a thread inside the namespace, without holding up the runtime.
pub(super) async fn on_thread<R: Send + 'static>(
    netns: &Netns,
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    let netns = netns.clone();
    tokio::task::spawn_blocking(move || netns.run(work))
        .await
        .unwrap_or_else(|e| Err(Error::internal("work in a namespace", e)))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::*;

    /// Threads of this process by name.
    fn threads(named: &str) -> usize {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|t| fs::read_to_string(t.path().join("comm")).ok());
        names.filter(|name| name.trim_end() == named).count()
    }

    /// 500 requests wait for their turn without a thread, and are served by one thread at a time.
    #[test]
    fn b10_requests_in_flight_are_no_threads() {
        const REQUESTS: usize = 500;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("b10")
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let netns = Netns::current().unwrap();
            let most = Arc::new(AtomicUsize::new(0));
            let held = rtnl::turn().await;
            let asked = Arc::new(AtomicUsize::new(0));
            let requests: Vec<_> = (0..REQUESTS)
                .map(|_| {
                    let (netns, asked, most) =
                        (netns.clone(), Arc::clone(&asked), Arc::clone(&most));
                    tokio::spawn(async move {
                        asked.fetch_add(1, Ordering::SeqCst);
                        inside(&netns, async move |netlink| {
                            most.fetch_max(threads("b10"), Ordering::SeqCst);
                            netlink.index_of("lo").await
                        })
                        .await
                    })
                })
                .collect();
            while asked.load(Ordering::SeqCst) < REQUESTS {
                tokio::task::yield_now().await;
            }
            // The workers, and nobody for the requests: threads of a namespace have the name of their own kind.
            let waiting = (threads("b10"), threads("netns"));
            drop(held);
            for request in requests {
                assert!(request.await.unwrap().unwrap().is_some());
            }
            assert!(waiting.0 <= 3 && waiting.1 == 0, "{waiting:?} threads wait");
            let most = most.load(Ordering::SeqCst);
            assert!(most <= 8, "{most} threads");
        });
    }
}
