//! The service of published ports.

use netd_proto::v1::{self, port_service_server::PortService};
use tonic::{Request, Response, async_trait};

use super::{
    Answer, Api, bounds, convert,
    filter::Filter,
    page::{Asked, Place},
    requests,
    subject::{self, Published},
};
use crate::{
    error::{Kind, Result},
    model::PortBinding,
};

#[async_trait]
impl PortService for Api {
    async fn publish(&self, request: Request<v1::PublishRequest>) -> Answer<v1::PublishResponse> {
        let request = bounds::open(request)?;
        let wanted = requests::bindings("specs", &request.specs)?;
        let name = request.sandbox.clone();
        let sandbox = name.clone();
        let made = self
            .whole(move |e| async move { e.publish(&name, wanted, request.request_id).await })
            .await?;
        let model = self.engine.view();
        let sandbox = model.sandbox(&sandbox)?;
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
        let request = bounds::open(request)?;
        let wanted = requests::bindings("specs", &request.specs)?;
        if request.allow_missing {
            // One by one: those that are not there keep none of the others.
            for one in wanted {
                match self.withdraw(&request.sandbox, vec![one]).await {
                    Err(e) if e.kind == Kind::NotFound => {}
                    done => done?,
                }
            }
        } else {
            self.withdraw(&request.sandbox, wanted).await?;
        }
        Ok(Response::new(v1::UnpublishResponse {}))
    }

    async fn list_publications(
        &self,
        request: Request<v1::ListPublicationsRequest>,
    ) -> Answer<v1::ListPublicationsResponse> {
        let request = bounds::open(request)?;
        let filter = Filter::parse(&request.filter, subject::PUBLICATION)?;
        let list = ["publications", &request.sandbox, &request.filter];
        let asked = Asked::new(request.page_size, &request.page_token, &list)?;
        let model = self.engine.view();
        let sandboxes = match request.sandbox.as_str() {
            "" => model.sandboxes().values().map(|s| &**s).collect(),
            wanted => vec![&**model.sandbox(wanted)?],
        };
        let page = asked.of(
            model.revision,
            sandboxes.into_iter(),
            |s| Place {
                created: s.created,
                id: s.id.clone(),
            },
            |s| {
                let bindings = convert::bindings(s).iter().filter_map(|binding| {
                    let message = convert::publication(&model, s, binding);
                    let subject = Published {
                        sandbox: s,
                        binding,
                        active: message.active,
                    };
                    filter.takes(&subject).then_some(message)
                });
                bindings.collect()
            },
        );
        Ok(Response::new(v1::ListPublicationsResponse {
            publications: page.items,
            next_page_token: page.next,
            revision: page.revision,
        }))
    }
}

impl Api {
    async fn withdraw(&self, sandbox: &str, wanted: Vec<PortBinding>) -> Result<()> {
        let sandbox = sandbox.to_owned();
        self.whole(move |e| async move { e.unpublish(&sandbox, &wanted).await })
            .await
    }
}
