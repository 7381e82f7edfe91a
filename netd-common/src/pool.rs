//! Outside ports of masquerading: endpoint-independent mappings (RFC 4787 REQ-1) from a pool of random ports.

use crate::{
    abi::{Mapping, MappingKey, OutsidePort},
    addr::{Addr, Be16},
    begin::published,
    drop_reason::DropReason,
    packet::{Class, Headers, protocol},
    tables::{Refused, Tables},
};

/// How often a random port is tried before the pool counts as exhausted.
const PORT_TRIES: u32 = 64;

/// First port and number of ports of the pool.
#[inline(always)]
pub fn range<T: Tables>(t: &T) -> Result<(u32, u32), DropReason> {
    let settings = t.settings().ok_or(DropReason::NoPort)?;
    let first = u32::from(settings.pool_first);
    let size = u32::from(settings.pool_last)
        .wrapping_sub(first)
        .wrapping_add(1);
    if size == 0 || size > 0xffff {
        return Err(DropReason::NoPort);
    }
    Ok((first, size))
}

/// Some port of the pool.
#[inline(always)]
pub fn random_port<T: Tables>(t: &T, first: u32, size: u32) -> Be16 {
    // The upper part of the product: a division would bring its check for zero, which is a panic.
    let offset = (u64::from(t.random()) * u64::from(size)) >> 32;
    Be16::new(first.wrapping_add(offset as u32) as u16)
}

/// The outside port of an inside socket: the one it has, or a random free one of the pool (RFC 4787, REQ-1), which counts
/// against the quota of the endpoint with slot `payer`.
#[inline(never)]
pub fn outside_port<T: Tables>(
    t: &T,
    endpoint: u32,
    h: &Headers,
    outside: &Addr,
    payer: u32,
) -> Result<Be16, DropReason> {
    let outside = *outside;
    // Without ports there is nothing to map; SCTP keeps its port because its checksum cannot be updated in place.
    if !h.has_ports()
        || h.protocol == protocol::SCTP
        || (h.class == Class::Echo && h.sport == Be16::ZERO)
    {
        return Ok(h.sport);
    }
    let key = MappingKey {
        inside: h.src,
        outside,
        endpoint,
        port: h.sport,
        protocol: h.protocol,
        pad: 0,
    };
    if let Some(mapping) = t.mapping(&key) {
        return Ok(mapping.port);
    }
    if !t.charge_port(payer) {
        return Err(DropReason::Quota);
    }
    let (first, size) = range(t)?;
    let mut i = 0;
    while i < PORT_TRIES {
        i += 1;
        let port = random_port(t, first, size);
        if published(t, outside, h.protocol, port, h.v4).is_some() {
            continue;
        }
        let taken = OutsidePort {
            addr: outside,
            port,
            protocol: h.protocol,
            pad: 0,
        };
        match t.take_port(&taken, &key) {
            Ok(()) => {}
            Err(Refused::Exists) => continue,
            Err(Refused::Full) => return Err(DropReason::FlowTableFull),
        }
        let mapping = Mapping {
            last_used: t.now(),
            port,
            pad: [0; 6],
        };
        return match t.insert_mapping(&key, &mapping) {
            Ok(()) => Ok(port),
            Err(refused) => {
                t.free_port(&taken);
                // Another CPU mapped the same socket at the same moment: one mapping for both.
                match (refused, t.mapping(&key)) {
                    (Refused::Exists, Some(other)) => Ok(other.port),
                    _ => Err(DropReason::FlowTableFull),
                }
            }
        };
    }
    Err(DropReason::NoPort)
}
