//! The service of endpoints.

use netd_proto::v1::{self, endpoint_service_server::EndpointService};
use tonic::{Request, Response, async_trait};

use super::{
    Answer, Api, bounds, convert,
    filter::Filter,
    mask::Mask,
    page::{Asked, Place},
    requests,
    subject::{self, Of},
};
use crate::{
    engine::Model,
    error::{Error, Kind, Reason, Result},
    model::{self, Endpoint},
};

/// The endpoint that is meant.
fn find<'a>(model: &'a Model, meant: &v1::EndpointReference) -> Result<&'a Endpoint> {
    let by_place = !meant.network.is_empty() && !meant.sandbox.is_empty();
    match (meant.id.as_str(), by_place) {
        ("", true) => {
            let (network, sandbox) = (
                model.network(&meant.network)?,
                model.sandbox(&meant.sandbox)?,
            );
            let mut own = model.endpoints_of(&sandbox.id);
            own.find(|e| e.network == network.id).ok_or_else(|| {
                let text = format!(
                    "sandbox {} has no endpoint on network {}",
                    sandbox.name, network.name
                );
                Error::not_found(text).hint("netctl sandbox inspect shows its networks")
            })
        }
        ("", false) => Err(Error::invalid("which endpoint?")
            .about("field", "endpoint")
            .hint("its id, or network and sandbox")),
        (_, _) if !meant.network.is_empty() || !meant.sandbox.is_empty() => {
            Err(Error::invalid("an endpoint's id stands alone")
                .about("field", "endpoint")
                .hint("its id, or network and sandbox"))
        }
        (id, _) => {
            let all = model.endpoints().values();
            // An endpoint has no name.
            model::find("endpoint", id, all, |e| &e.id, |e| &e.id)
        }
    }
}

#[async_trait]
impl EndpointService for Api {
    async fn connect_sandbox(
        &self,
        request: Request<v1::ConnectSandboxRequest>,
    ) -> Answer<v1::Endpoint> {
        let request = bounds::open(request)?;
        requests::check_request_id(&request.request_id)?;
        let spec = request.spec.unwrap_or_default();
        let request = requests::endpoint("spec", request.sandbox, spec)?;
        let made = self
            .whole(move |e| async move { e.connect(request).await })
            .await?;
        let model = self.engine.read();
        Ok(Response::new(convert::connected(&model, &made)))
    }

    async fn disconnect_sandbox(
        &self,
        request: Request<v1::DisconnectSandboxRequest>,
    ) -> Answer<v1::DisconnectSandboxResponse> {
        let request = bounds::open(request)?;
        let done = self
            .whole(move |e| async move { e.disconnect(&request.network, &request.sandbox).await })
            .await;
        let missing = |e: &Error| e.kind == Kind::NotFound || e.reason == Reason::NotConnected;
        let endpoint_id = match done {
            Err(e) if request.allow_missing && missing(&e) => String::new(),
            done => done?,
        };
        Ok(Response::new(v1::DisconnectSandboxResponse { endpoint_id }))
    }

    async fn get_endpoint(&self, request: Request<v1::GetEndpointRequest>) -> Answer<v1::Endpoint> {
        let meant = bounds::open(request)?.endpoint.unwrap_or_default();
        let model = self.engine.read();
        let found = find(&model, &meant)?;
        Ok(Response::new(convert::endpoint(&model, found)))
    }

    async fn list_endpoints(
        &self,
        request: Request<v1::ListEndpointsRequest>,
    ) -> Answer<v1::ListEndpointsResponse> {
        let request = bounds::open(request)?;
        let filter = Filter::parse(&request.filter, subject::ENDPOINT)?;
        let list = [
            "endpoints",
            &request.network,
            &request.sandbox,
            &request.filter,
        ];
        let asked = Asked::new(request.page_size, &request.page_token, &list)?;
        let model = self.engine.read();
        let network = match request.network.as_str() {
            "" => None,
            wanted => Some(&model.network(wanted)?.id),
        };
        let sandbox = match request.sandbox.as_str() {
            "" => None,
            wanted => Some(&model.sandbox(wanted)?.id),
        };
        let taken = |e: &&Endpoint| {
            network.is_none_or(|n| *n == e.network)
                && sandbox.is_none_or(|s| *s == e.sandbox)
                && filter.takes(&Of(&model, *e))
        };
        let page = asked.of(
            0,
            model.endpoints().values().filter(taken),
            |e| Place {
                created: 0,
                id: e.id.clone(),
            },
            |e| vec![convert::endpoint(&model, e)],
        );
        Ok(Response::new(v1::ListEndpointsResponse {
            endpoints: page.items,
            next_page_token: page.next,
            revision: page.revision,
        }))
    }

    async fn update_endpoint(
        &self,
        request: Request<v1::UpdateEndpointRequest>,
    ) -> Answer<v1::Endpoint> {
        let request = bounds::open(request)?;
        let update = request.update.unwrap_or_default();
        let known = ["aliases", "gateway_priority"];
        Mask::new(request.update_mask, &known, |path| match path {
            "aliases" => !update.aliases.is_empty(),
            _ => update.gateway_priority != 0,
        })?;
        Err(requests::not_yet("updates of endpoints").into())
    }

    async fn check_endpoint(
        &self,
        request: Request<v1::CheckEndpointRequest>,
    ) -> Answer<v1::CheckEndpointResponse> {
        let meant = bounds::open(request)?.endpoint.unwrap_or_default();
        find(&self.engine.read(), &meant)?;
        Err(requests::not_yet("checks of endpoints").into())
    }
}
