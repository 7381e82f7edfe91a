//! The service of names.

use netd_proto::v1::{self, name_service_server::NameService};
use tonic::{Request, async_trait};

use super::{Answer, Api, bounds, requests};

#[async_trait]
impl NameService for Api {
    async fn resolve(&self, request: Request<v1::ResolveRequest>) -> Answer<v1::ResolveResponse> {
        let request = bounds::open(request)?;
        self.engine.read().sandbox(&request.sandbox)?;
        Err(requests::not_yet("view of the resolver's names").into())
    }

    async fn list_names(
        &self,
        request: Request<v1::ListNamesRequest>,
    ) -> Answer<v1::ListNamesResponse> {
        let request = bounds::open(request)?;
        self.engine.read().sandbox(&request.sandbox)?;
        Err(requests::not_yet("view of the resolver's names").into())
    }
}
