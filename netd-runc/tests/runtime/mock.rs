//! A daemon that writes down what arrives and answers what the test has laid ready, a runtime that writes down how it is called, and a
//! bundle between them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use netd_proto::v1::{
    endpoint_service_server::{EndpointService, EndpointServiceServer},
    namespace::Source,
    sandbox::State,
    sandbox_service_server::{SandboxService, SandboxServiceServer},
    *,
};
use serde_json::{Value, json};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// The container's id.
pub const ID: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

/// The runtime: one line for each call, with its words; then what the test has laid ready for the verb.
const RUNTIME: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
echo "runtime $*" >>calls
verb= root= log= pidfile=
while [ $# -gt 0 ]; do
    case $1 in
    --root) root=$2; shift ;;
    --log) log=$2; shift ;;
    --pid-file) pidfile=$2; shift ;;
    create|delete|start|run|kill|features) verb=$1 ;;
    esac
    shift
done
case $verb in
create) cp bundle/config.json seen.json; mkdir -p "$root/ID"; echo 4711 >"$pidfile" ;;
delete) rm -rf "$root/ID" ;;
run) cp bundle/config.json seen.json ;;
esac
[ ! -e "do-$verb" ] || . "./do-$verb"
exit 0
"#;

#[derive(Clone, Default)]
struct Daemon {
    calls: PathBuf,
    sandbox: Arc<Mutex<Option<Sandbox>>>,
    refusals: Arc<Mutex<Vec<Status>>>,
    differences: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    fn note(&self, line: &str) {
        let before = fs::read_to_string(&self.calls).unwrap_or_default();
        fs::write(&self.calls, format!("{before}netd {line}\n")).unwrap();
    }

    fn known(&self) -> Result<Response<Sandbox>, Status> {
        let sandbox = self.sandbox.lock().unwrap().clone();
        sandbox
            .map(Response::new)
            .ok_or_else(|| Status::not_found("No such container"))
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// Calls that nobody makes.
macro_rules! unasked {
    ($($name:ident($request:ident) -> $answer:ident;)*) => {
        $(fn $name<'a, 'b>(&'a self, _: Request<$request>)
            -> std::pin::Pin<Box<dyn Future<Output = Answer<$answer>> + Send + 'b>> where 'a: 'b, Self: 'b {
            Box::pin(async { Err(Status::unimplemented("not asked")) })
        })*
    };
}

#[tonic::async_trait]
impl SandboxService for Daemon {
    async fn get_sandbox(&self, request: Request<GetSandboxRequest>) -> Answer<Sandbox> {
        assert_eq!(request.get_ref().sandbox, ID);
        self.note("get");
        self.known()
    }

    async fn start_sandbox(&self, request: Request<StartSandboxRequest>) -> Answer<Sandbox> {
        let source = request.into_inner().namespace.and_then(|n| n.source);
        let Some(Source::Pid(pid)) = source else {
            return Err(Status::invalid_argument("no process"));
        };
        self.note(&format!("start {pid}"));
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        if let Some(sandbox) = self.sandbox.lock().unwrap().as_mut() {
            sandbox.set_state(State::Running);
            sandbox.pid = pid;
        }
        self.known()
    }

    async fn stop_sandbox(&self, _: Request<StopSandboxRequest>) -> Answer<Sandbox> {
        self.note("stop");
        if let Some(sandbox) = self.sandbox.lock().unwrap().as_mut() {
            sandbox.set_state(State::Stopped);
            sandbox.pid = 0;
        }
        self.known()
    }

    unasked! {
        create_sandbox(CreateSandboxRequest) -> Sandbox;
        list_sandboxes(ListSandboxesRequest) -> ListSandboxesResponse;
        update_sandbox(UpdateSandboxRequest) -> Sandbox;
        remove_sandbox(RemoveSandboxRequest) -> RemoveSandboxResponse;
    }
}

#[tonic::async_trait]
impl EndpointService for Daemon {
    async fn check_endpoint(
        &self,
        request: Request<CheckEndpointRequest>,
    ) -> Answer<CheckEndpointResponse> {
        let id = request.into_inner().endpoint.unwrap_or_default().id;
        self.note(&format!("check {id}"));
        let differences = self.differences.lock().unwrap().clone();
        Ok(Response::new(CheckEndpointResponse { differences }))
    }

    unasked! {
        connect_sandbox(ConnectSandboxRequest) -> Endpoint;
        disconnect_sandbox(DisconnectSandboxRequest) -> DisconnectSandboxResponse;
        get_endpoint(GetEndpointRequest) -> Endpoint;
        list_endpoints(ListEndpointsRequest) -> ListEndpointsResponse;
        update_endpoint(UpdateEndpointRequest) -> Endpoint;
    }
}

/// All of it, in a directory of its own.
pub struct World {
    directory: tempfile::TempDir,
    daemon: Daemon,
    runtime: Option<tokio::runtime::Runtime>,
}

impl World {
    /// A stopped sandbox on one network, for a container of a namespace of its own.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("runc"), RUNTIME.replace("ID\"", &format!("{ID}\""))).unwrap();
        fs::set_permissions(path("runc"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(path("bundle")).unwrap();
        fs::create_dir(path("root")).unwrap();
        let mut sandbox = Sandbox {
            id: ID.into(),
            name: "web".into(),
            resolv_conf_path: "/run/n/resolv.conf".into(),
            hosts_path: "/run/n/hosts".into(),
            ..Sandbox::default()
        };
        sandbox.set_state(State::Stopped);
        sandbox.attachments.push(EndpointSpec {
            network: "front".into(),
            ..EndpointSpec::default()
        });
        sandbox.endpoints.push(Endpoint {
            id: "e1".into(),
            network_name: "front".into(),
            ..Endpoint::default()
        });
        let daemon = Daemon {
            calls: path("calls"),
            sandbox: Arc::new(Mutex::new(Some(sandbox))),
            ..Daemon::default()
        };
        let mut world = Self {
            directory,
            daemon,
            runtime: None,
        };
        world.spec(&json!([{"type": "network"}]), &json!({}));
        world.serve();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The bundle's config.json, with these namespaces and annotations.
    pub fn spec(&self, namespaces: &Value, annotations: &Value) {
        let spec = json!({
            "mounts": [{"destination": "/etc/hosts", "source": format!("/lib/{ID}/hosts")}],
            "annotations": annotations,
            "linux": {"namespaces": namespaces},
        });
        fs::write(self.path("bundle/config.json"), spec.to_string()).unwrap();
    }

    /// The daemon begins to answer.
    pub fn serve(&mut self) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let entered = runtime.enter();
        let _ = fs::remove_file(self.path("netd.sock"));
        let listener = tokio::net::UnixListener::bind(self.path("netd.sock")).unwrap();
        let server = Server::builder()
            .add_service(SandboxServiceServer::new(self.daemon.clone()))
            .add_service(EndpointServiceServer::new(self.daemon.clone()))
            .serve_with_incoming(UnixListenerStream::new(listener));
        runtime.spawn(server);
        drop(entered);
        self.runtime = Some(runtime);
    }

    /// The daemon ends.
    pub fn silence(&mut self) {
        self.runtime = None;
        let _ = fs::remove_file(self.path("netd.sock"));
    }

    /// Changes the sandbox; none: there is none.
    pub fn sandbox(&self, change: impl FnOnce(&mut Option<Sandbox>)) {
        change(&mut self.daemon.sandbox.lock().unwrap());
    }

    /// The next start is refused.
    pub fn refuse(&self, status: Status) {
        self.daemon.refusals.lock().unwrap().push(status);
    }

    /// What is not as it should be of the endpoint.
    pub fn differs(&self, text: &str) {
        self.daemon.differences.lock().unwrap().push(text.into());
    }

    /// What the runtime does besides, when this verb comes.
    pub fn does(&self, verb: &str, script: &str) {
        fs::write(self.path(&format!("do-{verb}")), script).unwrap();
    }

    /// A command, as the engine's shim calls it.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netd-runc"));
        let path = |name: &str| self.path(name).display().to_string();
        command
            .args(["--netd-address", &format!("unix://{}", path("netd.sock"))])
            .args(["--netd-runtime", &path("runc")])
            .args(["--root", &path("root"), "--log", &path("log.json")])
            .args(["--log-format", "json"])
            .args(line.split_whitespace().map(|word| {
                word.replace("BUNDLE", &path("bundle"))
                    .replace("PID", &path("init.pid"))
                    .replace("ID", ID)
            }))
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    pub fn create(&self) -> Output {
        self.run("create --bundle BUNDLE --pid-file PID ID")
    }

    /// Who was called, in order, since the last time; the runtime's words from its verb on.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        let own = self.directory.path().display().to_string();
        let globals = "--root D/root --log D/log.json --log-format json ";
        let lines = text.lines().map(|line| {
            let line = line.replace(&own, "D").replace(ID, "ID");
            line.replace(globals, "")
        });
        lines.collect()
    }

    /// Level and text of the log's lines.
    pub fn log(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.path("log.json")).unwrap_or_default();
        let lines = text.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(
                line["time"]
                    .as_str()
                    .is_some_and(|time| time.ends_with('Z'))
            );
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("level"), text("msg"))
        });
        lines.collect()
    }

    /// What of config.json the runtime has seen.
    pub fn seen(&self) -> Value {
        read(&self.path("seen.json"))
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
