//! A daemon of memory only: enough answers for netctl's tests, and a record of what was asked.

use std::{
    collections::HashMap,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use netd_proto::v1::{
    endpoint_service_server::{EndpointService, EndpointServiceServer},
    event_service_server::EventServiceServer,
    flow_service_server::FlowServiceServer,
    network_service_server::{NetworkService, NetworkServiceServer},
    port_service_server::{PortService, PortServiceServer},
    sandbox_service_server::{SandboxService, SandboxServiceServer},
    system_service_server::SystemServiceServer,
    *,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    flow::Flows,
    system::{Events, System},
};

/// Result of a call.
pub type Answer<T> = Result<Response<T>, Status>;

/// What arrived, in order.
#[derive(Default)]
pub struct Seen {
    pub prunes: Vec<PruneNetworksRequest>,
    pub connects: Vec<ConnectRequest>,
    pub creates: Vec<CreateSandboxRequest>,
    pub starts: Vec<StartSandboxRequest>,
    pub stops: Vec<String>,
    pub flows: Vec<ListFlowsRequest>,
    pub deletes: Vec<DeleteFlowsRequest>,
    pub drops: Vec<WatchDropsRequest>,
}

/// Shared by the services and the test.
pub type Shared = Arc<Mutex<Seen>>;

#[derive(Default)]
struct Networks(Mutex<Vec<Network>>, Shared);

fn missing(what: &str, name: &str) -> Status {
    let metadata = HashMap::from([("hint".to_owned(), format!("`netctl {what} ls` lists them"))]);
    let details = ErrorDetails::with_error_info("NOT_FOUND", "netd", metadata);
    Status::with_error_details(Code::NotFound, format!("{what} {name} not found"), details)
}

#[tonic::async_trait]
impl NetworkService for Networks {
    async fn create_network(&self, request: Request<CreateNetworkRequest>) -> Answer<Network> {
        let request = request.into_inner();
        let mut all = self.0.lock().unwrap();
        if all.iter().any(|network| network.name == request.name) {
            let message = format!("network with name {} already exists", request.name);
            return Err(Status::already_exists(message));
        }
        let network = Network {
            id: format!("{:064x}", all.len() + 1),
            name: request.name,
            driver: request.driver,
            scope: "local".into(),
            enable_ipv4: request.enable_ipv4.unwrap_or(true),
            enable_ipv6: request.enable_ipv6,
            internal: request.internal,
            ipam: request.ipam,
            options: request.options,
            labels: request.labels,
            ..Default::default()
        };
        all.push(network.clone());
        Ok(Response::new(network))
    }

    async fn list_networks(&self, _: Request<ListNetworksRequest>) -> Answer<ListNetworksResponse> {
        let networks = self.0.lock().unwrap().clone();
        Ok(Response::new(ListNetworksResponse { networks }))
    }

    async fn get_network(&self, request: Request<GetNetworkRequest>) -> Answer<Network> {
        let name = request.into_inner().network;
        let all = self.0.lock().unwrap();
        let found = all.iter().find(|network| network.name == name).cloned();
        found
            .map(Response::new)
            .ok_or_else(|| missing("network", &name))
    }

    async fn remove_network(
        &self,
        request: Request<RemoveNetworkRequest>,
    ) -> Answer<RemoveNetworkResponse> {
        let name = request.into_inner().network;
        let mut all = self.0.lock().unwrap();
        let at = all.iter().position(|network| network.name == name);
        let at = at.ok_or_else(|| missing("network", &name))?;
        let id = all.remove(at).id;
        Ok(Response::new(RemoveNetworkResponse { id }))
    }

    async fn prune_networks(
        &self,
        request: Request<PruneNetworksRequest>,
    ) -> Answer<PruneNetworksResponse> {
        self.1.lock().unwrap().prunes.push(request.into_inner());
        let all = std::mem::take(&mut *self.0.lock().unwrap());
        let names = all.into_iter().map(|network| network.name).collect();
        Ok(Response::new(PruneNetworksResponse { names }))
    }
}

struct Endpoints(Shared);

#[tonic::async_trait]
impl EndpointService for Endpoints {
    async fn connect_sandbox(&self, request: Request<ConnectRequest>) -> Answer<Endpoint> {
        let request = request.into_inner();
        let endpoint = Endpoint {
            network_name: request.network.clone(),
            links: request.links.clone(),
            ..Default::default()
        };
        self.0.lock().unwrap().connects.push(request);
        Ok(Response::new(endpoint))
    }

    async fn disconnect_sandbox(
        &self,
        request: Request<DisconnectRequest>,
    ) -> Answer<DisconnectResponse> {
        let endpoint_id = if request.into_inner().force {
            "forced"
        } else {
            ""
        };
        Ok(Response::new(DisconnectResponse {
            endpoint_id: endpoint_id.into(),
        }))
    }

    async fn list_endpoints(
        &self,
        _: Request<ListEndpointsRequest>,
    ) -> Answer<ListEndpointsResponse> {
        Ok(Response::new(ListEndpointsResponse::default()))
    }
}

/// Knows one sandbox, `web`, in the namespace of this process.
struct Sandboxes(Shared);

#[tonic::async_trait]
impl SandboxService for Sandboxes {
    async fn create_sandbox(&self, request: Request<CreateSandboxRequest>) -> Answer<Sandbox> {
        let request = request.into_inner();
        let sandbox = Sandbox {
            id: "5".repeat(64),
            name: request.name.clone(),
            ..Default::default()
        };
        self.0.lock().unwrap().creates.push(request);
        Ok(Response::new(sandbox))
    }

    async fn list_sandboxes(
        &self,
        _: Request<ListSandboxesRequest>,
    ) -> Answer<ListSandboxesResponse> {
        let web = Sandbox {
            id: "5".repeat(64),
            name: "web".into(),
            netns_path: "/proc/self/ns/net".into(),
            running: true,
            ..Default::default()
        };
        let idle = Sandbox {
            id: "6".repeat(64),
            name: "idle".into(),
            attachments: vec![ConnectRequest {
                network: "front".into(),
                ipv4_address: "10.0.0.9".into(),
                ..Default::default()
            }],
            exposed: vec![PortSpec {
                port_first: 80,
                port_last: 81,
                ..Default::default()
            }],
            ..Default::default()
        };
        let gone = Sandbox {
            id: "7".repeat(64),
            name: "gone".into(),
            netns_path: "/proc/self/no-such-namespace".into(),
            ..Default::default()
        };
        let sandboxes = vec![web, idle, gone];
        Ok(Response::new(ListSandboxesResponse { sandboxes }))
    }

    async fn get_sandbox(&self, request: Request<GetSandboxRequest>) -> Answer<Sandbox> {
        let name = request.into_inner().sandbox;
        let netns_path = match name.as_str() {
            "web" => "/proc/self/ns/net",
            "gone" => "/proc/self/no-such-namespace",
            _ => return Err(missing("sandbox", &name)),
        };
        Ok(Response::new(Sandbox {
            name,
            netns_path: netns_path.into(),
            ..Default::default()
        }))
    }

    async fn start_sandbox(&self, request: Request<StartSandboxRequest>) -> Answer<Sandbox> {
        let request = request.into_inner();
        if request.sandbox == "web" {
            return Err(Status::failed_precondition("sandbox web is running"));
        }
        let name = request.sandbox.clone();
        self.0.lock().unwrap().starts.push(request);
        Ok(Response::new(Sandbox {
            name,
            ..Default::default()
        }))
    }

    async fn stop_sandbox(&self, request: Request<StopSandboxRequest>) -> Answer<Sandbox> {
        let name = request.into_inner().sandbox;
        if name == "nosuch" {
            return Err(missing("sandbox", &name));
        }
        self.0.lock().unwrap().stops.push(name);
        Ok(Response::new(Sandbox::default()))
    }

    async fn remove_sandbox(
        &self,
        request: Request<RemoveSandboxRequest>,
    ) -> Answer<RemoveSandboxResponse> {
        Err(missing("sandbox", &request.into_inner().sandbox))
    }
}

struct Ports;

#[tonic::async_trait]
impl PortService for Ports {
    async fn publish(&self, request: Request<PublishRequest>) -> Answer<PublishResponse> {
        let request = request.into_inner();
        let publications = request.specs.into_iter().map(|mut spec| {
            // A stopped sandbox gets its ports when it starts.
            if spec.host_port_first == 0 && request.sandbox != "idle" {
                (spec.host_port_first, spec.host_port_last) = (40000, 40000);
            }
            Publication {
                sandbox_name: request.sandbox.clone(),
                spec: Some(spec),
                ..Default::default()
            }
        });
        Ok(Response::new(PublishResponse {
            publications: publications.collect(),
        }))
    }

    async fn unpublish(&self, _: Request<UnpublishRequest>) -> Answer<UnpublishResponse> {
        Ok(Response::new(UnpublishResponse {}))
    }

    async fn list_publications(
        &self,
        _: Request<ListPublicationsRequest>,
    ) -> Answer<ListPublicationsResponse> {
        Ok(Response::new(ListPublicationsResponse::default()))
    }
}

/// A daemon that ends with the test.
pub struct Daemon {
    pub directory: tempfile::TempDir,
    pub seen: Shared,
    _runtime: tokio::runtime::Runtime,
}

impl Daemon {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let path = directory.path().join("netd.sock");
        let entered = runtime.enter();
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        let seen = Shared::default();
        let networks = Networks(Mutex::default(), seen.clone());
        let server = Server::builder()
            .add_service(NetworkServiceServer::new(networks))
            .add_service(EndpointServiceServer::new(Endpoints(seen.clone())))
            .add_service(SandboxServiceServer::new(Sandboxes(seen.clone())))
            .add_service(PortServiceServer::new(Ports))
            .add_service(FlowServiceServer::new(Flows(seen.clone())))
            .add_service(SystemServiceServer::new(System(seen.clone())))
            .add_service(EventServiceServer::new(Events))
            .serve_with_incoming(UnixListenerStream::new(listener));
        runtime.spawn(server);
        drop(entered);
        Self {
            directory,
            seen,
            _runtime: runtime,
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("netd.sock")
    }

    pub fn run(&self, line: &str) -> Output {
        netctl(&self.socket(), line)
    }

    /// Standard output of a command that must succeed.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard output and error of a command that must end with `code`.
    pub fn fails(&self, code: i32, line: &str) -> (String, String) {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }
}

/// Runs the words of a line, with nothing to read.
pub fn netctl(socket: &std::path::Path, line: &str) -> Output {
    words(socket, &line.split_whitespace().collect::<Vec<_>>(), "")
}

/// Runs it with `input` to read.
pub fn words(socket: &std::path::Path, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_netctl"))
        .args(words)
        .env("NETD_ADDRESS", format!("unix://{}", socket.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}
