//! One daemon's life: lock, load, reconcile, serve, stop. The data plane stays when it goes.

use std::{fs, path::Path, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    api,
    config::{Config, Instance},
    dataplane::Dataplane,
    directories,
    engine::Engine,
    error::{Error, Result},
    kernel::{Netlink, memory},
    store::Store,
};

/// Every sandbox' namespace is an open file: as many as the system lets us have.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(e) = raised {
        tracing::warn!("raising the limit of open files: {e}");
    }
}

/// Where the gRPC socket is.
pub fn socket(run: &Path) -> std::path::PathBuf {
    run.join("netd.sock")
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(instance: Instance, config: Config) -> Result<()> {
    api::note_start();
    let _held = directories::hold(&instance)?;
    raise_file_limit();
    #[cfg(feature = "failpoints")]
    {
        crate::failpoints::arm("NETD_FAILPOINT_START");
        crate::failpoints::refuse();
    }
    let store = Store::open(&instance.state)?;
    let netlink = Netlink::new()?;
    let dataplane = Arc::new(Dataplane::open(&instance, &config)?);
    let path = socket(&instance.run);
    let engine = Engine::start(instance, config, store, dataplane, netlink).await?;
    #[cfg(feature = "failpoints")]
    crate::failpoints::arm("NETD_FAILPOINT");
    let listener = api::bind(&path)?;
    tracing::info!("serving on {}", path.display());
    memory::give_back();
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|e| Error::internal("SIGTERM", e))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|e| Error::internal("SIGINT", e))?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    // Streams of events never end by themselves: the daemon does not wait for their readers.
    tokio::pin!(stop);
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut serving = tokio::spawn(api::serve(Arc::clone(&engine), listener, async {
        let _ = told.await;
    }));
    tokio::select! {
        ended = &mut serving => return ended.unwrap_or_else(|e| Err(Error::internal("serving gRPC", e))),
        () = &mut stop => {}
    }
    let _ = tell.send(());
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), serving).await;
    engine.finish_questions().await;
    engine.dataplane.end_watches();
    let _ = fs::remove_file(&path);
    tracing::info!("stopped; networks go on without the daemon");
    Ok(())
}
