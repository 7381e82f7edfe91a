//! The connection to the daemon. Knows the services, not what is asked of them.

use std::io;

use hyper_util::rt::TokioIo;
use netd_proto::v1::{
    endpoint_service_client::EndpointServiceClient, event_service_client::EventServiceClient,
    flow_service_client::FlowServiceClient, name_service_client::NameServiceClient,
    network_service_client::NetworkServiceClient, port_service_client::PortServiceClient,
    sandbox_service_client::SandboxServiceClient, system_service_client::SystemServiceClient,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{
    address::Address,
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
    /// Connects to the socket.
    ///
    /// # Errors
    /// When nothing listens there or the socket is closed to this user.
    pub async fn connect(address: &Address) -> Result<Self> {
        // Opened here, so that a failure is the kernel's own word.
        let stream = UnixStream::connect(&address.path)
            .await
            .map_err(|error| Failure::unreachable(address, &error))?;
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_: Uri| {
            let stream = stream.take();
            async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset)) }
        });
        // The URI only fills HTTP/2's :authority.
        let channel = Endpoint::from_static("http://netd.invalid")
            .connect_with_connector(connector)
            .await
            .map_err(|error| Failure::unreachable(address, &io::Error::other(error)))?;
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
