//! The socket: bound, opened to its group, its connections served.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::{
    sys::stat::{Mode, umask},
    unistd::{Gid, Group, chown},
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::adapter::{Adapter, Settings};

/// Connections at once. Docker's clients hold one for each stream that they follow.
const CONNECTIONS: usize = 4_096;
/// How long a client may take for the head of a request, as Docker Engine's.
const HEAD: Duration = Duration::from_secs(300);
/// The longest head of a request, bytes.
const LONGEST_HEAD: usize = 256 << 10;
/// How long to wait where accepting failed: it would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled, then removes the socket. Connections that stand go on until their clients end them, or the
/// process ends.
///
/// # Errors
/// When the socket cannot be bound, or opened to its group.
pub async fn serve(settings: Settings, stop: CancellationToken) -> Result<(), String> {
    let adapter = Arc::new(Adapter::new(&settings)?);
    let listener = bind(&settings.socket, settings.group.as_deref())?;
    tracing::info!("Docker's API is served at {}", settings.socket.display());
    let follower = tokio::spawn(Arc::clone(&adapter).follow());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::warn!("accepting at {}: {e}", settings.socket.display());
                sleep(PAUSE).await;
                continue;
            }
        };
        // Beyond the limit connections wait for their place in the socket's queue.
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let adapter = Arc::clone(&adapter);
        tokio::spawn(async move {
            let _place = place;
            connection(adapter, stream).await;
        });
    }
    follower.abort();
    // Only what was bound here: another process may have taken the name since.
    drop(listener);
    let _ = fs::remove_file(&settings.socket);
    Ok(())
}

async fn connection(adapter: Arc<Adapter>, stream: UnixStream) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let adapter = Arc::clone(&adapter);
        async move {
            let request = request.map(|body| body.map_err(Into::into).boxed());
            Ok::<_, Infallible>(adapter.boxed(request).await)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST_HEAD)
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(e) = served {
        tracing::debug!("a connection: {e}");
    }
}

/// Binds the socket, mode 0660 and of its group, in place of one that nobody listens at.
fn bind(path: &Path, group: Option<&str>) -> Result<UnixListener, String> {
    let failed = |what: &str, e: &dyn std::fmt::Display| {
        format!("{what} the Docker socket {}: {e}", path.display())
    };
    let group = group.map(gid).transpose()?;
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed("looking for", &e)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(format!(
                "{} is there and no socket: another path, or remove it",
                path.display()
            ));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => {
                return Err(format!(
                    "somebody serves {} already (Docker's own engine?): another path for --docker-socket, or stop it",
                    path.display()
                ));
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|e| failed("removing the stale", &e))?;
            }
            Err(e) => return Err(failed("looking at", &e)),
        },
    }
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(|e| failed("making the directory of", &e))?;
    }
    // Nobody may connect before its group is set.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound.map_err(|e| failed("binding", &e))?;
    let opened = match group {
        Some(_) => chown(path, None, group).map_err(io::Error::from),
        None => Ok(()),
    };
    opened
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o660)))
        .map_err(|e| failed("opening to its group", &e))?;
    Ok(listener)
}

/// A group by name or number.
fn gid(name: &str) -> Result<Gid, String> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!(
            "the group {name} of the Docker socket does not exist: groupadd --system {name}, or another one"
        )),
        Err(e) => Err(format!("looking for the group {name}: {e}")),
    }
}
