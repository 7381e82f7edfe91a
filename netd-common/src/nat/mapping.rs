//! Mappings: an inside socket's outside port, and the count of flows that use it.

use crate::{
    abi::{Flow, FlowKey, MappingKey, OutsidePort, flow_flags},
    packet::protocol,
    tables::{Count, Tables},
};

/// Writes the key of the mapping that an entry with [`flow_flags::MAPPED`] counts in.
#[inline(always)]
pub fn write_mapping_key(key: &FlowKey, flow: &Flow, out: &mut MappingKey) {
    out.inside = key.src;
    out.outside = flow.src;
    out.endpoint = key.endpoint;
    out.port = key.sport;
    out.protocol = key.protocol;
    out.pad = 0;
}

/// Counts a port that the endpoint with slot `payer` has to itself, more or less.
#[inline(always)]
pub fn count_port<T: Tables>(t: &T, payer: u32, number: u8, by: i32) {
    t.count_usage(payer, 0, by);
    let what = if number == protocol::TCP {
        Count::TcpPorts
    } else {
        Count::OtherPorts
    };
    t.count(what, by as i64);
}

/// Gives up an entry's share in its mapping, if it has one. `room`: for the mapping's key.
#[inline(always)]
pub fn release<T: Tables>(t: &T, key: &FlowKey, flow: &Flow, room: &mut MappingKey) {
    if flow.flags & flow_flags::MAPPED == 0 || !t.take_flow_flag(key, flow_flags::MAPPED) {
        return;
    }
    write_mapping_key(key, flow, room);
    if t.release_mapping(room) {
        count_port(t, flow.payer, key.protocol, -1);
    }
}

/// Gives up a mapping that no flow uses, once its port has rested. Says whether it did.
#[inline(always)]
pub fn remove_idle<T: Tables>(t: &T, key: &MappingKey) -> bool {
    let (Some(mapping), Some(settings)) = (t.mapping(key), t.settings()) else {
        return false;
    };
    let rested = t.now().wrapping_sub(mapping.last_used) >= settings.port_rest;
    if mapping.flows != 0 || !rested || !t.remove_mapping(key) {
        return false;
    }
    t.count(Count::Mappings, -1);
    t.free_port(&OutsidePort {
        addr: key.outside,
        port: mapping.port,
        protocol: key.protocol,
        pad: 0,
    });
    true
}
