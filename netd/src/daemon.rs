//! One daemon's life: lock, load, reconcile, serve, stop. The data plane stays when it goes.

use std::{path::Path, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    api::{
        self,
        health::HealthState,
        listen,
        socket::{Place, Socket, group_id},
    },
    config::{Instance, Source},
    dataplane::Dataplane,
    directories,
    docker::Served,
    engine::Engine,
    error::{Error, Result},
    kernel::{Netlink, memory},
    notify,
    reload::Reload,
    store,
};

/// Every sandbox's namespace is an open file: as many as the system lets us have.
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

/// The service that is nothing without the host's hooks.
const NEEDS_HOOKS: &[&str] = &["netd.v1.PortService"];

/// Health is what the store says: without it no request can be done; and whether the host's hooks are whole, without which no
/// published port is reached.
fn follow_health(engine: &Engine, health: &HealthState) {
    let (mut store, mut hooks) = (engine.health(), engine.hooks_health());
    let health = health.clone();
    tokio::spawn(async move {
        loop {
            let (part, changed) = tokio::select! {
                changed = store.changed() => ("store", changed),
                changed = hooks.changed() => ("hooks", changed),
            };
            if changed.is_err() {
                return;
            }
            let (now, needs) = match part {
                "store" => {
                    let store = store.borrow_and_update().clone();
                    let why = |e| format!("the store takes no writes: {e}");
                    (store.map_err(why), &[][..])
                }
                _ => (hooks.borrow_and_update().clone(), NEEDS_HOOKS),
            };
            match now {
                Ok(()) => health.well(part),
                Err(why) => health.broken(part, why, needs),
            }
        }
    });
}

/// Runs until SIGTERM or SIGINT; reads its settings anew at SIGHUP.
pub async fn run(instance: Instance, source: Source) -> Result<()> {
    api::note_start();
    let fail = |what: &'static str| move |e| Error::internal(what, e);
    // From the first moment on: SIGHUP would end the process.
    let mut hangup = signal(SignalKind::hangup()).map_err(fail("SIGHUP"))?;
    let config = source.read()?;
    let held = directories::hold(&instance)?;
    raise_file_limit();
    #[cfg(feature = "failpoints")]
    {
        crate::failpoints::arm("NETD_FAILPOINT_START");
        crate::failpoints::refuse("NETD_FAILPOINT_REFUSE_START");
    }
    let path = socket(&instance.run);
    // What the operator has to mend is said before anything is begun.
    let group = config.listen.group.as_deref().map(group_id);
    let place = Place::new(path.clone(), group.transpose()?);
    let reload = Reload::new(source, config.clone(), Arc::clone(&place))?;
    let remote = config
        .listen
        .tls()?
        .map(|tls| listen::bind_tcp(tls.address));
    let remote = remote.transpose()?;
    notify::status("starting: adopting networks");
    let store = store::open(&instance.state)?;
    let netlink = Netlink::new()?;
    let dataplane = Arc::new(Dataplane::open(&instance, &config, held.name())?);
    let health = HealthState::new();
    let docker = config.docker.clone();
    let engine = Engine::start(instance, config, store, dataplane, netlink).await?;
    follow_health(&engine, &health);
    #[cfg(feature = "failpoints")]
    {
        crate::failpoints::arm("NETD_FAILPOINT");
        crate::failpoints::refuse("NETD_FAILPOINT_REFUSE");
    }
    let local = Socket::bind(Arc::clone(&place))?;
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
    let mut docker = Served::begin(&docker, path.clone())?;
    notify::ready("serving");
    let reload = Arc::new(reload);
    loop {
        tokio::select! {
            ended = &mut serving => {
                return ended.unwrap_or_else(|e| Err(Error::internal("serving gRPC", e)));
            }
            why = Served::failed(&mut docker) => return Err(why),
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
    Served::end(docker).await;
    health.stop();
    let _ = tell.send(());
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), serving).await;
    engine.finish_questions().await;
    engine.dataplane.end_watches();
    place.remove();
    tracing::info!("stopped; networks go on without the daemon");
    Ok(())
}
