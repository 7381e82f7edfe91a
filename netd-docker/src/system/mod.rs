//! The socket itself: `/_ping`, `/version`, `/info` and what else clients ask before they begin.

use http::{HeaderValue, Method, StatusCode};
use netd_proto::v1::{GetStatusRequest, GetStatusResponse};
use serde_json::{Value, json};

use crate::{
    adapter::Adapter,
    engine::Engine,
    http::{Answer, Version, answer, version::ALONE},
    refusal::{Refusal, Result},
    request::Call,
};

/// netd's network drivers, as `/info` lists them.
const DRIVERS: [&str; 3] = ["bridge", "host", "null"];

/// What an engine outside a swarm says.
const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";

/// `GET` or `HEAD /_ping` without an engine.
fn ping(method: &Method) -> Answer {
    let body = if method == Method::HEAD { "" } else { "OK" };
    let mut pong = http::Response::new(answer::full(body));
    let headers = pong.headers_mut();
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("pragma", "no-cache"),
        ("builder-version", ""),
        ("swarm", "inactive"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    pong
}

/// `/info` of the engine, with what netd does in its place.
pub async fn info(engine: &Engine, call: Call) -> Result<Answer> {
    let whole = engine.whole(call.request).await?;
    if whole.head.status != StatusCode::OK || whole.body.is_empty() {
        return Ok(whole.answer());
    }
    let mut info = whole.json()?;
    if let Some(networks) = info.pointer_mut("/Plugins/Network") {
        *networks = json!(DRIVERS);
    }
    if let Some(backend) = info.get_mut("FirewallBackend") {
        *backend = json!({ "Driver": "netd (eBPF)" });
    }
    Ok(whole.with_json(&info))
}

/// Without an engine: everything that is about no network or container, in this version.
pub async fn alone(
    adapter: &Adapter,
    method: &Method,
    path: &str,
    asked: Option<Version>,
) -> Result<Answer> {
    match (method, path) {
        // Whoever asks for the versions may do so in any.
        (&(Method::GET | Method::HEAD), "/_ping") => Ok(ping(method)),
        (&Method::OPTIONS, _) => Ok(answer::bare(StatusCode::OK)),
        _ => answer(adapter, method, path, ALONE.choose(asked)?).await,
    }
}

/// Everything that is about no network or container, without an engine.
pub async fn answer(
    adapter: &Adapter,
    method: &Method,
    path: &str,
    version: Version,
) -> Result<Answer> {
    let read = *method == Method::GET;
    let body = match path {
        "/version" if read => about(&status(adapter).await?),
        "/info" if read => described(adapter, &status(adapter).await?).await?,
        "/system/df" if read => usage(adapter, version).await?,
        "/images/json" | "/plugins" if read => json!([]),
        "/volumes" if read => json!({ "Volumes": [], "Warnings": null }),
        _ if read => return Err(missing(path).unwrap_or_else(|| absent(path))),
        _ => return Err(absent(path)),
    };
    Ok(answer::json(StatusCode::OK, &body))
}

/// A thing that is asked for by name, where netd alone has none: `docker inspect` looks for a name everywhere.
fn missing(path: &str) -> Option<Refusal> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let text = match parts[..] {
        ["images", name, "json"] => format!("No such image: {name}"),
        ["volumes", name] => format!("get {name}: no such volume"),
        ["plugins", name, "json"] => format!("plugin {name:?} not found"),
        ["exec", name, "json"] => format!("No such exec instance: {name}"),
        _ => return None,
    };
    Some(Refusal::not_found(text))
}

/// What netd alone does not have.
fn absent(path: &str) -> Refusal {
    let first = path.split('/').nth(1).unwrap_or_default();
    match first {
        "swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs" => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, NO_SWARM)
        }
        "images" | "build" | "volumes" | "exec" | "plugins" | "auth" | "commit" | "session"
        | "grpc" | "distribution" => no_engine(),
        _ => Refusal::no_page(),
    }
}

/// What only an engine can do.
pub fn no_engine() -> Refusal {
    Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        "netd has networks and no containers of its own: no Docker engine stands behind this socket (netd --docker-upstream unix:///run/docker.sock)",
    )
}

async fn status(adapter: &Adapter) -> Result<GetStatusResponse> {
    let asked = adapter.netd.system().get_status(GetStatusRequest {}).await;
    Ok(asked?.into_inner())
}

fn about(status: &GetStatusResponse) -> Value {
    let arch = architecture();
    json!({
        "Platform": { "Name": "netd" },
        "Components": [{
            "Name": "Engine",
            "Version": status.version,
            "Details": {
                "ApiVersion": ALONE.most.to_string(),
                "Arch": arch,
                "Experimental": "false",
                "KernelVersion": status.kernel_release,
                "MinAPIVersion": ALONE.least.to_string(),
                "Os": "linux",
            },
        }],
        "Version": status.version,
        "ApiVersion": ALONE.most.to_string(),
        "MinAPIVersion": ALONE.least.to_string(),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": arch,
        "KernelVersion": status.kernel_release,
        "BuildTime": "",
    })
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

async fn described(adapter: &Adapter, status: &GetStatusResponse) -> Result<Value> {
    let sandboxes = adapter.netd.list_sandboxes().await?;
    let running = sandboxes
        .iter()
        .filter(|s| s.pid != 0 || !s.netns_path.is_empty());
    let running = running.count();
    let name = nix::unistd::gethostname().unwrap_or_default();
    let memory = nix::sys::sysinfo::sysinfo().map_or(0, |info| info.ram_total());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut info = json!({
        "ID": status.instance,
        "Containers": sandboxes.len(),
        "ContainersRunning": running,
        "ContainersPaused": 0,
        "ContainersStopped": sandboxes.len() - running,
        "Images": 0,
        "Driver": "",
        "DriverStatus": [],
        "Plugins": { "Volume": [], "Network": DRIVERS, "Authorization": null, "Log": [] },
        "MemoryLimit": false,
        "SwapLimit": false,
        "IPv4Forwarding": true,
        "Debug": false,
        "NFd": 0,
        "OomKillDisable": false,
        "NGoroutines": 0,
        "SystemTime": jiff::Timestamp::now().to_string(),
        "LoggingDriver": "",
        "CgroupDriver": "none",
        "NEventsListener": 0,
        "KernelVersion": status.kernel_release,
        "OperatingSystem": "netd",
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "IndexServerAddress": "",
        "RegistryConfig": null,
    });
    let rest = json!({
        "NCPU": processors,
        "MemTotal": memory,
        "GenericResources": null,
        "DockerRootDir": status.state_directory,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": name.to_string_lossy(),
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": status.version,
        "Runtimes": {},
        "DefaultRuntime": "",
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive",
            "ControlAvailable": false, "Error": "", "RemoteManagers": null,
        },
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "",
        "SecurityOptions": [],
        "FirewallBackend": { "Driver": "netd (eBPF)" },
        "Warnings": status.warnings,
    });
    if let (Some(info), Value::Object(rest)) = (info.as_object_mut(), rest) {
        info.extend(rest);
    }
    Ok(info)
}

async fn usage(adapter: &Adapter, version: Version) -> Result<Value> {
    let containers = crate::containers::listed(adapter, version).await?;
    Ok(json!({
        "LayersSize": 0,
        "Images": [],
        "Containers": containers,
        "Volumes": [],
        "BuildCache": [],
    }))
}
