//! Who may call what: every RPC is a read or a write, and over TCP each client has a role. What is not listed is refused.

use std::{collections::HashMap, fmt, net::SocketAddr, sync::LazyLock};

use prost::Message as _;
use prost_types::{
    FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::config::Client;
pub use crate::config::Role;

use Role::{Read, Write};

/// Every RPC and what it takes. A test compares it with the API.
#[rustfmt::skip]
const RPCS: &[(&str, &str, Role)] = &[
    ("netd.v1.NetworkService", "CreateNetwork", Write),
    ("netd.v1.NetworkService", "ListNetworks", Read),
    ("netd.v1.NetworkService", "GetNetwork", Read),
    ("netd.v1.NetworkService", "UpdateNetwork", Write),
    ("netd.v1.NetworkService", "RemoveNetwork", Write),
    ("netd.v1.NetworkService", "PruneNetworks", Write),
    ("netd.v1.EndpointService", "ConnectSandbox", Write),
    ("netd.v1.EndpointService", "DisconnectSandbox", Write),
    ("netd.v1.EndpointService", "ListEndpoints", Read),
    ("netd.v1.EndpointService", "GetEndpoint", Read),
    ("netd.v1.EndpointService", "UpdateEndpoint", Write),
    ("netd.v1.EndpointService", "CheckEndpoint", Read),
    ("netd.v1.SandboxService", "CreateSandbox", Write),
    ("netd.v1.SandboxService", "ListSandboxes", Read),
    ("netd.v1.SandboxService", "GetSandbox", Read),
    ("netd.v1.SandboxService", "UpdateSandbox", Write),
    ("netd.v1.SandboxService", "StartSandbox", Write),
    ("netd.v1.SandboxService", "StopSandbox", Write),
    ("netd.v1.SandboxService", "RemoveSandbox", Write),
    ("netd.v1.PortService", "Publish", Write),
    ("netd.v1.PortService", "Unpublish", Write),
    ("netd.v1.PortService", "ListPublications", Read),
    ("netd.v1.NameService", "Resolve", Read),
    ("netd.v1.NameService", "ListNames", Read),
    ("netd.v1.FlowService", "ListFlows", Read),
    ("netd.v1.FlowService", "WatchFlows", Read),
    ("netd.v1.FlowService", "DeleteFlows", Write),
    ("netd.v1.SystemService", "GetStatus", Read),
    ("netd.v1.SystemService", "Reconcile", Write),
    ("netd.v1.SystemService", "ListDrops", Read),
    ("netd.v1.SystemService", "WatchDrops", Read),
    ("netd.v1.SystemService", "ListStats", Read),
    ("netd.v1.EventService", "Watch", Read),
    ("grpc.health.v1.Health", "Check", Read),
    ("grpc.health.v1.Health", "Watch", Read),
    ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", Read),
];

/// Fields of a request that name what it is about.
const NAMING: [&str; 6] = ["name", "network", "sandbox", "endpoint", "id", "path"];

/// What is known of an RPC.
#[derive(Debug)]
pub struct Rpc {
    /// What it takes.
    pub role: Role,
    /// Whether the client sends more than one message.
    pub streams: bool,
    /// Numbers and names of the request's fields that say what it is about.
    pub naming: Vec<(u32, String)>,
    /// Numbers of the request's fields that are messages, with those of their fields that do.
    pub within: Vec<(u32, Vec<(u32, String)>)>,
}

/// The descriptors of all that is served.
fn descriptors() -> Vec<FileDescriptorSet> {
    [
        netd_proto::v1::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ]
    .iter()
    .filter_map(|bytes| FileDescriptorSet::decode(*bytes).ok())
    .collect()
}

/// All RPCs by their path.
static TABLE: LazyLock<HashMap<String, Rpc>> = LazyLock::new(|| {
    let sets = descriptors();
    let files = || sets.iter().flat_map(|set| &set.file);
    let mut naming = HashMap::new();
    for file in files() {
        for message in &file.message_type {
            let fields = message
                .field
                .iter()
                .filter(|field| field.r#type() == Type::String && NAMING.contains(&field.name()));
            let fields = fields
                .filter_map(|field| Some((u32::try_from(field.number?).ok()?, field.name.clone()?)))
                .collect::<Vec<_>>();
            naming.insert(format!(".{}.{}", file.package(), message.name()), fields);
        }
    }
    let mut within = HashMap::new();
    for file in files() {
        for message in &file.message_type {
            let single = |field: &&FieldDescriptorProto| {
                field.r#type() == Type::Message && field.label() != Label::Repeated
            };
            let fields = message.field.iter().filter(single).filter_map(|field| {
                let inner = naming.get(field.type_name()).cloned().unwrap_or_default();
                let number = u32::try_from(field.number?).ok()?;
                (!inner.is_empty()).then_some((number, inner))
            });
            let fields = fields.collect::<Vec<_>>();
            within.insert(format!(".{}.{}", file.package(), message.name()), fields);
        }
    }
    let mut table = HashMap::new();
    for file in files() {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                let listed = RPCS
                    .iter()
                    .find(|(of, rpc, _)| *of == name && *rpc == method.name());
                if let Some((_, _, role)) = listed {
                    let rpc = Rpc {
                        role: *role,
                        streams: method.client_streaming(),
                        naming: naming.get(method.input_type()).cloned().unwrap_or_default(),
                        within: within.get(method.input_type()).cloned().unwrap_or_default(),
                    };
                    table.insert(format!("/{name}/{}", method.name()), rpc);
                }
            }
        }
    }
    table
});

/// What is known of the RPC at this path of HTTP; `None`: not listed.
pub fn rpc(path: &str) -> Option<&'static Rpc> {
    TABLE.get(path)
}

/// Names of netd's services.
pub fn services() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    RPCS.iter().filter_map(move |(service, _, _)| {
        let new = *service != last && service.starts_with("netd.");
        last = service;
        new.then_some(*service)
    })
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A process of this host, by the socket; the socket's mode let it in.
    Local {
        /// Its user.
        uid: u32,
        /// Its number; none if it is not in netd's PID namespace.
        pid: Option<i32>,
        /// Its name when it connected.
        process: String,
    },
    /// A client with a certificate of an authority that is trusted.
    Remote {
        /// The certificate's names.
        names: Vec<String>,
        /// Where it connects from.
        address: SocketAddr,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid, pid, process } => {
                write!(f, "uid {uid}, pid {}, {process:?}", pid.unwrap_or(0))
            }
            Self::Remote { names, address } => write!(f, "{names:?} from {address}"),
        }
    }
}

/// The roles of all clients over TCP.
#[derive(Debug, Default)]
pub struct Access {
    roles: HashMap<String, Role>,
}

impl Access {
    /// From the configuration.
    pub fn new(clients: &[Client]) -> Self {
        let roles = clients
            .iter()
            .map(|client| (client.name.clone(), client.role));
        Self {
            roles: roles.collect(),
        }
    }

    /// Whether this peer may call this.
    ///
    /// # Errors
    /// The refusal, with the way out.
    #[allow(clippy::result_large_err, reason = "it is what the client is answered")]
    pub fn allow(&self, peer: &Peer, path: &str, rpc: Option<&Rpc>) -> Result<(), Status> {
        let Peer::Remote { names, .. } = peer else {
            return Ok(());
        };
        if names.is_empty() {
            return Err(refusal(
                Code::Unauthenticated,
                "the client's certificate has no name".into(),
                "one with a DNS name or URI among its alternative names, or with a common name",
            ));
        }
        let Some(role) = names.iter().filter_map(|name| self.roles.get(name)).max() else {
            return Err(refusal(
                Code::PermissionDenied,
                format!("the client {names:?} is unknown to netd"),
                "[[access]] with that name and a role in netd's configuration, then SIGHUP (systemctl reload netd)",
            ));
        };
        match rpc {
            None => Err(refusal(
                Code::PermissionDenied,
                format!("{path} is open to nobody over TCP"),
                "an RPC of this version of netd; reflection lists them",
            )),
            Some(rpc) if rpc.role > *role => Err(refusal(
                Code::PermissionDenied,
                format!("the client {names:?} may read only, and {path} changes things"),
                "role = \"write\" in its [[access]] of netd's configuration, then SIGHUP (systemctl reload netd)",
            )),
            Some(_) => Ok(()),
        }
    }
}

/// A refusal with the way out, in the form of all errors of the API.
pub fn refusal(code: Code, message: String, hint: &str) -> Status {
    let reason = match code {
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::PermissionDenied => "FORBIDDEN",
        Code::ResourceExhausted => "EXHAUSTED",
        _ => "INVALID",
    };
    let metadata = HashMap::from([("hint".to_owned(), hint.to_owned())]);
    let details = ErrorDetails::with_error_info(reason, "netd", metadata);
    Status::with_error_details(code, message, details)
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
