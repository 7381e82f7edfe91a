//! The gRPC services: requests in, engine calls, messages out. No decision is made here.

pub mod access;
mod audit;
mod bounds;
mod convert;
mod drops;
mod endpoints;
mod filter;
mod flow_message;
mod flow_watch;
mod flows;
pub mod health;
mod holders;
pub mod listen;
mod listen_limits;
mod mask;
mod names;
mod networks;
mod page;
mod ports;
mod reasons;
mod requests;
mod resolve;
mod sandboxes;
pub mod socket;
mod status;
mod subject;
mod system;
pub mod tls;
mod watch;

pub use system::note_start;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use netd_proto::v1::{
    self, endpoint_service_server::EndpointServiceServer, event_service_server::EventServiceServer,
    flow_service_server::FlowServiceServer, name_service_server::NameServiceServer,
    network_service_server::NetworkServiceServer, port_service_server::PortServiceServer,
    sandbox_service_server::SandboxServiceServer, system_service_server::SystemServiceServer,
};
use tokio::net::TcpListener;
use tonic::{service::Routes, transport::Server};

use self::{
    access::Access,
    audit::{Door, LONGEST},
    health::HealthState,
};

use crate::{
    engine::Engine,
    error::{Error, Kind, Result},
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

/// The id of what was removed, or none where there was nothing and the request allows that.
fn removed_id(removed: Result<String>, allow_missing: bool) -> Result<String> {
    match removed {
        Err(e) if allow_missing && e.kind == Kind::NotFound => Ok(String::new()),
        removed => removed,
    }
}

/// Where the API is served.
#[derive(Debug)]
pub struct Listeners {
    /// The socket.
    pub local: socket::Socket,
    /// TCP, always with TLS.
    pub remote: Option<(TcpListener, Arc<tls::Tls>)>,
}

/// What of the API changes while it is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may do what over TCP.
    pub access: Arc<ArcSwap<Access>>,
    /// What the health service answers.
    pub health: HealthState,
}

/// How often a connection is asked whether its client is still there, and how long the answer may take.
const KEEPALIVE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(20)];
/// Requests of one connection over TCP that are worked on at once; a client's further ones wait.
const STREAMS_REMOTE: u32 = 64;
/// The same of a local one.
const STREAMS_LOCAL: u32 = 1024;
/// Bytes of a request's headers: netd reads none but gRPC's own.
const HEADERS: u32 = 8 << 10;

/// Serves until `shutdown` ends.
pub async fn serve(
    engine: Arc<Engine>,
    listeners: Listeners,
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let api = Api {
        engine,
        flows: flows::Limits::default(),
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(health::report(settings.health.watch(), reporter));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|e| Error::internal("starting server reflection", e))?;
    let mut routes = Routes::builder();
    routes
        .add_service(health)
        .add_service(reflection)
        .add_service(NetworkServiceServer::new(api.clone()).max_decoding_message_size(LONGEST))
        .add_service(EndpointServiceServer::new(api.clone()).max_decoding_message_size(LONGEST))
        .add_service(SandboxServiceServer::new(api.clone()).max_decoding_message_size(LONGEST))
        .add_service(PortServiceServer::new(api.clone()).max_decoding_message_size(LONGEST))
        .add_service(FlowServiceServer::new(api.clone()).max_decoding_message_size(LONGEST))
        .add_service(NameServiceServer::new(api.clone()).max_decoding_message_size(LONGEST))
        .add_service(SystemServiceServer::new(api.clone()).max_decoding_message_size(LONGEST))
        .add_service(EventServiceServer::new(api).max_decoding_message_size(LONGEST));
    let routes = routes.routes();
    let door = Door::new(settings.access);
    let server = |streams: u32| {
        let [every, patience] = KEEPALIVE;
        Server::builder()
            .max_concurrent_streams(streams)
            .http2_max_header_list_size(HEADERS)
            .http2_keepalive_interval(Some(every))
            .http2_keepalive_timeout(Some(patience))
            .layer(door.clone())
            .add_routes(routes.clone())
    };
    let shutdown = shutdown.shared();
    let local = server(STREAMS_LOCAL)
        .serve_with_incoming_shutdown(listen::local(listeners.local), shutdown.clone());
    let remote = async {
        match listeners.remote {
            None => Ok(()),
            Some((listener, tls)) => {
                server(STREAMS_REMOTE)
                    .serve_with_incoming_shutdown(listen::remote(listener, tls), shutdown.clone())
                    .await
            }
        }
    };
    tokio::try_join!(local, remote)
        .map(drop)
        .map_err(|e| Error::internal("serving gRPC", e))
}
