//! The gRPC services: requests in, engine calls, messages out. No decision is made here.

mod bounds;
mod convert;
mod drops;
mod endpoints;
mod filter;
mod flow_message;
mod flow_watch;
mod flows;
mod holders;
mod mask;
mod names;
mod networks;
mod page;
mod ports;
mod reasons;
mod requests;
mod resolve;
mod sandboxes;
mod status;
mod subject;
mod system;
mod watch;

pub use system::note_start;

use std::{path::Path, sync::Arc};

use netd_proto::v1::{
    self, endpoint_service_server::EndpointServiceServer, event_service_server::EventServiceServer,
    flow_service_server::FlowServiceServer, name_service_server::NameServiceServer,
    network_service_server::NetworkServiceServer, port_service_server::PortServiceServer,
    sandbox_service_server::SandboxServiceServer, system_service_server::SystemServiceServer,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::{
    engine::Engine,
    error::{Error, Result},
};

/// Result of a call.
type Answer<T> = std::result::Result<tonic::Response<T>, tonic::Status>;

/// All services over one engine.
#[derive(Clone)]
struct Api {
    engine: Arc<Engine>,
    flows: flows::Limits,
}

impl Api {
    /// Does a request to its end, also when the client that sent it has gone: nothing is left half-made.
    async fn whole<T, F>(&self, work: impl FnOnce(Arc<Engine>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        tokio::spawn(work(Arc::clone(&self.engine)))
            .await
            .unwrap_or_else(|e| Err(Error::internal("a request", e)))
    }
}

/// Binds the socket: mode 0660, in place of a stale one (the instance's lock is held).
pub fn bind(path: &Path) -> Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let fail = |e: std::io::Error| Error::internal(format!("socket {}", path.display()), e);
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail(e)),
        _ => {}
    }
    // Between bind and chmod the mode is the umask's: nobody else may come in even then.
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o117));
    let bound = UnixListener::bind(path);
    nix::sys::stat::umask(old);
    let listener = bound.map_err(fail)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(fail)?;
    Ok(listener)
}

/// Serves until `shutdown` ends.
pub async fn serve(
    engine: Arc<Engine>,
    listener: UnixListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let api = Api {
        engine,
        flows: flows::Limits::default(),
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|e| Error::internal("starting server reflection", e))?;
    Server::builder()
        .layer(tonic::service::InterceptorLayer::new(log_peer))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(NetworkServiceServer::new(api.clone()))
        .add_service(EndpointServiceServer::new(api.clone()))
        .add_service(SandboxServiceServer::new(api.clone()))
        .add_service(PortServiceServer::new(api.clone()))
        .add_service(FlowServiceServer::new(api.clone()))
        .add_service(NameServiceServer::new(api.clone()))
        .add_service(SystemServiceServer::new(api.clone()))
        .add_service(EventServiceServer::new(api))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown)
        .await
        .map_err(|e| Error::internal("serving gRPC", e))
}

/// Who asks, by SO_PEERCRED.
#[allow(
    clippy::result_large_err,
    reason = "tonic's interceptors have this signature"
)]
fn log_peer(request: tonic::Request<()>) -> std::result::Result<tonic::Request<()>, tonic::Status> {
    if let Some(peer) = request
        .extensions()
        .get::<tonic::transport::server::UdsConnectInfo>()
        && let Some(cred) = peer.peer_cred
    {
        tracing::debug!(uid = cred.uid(), pid = cred.pid(), "request");
    }
    Ok(request)
}
