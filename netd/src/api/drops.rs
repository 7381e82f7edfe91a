//! Refused packets as a stream of messages.

use std::{net::IpAddr, pin::Pin, sync::Arc};

use netd_common::{abi::DropEvent, addr::Addr, drop_reason::DropReason};
use netd_proto::v1;
use tonic::Status;

use super::{convert::Clock, holders::Holders};
use crate::{
    dataplane::{DropWatch, RefusedPacket, attach},
    engine::Engine,
    error::{Error, Result},
};

/// What `WatchDrops` answers.
pub type Stream = Pin<
    Box<dyn tokio_stream::Stream<Item = std::result::Result<v1::DroppedPacket, Status>> + Send>,
>;

/// What one client watches.
struct Watched {
    engine: Arc<Engine>,
    packets: DropWatch,
    /// Id of a sandbox.
    sandbox: Option<String>,
    reasons: Vec<u32>,
    names: Holders,
}

/// Begins to watch.
pub fn watch(engine: &Arc<Engine>, request: &v1::WatchDropsRequest) -> Result<Stream> {
    let sandbox = match request.sandbox.as_str() {
        "" => None,
        wanted => Some(engine.view().sandbox(wanted)?.id.clone()),
    };
    let watched = Watched {
        engine: Arc::clone(engine),
        sandbox,
        reasons: request
            .reasons
            .iter()
            .map(|name| reason(name))
            .collect::<Result<_>>()?,
        packets: engine.dataplane.watch_drops()?,
        names: Holders::default(),
    };
    let packets = futures::stream::unfold(watched, |mut watched| async move {
        let message = watched.next().await?;
        Some((Ok(message), watched))
    });
    Ok(Box::pin(packets))
}

fn reason(name: &str) -> Result<u32> {
    let mut all = DropReason::ALL.iter();
    let found = all.find(|reason| reason.name() == name);
    found.map(|reason| *reason as u32).ok_or_else(|| {
        let names: Vec<&str> = DropReason::ALL.iter().map(|r| r.name()).collect();
        Error::invalid(format!("no reason {name:?} to refuse a packet"))
            .hint(format!("one of {}", names.join(", ")))
    })
}

impl Watched {
    async fn next(&mut self) -> Option<v1::DroppedPacket> {
        let (mut lost, mut left_out) = (0, 0);
        loop {
            let (packet, missed) = self.packets.next().await?;
            lost += missed;
            let number = packet.endpoint.unwrap_or(0);
            self.names.learn(&self.engine, [number]);
            let holder = self.names.of(number);
            let other = |id: &String| *id != holder.sandbox_id;
            if self.sandbox.as_ref().is_some_and(other) {
                continue;
            }
            left_out += u64::from(packet.event.left_out);
            if !self.reasons.is_empty() && !self.reasons.contains(&packet.event.reason) {
                continue;
            }
            return Some(v1::DroppedPacket {
                sandbox_name: holder.sandbox_name.clone(),
                network_name: holder.network_name.clone(),
                endpoint_id: holder.endpoint_id.clone(),
                left_out,
                lost,
                ..message(&packet)
            });
        }
    }
}

/// All but names and what was left out.
fn message(packet: &RefusedPacket) -> v1::DroppedPacket {
    let e: &DropEvent = &packet.event;
    let reason = DropReason::from_number(e.reason);
    let mut message = v1::DroppedPacket {
        time: Some(Clock::now().timestamp(e.time)),
        reason: e.reason,
        reason_name: reason.map_or("unknown", DropReason::name).to_owned(),
        description: reason.map_or("", DropReason::description).to_owned(),
        interface_name: attach::name_of(e.ifindex).unwrap_or_default(),
        bytes: e.bytes.into(),
        ..v1::DroppedPacket::default()
    };
    let read = |a: Addr| a != Addr::UNSPECIFIED;
    if read(e.src) || read(e.dst) {
        message.source_address = IpAddr::from(e.src).to_string();
        message.source_port = e.sport.get().into();
        message.destination_address = IpAddr::from(e.dst).to_string();
        message.destination_port = e.dport.get().into();
        message.protocol = e.protocol.into();
        message.tcp_flags = e.tcp_flags.into();
        message.icmp_type = e.icmp_type.into();
    }
    message
}
