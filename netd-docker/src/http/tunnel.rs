//! Connections that were taken over: bytes both ways, each direction ended by itself.

use super::wire::{Wire, copy};

/// Joins both sides until both directions have ended, or one side is gone. What one side ends is ended at the other, which may go
/// on sending; what one side sent before it went reaches the other.
pub async fn join(client: &mut Wire, engine: &mut Wire) {
    let sends = tokio::select! {
        ended = copy(&mut client.from, &mut engine.to) => {
            if let Err(e) = ended {
                tracing::debug!("a stream to the engine broke: {e}");
            }
            false
        }
        ended = copy(&mut engine.from, &mut client.to) => {
            if let Err(e) = ended {
                tracing::debug!("a stream to a client broke: {e}");
            }
            true
        }
    };
    // The other direction goes on, for as long as there is somebody at its far end.
    let (from, to, far) = if sends {
        (&mut client.from, &mut engine.to, &engine.from)
    } else {
        (&mut engine.from, &mut client.to, &client.from)
    };
    tokio::select! {
        _ = copy(from, to) => {}
        () = far.gone() => {}
    }
}
