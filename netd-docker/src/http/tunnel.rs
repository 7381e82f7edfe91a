//! Connections that were taken over: bytes both ways, each direction ended by itself.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;

/// Bytes that are held for each direction.
const BUFFER: usize = 64 << 10;

/// Joins what was upgraded on both sides until both directions have ended. What one side ends is ended at the other, which may
/// go on sending.
pub async fn join(client: OnUpgrade, engine: OnUpgrade) {
    let (client, engine) = match tokio::try_join!(client, engine) {
        Ok(both) => both,
        Err(e) => {
            tracing::debug!("a stream did not begin: {e}");
            return;
        }
    };
    let (mut client, mut engine) = (TokioIo::new(client), TokioIo::new(engine));
    let joined = copy_bidirectional_with_sizes(&mut client, &mut engine, BUFFER, BUFFER);
    if let Err(e) = joined.await {
        tracing::debug!("a stream broke: {e}");
    }
}
