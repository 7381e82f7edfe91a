//! One daemon's life: lock, load, reconcile, serve, stop. The data plane stays when it goes.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
};

use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    api,
    config::{Config, Instance},
    dataplane::Dataplane,
    engine::Engine,
    error::{Error, Result},
    kernel::{Netlink, memory},
    store::Store,
};

/// Takes the instance: at most one daemon (or purge) at a time. The lock goes with the process, however it ends.
pub fn lock(instance: &Instance) -> Result<Flock<File>> {
    for directory in [&instance.run, &instance.state] {
        fs::create_dir_all(directory)
            .map_err(|e| Error::internal(format!("creating {}", directory.display()), e))?;
    }
    fs::set_permissions(&instance.state, fs::Permissions::from_mode(0o700))
        .map_err(|e| Error::internal(format!("protecting {}", instance.state.display()), e))?;
    // The state directory's lock guards the store, whatever run directory another daemon uses.
    let path = instance.state.join("netd.lock");
    let fail = |e: &dyn std::fmt::Display| Error::internal(format!("lock {}", path.display()), e);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| fail(&e))?;
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| {
        if e == nix::Error::EWOULDBLOCK {
            Error::conflict(format!(
                "another netd (pid {}) runs instance {} with state {}",
                holder.trim(),
                instance.name,
                instance.state.display()
            ))
            .hint("stop it first, or give another --instance, --state and --run")
        } else {
            fail(&e)
        }
    })?;
    lock.set_len(0).map_err(|e| fail(&e))?;
    let mut file = &*lock;
    std::io::Seek::rewind(&mut file).map_err(|e| fail(&e))?;
    writeln!(file, "{}", std::process::id()).map_err(|e| fail(&e))?;
    Ok(lock)
}

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
    let _lock = lock(&instance)?;
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
