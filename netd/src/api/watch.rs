//! The service of changes and events.

use std::pin::Pin;

use netd_proto::v1::{self, event_service_server::EventService, watch_response::Kind};
use tokio_stream::{Stream, StreamExt as _, wrappers::BroadcastStream};
use tonic::{Request, Response, Status, async_trait};

use super::{Answer, Api, bounds, requests};

#[async_trait]
impl EventService for Api {
    type WatchStream =
        Pin<Box<dyn Stream<Item = std::result::Result<v1::WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let request = bounds::open(request)?;
        let changes = request.snapshot
            || request.from_revision.is_some()
            || !request.types.is_empty()
            || !request.filter.is_empty();
        if changes || !request.events {
            return Err(requests::not_yet("watch of changes").into());
        }
        let events = BroadcastStream::new(self.engine.subscribe()).map(|event| match event {
            Ok(e) => {
                let time = Some(e.time.into());
                let event = v1::Event {
                    time,
                    r#type: e.kind.to_owned(),
                    action: e.action.to_owned(),
                    id: e.id,
                    attributes: e.attributes.into_iter().collect(),
                };
                Ok(v1::WatchResponse {
                    kind: Kind::Commit.into(),
                    time,
                    events: vec![event],
                    ..v1::WatchResponse::default()
                })
            }
            Err(lag) => Err(Status::data_loss(format!(
                "events were lost: {lag}; watch again"
            ))),
        });
        Ok(Response::new(Box::pin(events)))
    }
}
