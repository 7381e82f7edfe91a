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
    engine::{EndpointUpdate, View},
    error::{Error, Kind, Reason, Result},
    model::Endpoint,
};

/// The endpoint that is meant.
fn find<'a>(model: &'a View, meant: &v1::EndpointReference) -> Result<&'a Endpoint> {
    let by_place = !meant.network.is_empty() && !meant.sandbox.is_empty();
    match (meant.id.as_str(), by_place) {
        ("", true) => {
            let (network, sandbox) = (
                model.network(&meant.network)?,
                model.sandbox(&meant.sandbox)?,
            );
            let mut own = model.endpoints_of(&sandbox.id).map(|e| &**e);
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
        (id, _) => model.endpoint(id).map(|e| &**e),
    }
}

/// The ids of the network and the sandbox that are meant; the endpoint may wait for the sandbox's start.
fn place(model: &View, meant: &v1::EndpointReference) -> Result<(String, String)> {
    if meant.id.is_empty() && !meant.network.is_empty() && !meant.sandbox.is_empty() {
        let network = model.network(&meant.network)?.id.clone();
        return Ok((network, model.sandbox(&meant.sandbox)?.id.clone()));
    }
    find(model, meant).map(|e| (e.network.clone(), e.sandbox.clone()))
}

#[async_trait]
impl EndpointService for Api {
    async fn connect_sandbox(
        &self,
        request: Request<v1::ConnectSandboxRequest>,
    ) -> Answer<v1::Endpoint> {
        let request = bounds::open(request)?;
        let spec = requests::endpoint("spec", request.spec.unwrap_or_default())?;
        let (sandbox, id) = (request.sandbox, request.request_id);
        let made = self
            .whole(move |e| async move { e.connect(&sandbox, spec, id).await })
            .await?;
        let model = self.engine.view();
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
        let model = self.engine.view();
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
        let model = self.engine.view();
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
            model.revision,
            model.endpoints().values().map(|e| &**e).filter(taken),
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
        let mask = Mask::new(request.update_mask, &known, |path| match path {
            "aliases" => !update.aliases.is_empty(),
            _ => update.gateway_priority != 0,
        })?;
        let meant = request.endpoint.unwrap_or_default();
        let (network, sandbox) = place(&self.engine.view(), &meant)?;
        let update = EndpointUpdate {
            expected_revision: request.expected_revision,
            aliases: mask.has("aliases").then_some(update.aliases),
            priority: mask
                .has("gateway_priority")
                .then_some(update.gateway_priority),
        };
        let (on, of) = (network.clone(), sandbox.clone());
        let made = self
            .whole(move |e| async move { e.update_endpoint(&on, &of, update).await })
            .await?;
        let model = self.engine.view();
        let endpoint = match made {
            Some(made) => convert::endpoint(&model, &made),
            None => convert::waiting(&model, &network, &sandbox)?,
        };
        Ok(Response::new(endpoint))
    }

    async fn check_endpoint(
        &self,
        request: Request<v1::CheckEndpointRequest>,
    ) -> Answer<v1::CheckEndpointResponse> {
        let meant = bounds::open(request)?.endpoint.unwrap_or_default();
        let found = find(&self.engine.view(), &meant)?.clone();
        let differences = self
            .whole(move |e| async move { e.check_endpoint(&found.network, &found.sandbox).await })
            .await?;
        Ok(Response::new(v1::CheckEndpointResponse { differences }))
    }
}
