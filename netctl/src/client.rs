//! The connection to the daemon, and what its refusals say.

use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};
use tonic_types::StatusExt as _;

/// Connects. Errors name the socket and the way out.
pub async fn connect(address: &str) -> Result<Channel, String> {
    let Some(path) = address.strip_prefix("unix://").map(PathBuf::from) else {
        return Err(format!("invalid address {address:?}: give unix:///PATH"));
    };
    let shown = path.display().to_string();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move {
            tokio::net::UnixStream::connect(path)
                .await
                .map(TokioIo::new)
        }
    });
    // The URI is only the authority of the requests; the connector opens the socket.
    let connected = Endpoint::from_static("http://netd.invalid")
        .connect_with_connector(connector)
        .await;
    connected.map_err(|e| {
        let mut cause = e.to_string();
        let mut source = std::error::Error::source(&e);
        while let Some(inner) = source {
            cause = inner.to_string();
            source = inner.source();
        }
        format!("cannot reach netd at {shown}: {cause} (is the daemon running? start netd, or give --address)")
    })
}

/// A refusal as people read it, with the way out.
pub fn refusal(status: &Status) -> String {
    match status
        .get_details_error_info()
        .and_then(|info| info.metadata.get("hint").cloned())
    {
        Some(hint) => format!("{} ({hint})", status.message()),
        None => status.message().to_owned(),
    }
}
