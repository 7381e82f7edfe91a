//! The daemon of memory: its state and its events.

use netd_proto::v1::{
    DroppedPacket, Event, FlowTotals, GetStatusRequest, GetStatusResponse, ListDropsRequest,
    ListDropsResponse, ListStatsRequest, ListStatsResponse, ReconcileRequest, ReconcileResponse,
    WatchDropsRequest, WatchRequest, event_service_server::EventService,
    system_service_server::SystemService,
};
use tonic::{Request, Response, Status};

use crate::daemon::{Answer, Shared};

/// Mends two things at each call.
pub struct System(pub Shared);

#[tonic::async_trait]
impl SystemService for System {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        Ok(Response::new(GetStatusResponse {
            flows: Some(FlowTotals {
                entries: 24,
                capacity: 262_144,
                ended: 7,
                ended_early: 2,
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    async fn reconcile(&self, _: Request<ReconcileRequest>) -> Answer<ReconcileResponse> {
        let mended = vec![
            "the filter of nd-1 was gone".into(),
            "route of front".into(),
        ];
        Ok(Response::new(ReconcileResponse { mended }))
    }

    async fn list_drops(&self, _: Request<ListDropsRequest>) -> Answer<ListDropsResponse> {
        Ok(Response::new(ListDropsResponse::default()))
    }

    type WatchDropsStream = tokio_stream::Iter<std::vec::IntoIter<Result<DroppedPacket, Status>>>;

    /// Sends two packets and ends.
    async fn watch_drops(
        &self,
        request: Request<WatchDropsRequest>,
    ) -> Answer<Self::WatchDropsStream> {
        self.0.lock().unwrap().drops.push(request.into_inner());
        let packet = DroppedPacket {
            reason_name: "isolated".into(),
            description: "The address belongs to another network.".into(),
            sandbox_name: "web".into(),
            source_address: "10.0.0.2".into(),
            source_port: 4000,
            destination_address: "10.1.0.2".into(),
            destination_port: 53,
            protocol: 17,
            ..Default::default()
        };
        let second = DroppedPacket {
            left_out: 5,
            ..packet.clone()
        };
        let packets = vec![Ok(packet), Ok(second)];
        Ok(Response::new(tokio_stream::iter(packets)))
    }

    async fn list_stats(&self, _: Request<ListStatsRequest>) -> Answer<ListStatsResponse> {
        Ok(Response::new(ListStatsResponse::default()))
    }
}

/// Sends three events and ends.
pub struct Events;

#[tonic::async_trait]
impl EventService for Events {
    type WatchStream = tokio_stream::Iter<std::vec::IntoIter<Result<Event, Status>>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        let event = |kind: &str, action: &str, name: &str, more: &[(&str, &str)]| {
            let pairs = [("name", name)];
            let pairs = pairs.iter().chain(more).map(|&(k, v)| (k.into(), v.into()));
            Ok(Event {
                r#type: kind.into(),
                action: action.into(),
                id: "a".repeat(64),
                attributes: pairs.collect(),
                ..Default::default()
            })
        };
        let events = vec![
            event("network", "create", "front", &[]),
            event("sandbox", "create", "web", &[]),
            event("network", "connect", "front", &[("container", "web")]),
        ];
        Ok(Response::new(tokio_stream::iter(events)))
    }
}
