//! The connection to the daemon. Knows the services, not what is asked of them.

use std::{error::Error, io, path::Path, time::Duration};

use netd_proto::v1::{
    endpoint_service_client::EndpointServiceClient, event_service_client::EventServiceClient,
    flow_service_client::FlowServiceClient, name_service_client::NameServiceClient,
    network_service_client::NetworkServiceClient, port_service_client::PortServiceClient,
    sandbox_service_client::SandboxServiceClient, system_service_client::SystemServiceClient,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::{
    address::Address,
    cli::connection::Connection,
    failure::{Failure, Result},
};

/// Longest answer that is read, in bytes: lists hold some hundred bytes for each object.
const LONGEST: usize = 256 << 20;

/// A connection.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nothing listens there, the socket is closed to this user, or the certificates do not fit.
    pub async fn connect(how: &Connection) -> Result<Self> {
        let address = &how.address;
        let uri = match address {
            Address::Unix(path) => {
                let path = path.to_str().ok_or_else(|| {
                    Failure::new(format!("{address} is not UTF-8"))
                        .hint("another path for the socket: netd --run")
                })?;
                format!("unix://{path}")
            }
            Address::Tls(uri) => uri.to_string(),
        };
        let mut endpoint = Endpoint::from_shared(uri).map_err(|e| unreachable(address, &e))?;
        if matches!(address, Address::Tls(_)) {
            endpoint = endpoint.tls_config(tls(how)?).map_err(|e| bad_files(&e))?;
        }
        // A daemon that was stopped or hangs leaves connections open: it is asked for signs of life while a request is out.
        let quiet = how.timeout / 3;
        let endpoint = endpoint
            .http2_keep_alive_interval(quiet.max(Duration::from_millis(500)))
            .keep_alive_timeout(how.timeout - quiet);
        // Of the whole: a daemon that is stopped has its kernel accept connections, but shakes no hands.
        let channel = tokio::time::timeout(how.timeout, endpoint.connect())
            .await
            .map_err(|_| Failure::unreachable(address, &io::ErrorKind::TimedOut.into()))?
            .map_err(|error| unreachable(address, &error))?;
        Ok(Self { channel })
    }

    /// Networks.
    pub fn networks(&self) -> NetworkServiceClient<Channel> {
        NetworkServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST)
    }

    /// Endpoints.
    pub fn endpoints(&self) -> EndpointServiceClient<Channel> {
        EndpointServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST)
    }

    /// Sandboxes.
    pub fn sandboxes(&self) -> SandboxServiceClient<Channel> {
        SandboxServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST)
    }

    /// Publications.
    pub fn ports(&self) -> PortServiceClient<Channel> {
        PortServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST)
    }

    /// State and counters.
    pub fn system(&self) -> SystemServiceClient<Channel> {
        SystemServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST)
    }

    /// Flows.
    pub fn flows(&self) -> FlowServiceClient<Channel> {
        FlowServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST)
    }

    /// Events.
    pub fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone())
    }

    /// Names.
    pub fn names(&self) -> NameServiceClient<Channel> {
        NameServiceClient::new(self.channel.clone())
    }
}

/// The kernel's own word, as far as there is one; else TLS's.
fn unreachable(address: &Address, error: &tonic::transport::Error) -> Failure {
    let mut cause: &dyn Error = error;
    loop {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            let own = io::Error::new(error.kind(), error.to_string());
            return Failure::unreachable(address, &own);
        }
        match cause.source() {
            Some(source) => cause = source,
            None => return Failure::unreachable(address, &io::Error::other(cause.to_string())),
        }
    }
}

fn bad_files(error: &tonic::transport::Error) -> Failure {
    let cause = error
        .source()
        .map_or_else(|| error.to_string(), |e| e.to_string());
    Failure::new(format!("the TLS files cannot be used: {cause}"))
        .hint("PEM files that belong together, as `netd pki client` makes them")
}

/// What https:// takes: netd serves TCP by mutual TLS only.
fn tls(how: &Connection) -> Result<ClientTlsConfig> {
    let read = |what: &str, flag: &str, path: Option<&Path>| {
        let missing = format!(
            "--{flag} FILE, or --tls-path DIRECTORY (NETD_CERT_PATH) with ca.pem, cert.pem and key.pem; `netd pki` makes them"
        );
        let path = path
            .ok_or_else(|| Failure::new(format!("https:// takes {what}")).hint(missing.clone()))?;
        std::fs::read(path).map_err(|error| {
            Failure::new(format!("cannot read {what} {}: {error}", path.display())).hint(missing)
        })
    };
    let [ca, cert, key] = how.files();
    let ca = read("netd's authority", "tls-ca", ca.as_deref())?;
    let cert = read("a certificate", "tls-cert", cert.as_deref())?;
    let key = read("its key", "tls-key", key.as_deref())?;
    Ok(ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .identity(Identity::from_pem(cert, key)))
}
