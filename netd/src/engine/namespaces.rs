//! The namespaces of sandboxes that run: made, opened and held under a name of netd's own, and left.

use std::time::Duration;

use super::{Engine, locked};
use crate::{
    dns::StoredSockets,
    error::{Error, Kind, Result},
    kernel::{Netns, Watch, sandbox as namespace},
    model::{Identity, Origin, ProcessId, Run, Sandbox},
};

/// How often a sandbox that cannot be stopped is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Every answer about a sandbox tells its namespace's identity: it is asked for before somebody needs it.
pub(super) fn identify_later(namespaces: Vec<Netns>) {
    drop(tokio::task::spawn_blocking(move || {
        if let Err(e) = Netns::identify(&namespaces) {
            tracing::debug!("asking for identities of namespaces: {e}");
        }
    }));
}

impl Engine {
    /// Makes or opens a sandbox's namespace with what belongs to it: its name, its files, its resolver. What is there already is
    /// taken as it is.
    pub(super) async fn open_sandbox(&self, sandbox: &Sandbox) -> Result<()> {
        let Some(run) = &sandbox.run else {
            return Ok(());
        };
        let open = self
            .context
            .observations
            .now()
            .running
            .contains_key(&sandbox.id);
        if !open {
            let netns = self.enter(sandbox, run).await?;
            if run.origin != Origin::Made {
                identify_later(vec![netns.clone()]);
            }
            self.note_running(&sandbox.id, netns);
        }
        self.watch_process(sandbox);
        self.make_files(&sandbox.id)?;
        let netns = self
            .context
            .observations
            .now()
            .running
            .get(&sandbox.id)
            .cloned();
        if let Some(netns) = netns {
            self.open_resolver(sandbox, &netns, &mut StoredSockets::new())
                .await;
        }
        Ok(())
    }

    pub(super) fn note_running(&self, id: &str, netns: Netns) {
        self.context.observations.note(|o| {
            o.running.insert(id, netns);
        });
    }

    /// The namespace of a start, under netd's own name.
    async fn enter(&self, sandbox: &Sandbox, run: &Run) -> Result<Netns> {
        match &run.origin {
            Origin::Made => Netns::create_async(&run.netns).await,
            Origin::Host => {
                let host = Netns::current()?;
                host.link(&run.netns)?;
                Ok(host)
            }
            Origin::Foreign {
                source, identity, ..
            } => match self.find_foreign(run, source, identity).await? {
                Some(found) => Ok(found),
                None => Err(Error::new(
                    Kind::NotFound,
                    format!(
                        "the namespace of sandbox {} is gone: {} is another one, or none",
                        sandbox.name,
                        source.display()
                    ),
                )
                .hint("start the sandbox again with the namespace that it has now")),
            },
        }
    }

    /// A namespace that others made, known by what the kernel says it is: by netd's own name, or by the path that it was given by.
    pub(super) async fn find_foreign(
        &self,
        run: &Run,
        source: &std::path::Path,
        identity: &Identity,
    ) -> Result<Option<Netns>> {
        if let Ok(Some(found)) = Netns::open_same(&run.netns, identity) {
            return Ok(Some(found));
        }
        let there = match Netns::open_async(source).await {
            Ok(there) => there,
            Err(e) if matches!(e.kind, Kind::NotFound | Kind::Invalid) => return Ok(None),
            Err(e) => return Err(e),
        };
        if there.identity()? != *identity {
            return Ok(None);
        }
        there.link(&run.netns)?;
        // By our own name, whatever the other path leads to later.
        Netns::open_same(&run.netns, identity)
    }

    /// Makes netd's own name of a sandbox's open namespace anew if others took it away or put something else there. Says whether it
    /// had to be.
    pub(super) async fn mend_namespace(&self, sandbox: &Sandbox) -> Result<bool> {
        let netns = self
            .context
            .observations
            .now()
            .running
            .get(&sandbox.id)
            .cloned();
        let (Some(run), Some(netns)) = (sandbox.run.clone(), netns) else {
            return Ok(false);
        };
        let mended = tokio::task::spawn_blocking(move || {
            let there = Netns::open(&run.netns).and_then(|there| there.inode());
            if there.is_ok_and(|there| netns.inode().is_ok_and(|own| own == there)) {
                return Ok(false);
            }
            // Only a namespace or the empty file below it; what is anything else stays, and is told.
            Netns::remove(&run.netns)?;
            netns.link(&run.netns).map(|()| true)
        });
        mended
            .await
            .unwrap_or_else(|e| Err(Error::internal("naming a namespace", e)))
    }

    /// Stops a sandbox when the process that it was started for ends. Its namespace would live on by netd's own name.
    pub(super) fn watch_process(&self, sandbox: &Sandbox) {
        let Some(Origin::Foreign {
            identity,
            process: Some(process),
            ..
        }) = sandbox.run.as_ref().map(|r| r.origin.clone())
        else {
            return;
        };
        let (engine, id, name) = (
            self.myself.clone(),
            sandbox.id.clone(),
            sandbox.name.clone(),
        );
        let watching = tokio::spawn(async move {
            match Watch::open_same(&process, &identity) {
                Ok(Some(watch)) => watch.ended().await,
                Ok(None) => {}
                Err(e) => return tracing::warn!("sandbox {name}: {e}"),
            }
            let Some(engine) = engine.upgrade() else {
                return;
            };
            // A task of its own: stopping the sandbox ends this one.
            tokio::spawn(async move {
                while let Err(e) = engine.process_ended(&id, process).await {
                    tracing::warn!("stopping sandbox {name}, whose process has ended: {e}");
                    tokio::time::sleep(AGAIN).await;
                }
            });
        });
        let old = locked(&self.watching).insert(sandbox.id.clone(), watching.abort_handle());
        if let Some(old) = old {
            old.abort();
        }
    }

    async fn process_ended(&self, id: &str, process: ProcessId) -> Result<()> {
        let _alone = self.sandbox_locks.alone(id).await;
        let sandbox = self.desired().sandboxes().get(id).cloned();
        let origin = sandbox.as_ref().and_then(|s| Some(&s.run.as_ref()?.origin));
        // It may have been stopped, and started for another one, meanwhile.
        let same =
            matches!(origin, Some(Origin::Foreign { process: Some(p), .. }) if *p == process);
        if same {
            self.stop_locked(id).await?;
        }
        Ok(())
    }

    /// Leaves a sandbox's namespace: its resolver, its addresses in hosts files, netd's own name of it.
    pub(super) async fn close_sandbox(&self, sandbox: &Sandbox) -> Result<()> {
        let Some(run) = &sandbox.run else {
            return Ok(());
        };
        if let Some(watching) = locked(&self.watching).remove(&sandbox.id) {
            watching.abort();
        }
        self.close_resolver(&sandbox.id).await;
        let netns = self
            .context
            .observations
            .note(|o| o.running.remove(&sandbox.id));
        self.leave_files(sandbox);
        if let (Origin::Foreign { .. }, Some(netns)) = (&run.origin, &netns)
            && let Err(e) = namespace::leave(netns).await
        {
            tracing::warn!("leaving the namespace of sandbox {}: {e}", sandbox.name);
        }
        if let Err(e) = Netns::remove(&run.netns) {
            // Not netd's own any more: it stays, and each start says so.
            self.warn(format!("sandbox {}: {e}", sandbox.name));
        }
        Ok(())
    }
}
