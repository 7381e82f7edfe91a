//! The service of names.

use netd_proto::v1::{self, name_service_server::NameService, resolve_response::Outcome};
use tonic::{Request, Response, async_trait};

use super::{
    Answer, Api, bounds,
    page::{Asked, Place},
};
use crate::dns::{Lookup, table::KnownName};

#[async_trait]
impl NameService for Api {
    async fn resolve(&self, request: Request<v1::ResolveRequest>) -> Answer<v1::ResolveResponse> {
        let request = bounds::open(request)?;
        let found = self
            .engine
            .lookup(&request.sandbox, &request.name, &request.r#type)?;
        let mut response = v1::ResolveResponse::default();
        let outcome = match found {
            Lookup::Answered(records) => {
                let record = |record: &hickory_proto::rr::Record| v1::NameRecord {
                    name: record.name.to_string(),
                    r#type: record.record_type().to_string(),
                    ttl: record.ttl,
                    data: record.data.to_string(),
                };
                response.records = records.iter().map(record).collect();
                Outcome::Answered
            }
            Lookup::NoSuchName => Outcome::NoSuchName,
            Lookup::Forwarded(servers) => {
                response.servers = servers.iter().map(ToString::to_string).collect();
                Outcome::Forwarded
            }
            Lookup::NotForwarded => Outcome::NotForwarded,
        };
        response.outcome = outcome.into();
        Ok(Response::new(response))
    }

    async fn list_names(
        &self,
        request: Request<v1::ListNamesRequest>,
    ) -> Answer<v1::ListNamesResponse> {
        let request = bounds::open(request)?;
        let list = ["names", &request.sandbox];
        let asked = Asked::new(request.page_size, &request.page_token, &list)?;
        let view = self.engine.view();
        let known = self.engine.known_names(&request.sandbox)?;
        let named = |number: u32| view.networks().values().find(|n| n.number == number);
        let page = asked.of(
            view.revision,
            known.iter(),
            // Names are in order of themselves.
            |known: &KnownName| Place {
                created: 0,
                id: format!("{}.{}", known.name, known.network),
            },
            |known: &KnownName| {
                let network = named(known.network);
                vec![v1::KnownName {
                    name: known.name.clone(),
                    network_id: network.map(|n| n.id.clone()).unwrap_or_default(),
                    network_name: network.map(|n| n.name.clone()).unwrap_or_default(),
                    addresses: known.addresses.iter().map(ToString::to_string).collect(),
                    link_target: known.link.clone().unwrap_or_default(),
                }]
            },
        );
        Ok(Response::new(v1::ListNamesResponse {
            names: page.items,
            next_page_token: page.next,
        }))
    }
}
