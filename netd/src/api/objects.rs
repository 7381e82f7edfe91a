//! The services of networks, endpoints, sandboxes and ports.

use netd_proto::v1::{
    self, endpoint_service_server::EndpointService, network_service_server::NetworkService,
    port_service_server::PortService, sandbox_service_server::SandboxService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, convert};
use crate::{
    engine::{NamespaceRequest, SandboxRequest},
    error::Result,
};

type Answer<T> = std::result::Result<Response<T>, Status>;

#[async_trait]
impl NetworkService for Api {
    async fn create_network(
        &self,
        request: Request<v1::CreateNetworkRequest>,
    ) -> Answer<v1::Network> {
        let made = self
            .engine
            .create_network(convert::network_request(request.into_inner()))
            .await?;
        let model = self.engine.model().await;
        Ok(Response::new(convert::network(&model, &made)))
    }

    async fn list_networks(
        &self,
        _: Request<v1::ListNetworksRequest>,
    ) -> Answer<v1::ListNetworksResponse> {
        let model = self.engine.model().await;
        let mut all: Vec<_> = model.networks.values().collect();
        all.sort_by_key(|n| n.created);
        let networks = all
            .into_iter()
            .map(|n| convert::network(&model, n))
            .collect();
        Ok(Response::new(v1::ListNetworksResponse { networks }))
    }

    async fn get_network(&self, request: Request<v1::GetNetworkRequest>) -> Answer<v1::Network> {
        let model = self.engine.model().await;
        let found = model.network(&request.into_inner().network)?;
        Ok(Response::new(convert::network(&model, found)))
    }

    async fn remove_network(
        &self,
        request: Request<v1::RemoveNetworkRequest>,
    ) -> Answer<v1::RemoveNetworkResponse> {
        let id = self
            .engine
            .remove_network(&request.into_inner().network)
            .await?;
        Ok(Response::new(v1::RemoveNetworkResponse { id }))
    }
}

#[async_trait]
impl EndpointService for Api {
    async fn connect_sandbox(&self, request: Request<v1::ConnectRequest>) -> Answer<v1::Endpoint> {
        let made = self
            .engine
            .connect(convert::endpoint_request(request.into_inner()))
            .await?;
        let model = self.engine.model().await;
        Ok(Response::new(convert::endpoint(&model, &made)))
    }

    async fn disconnect_sandbox(
        &self,
        request: Request<v1::DisconnectRequest>,
    ) -> Answer<v1::DisconnectResponse> {
        let request = request.into_inner();
        let endpoint_id = self
            .engine
            .disconnect(&request.network, &request.sandbox)
            .await?;
        Ok(Response::new(v1::DisconnectResponse { endpoint_id }))
    }

    async fn list_endpoints(
        &self,
        request: Request<v1::ListEndpointsRequest>,
    ) -> Answer<v1::ListEndpointsResponse> {
        let request = request.into_inner();
        let model = self.engine.model().await;
        let network = match request.network.as_str() {
            "" => None,
            wanted => Some(model.network(wanted)?.id.clone()),
        };
        let sandbox = match request.sandbox.as_str() {
            "" => None,
            wanted => Some(model.sandbox(wanted)?.id.clone()),
        };
        let endpoints = model
            .endpoints
            .values()
            .filter(|e| network.as_ref().is_none_or(|n| *n == e.network))
            .filter(|e| sandbox.as_ref().is_none_or(|s| *s == e.sandbox))
            .map(|e| convert::endpoint(&model, e))
            .collect();
        Ok(Response::new(v1::ListEndpointsResponse { endpoints }))
    }
}

#[async_trait]
impl SandboxService for Api {
    async fn create_sandbox(
        &self,
        request: Request<v1::CreateSandboxRequest>,
    ) -> Answer<v1::Sandbox> {
        use v1::create_sandbox_request::Namespace;
        let request = request.into_inner();
        let made = self
            .engine
            .create_sandbox(SandboxRequest {
                name: request.name,
                namespace: match request.namespace {
                    None => NamespaceRequest::New,
                    Some(Namespace::NetnsPath(path)) => NamespaceRequest::Path(path.into()),
                    Some(Namespace::Pid(pid)) => NamespaceRequest::Process(pid),
                },
                hostname: request.hostname,
                labels: request.labels.into_iter().collect(),
                ports: request
                    .ports
                    .iter()
                    .map(convert::binding)
                    .collect::<Result<_>>()?,
                networks: request
                    .networks
                    .into_iter()
                    .map(convert::endpoint_request)
                    .collect(),
            })
            .await?;
        let model = self.engine.model().await;
        Ok(Response::new(convert::sandbox(&model, &made)))
    }

    async fn list_sandboxes(
        &self,
        _: Request<v1::ListSandboxesRequest>,
    ) -> Answer<v1::ListSandboxesResponse> {
        let model = self.engine.model().await;
        let mut all: Vec<_> = model.sandboxes.values().collect();
        all.sort_by_key(|s| s.created);
        let sandboxes = all
            .into_iter()
            .map(|s| convert::sandbox(&model, s))
            .collect();
        Ok(Response::new(v1::ListSandboxesResponse { sandboxes }))
    }

    async fn get_sandbox(&self, request: Request<v1::GetSandboxRequest>) -> Answer<v1::Sandbox> {
        let model = self.engine.model().await;
        let found = model.sandbox(&request.into_inner().sandbox)?;
        Ok(Response::new(convert::sandbox(&model, found)))
    }

    async fn remove_sandbox(
        &self,
        request: Request<v1::RemoveSandboxRequest>,
    ) -> Answer<v1::RemoveSandboxResponse> {
        let id = self
            .engine
            .remove_sandbox(&request.into_inner().sandbox)
            .await?;
        Ok(Response::new(v1::RemoveSandboxResponse { id }))
    }
}

#[async_trait]
impl PortService for Api {
    async fn publish(&self, request: Request<v1::PublishRequest>) -> Answer<v1::PublishResponse> {
        let request = request.into_inner();
        let wanted = request
            .specs
            .iter()
            .map(convert::binding)
            .collect::<Result<_>>()?;
        let made = self.engine.publish(&request.sandbox, wanted).await?;
        let model = self.engine.model().await;
        let sandbox = model.sandbox(&request.sandbox)?;
        let publications = made
            .iter()
            .map(|b| convert::publication(&model, sandbox, b))
            .collect();
        Ok(Response::new(v1::PublishResponse { publications }))
    }

    async fn unpublish(
        &self,
        request: Request<v1::UnpublishRequest>,
    ) -> Answer<v1::UnpublishResponse> {
        let request = request.into_inner();
        let wanted: Vec<_> = request
            .specs
            .iter()
            .map(convert::binding)
            .collect::<Result<_>>()?;
        self.engine.unpublish(&request.sandbox, &wanted).await?;
        Ok(Response::new(v1::UnpublishResponse {}))
    }

    async fn list_publications(
        &self,
        request: Request<v1::ListPublicationsRequest>,
    ) -> Answer<v1::ListPublicationsResponse> {
        let wanted = request.into_inner().sandbox;
        let model = self.engine.model().await;
        let sandboxes = if wanted.is_empty() {
            model.sandboxes.values().collect()
        } else {
            vec![model.sandbox(&wanted)?]
        };
        let publications = sandboxes
            .into_iter()
            .flat_map(|s| {
                s.ports
                    .iter()
                    .map(|b| convert::publication(&model, s, b))
                    .collect::<Vec<_>>()
            })
            .collect();
        Ok(Response::new(v1::ListPublicationsResponse { publications }))
    }
}
