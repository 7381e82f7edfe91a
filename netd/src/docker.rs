//! Docker's API, served within the daemon: a client of netd's own socket on threads of its own, so that what is copied through it
//! holds up no request.

use std::{path::PathBuf, thread};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Docker,
    error::{Error, Result},
};

/// Threads that serve it.
const THREADS: usize = 2;

/// Docker's API as it is served.
#[derive(Debug)]
pub struct Served {
    stop: CancellationToken,
    ended: oneshot::Receiver<std::result::Result<(), String>>,
}

impl Served {
    /// Serves it, if the settings say so; `netd` is the daemon's own socket.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn begin(settings: &Docker, netd: PathBuf) -> Result<Option<Self>> {
        let Some(socket) = settings.socket.clone() else {
            return Ok(None);
        };
        let settings = netd_docker::Settings {
            socket,
            group: settings.group.clone(),
            upstream: settings.upstream()?,
            netd,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("docker")
            .enable_all()
            .build()
            .map_err(|e| Error::internal("starting the threads of the Docker socket", e))?;
        let stop = CancellationToken::new();
        let (tell, ended) = oneshot::channel();
        let until = stop.clone();
        thread::Builder::new()
            .name("docker".into())
            .spawn(move || {
                let served = runtime.block_on(netd_docker::serve(settings, until));
                // Streams that clients follow never end by themselves.
                runtime.shutdown_background();
                let _ = tell.send(served);
            })
            .map_err(|e| Error::internal("starting the Docker socket", e))?;
        Ok(Some(Self { stop, ended }))
    }

    /// Why it has ended by itself. Pending as long as it is served, or if it is not.
    pub async fn failed(served: &mut Option<Self>) -> Error {
        let ended = match served {
            Some(served) => (&mut served.ended).await,
            None => std::future::pending().await,
        };
        let why = match ended {
            Ok(Err(why)) => why,
            Ok(Ok(())) | Err(_) => "it has ended".to_owned(),
        };
        *served = None;
        Error::internal("serving Docker's API", why)
    }

    /// Ends it; its socket is gone afterwards.
    pub async fn end(served: Option<Self>) {
        if let Some(served) = served {
            served.stop.cancel();
            let _ = served.ended.await;
        }
    }
}
