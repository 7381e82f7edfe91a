//! The services of networks, endpoints, sandboxes and ports.

use netd_proto::v1::{
    self, endpoint_service_server::EndpointService, network_service_server::NetworkService,
    port_service_server::PortService, sandbox_service_server::SandboxService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, convert, names};
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
        let request = convert::network_request(request.into_inner());
        let made = self
            .whole(move |e| async move { e.create_network(request).await })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::network(&model, &made)))
    }

    async fn list_networks(
        &self,
        _: Request<v1::ListNetworksRequest>,
    ) -> Answer<v1::ListNetworksResponse> {
        let model = self.engine.view();
        let mut all: Vec<_> = model.networks().values().collect();
        all.sort_by_key(|n| n.created);
        let networks = all
            .into_iter()
            .map(|n| convert::network(&model, n))
            .collect();
        Ok(Response::new(v1::ListNetworksResponse { networks }))
    }

    async fn get_network(&self, request: Request<v1::GetNetworkRequest>) -> Answer<v1::Network> {
        let model = self.engine.view();
        let found = model.network(&request.into_inner().network)?;
        Ok(Response::new(convert::network(&model, found)))
    }

    async fn remove_network(
        &self,
        request: Request<v1::RemoveNetworkRequest>,
    ) -> Answer<v1::RemoveNetworkResponse> {
        let wanted = request.into_inner().network;
        let id = self
            .whole(move |e| async move { e.remove_network(&wanted).await })
            .await?;
        Ok(Response::new(v1::RemoveNetworkResponse { id }))
    }

    async fn prune_networks(
        &self,
        request: Request<v1::PruneNetworksRequest>,
    ) -> Answer<v1::PruneNetworksResponse> {
        let request = convert::prune_request(request.into_inner());
        let names = self
            .whole(move |e| async move { e.prune_networks(&request).await })
            .await?;
        Ok(Response::new(v1::PruneNetworksResponse { names }))
    }
}

#[async_trait]
impl EndpointService for Api {
    async fn connect_sandbox(&self, request: Request<v1::ConnectRequest>) -> Answer<v1::Endpoint> {
        let request = request.into_inner();
        let sandbox = request.sandbox.clone();
        let spec = convert::endpoint_request(request);
        let made = self
            .whole(move |e| async move { e.connect(&sandbox, spec, String::new()).await })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::connected(&model, &made)))
    }

    async fn disconnect_sandbox(
        &self,
        request: Request<v1::DisconnectRequest>,
    ) -> Answer<v1::DisconnectResponse> {
        let request = request.into_inner();
        let endpoint_id = self
            .whole(move |e| async move { e.disconnect(&request.network, &request.sandbox).await })
            .await?;
        Ok(Response::new(v1::DisconnectResponse { endpoint_id }))
    }

    async fn list_endpoints(
        &self,
        request: Request<v1::ListEndpointsRequest>,
    ) -> Answer<v1::ListEndpointsResponse> {
        let request = request.into_inner();
        let model = self.engine.view();
        let network = match request.network.as_str() {
            "" => None,
            wanted => Some(model.network(wanted)?.id.clone()),
        };
        let sandbox = match request.sandbox.as_str() {
            "" => None,
            wanted => Some(model.sandbox(wanted)?.id.clone()),
        };
        let endpoints = model
            .endpoints()
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
        let bindings = |specs: &[v1::PortSpec]| {
            let all = specs.iter().map(convert::binding);
            all.collect::<Result<Vec<_>>>()
        };
        let request = SandboxRequest {
            name: request.name,
            namespace: match request.namespace {
                None => NamespaceRequest::New,
                Some(Namespace::NetnsPath(path)) => NamespaceRequest::Path(path.into()),
                Some(Namespace::Pid(pid)) => NamespaceRequest::Process(pid),
            },
            stopped: request.stopped,
            hostname: request.hostname,
            labels: request.labels.into_iter().collect(),
            ports: bindings(&request.ports)?,
            exposed: bindings(&request.exposed)?,
            publish_all: request.publish_all,
            networks: request
                .networks
                .into_iter()
                .map(convert::endpoint_request)
                .collect(),
            names: names::options(request.names.unwrap_or_default())?,
            id: String::new(),
            request_id: String::new(),
        };
        let made = self
            .whole(move |e| async move { e.create_sandbox(request).await })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::sandbox(&model, &made)))
    }

    async fn start_sandbox(
        &self,
        request: Request<v1::StartSandboxRequest>,
    ) -> Answer<v1::Sandbox> {
        use v1::start_sandbox_request::Namespace;
        let request = request.into_inner();
        let namespace = match request.namespace {
            None => NamespaceRequest::New,
            Some(Namespace::NetnsPath(path)) => NamespaceRequest::Path(path.into()),
            Some(Namespace::Pid(pid)) => NamespaceRequest::Process(pid),
        };
        let made = self
            .whole(move |e| async move { e.start_sandbox(&request.sandbox, namespace).await })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::sandbox(&model, &made)))
    }

    async fn stop_sandbox(&self, request: Request<v1::StopSandboxRequest>) -> Answer<v1::Sandbox> {
        let wanted = request.into_inner().sandbox;
        let made = self
            .whole(move |e| async move { e.stop_sandbox(&wanted).await })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::sandbox(&model, &made)))
    }

    async fn list_sandboxes(
        &self,
        _: Request<v1::ListSandboxesRequest>,
    ) -> Answer<v1::ListSandboxesResponse> {
        let model = self.engine.view();
        let mut all: Vec<_> = model.sandboxes().values().collect();
        all.sort_by_key(|s| s.created);
        let sandboxes = all
            .into_iter()
            .map(|s| convert::sandbox(&model, s))
            .collect();
        Ok(Response::new(v1::ListSandboxesResponse { sandboxes }))
    }

    async fn get_sandbox(&self, request: Request<v1::GetSandboxRequest>) -> Answer<v1::Sandbox> {
        let model = self.engine.view();
        let found = model.sandbox(&request.into_inner().sandbox)?;
        Ok(Response::new(convert::sandbox(&model, found)))
    }

    async fn remove_sandbox(
        &self,
        request: Request<v1::RemoveSandboxRequest>,
    ) -> Answer<v1::RemoveSandboxResponse> {
        let wanted = request.into_inner().sandbox;
        let id = self
            .whole(move |e| async move { e.remove_sandbox(&wanted).await })
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
        let name = request.sandbox.clone();
        let made = self
            .whole(move |e| async move { e.publish(&name, wanted).await })
            .await?;
        let model = self.engine.view();
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
        self.whole(move |e| async move { e.unpublish(&request.sandbox, &wanted).await })
            .await?;
        Ok(Response::new(v1::UnpublishResponse {}))
    }

    async fn list_publications(
        &self,
        request: Request<v1::ListPublicationsRequest>,
    ) -> Answer<v1::ListPublicationsResponse> {
        let wanted = request.into_inner().sandbox;
        let model = self.engine.view();
        let sandboxes = if wanted.is_empty() {
            model.sandboxes().values().collect()
        } else {
            vec![model.sandbox(&wanted)?]
        };
        let publications = sandboxes
            .into_iter()
            .flat_map(|s| convert::publications(&model, s))
            .collect();
        Ok(Response::new(v1::ListPublicationsResponse { publications }))
    }
}
