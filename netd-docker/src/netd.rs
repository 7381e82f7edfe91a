//! The connection to netd, and what its refusals are in Docker's words.

use std::{path::Path, time::Duration};

use http::StatusCode;
use netd_proto::v1::{
    GetNetworkRequest, GetSandboxRequest, ListNetworksRequest, ListSandboxesRequest, Network,
    NetworkView, Sandbox, endpoint_service_client::EndpointServiceClient,
    event_service_client::EventServiceClient, network_service_client::NetworkServiceClient,
    sandbox_service_client::SandboxServiceClient, system_service_client::SystemServiceClient,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::refusal::{Refusal, Result};

/// Longest answer that is read, bytes.
const LONGEST: usize = 256 << 20;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// Objects of one page of a list.
const PAGE: u32 = 4_000;

/// netd's services. Connects when it is asked something, and again after netd was away.
#[derive(Clone, Debug)]
pub struct Netd {
    channel: Channel,
}

impl Netd {
    /// At this socket.
    ///
    /// # Errors
    /// When the path is not UTF-8.
    pub fn new(socket: &Path) -> std::result::Result<Self, String> {
        let path = socket
            .to_str()
            .ok_or_else(|| format!("the path {} is not UTF-8", socket.display()))?;
        let endpoint = Endpoint::from_shared(format!("unix://{path}"))
            .map_err(|e| format!("the address unix://{path}: {e}"))?
            .connect_timeout(CONNECT);
        Ok(Self {
            channel: endpoint.connect_lazy(),
        })
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

    /// Events.
    pub fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST)
    }

    /// The daemon itself.
    pub fn system(&self) -> SystemServiceClient<Channel> {
        SystemServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST)
    }

    /// A network by name, id or unique id prefix, with its endpoints.
    pub async fn network_with_endpoints(&self, name: &str) -> Result<Network> {
        self.view(name, NetworkView::Full).await
    }

    /// A network by name, id or unique id prefix.
    pub async fn network(&self, name: &str) -> Result<Network> {
        self.view(name, NetworkView::Basic).await
    }

    async fn view(&self, name: &str, view: NetworkView) -> Result<Network> {
        let request = GetNetworkRequest {
            network: name.to_owned(),
            view: view.into(),
        };
        match self.networks().get_network(request).await {
            Ok(found) => Ok(found.into_inner()),
            Err(status) if status.code() == Code::NotFound || too_long(name) => {
                Err(Refusal::not_found(format!("network {name} not found")))
            }
            Err(status) => Err(status.into()),
        }
    }

    /// All networks.
    pub async fn list_networks(&self, view: NetworkView) -> Result<Vec<Network>> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListNetworksRequest {
                page_size: PAGE,
                page_token,
                view: view.into(),
                ..Default::default()
            };
            let page = self.networks().list_networks(request).await?.into_inner();
            all.extend(page.networks);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// A sandbox by name, id or unique id prefix.
    pub async fn sandbox(&self, name: &str) -> Result<Sandbox> {
        let request = GetSandboxRequest {
            // Engines keep names with a slash before them.
            sandbox: name.trim_start_matches('/').to_owned(),
        };
        match self.sandboxes().get_sandbox(request).await {
            Ok(found) => Ok(found.into_inner()),
            Err(status) if status.code() == Code::NotFound || too_long(name) => {
                Err(Refusal::not_found(format!("No such container: {name}")))
            }
            Err(status) => Err(status.into()),
        }
    }

    /// The sandbox with this full id, if there is one.
    pub async fn sandbox_of(&self, id: &str) -> Result<Option<Sandbox>> {
        match self.sandbox(id).await {
            Ok(sandbox) if sandbox.id == id => Ok(Some(sandbox)),
            Ok(_) => Ok(None),
            Err(refusal) if refusal.status() == StatusCode::NOT_FOUND => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// All sandboxes, in order of creation.
    pub async fn list_sandboxes(&self) -> Result<Vec<Sandbox>> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListSandboxesRequest {
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = self.sandboxes().list_sandboxes(request).await?.into_inner();
            all.extend(page.sandboxes);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }
}

/// Nothing has such a name: requests that hold one are refused before it is looked for.
fn too_long(name: &str) -> bool {
    name.len() > 256
}

/// HTTP status of a refusal's reason; the table stands in `docs/api.md`.
const STATUSES: [(&str, u16); 36] = [
    ("PORT_ALLOCATED", 500),
    ("ADDRESS_NOT_OWNED", 500),
    ("ADDRESS_IN_USE", 403),
    ("ADDRESS_OUT_OF_RANGE", 500),
    ("MAC_IN_USE", 403),
    ("ADDRESSES_EXHAUSTED", 500),
    ("POOL_OVERLAP", 403),
    ("SUBNET_IN_USE", 403),
    ("POOLS_EXHAUSTED", 404),
    ("DEVICE_IN_USE", 403),
    ("HAS_ENDPOINTS", 403),
    ("CONFIGURATION_IN_USE", 403),
    ("NOT_CONNECTED", 500),
    ("ALREADY_CONNECTED", 403),
    ("ALREADY_RUNNING", 304),
    ("NOT_RUNNING", 409),
    ("STANDS_ALONE", 400),
    ("PREDEFINED", 403),
    ("UNKNOWN_DRIVER", 404),
    ("NAMESPACE_IN_USE", 409),
    ("INTERFACE_IN_USE", 409),
    ("DEGRADED", 500),
    ("STORE_FAILED", 503),
    ("REVISION_GONE", 410),
    ("REVISION_MISMATCH", 409),
    ("TOO_MANY", 400),
    ("REQUEST_ID_REUSED", 409),
    ("INVALID", 400),
    ("NOT_FOUND", 404),
    ("EXISTS", 409),
    ("CONFLICT", 403),
    ("FORBIDDEN", 403),
    ("EXHAUSTED", 500),
    ("UNSUPPORTED", 501),
    ("UNAVAILABLE", 503),
    ("INTERNAL", 500),
];

/// The HTTP status of a reason's word.
pub fn status_of(reason: &str) -> Option<StatusCode> {
    let row = STATUSES.iter().find(|(word, _)| *word == reason)?;
    StatusCode::from_u16(row.1).ok()
}

/// The word for programs that a refusal of netd's carries.
pub fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == "netd").then_some(info.reason)
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        use std::error::Error as _;
        let word = reason(&status);
        let http = word.as_deref().and_then(status_of);
        let message = status.message();
        if word.is_none() && (status.code() == Code::Unavailable || status.source().is_some()) {
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "netd cannot be reached, so nothing was changed that it knows of: is it running? ({message})"
                ),
            )
            .with_netd_away();
        }
        Self::new(http.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/api.md");

    #[test]
    fn p04_the_statuses_are_those_of_the_document() {
        for (word, http) in STATUSES {
            let row = DOCUMENT
                .lines()
                .find(|line| line.starts_with(&format!("| `{word}` |")))
                .unwrap_or_else(|| panic!("docs/api.md lacks {word}"));
            let cell = row.split('|').nth(3).unwrap_or_default().trim();
            assert_eq!(cell, http.to_string(), "{word}");
        }
        let rows = DOCUMENT.lines().filter(|line| {
            line.strip_prefix("| `")
                .is_some_and(|l| l.starts_with(|c: char| c.is_ascii_uppercase()))
        });
        let words = rows.filter(|row| {
            row.split('|')
                .nth(3)
                .is_some_and(|cell| cell.trim().parse::<u16>().is_ok())
        });
        assert_eq!(words.count(), STATUSES.len());
    }
}
