//! What netd is asked, over its Unix socket.

use std::{
    error::Error,
    future::Future,
    io,
    time::{Duration, Instant},
};

use futures::future::join_all;
use netd_proto::v1::{
    CheckEndpointRequest, EndpointReference, GetSandboxRequest, Namespace, Sandbox,
    StartSandboxRequest, StopSandboxRequest, endpoint_service_client::EndpointServiceClient,
    namespace::Source, sandbox_service_client::SandboxServiceClient,
};
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};

use crate::failure::{Failure, Result};

/// How long one answer may take that changes nothing.
const LOOK: Duration = Duration::from_secs(5);

/// How long a sandbox may take to start or stop: many may start at once on a busy host.
const WORK: Duration = Duration::from_secs(60);

/// Between two attempts to reach the socket.
const AGAIN: Duration = Duration::from_millis(50);

/// A connection to netd.
pub struct Client {
    address: String,
    runtime: tokio::runtime::Runtime,
    channel: Option<Channel>,
}

impl Client {
    /// Prepares it; connects when something is asked.
    ///
    /// # Errors
    /// When the address is none, or the process cannot wait for answers.
    pub fn new(address: &str) -> Result<Self> {
        let path = address
            .strip_prefix("unix://")
            .filter(|path| path.starts_with('/'));
        if path.is_none() {
            let message = format!(
                "{address:?} is not unix:// and an absolute path; give --netd-address as unix:///run/netd/netd.sock"
            );
            return Err(Failure::new("INVALID", message));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| Failure::internal("waiting for answers", e))?;
        Ok(Self {
            address: address.into(),
            runtime,
            channel: None,
        })
    }

    /// The sandbox of exactly this id; none: there is none. `patience`: how long to wait for netd to be there.
    ///
    /// # Errors
    /// When netd is not there, or refuses.
    pub fn sandbox(&mut self, id: &str, patience: Duration) -> Result<Option<Sandbox>> {
        let end = Instant::now() + patience;
        loop {
            let found = self.look_up(id, LOOK.min(patience.max(Duration::from_secs(1))));
            match found {
                Err(e) if e.unreachable && Instant::now() + AGAIN < end => {
                    self.channel = None;
                    std::thread::sleep(AGAIN);
                }
                found => return found,
            }
        }
    }

    fn look_up(&mut self, id: &str, within: Duration) -> Result<Option<Sandbox>> {
        let request = GetSandboxRequest { sandbox: id.into() };
        let found = self.ask(within, |channel| async move {
            match SandboxServiceClient::new(channel)
                .get_sandbox(request)
                .await
            {
                Err(status) if status.code() == Code::NotFound => {
                    Ok(Response::new(Sandbox::default()))
                }
                other => other,
            }
        })?;
        // Another's name may be the same text.
        Ok((found.id == id).then_some(found))
    }

    /// Starts a sandbox in a process' namespace.
    ///
    /// # Errors
    /// When netd is not there, or refuses.
    pub fn start(&mut self, id: &str, pid: u32) -> Result<Sandbox> {
        let request = StartSandboxRequest {
            sandbox: id.into(),
            namespace: Some(Namespace {
                source: Some(Source::Pid(pid)),
            }),
            request_id: String::new(),
        };
        self.ask(WORK, |channel| async move {
            SandboxServiceClient::new(channel)
                .start_sandbox(request)
                .await
        })
    }

    /// Stops a sandbox, within this time.
    ///
    /// # Errors
    /// When netd is not there, or refuses.
    pub fn stop(&mut self, id: &str, within: Option<Duration>) -> Result<()> {
        let request = StopSandboxRequest { sandbox: id.into() };
        self.ask(within.unwrap_or(WORK), |channel| async move {
            SandboxServiceClient::new(channel)
                .stop_sandbox(request)
                .await
        })
        .map(drop)
    }

    /// What of a sandbox's endpoints is not as it should be, one sentence each.
    ///
    /// # Errors
    /// When netd is not there, or refuses.
    pub fn differences(&mut self, sandbox: &Sandbox) -> Result<Vec<String>> {
        let references = sandbox.endpoints.iter().map(|endpoint| EndpointReference {
            id: endpoint.id.clone(),
            ..EndpointReference::default()
        });
        let references: Vec<EndpointReference> = references.collect();
        self.ask(LOOK, |channel| async move {
            let looks = references.into_iter().map(|reference| {
                let mut client = EndpointServiceClient::new(channel.clone());
                let endpoint = Some(reference);
                async move {
                    client
                        .check_endpoint(CheckEndpointRequest { endpoint })
                        .await
                }
            });
            let mut found = Vec::new();
            for look in join_all(looks).await {
                found.extend(look?.into_inner().differences);
            }
            Ok(Response::new(found))
        })
    }

    fn ask<T, F>(&mut self, within: Duration, call: impl FnOnce(Channel) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let known = self.channel.clone();
        let address = self.address.clone();
        let asked = self.runtime.block_on(async {
            let work = async {
                let channel = match known {
                    Some(channel) => channel,
                    None => connect(&address).await?,
                };
                let answer = call(channel.clone()).await;
                Ok((channel, answer))
            };
            let late = || Failure::unreachable(&address, "no answer in time");
            tokio::time::timeout(within, work)
                .await
                .unwrap_or_else(|_| Err(late()))
        });
        let (channel, answer) = asked?;
        self.channel = Some(channel);
        answer
            .map(Response::into_inner)
            .map_err(|status| Failure::refused(&self.address, &status))
    }
}

async fn connect(address: &str) -> Result<Channel> {
    let failed = |e: &tonic::transport::Error| Failure::unreachable(address, cause(e));
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|e| failed(&e))?;
    endpoint.connect().await.map_err(|e| failed(&e))
}

/// The kernel's word, as far as there is one. In words of our own where engines would take the kernel's for a program that the
/// container lacks, and make an exit code of it.
fn cause(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    "nobody listens there".to_owned()
                }
                io::ErrorKind::PermissionDenied => "it is closed to this user".to_owned(),
                _ => error.to_string(),
            };
        }
    }
    cause.to_string()
}
