//! The socket served: its connections, within a bound.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    adapter::{Adapter, Settings},
    http::connection,
    socket::{Socket, identity},
};

/// Connections at once. Docker's clients hold one for each stream that they follow.
const CONNECTIONS: usize = 4_096;

/// Serves until `stop` is cancelled, then removes the socket. Connections that stand go on until their clients end them, or the
/// process ends.
///
/// # Errors
/// When the socket cannot be bound, or opened to its group.
pub async fn serve(settings: Settings, stop: CancellationToken) -> Result<(), String> {
    let adapter = Arc::new(Adapter::new(&settings)?);
    let mut socket = Socket::bind(&settings.socket, settings.group.as_deref())?;
    // By whatever links it is named.
    if let Some(upstream) = &settings.upstream
        && let Ok(there) = upstream.canonicalize()
        && let (Ok(Some(theirs)), Ok(ours)) = (identity(&there), identity(&settings.socket))
        && Some(theirs) == ours
    {
        socket.remove();
        return Err(format!(
            "the Docker engine behind is said to be at {}, which is this very socket: name the engine's own (unix:///run/docker.sock)",
            upstream.display()
        ));
    }
    tracing::info!("Docker's API is served at {}", settings.socket.display());
    let follower = tokio::spawn(Arc::clone(&adapter).follow());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            stream = socket.accept() => stream,
        };
        // Beyond the limit connections wait for their place in the socket's queue.
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let adapter = Arc::clone(&adapter);
        tokio::spawn(async move {
            let _place = place;
            connection::serve(adapter, stream).await;
        });
    }
    follower.abort();
    socket.remove();
    Ok(())
}
