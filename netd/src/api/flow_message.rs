//! Flows as messages.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

use netd_common::{
    abi::{LOCAL, flow_flags},
    addr::{Addr, Be16},
    conntrack::lifetime::State,
};
use netd_proto::v1::{
    self,
    flow::{Direction, State as Shown},
    flow_change::Kind,
};

use super::{convert::Clock, holders::Holders};
use crate::dataplane::FlowRow;

/// Numbers of the endpoints at both ends.
pub fn ends(row: &FlowRow) -> [u32; 2] {
    [row.key.endpoint, row.target]
}

/// A change at this moment.
pub fn change(kind: Kind, flow: Option<v1::Flow>, clock: Clock) -> v1::FlowChange {
    v1::FlowChange {
        kind: kind.into(),
        flow,
        lost: 0,
        time: Some(clock.timestamp(clock.monotonic)),
    }
}

fn direction(row: &FlowRow) -> Direction {
    if row.flags & flow_flags::LOOPBACK != 0 {
        Direction::Loopback
    } else if row.flags & flow_flags::HAIRPIN != 0 || is_between(row) {
        Direction::Hairpin
    } else if row.flags & flow_flags::INBOUND != 0 {
        Direction::Inbound
    } else {
        Direction::Outbound
    }
}

/// Whether a number is an endpoint's.
const fn is_endpoint(number: u32) -> bool {
    number != 0 && number != LOCAL
}

/// Whether there is an endpoint at both ends.
const fn is_between(row: &FlowRow) -> bool {
    is_endpoint(row.key.endpoint) && is_endpoint(row.target)
}

fn state(row: &FlowRow) -> Shown {
    match row.state {
        State::Opening => Shown::Opening,
        State::Established => Shown::Established,
        State::Closing => Shown::Closing,
        State::Closed => Shown::Closed,
        State::Unanswered => Shown::Unanswered,
        State::Answered => Shown::Answered,
        State::Stream => Shown::Stream,
    }
}

fn addresses(src: Addr, sport: Be16, dst: Addr, dport: Be16) -> v1::FlowAddresses {
    v1::FlowAddresses {
        source_address: IpAddr::from(src).to_string(),
        source_port: sport.get().into(),
        destination_address: IpAddr::from(dst).to_string(),
        destination_port: dport.get().into(),
    }
}

/// The message of a flow.
pub fn flow(row: &FlowRow, names: &Holders, clock: Clock) -> v1::Flow {
    let at = |number: u32| {
        let holder = names.of(number);
        v1::FlowEnd {
            sandbox_id: holder.sandbox_id.clone(),
            sandbox_name: holder.sandbox_name.clone(),
            network_id: holder.network_id.clone(),
            network_name: holder.network_name.clone(),
            endpoint_id: holder.endpoint_id.clone(),
        }
    };
    let mut id = DefaultHasher::new();
    row.place().hash(&mut id);
    let key = &row.key;
    v1::Flow {
        id: format!("{:016x}", id.finish()),
        sandbox: Some(at(if is_endpoint(key.endpoint) {
            key.endpoint
        } else {
            row.target
        })),
        peer: is_between(row).then(|| at(row.target)),
        protocol: key.protocol.into(),
        direction: direction(row).into(),
        state: state(row).into(),
        original: Some(addresses(key.src, key.sport, key.dst, key.dport)),
        translated: Some(addresses(row.src, row.sport, row.dst, row.dport)),
        published: row.flags & flow_flags::PUBLISHED != 0,
        shared_port: row.flags & flow_flags::SHARED != 0,
        began: Some(clock.timestamp(row.begun)),
        age: Some(clock.since(row.begun)),
        idle: Some(clock.since(row.last_seen)),
        left: Some(clock.until(row.end)),
        packets: row.packets[0],
        bytes: row.bytes[0],
        answer_packets: row.packets[1],
        answer_bytes: row.bytes[1],
    }
}
