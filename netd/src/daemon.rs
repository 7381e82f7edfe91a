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
    api::{self, health::HealthState, listen},
    config::{Instance, Source},
    dataplane::Dataplane,
    engine::Engine,
    error::{Error, Result},
    kernel::{Netlink, memory},
    notify,
    reload::Reload,
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

/// Runs until SIGTERM or SIGINT; reads its settings anew at SIGHUP.
pub async fn run(instance: Instance, source: Source) -> Result<()> {
    api::note_start();
    let fail = |what: &'static str| move |e| Error::internal(what, e);
    // From the first moment on: SIGHUP would end the process.
    let mut hangup = signal(SignalKind::hangup()).map_err(fail("SIGHUP"))?;
    let config = source.read()?;
    let _lock = lock(&instance)?;
    raise_file_limit();
    #[cfg(feature = "failpoints")]
    {
        crate::failpoints::arm("NETD_FAILPOINT_START");
        crate::failpoints::refuse();
    }
    let path = socket(&instance.run);
    // What the operator has to mend is said before anything is begun.
    let reload = Reload::new(source, config.clone(), path.clone())?;
    let group = config.listen.group.clone();
    if let Some(group) = &group {
        listen::group_id(group)?;
    }
    let remote = config
        .listen
        .tls()?
        .map(|tls| listen::bind_tcp(tls.address));
    let remote = remote.transpose()?;
    notify::status("starting: adopting networks");
    let store = Store::open(&instance.state)?;
    let netlink = Netlink::new()?;
    let dataplane = Arc::new(Dataplane::open(&instance, &config)?);
    let health = HealthState::new();
    let engine = Engine::start(instance, config, store, dataplane, netlink).await?;
    #[cfg(feature = "failpoints")]
    crate::failpoints::arm("NETD_FAILPOINT");
    let local = listen::bind(&path, group.as_deref())?;
    tracing::info!("serving on {}", path.display());
    if let Some(address) = remote.as_ref().and_then(|tcp| tcp.local_addr().ok()) {
        tracing::info!("serving on {address} by mutual TLS");
    }
    let listeners = api::Listeners {
        local,
        remote: remote.zip(reload.tls()),
    };
    memory::give_back();
    let mut terminate = signal(SignalKind::terminate()).map_err(fail("SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail("SIGINT"))?;
    let settings = api::Settings {
        access: reload.access(),
        health: health.clone(),
    };
    // Streams of events never end by themselves: the daemon does not wait for their readers.
    let (tell, told) = tokio::sync::oneshot::channel();
    let serve = api::serve(Arc::clone(&engine), listeners, settings, async {
        let _ = told.await;
    });
    let mut serving = tokio::spawn(serve);
    notify::ready("serving");
    let reload = Arc::new(reload);
    loop {
        tokio::select! {
            ended = &mut serving => {
                return ended.unwrap_or_else(|e| Err(Error::internal("serving gRPC", e)));
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                let reload = Arc::clone(&reload);
                // Reads files; one at a time, because signals wait meanwhile.
                let _ = tokio::task::spawn_blocking(move || reload.now()).await;
            }
        }
    }
    notify::stopping();
    health.stop();
    let _ = tell.send(());
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), serving).await;
    engine.finish_questions().await;
    engine.dataplane.end_watches();
    let _ = fs::remove_file(&path);
    tracing::info!("stopped; networks go on without the daemon");
    Ok(())
}
