//! The service of networks.

use netd_proto::v1::{self, NetworkView, network_service_server::NetworkService};
use tonic::{Request, Response, async_trait};

use super::{
    Answer, Api, bounds, convert,
    filter::Filter,
    mask::Mask,
    page::{Asked, Place},
    requests,
    subject::{self, Of},
};
use crate::{driver::Network, engine::NetworkUpdate};

#[async_trait]
impl NetworkService for Api {
    async fn create_network(
        &self,
        request: Request<v1::CreateNetworkRequest>,
    ) -> Answer<v1::Network> {
        let request = requests::network(bounds::open(request)?)?;
        let made = self
            .whole(move |e| async move { e.create_network(request).await })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::network(&model, &made, true)))
    }

    async fn get_network(&self, request: Request<v1::GetNetworkRequest>) -> Answer<v1::Network> {
        let request = bounds::open(request)?;
        let model = self.engine.view();
        let found = model.network(&request.network)?;
        let full = convert::is_full(request.view(), NetworkView::Full);
        Ok(Response::new(convert::network(&model, found, full)))
    }

    async fn list_networks(
        &self,
        request: Request<v1::ListNetworksRequest>,
    ) -> Answer<v1::ListNetworksResponse> {
        let request = bounds::open(request)?;
        let filter = Filter::parse(&request.filter, subject::NETWORK)?;
        let asked = Asked::new(
            request.page_size,
            &request.page_token,
            &["networks", &request.filter],
        )?;
        let full = convert::is_full(request.view(), NetworkView::Basic);
        let model = self.engine.view();
        let taken = |n: &&Network| filter.takes(&Of(&model, *n));
        let page = asked.of(
            model.revision,
            model.networks().values().map(|n| &**n).filter(taken),
            |n| Place {
                created: n.created,
                id: n.id.clone(),
            },
            |n| vec![convert::network(&model, n, full)],
        );
        Ok(Response::new(v1::ListNetworksResponse {
            networks: page.items,
            next_page_token: page.next,
            revision: page.revision,
        }))
    }

    async fn update_network(
        &self,
        request: Request<v1::UpdateNetworkRequest>,
    ) -> Answer<v1::Network> {
        let request = bounds::open(request)?;
        let update = request.update.unwrap_or_default();
        let mask = Mask::new(request.update_mask, &["labels"], |_| {
            !update.labels.is_empty()
        })?;
        let labels = update.labels.into_iter().collect();
        let update = NetworkUpdate {
            expected_revision: request.expected_revision,
            labels: mask.has("labels").then_some(labels),
        };
        let wanted = request.network;
        let made = self
            .whole(move |e| async move { e.update_network(&wanted, update).await })
            .await?;
        let model = self.engine.view();
        Ok(Response::new(convert::network(&model, &made, true)))
    }

    async fn remove_network(
        &self,
        request: Request<v1::RemoveNetworkRequest>,
    ) -> Answer<v1::RemoveNetworkResponse> {
        let request = bounds::open(request)?;
        let removed = self
            .whole(move |e| async move { e.remove_network(&request.network).await })
            .await;
        let id = super::removed_id(removed, request.allow_missing)?;
        Ok(Response::new(v1::RemoveNetworkResponse { id }))
    }

    async fn prune_networks(
        &self,
        request: Request<v1::PruneNetworksRequest>,
    ) -> Answer<v1::PruneNetworksResponse> {
        let request = requests::prune(bounds::open(request)?);
        let names = self
            .whole(move |e| async move { e.prune_networks(&request).await })
            .await?;
        Ok(Response::new(v1::PruneNetworksResponse { names }))
    }
}
