//! P02: the shipped program against a daemon of memory only: outputs, messages and exit codes.

use std::{
    collections::HashMap,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
    sync::Mutex,
};

use netd_proto::v1::{
    CreateNetworkRequest, CreateSandboxRequest, GetNetworkRequest, GetSandboxRequest,
    ListNetworksRequest, ListNetworksResponse, ListPublicationsRequest, ListPublicationsResponse,
    ListSandboxesRequest, ListSandboxesResponse, Network, Publication, PublishRequest,
    PublishResponse, RemoveNetworkRequest, RemoveNetworkResponse, RemoveSandboxRequest,
    RemoveSandboxResponse, Sandbox, UnpublishRequest, UnpublishResponse,
    network_service_server::{NetworkService, NetworkServiceServer},
    port_service_server::{PortService, PortServiceServer},
    sandbox_service_server::{SandboxService, SandboxServiceServer},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

type Answer<T> = Result<Response<T>, Status>;

#[derive(Default)]
struct Networks(Mutex<Vec<Network>>);

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
}

/// Knows one sandbox, `web`, in the namespace of this process.
struct Sandboxes;

#[tonic::async_trait]
impl SandboxService for Sandboxes {
    async fn create_sandbox(&self, request: Request<CreateSandboxRequest>) -> Answer<Sandbox> {
        let request = request.into_inner();
        Ok(Response::new(Sandbox {
            id: "5".repeat(64),
            name: format!("{}+{}", request.name, request.networks.len()),
            ..Default::default()
        }))
    }

    async fn list_sandboxes(
        &self,
        _: Request<ListSandboxesRequest>,
    ) -> Answer<ListSandboxesResponse> {
        Ok(Response::new(ListSandboxesResponse::default()))
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
            if spec.host_port_first == 0 {
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
struct Daemon {
    directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let path = directory.path().join("netd.sock");
        let entered = runtime.enter();
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        let server = Server::builder()
            .add_service(NetworkServiceServer::new(Networks::default()))
            .add_service(SandboxServiceServer::new(Sandboxes))
            .add_service(PortServiceServer::new(Ports))
            .serve_with_incoming(UnixListenerStream::new(listener));
        runtime.spawn(server);
        drop(entered);
        Self {
            directory,
            _runtime: runtime,
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("netd.sock")
    }

    fn run(&self, line: &str) -> Output {
        netctl(&self.socket(), line)
    }

    /// Standard output of a command that must succeed.
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard output and error of a command that must end with `code`.
    fn fails(&self, code: i32, line: &str) -> (String, String) {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }
}

fn netctl(socket: &std::path::Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netctl"))
        .args(line.split_whitespace())
        .env("NETD_ADDRESS", format!("unix://{}", socket.display()))
        .output()
        .unwrap()
}

#[test]
fn n01_networks_from_create_to_rm() {
    let daemon = Daemon::start();
    let id = format!("{:064x}", 1);
    let made =
        daemon.ok("network create --subnet 10.0.0.0/24 --gateway 10.0.0.9 --label a=b front");
    assert_eq!(made, format!("{id}\n"));
    let (_, said) = daemon.fails(1, "network create front");
    assert_eq!(said, "Error: network with name front already exists\n");
    assert_eq!(
        daemon.ok("network ls"),
        "NETWORK ID     NAME      DRIVER    SCOPE\n000000000000   front     bridge    local\n"
    );
    assert_eq!(daemon.ok("network ls -q --no-trunc"), format!("{id}\n"));
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.ok("network inspect front")).unwrap();
    assert_eq!(shown[0]["IPAM"]["Config"][0]["Gateway"], "10.0.0.9");
    assert_eq!(
        daemon.ok("network inspect -f {{.Labels}} front"),
        "map[a:b]\n"
    );
    daemon.ok("network create back");
    let (out, said) = daemon.fails(1, "network rm front nosuch back");
    assert_eq!(out, "front\nback\n");
    assert_eq!(
        said,
        "Error: network nosuch not found\nHint: `netctl network ls` lists them\n"
    );
    assert_eq!(daemon.ok("network rm -f nosuch"), "");
    assert_eq!(daemon.ok("--output json network ls"), "[]\n");
}

#[test]
fn n04_a_missing_network_leaves_the_others() {
    let daemon = Daemon::start();
    daemon.ok("network create front");
    let (out, said) = daemon.fails(1, "network inspect nosuch");
    assert_eq!(out, "[]\n");
    assert!(said.contains("network nosuch not found"), "{said}");
    let (out, _) = daemon.fails(1, "network inspect nosuch front");
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown[0]["Name"], "front");
    assert_eq!(shown.as_array().unwrap().len(), 1);
}

#[test]
fn n02_what_the_client_refuses_reaches_no_daemon() {
    let daemon = Daemon::start();
    let (_, said) = daemon.fails(1, "network create --gateway 10.0.0.1 front");
    assert!(said.contains("must have a corresponding subnet"), "{said}");
    let (_, said) = daemon.fails(1, "network connect --link a:b front web");
    assert!(said.contains("--link a:b"), "{said}");
    let (_, said) = daemon.fails(1, "network connect --link-local-ip 169.254.1.1 front web");
    assert!(said.contains("--link-local-ip"), "{said}");
    let (_, said) = daemon.fails(2, "port publish web 99999:80");
    assert!(said.contains("host port"), "{said}");
    assert_eq!(daemon.ok("network ls -q"), "");
}

#[test]
fn c01_publish_shows_the_chosen_port() {
    let daemon = Daemon::start();
    assert_eq!(
        daemon.ok("port publish web 80 [::1]:53:53/udp"),
        "80/tcp -> 40000\n53/udp -> [::1]:53\n"
    );
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.ok("--output json port publish web 80")).unwrap();
    assert_eq!(shown[0]["HostPort"], "40000");
    assert_eq!(daemon.ok("port unpublish web 80"), "");
    assert_eq!(
        daemon.ok("port ls"),
        "SANDBOX   HOST      PORT      STATE\n"
    );
}

#[test]
fn p02_sandboxes() {
    let daemon = Daemon::start();
    let made = daemon.ok("sandbox create web --network front --network back -p 8080:80");
    assert_eq!(made, "5".repeat(64) + "\n");
    assert_eq!(
        daemon.ok("sandbox inspect -f {{.NetnsPath}} web"),
        "/proc/self/ns/net\n"
    );
    assert_eq!(daemon.ok("sandbox rm -f nosuch"), "");
    let (_, said) = daemon.fails(1, "sandbox exec nosuch -- true");
    assert!(said.contains("sandbox nosuch not found"), "{said}");
    let (_, said) = daemon.fails(125, "sandbox exec gone -- true");
    assert!(said.contains("/proc/self/no-such-namespace"), "{said}");
}

#[test]
fn p02_exec_ends_as_its_command() {
    // Entering even the own namespace takes CAP_SYS_ADMIN.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let daemon = Daemon::start();
    daemon.fails(7, "sandbox exec web -- sh -c exit${IFS}7");
    daemon.fails(127, "sandbox exec web -- no-such-command");
    let plain = daemon.directory.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o600)).unwrap();
    daemon.fails(126, &format!("sandbox exec web -- {}", plain.display()));
    assert_eq!(
        daemon.ok("sandbox exec web -- echo -f --output x"),
        "-f --output x\n"
    );
}

#[test]
fn p02_no_daemon_is_said_with_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("netd.sock");
    let output = netctl(&socket, "status");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&socket.display().to_string()), "{said}");
    assert!(said.contains("netd --run"), "{said}");
}

#[test]
fn p02_completions_and_manual_need_no_daemon() {
    let nowhere = std::path::Path::new("/nonexistent/netd.sock");
    for line in [
        "completions bash",
        "completions zsh",
        "man",
        "man network create",
    ] {
        let output = netctl(nowhere, line);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("netctl"), "{line}");
    }
    assert_eq!(netctl(nowhere, "man nosuch").status.code(), Some(2));
}

#[test]
fn n02_pools_arrive_paired() {
    let daemon = Daemon::start();
    daemon.ok(
        "network create --ipv6 --subnet 10.0.0.0/16,fd00::/64 --gateway fd00::1 --ip-range 10.0.5.0/24 --aux-address x=10.0.0.5 front",
    );
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.ok("network inspect front")).unwrap();
    let wanted = serde_json::json!([
        {"Subnet": "10.0.0.0/16", "IPRange": "10.0.5.0/24", "AuxiliaryAddresses": {"x": "10.0.0.5"}},
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
    ]);
    assert_eq!(shown[0]["IPAM"]["Config"], wanted);
}
