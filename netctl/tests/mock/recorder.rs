//! A daemon that only writes down what arrives, and answers what the test has laid ready, or nothing.

use std::{
    any::Any,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use netd_proto::v1::{
    endpoint_service_server::{EndpointService, EndpointServiceServer},
    event_service_server::{EventService, EventServiceServer},
    flow_service_server::{FlowService, FlowServiceServer},
    name_service_server::{NameService, NameServiceServer},
    network_service_server::{NetworkService, NetworkServiceServer},
    port_service_server::{PortService, PortServiceServer},
    sandbox_service_server::{SandboxService, SandboxServiceServer},
    system_service_server::{SystemService, SystemServiceServer},
    *,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// Things of any type, in order.
type Things = Arc<Mutex<Vec<Box<dyn Any + Send>>>>;

/// What arrived, and what to answer.
#[derive(Clone, Default)]
pub struct Recorder {
    seen: Things,
    answers: Things,
}

impl Recorder {
    fn answer<T: Send + 'static, R: Default + 'static>(
        &self,
        request: Request<T>,
    ) -> Result<Response<R>, Status> {
        self.seen
            .lock()
            .unwrap()
            .push(Box::new(request.into_inner()));
        let mut answers = self.answers.lock().unwrap();
        match answers.iter().position(|a| a.is::<Result<R, Status>>()) {
            None => Ok(Response::new(R::default())),
            Some(at) => {
                let answer = answers.remove(at).downcast::<Result<R, Status>>();
                answer.unwrap().map(Response::new)
            }
        }
    }

    fn stream<T: Send + 'static, R: 'static>(
        &self,
        request: Request<T>,
    ) -> Result<Response<Messages<R>>, Status> {
        let messages = self.answer::<T, Vec<R>>(request)?.into_inner();
        let messages: Vec<_> = messages.into_iter().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(messages)))
    }
}

type Messages<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

/// A service of calls with one answer each, and of streams.
macro_rules! recorded {
    ($service:ident: $($name:ident($request:ident) -> $answer:ident;)*
        $(+ $stream:ident = $stream_name:ident($stream_request:ident) -> $item:ident;)*) => {
        #[tonic::async_trait]
        impl $service for Recorder {
            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$answer>, Status> {
                self.answer(request)
            })*
            $(type $stream = Messages<$item>;
            async fn $stream_name(&self, request: Request<$stream_request>) -> Result<Response<Self::$stream>, Status> {
                self.stream(request)
            })*
        }
    };
}

recorded! { NetworkService:
    create_network(CreateNetworkRequest) -> Network;
    get_network(GetNetworkRequest) -> Network;
    list_networks(ListNetworksRequest) -> ListNetworksResponse;
    update_network(UpdateNetworkRequest) -> Network;
    remove_network(RemoveNetworkRequest) -> RemoveNetworkResponse;
    prune_networks(PruneNetworksRequest) -> PruneNetworksResponse;
}
recorded! { EndpointService:
    connect_sandbox(ConnectSandboxRequest) -> Endpoint;
    disconnect_sandbox(DisconnectSandboxRequest) -> DisconnectSandboxResponse;
    get_endpoint(GetEndpointRequest) -> Endpoint;
    list_endpoints(ListEndpointsRequest) -> ListEndpointsResponse;
    update_endpoint(UpdateEndpointRequest) -> Endpoint;
    check_endpoint(CheckEndpointRequest) -> CheckEndpointResponse;
}
recorded! { SandboxService:
    create_sandbox(CreateSandboxRequest) -> Sandbox;
    get_sandbox(GetSandboxRequest) -> Sandbox;
    list_sandboxes(ListSandboxesRequest) -> ListSandboxesResponse;
    update_sandbox(UpdateSandboxRequest) -> Sandbox;
    start_sandbox(StartSandboxRequest) -> Sandbox;
    stop_sandbox(StopSandboxRequest) -> Sandbox;
    remove_sandbox(RemoveSandboxRequest) -> RemoveSandboxResponse;
}
recorded! { PortService:
    publish(PublishRequest) -> PublishResponse;
    unpublish(UnpublishRequest) -> UnpublishResponse;
    list_publications(ListPublicationsRequest) -> ListPublicationsResponse;
}
recorded! { NameService:
    resolve(ResolveRequest) -> ResolveResponse;
    list_names(ListNamesRequest) -> ListNamesResponse;
}
recorded! { FlowService:
    list_flows(ListFlowsRequest) -> ListFlowsResponse;
    delete_flows(DeleteFlowsRequest) -> DeleteFlowsResponse;
    + WatchFlowsStream = watch_flows(WatchFlowsRequest) -> FlowChange;
}
recorded! { SystemService:
    get_status(GetStatusRequest) -> GetStatusResponse;
    reconcile(ReconcileRequest) -> ReconcileResponse;
    list_drops(ListDropsRequest) -> ListDropsResponse;
    list_stats(ListStatsRequest) -> ListStatsResponse;
    + WatchDropsStream = watch_drops(WatchDropsRequest) -> DroppedPacket;
}
recorded! { EventService:
    + WatchStream = watch(WatchRequest) -> WatchResponse;
}

/// A recorder behind a socket, that ends with the test.
pub struct Daemon {
    pub directory: tempfile::TempDir,
    recorder: Recorder,
    _runtime: tokio::runtime::Runtime,
}

impl Daemon {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let path = directory.path().join("netd.sock");
        let entered = runtime.enter();
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        let recorder = Recorder::default();
        let server = Server::builder()
            .add_service(NetworkServiceServer::new(recorder.clone()))
            .add_service(EndpointServiceServer::new(recorder.clone()))
            .add_service(SandboxServiceServer::new(recorder.clone()))
            .add_service(PortServiceServer::new(recorder.clone()))
            .add_service(NameServiceServer::new(recorder.clone()))
            .add_service(FlowServiceServer::new(recorder.clone()))
            .add_service(SystemServiceServer::new(recorder.clone()))
            .add_service(EventServiceServer::new(recorder.clone()))
            .serve_with_incoming(UnixListenerStream::new(listener));
        runtime.spawn(server);
        drop(entered);
        Self {
            directory,
            recorder,
            _runtime: runtime,
        }
    }

    /// Lays an answer ready, for the next call that answers with this type; of a stream all of its messages.
    pub fn will<T: Send + 'static>(&self, answer: T) {
        self.will_say(Ok(answer));
    }

    /// Lays an answer or a refusal ready.
    pub fn will_say<T: Send + 'static>(&self, answer: Result<T, Status>) {
        let mut answers = self.recorder.answers.lock().unwrap();
        answers.push(Box::new(answer));
    }

    /// All requests of this type, in order.
    pub fn seen<T: Clone + 'static>(&self) -> Vec<T> {
        let seen = self.recorder.seen.lock().unwrap();
        seen.iter()
            .filter_map(|request| request.downcast_ref::<T>().cloned())
            .collect()
    }

    /// How many requests arrived.
    pub fn count(&self) -> usize {
        self.recorder.seen.lock().unwrap().len()
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

    /// The same as JSON.
    pub fn json(&self, line: &str) -> serde_json::Value {
        let text = self.ok(&format!("--output json {line}"));
        serde_json::from_str(&text).unwrap()
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
pub fn netctl(socket: &Path, line: &str) -> Output {
    words(socket, &line.split_whitespace().collect::<Vec<_>>(), "")
}

/// Runs it with `input` to read.
pub fn words(socket: &Path, words: &[&str], input: &str) -> Output {
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
